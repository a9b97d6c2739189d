"""Detectors on history: what the archive gives is what the roll-up gives, whoever shares the work."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from examples.company.watching import counted
from tests.anomalies.conftest import Archived

from sealstream.anomalies import History, HistoryWarmUp, Trial, backtest, explained, seconds_of, size_of
from sealstream.anomalies.working import in_processes
from sealstream.anomaly.detecting import second_at
from sealstream.anomaly.detectors import DETECTORS
from sealstream.anomaly.rolling import RollUp
from sealstream.anomaly.sharing import Share, ShareWatch
from sealstream.anomaly.watching import chosen
from sealstream.errors import Misconfigured, Unavailable
from sealstream.layout.activity import encode_activity
from sealstream.layout.alerts import encode_alert


def history_of(archived: Archived, from_day: int = 0) -> History:
    begins = datetime.fromtimestamp(archived.company.scored_from, UTC) - timedelta(days=2 - from_day)
    return History(("main",), begins, begins + timedelta(days=30), archive=archived.folder)


def test_the_archive_gives_the_seconds_that_its_entries_give(archived: Archived) -> None:
    roll_up = RollUp("main")
    entries = [counted(each, seq) for seq, each in enumerate(archived.happened)]
    seconds = [second for entry in entries if (second := roll_up.take(entry)) is not None]
    last = roll_up.so_far()
    assert last is not None
    expected = Counter(encode_activity(record) for second in [*seconds, last] for record in second.actors)
    expected.update(encode_activity(record) for second in [*seconds, last] for record in second.addresses)
    read: Counter[str] = Counter()
    for of in (1, 3):
        found: Counter[bytes] = Counter()
        for number in range(of):
            read.clear()
            for second in seconds_of(history_of(archived), Share(number, of), lambda chain, n: read.update({chain: n})):
                found.update(encode_activity(record) for record in (*second.actors, *second.addresses))
        assert found == expected
        assert read == {"main": len(entries)} == size_of(history_of(archived))


def test_a_span_leaves_out_what_lies_outside(archived: Archived) -> None:
    history = history_of(archived, from_day=1)._replace(
        until=datetime.fromtimestamp(archived.company.scored_from, UTC) + timedelta(hours=9)
    )
    seconds = [second.second for second in seconds_of(history, Share())]
    assert seconds == sorted(seconds)
    assert second_at(int(history.since.timestamp())) <= seconds[0]
    assert seconds[-1] < second_at(int(history.until.timestamp()))


def test_alerts_do_not_depend_on_the_processes_and_changed_thresholds_stand_beside(archived: Archived) -> None:
    history = history_of(archived, from_day=2)
    changed = {"failed_login_burst": {"failures": 100, "slow_failures": 100}}
    trial = Trial(history, history_of(archived).since, {}, changed, list(DETECTORS))
    told: list[int] = []
    alone = backtest(trial, 1)
    together = backtest(trial, 2, lambda read: told.append(read["main"]))
    assert list(map(encode_alert, alone.present)) == list(map(encode_alert, together.present))
    assert list(map(encode_alert, alone.changed)) == list(map(encode_alert, together.changed))
    assert alone.entries == together.entries == {"main": len(archived.happened)}
    assert alone.actors == together.actors > 100
    assert told == sorted(told)
    bursts = [alert for alert in alone.present if alert.detector == "failed_login_burst"]
    assert len(bursts) > len(alone.changed)
    assert {alert.detector for alert in alone.changed} <= {"failed_login_burst"}
    guessed = {actor for s in archived.company.stories if s.label.story == "password guessing" for actor in s.actors}
    assert {alert.subject for alert in bursts} & guessed


def test_history_warms_up_to_the_states_that_watching_it_gives(archived: Archived) -> None:
    history = history_of(archived)
    watching = ShareWatch(chosen(DETECTORS, {}))
    for second in seconds_of(history, Share()):
        watching.see(second)
    warm_up = HistoryWarmUp(history, {}, processes=2)
    actors = {name: watching.of_actors.encode(subject) for name, subject in warm_up("actor")}
    addresses = {name: watching.of_addresses.encode(subject) for name, subject in warm_up("address")}
    assert actors == {name: watching.of_actors.encode(each) for name, each in watching.actors.items()}
    assert addresses == {name: watching.of_addresses.encode(each) for name, each in watching.addresses.items()}


def test_what_is_known_of_somebody_is_said_by_each_detector(archived: Archived) -> None:
    watching = ShareWatch(chosen(DETECTORS, {}))
    for second in seconds_of(history_of(archived), Share()):
        watching.see(second)
    subject = max(watching.actors.values(), key=lambda each: len(each.states))
    lines = explained("actor", subject, {"denied_scan": {"resources": 77}}, archived.company.ends)
    words = {each.detector: " ".join(each.known) for each in lines}
    assert words.keys() == {name for name, kind in DETECTORS.items() if kind.subject == "actor"}
    assert "last active 2026-10-" in words["dormant_actor"]
    assert "networks: " in words["first_seen"]
    assert "entries in an hour: usually" in words["access_spike"]
    assert "in seven days of what it has never exported" in words["mass_export"]
    denied = next(each for each in watching.actors.values() if each.states["denied_scan"].fast.buckets)
    said = explained("actor", denied, {"denied_scan": {"resources": 77}}, archived.company.ends)
    assert any("alerts at 77 resources" in sentence for each in said for sentence in each.known)
    place = max(watching.addresses.values(), key=lambda each: len(each.states["password_spray"].slow.buckets))
    (spray,) = explained("address", place, {}, archived.company.ends)
    assert spray.known[0].startswith("actors who fail from here and don't get in: ")


def test_a_process_that_fails_is_told_and_none_is_left(archived: Archived) -> None:
    missing = history_of(archived)._replace(chains=("other",))
    with pytest.raises(Misconfigured, match="holds no archive of other"):
        backtest(Trial(missing, missing.since, {}, {}, list(DETECTORS)), 2)
    with pytest.raises(Unavailable, match="ended by itself"):
        in_processes(_dies, [(3,)], lambda _done: None)


def _dies(code: int, _tell: object) -> None:
    import os

    os._exit(code)
