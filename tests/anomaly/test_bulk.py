"""Whole seconds at once give what the roll-up gives, one entry after another."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta

import pytest
from examples.company import Company
from examples.company.watching import counted

from sealstream.anomaly.bulk import BySubject, Rows, roll_up, rows_of
from sealstream.anomaly.detecting import second_at
from sealstream.anomaly.rolling import Counted, RollUp, WrittenCounted
from sealstream.anomaly.sharing import Share
from sealstream.events import format_timestamp
from sealstream.layout.activity import encode_activity

BEGIN = datetime(2026, 11, 2, 9, 59, 30, tzinfo=UTC)


def crowd(seed: int, count: int) -> list[Counted]:
    """Few actors who are one another's accounts, share addresses, and do everything in few seconds, some of it late."""
    rng = random.Random(seed)
    names = [f"user-{number}" for number in range(6)]
    now, entries = BEGIN, []
    for seq in range(count):
        now += timedelta(milliseconds=rng.choice((0, 1, 300, 900, 4_000)))
        late = rng.choice((0, 0, 0, 0, 1, 599.9, 600, 600.000001, 601, 40_000, -3_000))
        entries.append(
            Counted(
                format_timestamp(now - timedelta(seconds=late)),
                rng.choice(names),
                rng.choice(("user", "user", "service", "anonymous")),
                rng.choice(("read", "read", "write", "login", "role.grant")),
                rng.choice(("record", "record", "record", "user")),
                rng.choice((*names, "r-1", "r-2", "r-3")),
                rng.choice(("success", "success", "success", "denied", "failure")),
                WrittenCounted(rng.choice(("event", "event", "event", "control")), seq, format_timestamp(now)),
                rng.choice((None, "10.0.0.1", "10.0.0.2", "user-1")),
                rng.choice((None, "curl/8", "Mozilla/5.0")),
                rng.choice((None, None, "user-9")),
                rng.choice((None, "clinic", "ward")),
                rng.choice((None, None, "care")),
            )
        )
    return entries


def one_by_one(entries: list[Counted]) -> dict[tuple[str, str], list[bytes]]:
    process = RollUp("main")
    seconds = [process.take(entry) for entry in entries]
    seconds.append(process.so_far())
    found = defaultdict(list)
    for second in seconds:
        if second is not None:
            for record in second.actors:
                found["actor", record.actor_id].append(encode_activity(record))
            for address in second.addresses:
                found["address", address.ip_address].append(encode_activity(address))
    return dict(found)


def told(records: BySubject) -> dict[tuple[str, str], list[bytes]]:
    found = {
        ("actor", name): [encode_activity(record) for run in runs for record in run.records()]
        for name, runs in records.actors
    }
    return found | {("address", name): list(map(encode_activity, each)) for name, each in records.addresses}


@pytest.mark.parametrize("seed", range(40))
def test_a_crowd_is_rolled_up_as_by_the_process(seed: int) -> None:
    entries = crowd(seed, 20 + 20 * seed)
    assert told(roll_up("main", rows_of(entries))) == one_by_one(entries)


def test_a_companys_day_is_rolled_up_as_by_the_process_in_whatever_shares() -> None:
    company = Company(5, 120, days=2, warm_up=1, times=1)
    entries = [counted(each, seq) for seq, each in enumerate(company)]
    expected = one_by_one(entries)
    rows = rows_of(entries)
    assert told(roll_up("main", rows)) == expected
    for of in (2, 3):
        found: dict[tuple[str, str], list[bytes]] = {}
        for number in range(of):
            part = told(roll_up("main", rows, Share(number, of).knowing()))
            assert not found.keys() & part.keys()
            found |= part
        assert found == expected


def test_rows_are_cut_between_seconds_and_joined_again() -> None:
    rows = rows_of(crowd(3, 300))
    cut_at = rows.seconds[140]
    before, after = rows.cut(cut_at)
    assert before.seconds[-1] < cut_at == after.seconds[0]
    assert told(roll_up("main", Rows.joined([before, after]))) == told(roll_up("main", rows))
    assert Rows.joined([]).size == 0 == rows_of([]).size
    parts = [told(roll_up("main", each)) for each in (before, after)]
    whole = told(roll_up("main", rows))
    assert {key: parts[0].get(key, []) + parts[1].get(key, []) for key in whole} == whole


@pytest.mark.parametrize(
    "moment", [datetime(1970, 1, 1, tzinfo=UTC), BEGIN, datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)]
)
def test_seconds_are_written_as_in_records(moment: datetime) -> None:
    assert second_at(int(moment.timestamp())) == f"{moment:%Y-%m-%dT%H:%M:%S}Z"
