"""Postgres without its oldest months: verified by what the chain has sealed of them, and by nothing else."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

import asyncpg
import pytest
from tests.long_runs import long_run
from tests.pipeline import as_role, sql
from tests.rebuild.made_chain import fill_postgres
from tests.retention.aged_chain import PCI, Aged, when

from sealstream.errors import ChainBroken, Misconfigured
from sealstream.events import control_statement, format_timestamp
from sealstream.kafka import KafkaSettings, create_topics
from sealstream.layout import (
    ChainSettings,
    ChainTopics,
    Retention,
    SegmentLimits,
    month_leaves,
    read_retention,
    retention_members,
)
from sealstream.layout.tables import Roles
from sealstream.postgres.driver import Session
from sealstream.rebuild import Sources, reconcile
from sealstream.retention import expired_statement_id
from sealstream.sealing import new_signing_key, read_written, signer, split_sealed
from sealstream.verify import ChainIdentity, FaultKind, Report, Verification, verify_kafka, verify_postgres

pytestmark = long_run

LOG = "audit.example.com/tests"
EXPIRE = "SELECT audit_month_expire($1, $2::text::timestamptz, $3, $4, $5::text::uuid)"


class Stored(NamedTuple):
    made: Aged
    kafka: KafkaSettings
    admin: str
    reader: str
    keeper: str

    def verified(self) -> Report:
        return verify_postgres(self.reader, self.asked())

    def asked(self) -> Verification:
        """As of the chain's last entry, however long the test has taken since."""
        identity = ChainIdentity(self.made.settings.name, self.made.settings.origin, self.made.settings.vkey)
        sealed = read_written(split_sealed(self.made.values[-1]).body).sequenced_at
        return Verification(identity, datetime.fromisoformat(sealed))

    def faults(self) -> list[str]:
        return [f"{fault.kind} {fault.seqs()}" for fault in self.verified().faults]

    def expire(self, month: str) -> None:
        first, end = self.made.month_bounds(month)
        own_id = expired_statement_id(self.made.settings.origin, "postgres", month)
        with Session(self.keeper, "test") as session:
            session.fetch("expiring", EXPIRE, self.made.settings.name, f"{month}-01T00:00:00Z", first, end - 1, own_id)


@pytest.fixture
def stored(
    kafka: KafkaSettings, make_database: Callable[..., str], rebuild_template: str, pipeline_roles: Roles
) -> Callable[..., Stored]:
    dsn = make_database(rebuild_template)

    def make(said: dict[str, dict[str, Any]], signed: bool = True) -> Stored:
        name = f"r{uuid.uuid4().hex[:12]}"
        skey = new_signing_key(f"{LOG}/{name}")
        settings = ChainSettings(name, LOG, signer(skey).vkey, PCI, SegmentLimits(12, 10_000_000, 300_000))
        made = Aged(settings, signer(skey), events=100, when=when)
        for month, other in said.items():
            made.say(month, **other)
        if signed:
            made.sign()
        create_topics(kafka, ChainTopics.of(name).configs())
        made.publish(kafka)
        fill_postgres(kafka, settings, as_role(dsn, pipeline_roles.sink))
        return Stored(made, kafka, dsn, as_role(dsn, pipeline_roles.reader), as_role(dsn, pipeline_roles.keeper))

    return make


def test_months_that_left_as_sealed_are_told_and_no_fault(stored) -> None:
    s = stored({"2025-03": {}, "2025-04": {}})
    s.expire("2025-03")
    s.expire("2025-04")
    first, _ = s.made.month_bounds("2025-05")
    report = s.verified()
    assert (report.faults, report.first_seq, report.exit_code) == ([], first, 0)
    assert f"entries up to {first - 1} have left Postgres, 2025-04 the last of them" in " ".join(report.notes)
    found = reconcile(s.made.settings, Sources(s.kafka, s.reader, None))
    assert found.differences == []
    assert f"postgres: the time of the entries below {first} is over there" in found.notes


def test_what_is_promised_and_destroyed_later_makes_no_month_early_that_left_before(stored, pipeline_roles) -> None:
    """Entry 0 is gone with the month: what was in force then only later statements say."""
    s = stored({"2025-03": {}})
    s.expire("2025-03")
    longer = retention_members(Retention("3y", archive_days=1_098))
    item = dict.fromkeys(("object_sha256", "manifest_sha256", "first_hash", "last_hash"), "ab" * 32)
    item |= {"object": "entries/chain=x/date=2020-01-01/y", "object_version": "v", "manifest": "m"}
    item |= {"manifest_version": "v", "retain_until": "2021-01-01T00:00:00.000000Z", "first_seq": 0, "last_seq": 1}
    listed = {"first_seq": 0, "last_seq": 1, "last_hash": "ab" * 32, "root": "ab" * 32, "segments": [item]}
    for action, members in (
        ("retention.extended", {"from": retention_members(PCI), "to": longer}),
        ("archive.destroyed", listed | {"retention": longer, "reason": "of old"}),
    ):
        value = control_statement(
            action, id=str(uuid.uuid4()), timestamp=format_timestamp(datetime.now(UTC)), actor_id="ann",
            resource_type="chain", resource_id="x", metadata=members,
        )  # fmt: skip
        s.made.say_more(s.kafka, value)
    fill_postgres(s.kafka, s.made.settings, as_role(s.admin, pipeline_roles.sink))
    assert (s.faults(), s.verified().size) == ([], len(s.made.values))


def test_a_month_that_is_gone_without_a_statement_is_missing(stored) -> None:
    s = stored({"2025-03": {}})
    s.expire("2025-03")
    gone, end = s.made.month_bounds("2025-04")
    sql(s.admin, "DROP TABLE audit_log_2025_04")
    assert s.faults() == [f"missing {gone}-{end - 1}"]
    found = reconcile(s.made.settings, Sources(s.kafka, s.reader, None))
    assert [(d.fault.kind, d.fault.first_seq, d.fault.last_seq) for d in found.differences] == [
        (FaultKind.MISSING, gone, end - 1)
    ]


def test_a_statement_that_nobody_has_signed_excuses_nothing(stored) -> None:
    s = stored({"2025-03": {}}, signed=False)
    s.expire("2025-03")
    _, end = s.made.month_bounds("2025-03")
    assert f"missing 0-{end - 1}" in s.faults()


def test_a_statement_about_other_entries_excuses_nothing(stored) -> None:
    s = stored({"2025-03": {"last_hash": "ab" * 32}})
    sql(s.admin, "DROP TABLE audit_log_2025_03")
    _, end = s.made.month_bounds("2025-03")
    assert s.faults() == [f"missing 0-{end - 1}"]


def test_a_statement_before_its_time_is_told_by_whoever_has_entry_0(stored) -> None:
    month = f"{when(99):%Y-%m}"
    s = stored({month: {}})
    report = verify_kafka(s.kafka, s.asked())
    assert "that it stays online until" in " ".join(f.detail for f in report.faults if f.kind is FaultKind.INVALID)


@pytest.mark.parametrize("other", [{"last_seq": 60}, {"last_seq": 1}, {"last_hash": "ab" * 32}])
def test_a_statement_of_other_entries_than_the_month_has_is_told_by_whoever_has_them(stored, other) -> None:
    """Else who may write to the control topic could have an old month reach up to yesterday."""
    s = stored({"2025-03": other})
    told = [f.detail for f in verify_kafka(s.kafka, s.asked()).faults if f.kind is FaultKind.INVALID]
    assert len(told) == 1
    assert "lets 2025-03 leave postgres" in told[0]


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"month": None}, "names no month"),
        ({"last_hash": None}, "names no month, or not the hash"),
        ({"month": "2024-03", "last_seq": 2**53 - 1}, "was not sealed before it"),
        ({"month": "2024-03", "last_seq": 88}, ""),  # up to an entry that is there, in a month that is not
        ({"month": "2025-04", "last_seq": 88}, "2025-04 ends with entry"),
        ({"retention": {"policy": "soc2", "archive_days": 366}}, "soc2 promises that it stays online for ever"),
        ({"retention": None}, "policy"),
    ],
)
def test_a_statement_that_keeps_to_no_rule_lets_nothing_go(stored, other, why) -> None:
    """A month was taken; whoever did so may have had a `store.expired` sealed, and entry 0 is gone with it."""
    s = stored({"2025-03": other})
    sql(s.admin, "DROP TABLE audit_log_2025_03")
    _, end = s.made.month_bounds("2025-03")
    report = s.verified()
    assert f"missing 0-{end - 1}" in [f"{fault.kind} {fault.seqs()}" for fault in report.faults]
    assert why in " ".join(f.detail for f in report.faults if f.kind is FaultKind.INVALID)
    assert not any("not online any more" in note for note in report.notes)
    if not (other.keys() & {"month", "retention"} and why):
        return
    found = reconcile(s.made.settings, Sources(s.kafka, s.reader, None))
    assert FaultKind.MISSING in [d.fault.kind for d in found.differences]


@pytest.mark.parametrize(
    ("said", "month", "why"),
    [
        ({}, "2025-03", "no store.expired"),
        ({"2025-04": {}}, "2025-04", "months leave in order"),
        ({"2025-03": {"last_seq": 3}}, "2025-03", "no store.expired"),
        ({"2025-03": {"last_hash": "ab" * 32}}, "2025-03", "no store.expired"),
    ],
)
def test_the_keeper_can_drop_no_month_otherwise(stored, said, month, why) -> None:
    s = stored(said)
    before = sql(s.admin, "SELECT count(*) AS n FROM audit_log")[0]["n"]
    with pytest.raises(ChainBroken, match=why):
        s.expire(month)
    assert sql(s.admin, "SELECT count(*) AS n FROM audit_log")[0]["n"] == before
    assert [fault for fault in s.faults() if not fault.startswith("invalid")] == []  # what was said may be


def test_a_month_that_is_not_over_stays(stored) -> None:
    s = stored({})
    asked = (s.made.settings.name, format_timestamp(datetime.now(UTC)), 0, 1, str(uuid.uuid4()))
    with Session(s.keeper, "test") as session, pytest.raises(ChainBroken, match="is not over"):
        session.fetch("expiring", EXPIRE, *asked)


def test_neither_sink_nor_reader_can_drop_a_month(stored, pipeline_roles) -> None:
    s = stored({"2025-03": {}})
    for role in (pipeline_roles.sink, pipeline_roles.reader):
        with pytest.raises(Misconfigured, match="permission denied"):
            s._replace(keeper=as_role(s.admin, role)).expire("2025-03")


def test_other_chains_entries_of_the_month_stay(stored) -> None:
    leaving, staying = stored({"2025-03": {}}), stored({})
    name, at = leaving.made.settings.name, "2025-03-01T00:00:00Z"
    _, end = leaving.made.month_bounds("2025-03")
    with pytest.raises(Misconfigured, match="audit_build_2025_03"):  # nothing was copied for the others
        leaving.expire("2025-03")
    with Session(leaving.keeper, "test") as session:
        session.fetch("beginning", "SELECT audit_month_begin($1, $2::text::timestamptz)", name, at)
        session.fetch("copying", "SELECT audit_month_fill($1, $2::text::timestamptz, $3)", name, at, end)
    leaving.expire("2025-03")
    assert (leaving.faults(), leaving.verified().first_seq) == ([], end)
    assert (staying.faults(), staying.verified().first_seq) == ([], 0)
    with pytest.raises(asyncpg.RestrictViolationError):
        sql(leaving.admin, "DELETE FROM audit_log_2025_03")


def test_a_month_leaves_so_many_days_after_its_end() -> None:
    assert month_leaves("2025-12", 366) == datetime(2027, 1, 2, tzinfo=UTC)
    assert month_leaves("2024-02", 1) == datetime(2024, 3, 2, tzinfo=UTC)
    assert read_retention(retention_members(PCI)) == PCI
