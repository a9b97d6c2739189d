"""Who looks at an actor's whole run ends where who looks at one record after another does: alerts and states."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from heapq import merge
from operator import attrgetter
from typing import Any

import pytest

from sealstream.anomaly.bulk import roll_up, rows_of
from sealstream.anomaly.detectors import DETECTORS
from sealstream.anomaly.rolling import Counted, RollUp, Second, WrittenCounted
from sealstream.anomaly.runs import Run
from sealstream.anomaly.sharing import ShareWatch
from sealstream.anomaly.watching import chosen
from sealstream.events import format_timestamp
from sealstream.layout.activity import AddressActivity
from sealstream.layout.alerts import encode_alert

BEGIN = datetime(2026, 3, 2, 7, 50, tzinfo=UTC)
EASY: dict[str, dict[str, Any]] = {  # so that little is needed, and there is much to forget
    "unusual_hour": {"min_days": 1, "min_weeks": 0, "entries": 1, "zone": "Asia/Kolkata"},
    "first_seen": {"min_days": 1, "bits": 1.0, "types": 4, "actions": 6, "networks": 3, "addresses": 3, "quiet_s": 60},
    "access_spike": {"min_days": 1, "min_buckets": 3, "least_short": 6, "least_long": 9, "quiet_s": 60},
    "mass_read": {"min_days": 1, "min_hours": 2, "least_hour": 4, "least_day": 6, "fresh_hour": 9, "quiet_s": 60},
    "mass_export": {"least_day": 2, "least_week": 3, "least_new_week": 2, "min_days": 1, "fresh_day": 3},
    "service_as_person": {"min_days": 1, "pure_days": 1, "quiet_s": 60},
    "dormant_actor": {"dormant_days": 1, "min_days": 1},
    "privilege_change_then_use": {"keep_days": 2, "quiet_s": 60},
    "failed_login_burst": {"failures": 2, "slow_failures": 3, "quiet_s": 60},
    "denied_scan": {"resources": 2, "quiet_s": 60},
}


def life(seed: int, count: int) -> list[Counted]:
    """Some actors over days or weeks: hours of much and of nothing, crowded seconds, habits, and what breaks them."""
    rng = random.Random(seed)
    actors = [f"user-{number}" for number in range(rng.choice((2, 5)))]
    habits = ["read", "chart.view", "write", "login"]
    rare = ["role.grant", "report.export", "break_glass", "user.enable", "user.delete", "config.change", "x" * 90]
    pauses = rng.choice(((0, 1, 20, 300), (0, 0, 0, 1, 2), (1, 900, 3_700, 50_000), (0, 5, 40, 200_000)))
    now, entries = BEGIN, []
    while len(entries) < count:
        now += timedelta(seconds=rng.choice(pauses) + rng.random())
        actor = rng.choice(actors)
        together = rng.choice((3, 90)) if rng.random() < 0.02 else rng.choice((1, 1, 1, 2))
        for _ in range(together):
            odd = together < 90 and rng.random() < 0.06
            action = rng.choice(rare) if odd else "read" if together == 90 else rng.choice(habits)
            about_account = odd or action == "login" or rng.random() < 0.02
            late = rng.choice((700, 40_000, -900)) if rng.random() < 0.01 else 0
            entries.append(
                Counted(
                    format_timestamp(now - timedelta(seconds=late)),
                    "anonymous" if action == "login" and rng.random() < 0.2 else actor,
                    rng.choice(("service", "admin", "anonymous")) if rng.random() < 0.03 else "user",
                    action,
                    "user"
                    if about_account
                    else rng.choice(("record", "record", "note", f"type-{rng.randrange(9)}"))
                    if together < 90
                    else "record",
                    rng.choice(actors) if about_account else f"r-{rng.randrange(2_000)}",
                    rng.choice(("denied", "failure")) if rng.random() < 0.06 else "success",
                    WrittenCounted("control" if rng.random() < 0.02 else "event", len(entries), format_timestamp(now)),
                    rng.choice((None, f"10.0.{rng.randrange(9)}.7"))
                    if together < 90 and rng.random() < 0.1
                    else "10.0.0.1",
                    rng.choice((None, "curl/8", "Mozilla/5.0")),
                    "user-9" if rng.random() < 0.02 else None,
                    rng.choice((None, "clinic")),
                    "care" if rng.random() < 0.5 else None,
                )
            )
    return entries


def seconds_of(chain: str, entries: Iterable[Counted]) -> Iterator[Second]:
    one_by_one = RollUp(chain)
    for entry in entries:
        if (second := one_by_one.take(entry)) is not None:
            yield second
    if (last := one_by_one.so_far()) is not None:
        yield last


def stretches(entries: Sequence[Counted], size: int) -> Iterator[list[Counted]]:
    """Whole seconds, some entries at a time."""
    begin = 0
    while begin < len(entries):
        end = min(begin + size, len(entries))
        while (
            end < len(entries) and entries[end].written.sequenced_at[:19] == entries[end - 1].written.sequenced_at[:19]
        ):
            end += 1
        yield list(entries[begin:end])
        begin = end


def known(watch: ShareWatch) -> dict[tuple[str, str], bytes]:
    found = {("actor", name): watch.of_actors.encode(each) for name, each in watch.actors.items()}
    return found | {("address", name): watch.of_addresses.encode(each) for name, each in watch.addresses.items()}


@pytest.mark.parametrize("thresholds", [{}, EASY], ids=["tuned", "easy"])
@pytest.mark.parametrize("seed", range(24))
def test_runs_end_as_records_do(seed: int, thresholds: dict[str, dict[str, Any]]) -> None:
    entries = life(seed, 1_200)
    by_record, by_run = (ShareWatch(chosen(DETECTORS, thresholds)) for _ in range(2))
    expected = [encode_alert(alert) for second in seconds_of("main", entries) for alert in by_record.see(second)]
    found = []
    for stretch in stretches(entries, random.Random(seed).choice((7, 150, 5_000))):
        part = roll_up("main", rows_of(stretch))
        for actor_id, runs in part.actors:
            found += map(encode_alert, by_run.see_actor(actor_id, runs))
        for address, tries in part.addresses:
            found += map(encode_alert, by_run.see_address(address, tries))
    assert sorted(found) == sorted(expected)
    assert known(by_run) == known(by_record)


def test_what_happens_often_is_found_in_these_lives() -> None:
    """So that the test above has something to compare."""
    found = set()
    for seed in range(24):
        watch = ShareWatch(chosen(DETECTORS, EASY))
        found |= {alert.detector for second in seconds_of("main", life(seed, 1_200)) for alert in watch.see(second)}
    assert found >= {name for name, kind in DETECTORS.items() if kind.subject == "actor"}


@pytest.mark.parametrize("seed", range(4))
def test_runs_of_several_chains_end_as_records_do(seed: int) -> None:
    entries = life(100 + seed, 900)
    chains = {"main": [each for each in entries if each.written.seq % 3], "phi": entries[::3]}
    by_record, by_run = (ShareWatch(chosen(DETECTORS, EASY)) for _ in range(2))
    told = [list(seconds_of(chain, its)) for chain, its in chains.items()]
    expected = [
        encode_alert(alert) for second in merge(*told, key=attrgetter("second")) for alert in by_record.see(second)
    ]
    actors: dict[str, list[Run]] = {}
    addresses: dict[str, list[AddressActivity]] = {}
    for chain, its in chains.items():
        part = roll_up(chain, rows_of(its))
        for actor_id, runs in part.actors:
            actors.setdefault(actor_id, []).extend(runs)
        for address, tries in part.addresses:
            addresses.setdefault(address, []).extend(tries)
    found = [alert for actor_id, runs in actors.items() for alert in by_run.see_actor(actor_id, runs)]
    for address, tries in addresses.items():
        found += by_run.see_address(address, sorted(tries, key=attrgetter("second")))
    assert sorted(map(encode_alert, found)) == sorted(expected)
    assert known(by_run) == known(by_record)
