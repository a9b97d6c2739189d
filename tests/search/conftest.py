"""Two chains of entries of every sort, made once: in Postgres, in a bucket, and here in memory, to search in."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.pipeline import as_role, pipeline_roles
from tests.rebuild.made_chain import MadeChain, fill_postgres

from sealstream.archive import ArchiveSettings
from sealstream.cli.settings import write_settings
from sealstream.devstack import Endpoints
from sealstream.events import format_timestamp
from sealstream.kafka import KafkaSettings, create_topics
from sealstream.layout import ChainSettings, ChainTopics, Retention, SegmentLimits
from sealstream.layout.tables import Roles
from sealstream.postgres import migrate
from sealstream.sealing import new_signing_key, signer

__all__ = ["pipeline_roles"]

LOG = "audit.example.com/tests"
BEGIN = datetime(2026, 9, 20, 12, 0, tzinfo=UTC)
NOW = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)

ACTORS = (
    "user-1",
    "user-12",
    "user-123",
    "User-1",
    "ann b",
    'o"neil',
    "back\\slash",
    "100%",
    "user_1",
    "=cmd()",
    "Ünï",
    "a*b",
)
ACTIONS = ("read", "patient.read", "patient.write", "patients.merge", "login", "invoice.approve")
RESOURCES = (
    ("patient_record", "456"), ("patient_record", "4567"), ("patient", "456"), ("file", "etc/passwd"), ("file", "a b"),
    ("invoice", "2026-17"),
)  # fmt: skip
ADDRESSES = (
    "10.0.0.7", "10.200.3.4", "172.16.0.1", "172.31.255.255", "172.32.0.1", "192.168.1.130", "2001:db8::7",
    "2001:db8:0:1::", "fe80::1", "::1", "::102:304", "255.255.255.255", "0.0.0.0",
)  # fmt: skip


def made_event(n: int, sealed: str) -> dict[str, Any]:
    """Event `n`: the same each time, and together of every sort."""
    chance = random.Random(n)
    moment = datetime.fromisoformat(sealed)
    # Some happened long before they were sealed, some by a clock that ran ahead, many at the same moment.
    moment += timedelta(seconds=chance.choice((0, 0, 0, -1, -40 * 86_400, 3 * 86_400)))
    timestamp = format_timestamp(moment.replace(second=0, microsecond=0))
    if n % 20 in (3, 11):  # as early and as late as a time may be, each several times
        timestamp = "0001-01-01T00:00:00.000000Z" if n % 20 == 3 else "9999-12-31T23:59:59.999999Z"
    kind, name = chance.choice(RESOURCES)
    event: dict[str, Any] = {
        "id": str(uuid.UUID(int=chance.getrandbits(128))),
        "timestamp": timestamp,
        "actor_id": chance.choice(ACTORS),
        "actor_type": chance.choice(("user", "user", "service", "admin", "system")),
        "action": chance.choice(ACTIONS),
        "resource_type": kind,
        "resource_id": name,
        "result": chance.choice(("success", "success", "failure", "denied")),
    }
    optional: dict[str, Any] = {
        "ip_address": chance.choice(ADDRESSES),
        "session_id": f"s{n % 5}",
        "tenant": chance.choice(("clinic-1", "clinic-2")),
        "reason": chance.choice(("treatment ü", "audit", "100%_sure", 'said "no"\\\t\x01🐟/')),
        "user_agent": chance.choice(("curl/8", "Mozilla/5.0 (X11)")),
        "on_behalf_of": "user-9",
        "trace_id": f"{n % 7:032x}",
        "source": {"service": chance.choice(("clinic", "billing")), "host": f"web-{n % 3}"},
        "metadata": {
            "http_status": chance.choice((200, 404, "404", None)), "ok": n % 2 == 0, "list": [1],
            "big": chance.choice((1e-7, 0.5, 5e-324)),
        },
        "changed_fields": chance.choice((["email"], ["email", "phone_home"], [])),
    }  # fmt: skip
    event |= {name: value for name, value in optional.items() if chance.random() < 0.6}
    return event


class SortedChain(MadeChain):
    """A made chain with these events. `first`: which event is its first."""

    first = 0

    def _event(self, n: int) -> dict[str, object]:
        return made_event(self.first + n, self._now)


class SecondChain(SortedChain):
    first = 10_000


class Searchable(NamedTuple):
    """The two chains everywhere."""

    made: tuple[MadeChain, ...]
    chains: tuple[str, ...]
    reader: str
    admin: str
    bucket: ArchiveSettings
    kafka: KafkaSettings
    config: Path

    def entries(self) -> list[dict[str, Any]]:
        """All entries, as JSON."""
        return [json.loads(value) for made in self.made for value in made.values]

    def archived(self) -> list[dict[str, Any]]:
        """Those of them that are in the archive."""
        return [json.loads(value) for made in self.made for value in made.values[: made.archived_size()]]


def _when(n: int) -> datetime:
    return BEGIN + timedelta(days=8 * (n // 60), seconds=7 * n)


@pytest.fixture(scope="session")
def searchable(
    kafka: KafkaSettings,
    stack: Endpoints,
    s3: Any,
    s3_settings: dict[str, Any],
    make_database: Callable[..., str],
    pipeline_roles: Roles,
    tmp_path_factory: pytest.TempPathFactory,
) -> Searchable:
    """About 700 entries over three months in two chains; the archive ends a little before Postgres does."""
    name = f"s{uuid.uuid4().hex[:12]}"
    bucket = ArchiveSettings(f"t-{name}", **s3_settings)
    s3.create_bucket(Bucket=bucket.bucket, ObjectLockEnabledForBucket=True)
    admin = make_database()
    migrate(admin, roles=pipeline_roles, passwords=dict.fromkeys(pipeline_roles.logins(), "of-the-tests"))
    made: list[MadeChain] = []
    sections = {}
    for kind, suffix, events in ((SortedChain, "a", 450), (SecondChain, "b", 200)):
        chain = f"{name}-{suffix}"
        skey = new_signing_key(f"{LOG}/{chain}")
        limits = SegmentLimits(100, 10_000_000, 300_000)
        settings = ChainSettings(chain, LOG, signer(skey).vkey, Retention("soc2", archive_days=366), limits)
        create_topics(kafka, ChainTopics.of(chain).configs())
        made.append(kind(settings, signer(skey), events=events, when=_when, bucket=bucket))
        made[-1].publish(kafka)
        fill_postgres(kafka, settings, as_role(admin, pipeline_roles.sink))
        sections[chain] = {"vkey": settings.vkey, "segment_entries": 100, "segment_seconds": 300_000}
    reader = as_role(admin, pipeline_roles.reader)
    config = tmp_path_factory.mktemp(name) / "sealstream.toml"
    write_settings(
        config,
        {
            "log": LOG,
            "kafka": {"bootstrap": stack.kafka_bootstrap},
            "postgres": {"reader_dsn": reader},
            "archive": {"bucket": bucket.bucket, **s3_settings},
            "chains": sections,
        },
    )
    return Searchable(tuple(made), tuple(sections), reader, admin, bucket, kafka, config)
