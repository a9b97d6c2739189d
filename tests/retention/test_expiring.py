"""A month leaves Postgres: verified in the archive, sealed, and only then; or it stays, and says why."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

import psycopg
import pytest
from tests.long_runs import long_run
from tests.pipeline import as_role, sql
from tests.rebuild.made_chain import fill_postgres
from tests.retention.aged_chain import PCI, Aged, when

from sealstream.archive import ArchiveSettings, ArchiveStore
from sealstream.errors import ChainBroken, Forked, Held
from sealstream.kafka import KafkaSettings, create_topics
from sealstream.layout import ChainSettings, ChainTopics, Retention, SegmentLimits, retention_members
from sealstream.layout.tables import Roles
from sealstream.rebuild.months import Keeper
from sealstream.retention import PostgresExpiry, StoredMonth, expiring, plan
from sealstream.sealing import new_signing_key, read_written, signer, split_sealed
from sealstream.verify import ChainIdentity, Verification, verify_postgres

pytestmark = long_run

LOG = "audit.example.com/tests"


class Online(NamedTuple):
    """A chain in a bucket and a database of its own; what is said is sealed at once."""

    made: Aged
    kafka: KafkaSettings
    archive: ArchiveSettings
    admin: str
    sink: str
    reader: str
    keeper: Keeper
    said: list[bytes]

    def expiry(self, retention: Retention = PCI, held: Callable[[str], str] = lambda _: "") -> PostgresExpiry:
        chain = self.made.settings._replace(retention=retention)
        return PostgresExpiry(self.keeper, self.reader, chain, self.kafka, self.archive, held=held, wait_s=60)

    def months(self) -> list[str]:
        return [month.month for month in self.expiry().due()]

    def leave(self, **options: Any) -> Any:
        expiry = self.expiry(**options)
        return expiry.expire(expiry.due()[0])

    def faults(self) -> list[str]:
        identity = ChainIdentity(self.made.settings.name, self.made.settings.origin, self.made.settings.vkey)
        now = datetime.fromisoformat(read_written(split_sealed(self.made.values[-1]).body).sequenced_at)
        return [
            f"{fault.kind} {fault.seqs()}" for fault in verify_postgres(self.reader, Verification(identity, now)).faults
        ]


@pytest.fixture
def online(
    kafka: KafkaSettings,
    new_bucket: ArchiveSettings,
    s3: Any,
    make_database: Callable[..., str],
    rebuild_template: str,
    pipeline_roles: Roles,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Online]:
    name = f"r{uuid.uuid4().hex[:12]}"
    skey = new_signing_key(f"{LOG}/{name}")
    settings = ChainSettings(name, LOG, signer(skey).vkey, PCI, SegmentLimits(12, 10_000_000, 300_000))
    s3.create_bucket(Bucket=new_bucket.bucket, ObjectLockEnabledForBucket=True)
    made = Aged(settings, signer(skey), events=130, when=when, bucket=new_bucket)
    create_topics(kafka, ChainTopics.of(name).configs())
    made.publish(kafka)
    dsn = make_database(rebuild_template)
    sink, reader = as_role(dsn, pipeline_roles.sink), as_role(dsn, pipeline_roles.reader)
    fill_postgres(kafka, settings, sink)
    said: list[bytes] = []

    def sealed_at_once(_kafka: KafkaSettings, topic: str, values: list[bytes], **_: Any) -> None:
        assert topic == ChainTopics.of(name).control
        for value in values:
            said.append(value)
            made.say_more(kafka, value)
        fill_postgres(kafka, settings, sink)

    monkeypatch.setattr(expiring, "produce", sealed_at_once)
    with Keeper(as_role(dsn, pipeline_roles.keeper)) as keeper:
        yield Online(made, kafka, new_bucket, dsn, sink, reader, keeper, said)


def test_months_leave_one_after_another_each_sealed_once(online: Online, monkeypatch: pytest.MonkeyPatch) -> None:
    assert online.months() == ["2025-03", "2025-04", "2025-05"]
    shown = plan(online.made.settings, None, online.reader, online.archive, datetime.now(UTC))
    assert [(each.month, each.stays) for each in shown] == [(month, "") for month in online.months()]

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(PostgresExpiry, "_drop", killed)
        with pytest.raises(KeyboardInterrupt):
            online.leave()
    assert online.months() == ["2025-03", "2025-04", "2025-05"]  # sealed and not dropped: no fault, and gone on with
    assert online.faults() == []
    first, end = online.made.month_bounds("2025-03")
    left = online.leave()
    assert (left.month, left.first, left.last) == ("2025-03", first, end - 1)
    assert online.leave().month == "2025-04"
    assert len(online.said) == 2
    assert online.months() == ["2025-05"]
    assert online.faults() == []


def test_what_keeps_a_month(online: Online, s3: Any) -> None:
    assert online.expiry(Retention("hipaa", archive_days=2_196)).due() == []
    with pytest.raises(Held, match="a case"):
        online.leave(held=lambda month: f"{month} is part of a case")
    store = ArchiveStore(online.archive, online.made.settings.name)
    key = next(store.segments()).name.object_key
    store.close()
    marker = s3.delete_object(Bucket=online.archive.bucket, Key=key)["VersionId"]
    with pytest.raises(Forked, match="1 delete markers"):
        online.leave()
    s3.delete_object(Bucket=online.archive.bucket, Key=key, VersionId=marker)
    sql(online.admin, "ALTER TABLE audit_log DISABLE TRIGGER ALL")
    sql(online.admin, "UPDATE audit_log SET actor_id = 'nobody' WHERE seq = 1")
    with pytest.raises(ChainBroken, match="are not those that were sealed"):
        online.leave()
    assert online.said == []
    assert online.months() == ["2025-03", "2025-04", "2025-05"]


@pytest.mark.parametrize(
    "other",
    [
        {"last_seq": 3},
        {"last_hash": "ab" * 32},
        {"store": "kafka"},
        {"action": "store.repaired"},
        {"month": None},
        {"month": "2025-02"},
        {"retention": None},
        {"retention": retention_members(Retention("soc2", archive_days=366))},
    ],
)
def test_what_another_had_sealed_before_with_its_id_does_not_keep_a_month(online: Online, other: Any) -> None:
    """The id follows from the month, so whoever may write to the control topic knows it."""
    action = other.get("action", "store.expired").encode()
    members = {member: value for member, value in other.items() if member != "action"}
    forged = online.made.expired("2025-03", **members).replace(b'"action":"store.expired"', b'"action":"%s"' % action)
    online.made.say_more(online.kafka, forged)
    left = online.leave()
    assert (left.month, len(online.said)) == ("2025-03", 1)
    assert left.statement == len(online.made.values) - 1
    assert online.leave().month == "2025-04"
    # Whether it is told: where what would show it has left, too, only if it is wrong by itself.
    assert set(online.faults()) <= {f"invalid {left.statement - 1}"}


def test_a_hold_that_is_set_while_a_month_is_leaving_keeps_it(online: Online) -> None:
    def set_meanwhile(month: str) -> str:
        return f"{month} is part of a case" if online.said else ""

    with pytest.raises(Held, match="a case"):
        online.leave(held=set_meanwhile)
    assert len(online.said) == 1  # said, and stays
    assert online.months() == ["2025-03", "2025-04", "2025-05"]
    assert online.faults() == []
    assert online.leave().month == "2025-03"  # when it was lifted
    assert len(online.said) == 1
    assert online.faults() == []


def test_a_hold_that_is_set_while_readers_are_waited_for_keeps_it(online: Online) -> None:
    asked: list[str] = []

    def set_meanwhile(month: str) -> str:
        asked.append(month)
        return f"{month} is part of a case" if len(asked) > 3 else ""

    with psycopg.connect(online.reader) as reading:
        reading.execute("SELECT FROM audit_log LIMIT 1")
        with pytest.raises(Held, match="a case"):
            online.leave(held=set_meanwhile)
    assert len(asked) == 4  # when it began, when it was said, when it was to go, and when readers were waited for
    assert online.months() == ["2025-03", "2025-04", "2025-05"]
    assert online.faults() == []


def test_a_repair_that_was_killed_in_a_month_of_two_chains_does_not_keep_it(online: Online) -> None:
    name, at, month = online.made.settings.name, "2025-03-01T00:00:00Z", "audit_log_2025_03"
    query = (
        "SELECT string_agg(quote_ident(attname), ', ') AS names FROM pg_attribute "
        f"WHERE attrelid = '{month}'::regclass AND attnum > 0 AND attname <> 'chain'"
    )
    columns = sql(online.admin, query)[0]["names"]
    sql(online.admin, f"INSERT INTO {month} (chain, {columns}) SELECT 'other', {columns} FROM {month} WHERE seq < 4")
    sql(online.admin, "INSERT INTO audit_position VALUES ('other', 4, 4)")
    table = sql(online.admin, "SELECT audit_month_begin($1, $2::text::timestamptz) AS name", name, at)[0]["name"]
    sql(online.admin, f"INSERT INTO {table} SELECT * FROM {month} WHERE chain = '{name}' AND seq < 3")
    assert online.leave().month == "2025-03"
    assert online.faults() == []
    left = sql(online.admin, f"SELECT chain, count(*) AS rows FROM {month} GROUP BY chain")
    assert [tuple(row) for row in left] == [("other", 4)]


def test_a_clock_that_is_ahead_lets_nothing_leave_early(online: Online) -> None:
    chain = online.made.settings
    ahead = PostgresExpiry(
        online.keeper, online.reader, chain, online.kafka, online.archive, now=datetime(2040, 1, 1, tzinfo=UTC)
    )
    assert [month.month for month in ahead.due()] == online.months()
    today = StoredMonth(f"{datetime.now(UTC):%Y-%m}", 0, 1)
    with pytest.raises(ChainBroken, match="is not due"):
        ahead.expire(today)
    assert online.said == []
