"""Detectors on history: what the archive gives is what the roll-up gives, whoever shares the work."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from heapq import merge
from itertools import pairwise
from operator import attrgetter
from typing import Any

import pyarrow as pa
import pytest
from examples.company.watching import counted
from tests.anomalies.conftest import Archived
from tests.long_runs import long_run

from sealstream.anomalies import (
    History,
    HistoryWarmUp,
    Trial,
    archive_history,
    backtest,
    explained,
    size_of,
    stretches_of,
)
from sealstream.anomalies import history as history_module
from sealstream.anomalies.working import in_processes
from sealstream.anomaly.bulk import rows_of
from sealstream.anomaly.detecting import second_at
from sealstream.anomaly.detectors import DETECTORS
from sealstream.anomaly.rolling import RollUp
from sealstream.anomaly.sharing import Share, ShareWatch
from sealstream.anomaly.watching import chosen
from sealstream.errors import Misconfigured, Unavailable
from sealstream.layout.activity import encode_activity
from sealstream.layout.alerts import encode_alert

pytestmark = long_run


def history_of(archived: Archived, from_day: int = 0) -> History:
    begins = datetime.fromtimestamp(archived.company.scored_from, UTC) - timedelta(days=2 - from_day)
    return History(("main",), begins, begins + timedelta(days=30), archive=archived.folder)


def watch_all(history: History, watching: ShareWatch) -> None:
    for _first, part in stretches_of(history, Share()):
        for actor_id, runs in part.actors:
            watching.see_actor(actor_id, runs)
        for address, tries in part.addresses:
            watching.see_address(address, tries)


def test_the_archive_gives_the_records_that_its_entries_give(archived: Archived) -> None:
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
            parts = stretches_of(
                history_of(archived), Share(number, of), lambda chain, entries: read.update({chain: entries})
            )
            for _first, part in parts:
                for _name, runs in part.actors:
                    found.update(encode_activity(record) for run in runs for record in run.records())
                for _name, tries in part.addresses:
                    found.update(map(encode_activity, tries))
        assert found == expected
        assert read == {"main": len(entries)} == size_of(history_of(archived))


def test_a_span_leaves_out_what_lies_outside(archived: Archived) -> None:
    history = history_of(archived, from_day=1)._replace(
        until=datetime.fromtimestamp(archived.company.scored_from, UTC) + timedelta(hours=9)
    )
    seconds = {
        record.second
        for _first, part in stretches_of(history, Share())
        for _, runs in part.actors
        for run in runs
        for record in run.records()
    }
    assert second_at(int(history.since.timestamp())) <= min(seconds)
    assert max(seconds) < second_at(int(history.until.timestamp()))


def test_a_history_without_chains_or_of_no_days_is_empty(archived: Archived) -> None:
    history = history_of(archived)
    assert list(stretches_of(history._replace(chains=()), Share())) == []
    assert list(stretches_of(history._replace(until=history.since), Share())) == []


def test_stretches_follow_one_another_and_none_lies_on_both_sides(archived: Archived) -> None:
    cut_at = archived.company.scored_from
    spans = []
    for first, part in stretches_of(history_of(archived), Share(), cut_at=cut_at):
        actors = [[second for run in runs for second in run.moments] for _, runs in part.actors]
        assert all(seconds == sorted(set(seconds)) for seconds in actors)
        assert first == min(seconds[0] for seconds in actors)
        spans.append((first, max(seconds[-1] for seconds in actors)))
    assert all(before[1] < after[0] for before, after in pairwise(spans))
    assert any(last < cut_at for _first, last in spans)
    assert not any(first < cut_at <= last for first, last in spans)


def test_alerts_are_those_of_one_second_after_another(archived: Archived) -> None:
    """As the workers would have raised them, from the records that the roll-up would have written."""
    thresholds: dict[str, dict[str, Any]] = {  # with so few days behind it, nobody would be unusual
        "unusual_hour": {"min_days": 1, "min_weeks": 0},
        "first_seen": {"min_days": 1, "bits": 2.0},
        "access_spike": {"min_days": 1, "min_buckets": 3, "least_short": 10, "least_long": 20},
        "mass_read": {"min_days": 1, "min_hours": 3, "least_hour": 10, "least_day": 20},
        "service_as_person": {"min_days": 1},
    }
    watching, roll_up = ShareWatch(chosen(DETECTORS, thresholds)), RollUp("main")
    seconds = [roll_up.take(counted(each, seq)) for seq, each in enumerate(archived.happened)]
    expected = [
        alert for second in (*seconds, roll_up.so_far()) if second is not None for alert in watching.see(second)
    ]
    history = history_of(archived)
    for processes in (1, 2):
        found = backtest(Trial(history, history.since, thresholds, {}, list(DETECTORS)), processes).present
        assert sorted(map(encode_alert, found)) == sorted(map(encode_alert, expected))
    assert len({alert.detector for alert in expected}) >= 8


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
    watch_all(history, watching)
    warm_up = HistoryWarmUp(history, {}, processes=2)
    actors = {name: watching.of_actors.encode(subject) for name, subject in warm_up("actor")}
    addresses = {name: watching.of_addresses.encode(subject) for name, subject in warm_up("address")}
    assert actors == {name: watching.of_actors.encode(each) for name, each in watching.actors.items()}
    assert addresses == {name: watching.of_addresses.encode(each) for name, each in watching.addresses.items()}


def test_what_is_known_of_somebody_is_said_by_each_detector(archived: Archived) -> None:
    watching = ShareWatch(chosen(DETECTORS, {}))
    watch_all(history_of(archived), watching)
    subject = max(watching.actors.values(), key=lambda each: len(each.states))
    lines = explained("actor", subject, {"denied_scan": {"resources": 77}}, archived.company.ends)
    words = {each.detector: " ".join(each.known) for each in lines}
    assert words.keys() == {name for name, kind in DETECTORS.items() if kind.subject == "actor"}
    assert "last active 2026-10-" in words["dormant_actor"]
    assert "networks: " in words["first_seen"]
    assert "entries in an hour: usually" in words["access_spike"]
    assert "in seven days of what it has never exported" in words["mass_export"]
    denied = next(each for each in watching.actors.values() if "denied_scan" in each.states)
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


def test_a_subjects_records_of_several_chains_come_in_the_order_of_time(
    archived: Archived, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one second after another, of the first chain first, however the chains' row groups lie to one another."""
    entries = [counted(each, seq) for seq, each in enumerate(archived.happened[:9_000])]
    chains = {"main": entries[::2], "phi": entries[1::2], "empty": []}
    sizes = {"main": 700, "phi": 1_900, "empty": 1}
    monkeypatch.setattr(
        history_module,
        "_rows",
        lambda _history, chain, _share, _read: (
            rows_of(chains[chain][first : first + sizes[chain]]) for first in range(0, len(chains[chain]), sizes[chain])
        ),
    )
    seconds = []
    for chain, its in chains.items():
        roll_up = RollUp(chain)
        told = [second for entry in its if (second := roll_up.take(entry)) is not None]
        if (last := roll_up.so_far()) is not None:
            told.append(last)
        seconds.append(told)
    expected: dict[str, list[bytes]] = {}
    for second in merge(*seconds, key=attrgetter("second")):
        for record in second.actors:
            expected.setdefault(record.actor_id, []).append(encode_activity(record))
    for at_once in (1, 2_500, 50_000):
        monkeypatch.setattr(history_module, "_AT_ONCE", at_once)
        found: dict[str, list[bytes]] = {}
        for _first, part in stretches_of(history_of(archived)._replace(chains=tuple(chains)), Share()):
            for actor_id, runs in part.actors:
                records = sorted((record for run in runs for record in run.records()), key=attrgetter("second"))
                found.setdefault(actor_id, []).extend(map(encode_activity, records))
        assert found == expected


def test_however_many_kinds_of_entries_there_are_each_is_itself() -> None:
    """More actions, types, addresses and tenants than one number can tell apart."""
    count = 30_000
    columns = {
        "action": [f"a{n}" for n in range(count)],
        "resource_type": [f"t{n}" for n in range(count)],
        "result": ["success", "denied"] * (count // 2),
        "actor_type": ["user", "service", "admin"] * (count // 3),
        "ip_address": [f"address {n}" if n % 7 else None for n in range(count)],
        "tenant": [f"tenant {n}" for n in range(count)],
    }
    batch = pa.record_batch({name: pa.array(values).dictionary_encode() for name, values in columns.items()})
    places, kinds = archive_history._kinds(batch, [7] * count, archive_history._Texts(), {5: "2026-11-02T10"})
    found = [kinds[place] for place in places.to_pylist()]
    assert [each.action for each in found] == columns["action"]
    assert [each.address for each in found] == columns["ip_address"]
    assert [each.tenant for each in found] == columns["tenant"]
    assert [each.result for each in found] == columns["result"]
    assert found[5].hour == "2026-11-02T10"
    assert {(each.reasons, each.browsers, each.behalf) for each in found} == {(1, 1, 1)}
