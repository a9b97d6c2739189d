"""Entries rolled up into seconds, and detectors over them: the same however they come."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from sealstream.anomaly.detecting import merged_ranges, news_of
from sealstream.anomaly.detectors import DETECTORS
from sealstream.anomaly.rolling import Counted, RollUp, Second, WrittenCounted
from sealstream.anomaly.watching import Subject, Watch, chosen
from sealstream.events import format_timestamp
from sealstream.layout.activity import (
    MAX_CELLS,
    MAX_RESOURCES,
    OTHERS,
    Activity,
    decode_activity,
    encode_activity,
    is_login,
)
from sealstream.layout.alerts import Alert, decode_alert, encode_alert

BEGIN = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)


def entry(seq: int, at_s: float = 0, **fields: str) -> Counted:
    moment = format_timestamp(BEGIN + timedelta(seconds=at_s))
    event = {
        "timestamp": moment,
        "actor_id": "user-123",
        "actor_type": "user",
        "action": "read",
        "resource_type": "patient_record",
        "resource_id": "p-1",
        "result": "success",
    } | {name: value for name, value in fields.items() if name != "kind"}
    return Counted(**event, written=WrittenCounted(fields.get("kind", "event"), seq, moment))


def rolled(entries: list[Counted]) -> list[Second]:
    roll_up = RollUp("main")
    seconds = [done for each in entries if (done := roll_up.take(each)) is not None]
    last = roll_up.so_far()
    return [*seconds, last] if last is not None else seconds


def failed_login(seq: int, at_s: float, ip: str = "10.0.0.7") -> Counted:
    return entry(seq, at_s, action="login", result="failure", resource_type="session", ip_address=ip)


def activities(entries: list[Counted]) -> list[Activity]:
    return [record for second in rolled(entries) for record in second.actors]


def test_a_second_counts_what_one_actor_did_with_the_entries_behind_it() -> None:
    entries = [
        entry(0, 0.1, resource_id="p-1", tenant="clinic"),
        entry(1, 0.2, resource_id="p-2", reason="treatment"),
        entry(2, 0.3, kind="log", action="chain.heartbeat"),
        entry(3, 0.4, resource_id="p-1"),
        entry(4, 1.0, action="write"),
    ]
    first, second = rolled(entries)
    (record,) = first.actors
    (cell,) = record.cells
    assert (record.second, record.tenant, cell.count, cell.seqs) == (
        "2026-11-02T09:00:00Z",
        "clinic",
        3,
        [[0, 1], [3, 3]],
    )
    assert (len(cell.resources), cell.reasons) == (2, 1)
    assert (first.first_seq, first.last_seq, second.first_seq) == (0, 3, 4)
    assert decode_activity(encode_activity(record)) == record


def test_what_is_done_to_an_account_is_part_of_its_own_record() -> None:
    (second,) = rolled([entry(0, actor_id="root", action="role.grant", resource_type="user", resource_id="user-9")])
    subject = next(record for record in second.actors if record.actor_id == "user-9")
    assert [(each.by, each.action) for each in subject.received] == [("root", "role.grant")]
    assert subject.cells == []


def test_only_failures_denials_and_logins_are_counted_by_address() -> None:
    entries = [
        entry(0, ip_address="10.0.0.1"),
        entry(1, ip_address="10.0.0.1", result="denied"),
        entry(2, ip_address="10.0.0.1", action="user.login"),
        entry(3, result="failure"),
    ]
    (second,) = rolled(entries)
    (record,) = second.addresses
    assert [(cell.action, cell.result, cell.seqs) for cell in record.cells] == [
        ("read", "denied", [[1, 1]]),
        ("user.login", "success", [[2, 2]]),
    ]


def test_at_an_address_the_account_that_is_tried_counts_where_nobody_is_known_yet() -> None:
    nobody = {"actor_id": "anonymous", "actor_type": "anonymous", "ip_address": "10.0.0.1", "result": "failure"}
    account = {"resource_type": "user_account", "resource_id": "user-9"}
    entries = [
        entry(0, action="login", **nobody, **account),
        entry(1, action="login", **nobody, resource_type="session"),
        entry(2, action="read", **nobody, **account),
        entry(3, action="login", ip_address="10.0.0.1", **account),
    ]
    (second,) = rolled(entries)
    (record,) = second.addresses
    assert [(cell.actor_id, cell.action, cell.seqs) for cell in record.cells] == [
        ("user-9", "login", [[0, 0]]),
        ("anonymous", "login", [[1, 1]]),
        ("anonymous", "read", [[2, 2]]),
        ("user-123", "login", [[3, 3]]),
    ]
    assert {each.actor_id for each in second.actors} == {"anonymous", "user-9", "user-123"}


def test_a_record_stays_small_however_much_one_second_holds() -> None:
    entries = [entry(n, action=f"action-{n % 1000}", resource_id=f"r-{n}") for n in range(5_000)]
    (second,) = rolled(entries)
    (record,) = second.actors
    assert len(record.cells) == MAX_CELLS + 1
    assert record.cells[-1].action == OTHERS
    assert sum(cell.count for cell in record.cells) == 5_000
    assert len(record.cells[-1].resources) == MAX_RESOURCES
    assert len(encode_activity(record)) < 500_000


def test_no_record_is_too_large_for_kafka_whatever_producers_send() -> None:
    """The longest texts that an event may have, of characters that JSON spells with six bytes each."""
    entries = [
        entry(
            n,
            actor_id="mallory" if n % 2 else f"{n:04}".ljust(512, "\x01"),
            action=f"{n:04}".ljust(128, "\x01"),
            resource_type="user",
            resource_id=f"{n:04}".ljust(512, "\x01") if n % 2 else "mallory",
            result=("success", "failure", "denied")[n % 3],
            ip_address="10.0.0.1",
        )
        for n in range(20_000)
    ]
    (second,) = rolled(entries)
    sizes = [len(encode_activity(each)) for each in (*second.actors, *second.addresses)]
    assert 400_000 < max(sizes) < 950_000
    mallory = next(each for each in second.actors if each.actor_id == "mallory")
    assert sum(cell.count for cell in mallory.cells) == 10_000
    assert sum(each.count for each in mallory.received) == 10_000
    (address,) = second.addresses
    assert sum(cell.count for cell in address.cells) == sum(each.result != "success" for each in entries)


def test_an_event_that_waited_long_is_counted_by_its_own_hour() -> None:
    late = entry(1)
    late.timestamp = format_timestamp(BEGIN - timedelta(hours=7))
    (record,) = activities([entry(0), late])
    assert [cell.hour for cell in record.cells] == [None, "2026-11-02T02"]


def test_a_second_told_in_parts_counts_as_once_whole() -> None:
    rng = random.Random(5)
    entries = [
        entry(
            n, 0.001 * n, action=rng.choice(["read", "write"]), resource_id=f"p-{rng.randrange(30)}", ip_address="::1"
        )
        for n in range(200)
    ]
    (whole,) = activities(entries)
    parts: list[Activity] = []
    roll_up, earlier = RollUp("main"), None
    for n, each in enumerate(entries):
        roll_up.take(each)
        if n % 37 == 0 or n == len(entries) - 1:
            (record,) = roll_up.so_far().actors  # type: ignore[union-attr]
            record = decode_activity(encode_activity(record))
            news = news_of(record, earlier)
            assert news is not None
            assert news_of(record, record) is None
            parts.append(news)
            earlier = record
    assert encode_activity(record) == encode_activity(whole)
    for action in ("read", "write"):
        (cell,) = [each for each in whole.cells if each.action == action]
        told = [each for part in parts for each in part.cells if each.action == action]
        assert sum(each.count for each in told) == cell.count
        assert [one for each in told for one in each.resources] == cell.resources
    assert merged_ranges(pair for part in parts for each in part.cells for pair in each.seqs) == [[0, 199]]


@pytest.mark.parametrize(
    ("action", "login"),
    [("login", True), ("user.login", True), ("ConsoleLogin", True), ("login:mfa", True), ("blogin", False)],
)
def test_what_counts_as_a_login(action: str, login: bool) -> None:
    assert is_login(action) is login


def test_a_burst_of_failed_logins_is_one_alert_that_explains_itself() -> None:
    entries = [failed_login(n, n * 2.0, f"10.0.0.{n % 2}") for n in range(17)]
    alerts = watched(activities(entries))
    (alert,) = [each for each in alerts if each.detector == "failed_login_burst"]
    assert alert.summary.startswith("8 failed logins of user-123 in 15 s from 2 addresses; usual is")
    assert alert.seqs == [[0, 7]]
    assert alert.query == (
        "chain:main actor:user-123 -result:success sealed_after:2026-11-02T09:00:00Z sealed_before:2026-11-02T09:00:15Z"
    )
    assert decode_alert(encode_alert(alert)) == alert


def test_records_that_come_again_and_a_state_that_was_stored_change_nothing() -> None:
    records = activities([failed_login(n, n * 0.7) for n in range(60)])
    again = [record for n, record in enumerate(records) for record in records[max(0, n - 3) : n + 1]]
    assert watched(again, stored=True) == watched(records) != []


def test_thresholds_are_set_by_name() -> None:
    (detector,) = chosen(
        {"failed_login_burst": DETECTORS["failed_login_burst"]}, {"failed_login_burst": {"failures": 3}}
    )
    assert (detector.thresholds.failures, detector.thresholds.window_s) == (3, 180)
    with pytest.raises(msgspec.ValidationError, match="failurs"):
        chosen(DETECTORS, {"failed_login_burst": {"failurs": 3}})


def watched(records: list[Activity], *, stored: bool = False) -> list[Alert]:
    watch = Watch([each for each in chosen(DETECTORS, {}) if each.subject == "actor"], Activity)
    subjects: dict[str, Subject[Activity]] = {}
    alerts = []
    for record in records:
        subject = subjects.setdefault(record.actor_id, Subject())
        alerts += watch.see(subject, record)
        if stored:
            subjects[record.actor_id] = watch.decode(watch.encode(subject))
    return alerts
