"""Chains over several months in all three stores, and databases with roles of their own."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import pytest
from tests.pipeline import as_role, pipeline_roles, sql
from tests.rebuild.made_chain import MadeChain, fill_postgres

from sealstream.archive import ArchiveSettings, ArchiveStore
from sealstream.cli.settings import write_settings
from sealstream.devstack import Endpoints
from sealstream.kafka import KafkaSettings, create_topics
from sealstream.layout import ChainSettings, ChainTopics, Retention, SegmentLimits
from sealstream.layout.tables import Roles
from sealstream.postgres import migrate
from sealstream.sealing import new_signing_key, signer
from sealstream.verify import ChainIdentity

__all__ = ["pipeline_roles"]

LOG = "audit.example.com/tests"
BEGIN = datetime(2026, 8, 20, 12, 0, tzinfo=UTC)


def when(n: int) -> datetime:
    """Twelve days over four months, every second of which has an event until the next day comes."""
    return BEGIN + timedelta(days=8 * (n // 170), seconds=n)


class Stores(NamedTuple):
    """A chain in Kafka, a bucket, and a database of this test's own."""

    made: MadeChain
    kafka: KafkaSettings
    archive: ArchiveSettings
    admin: str
    sink: str
    reader: str
    keeper: str
    config: Path

    @property
    def settings(self) -> ChainSettings:
        return self.made.settings

    @property
    def identity(self) -> ChainIdentity:
        return ChainIdentity(self.settings.name, self.settings.origin, self.settings.vkey)

    def sql(self, *statements: str) -> list[Any]:
        """As the superuser who disables the triggers: the database administrator who cheats."""
        for statement in statements[:-1]:
            sql(self.admin, statement)
        return list(sql(self.admin, statements[-1]))

    def tamper(self, statement: str) -> None:
        """One statement with every trigger off, as a superuser can; on again when it has failed, too."""
        script = (
            "ALTER TABLE audit_log DISABLE TRIGGER ALL;"
            f"{statement};"
            "ALTER TABLE audit_log ENABLE ALWAYS TRIGGER append_only;"
            "ALTER TABLE audit_log ENABLE ALWAYS TRIGGER no_truncate"
        )

        async def run() -> None:
            connection = await asyncpg.connect(self.admin)
            try:
                await connection.execute(script)
            finally:
                await connection.close()

        asyncio.run(run())


class Chains(NamedTuple):
    """A chain made once, in Kafka, in a bucket, and in a database that is only cloned."""

    made: MadeChain
    archive: ArchiveSettings
    template: str


@pytest.fixture(scope="session")
def rebuild_template(postgres_admin_dsn: str, pipeline_roles: Roles, make_database: Callable[..., str]) -> str:
    """The name of a migrated database whose roles have passwords."""
    dsn = make_database()
    migrate(dsn, roles=pipeline_roles, passwords=dict.fromkeys(pipeline_roles.logins(), "of-the-tests"))
    return dsn.rpartition("/")[2]


@pytest.fixture(scope="session")
def chains(
    kafka: KafkaSettings,
    stack: Endpoints,
    s3: Any,
    s3_settings: dict[str, Any],
    rebuild_template: str,
    make_database: Callable[..., str],
    pipeline_roles: Roles,
) -> Chains:
    """2,000 events on 12 days from August to November, in segments of 300; the archive ends before the chain does."""
    name = f"r{uuid.uuid4().hex[:12]}"
    skey = new_signing_key(f"{LOG}/{name}")
    settings = ChainSettings(
        name, LOG, signer(skey).vkey, Retention("soc2", archive_days=366), SegmentLimits(300, 10_000_000, 300_000)
    )
    bucket = ArchiveSettings(f"t-{name}", **s3_settings)
    s3.create_bucket(Bucket=bucket.bucket, ObjectLockEnabledForBucket=True)
    create_topics(kafka, ChainTopics.of(name).configs())
    made = MadeChain(settings, signer(skey), events=2_000, when=when, bucket=bucket)
    made.publish(kafka)
    dsn = make_database(rebuild_template)
    fill_postgres(kafka, settings, as_role(dsn, pipeline_roles.sink))
    return Chains(made, bucket, dsn.rpartition("/")[2])


@pytest.fixture
def stores(
    chains: Chains,
    kafka: KafkaSettings,
    make_database: Callable[..., str],
    pipeline_roles: Roles,
    tmp_path: Path,
    stack: Endpoints,
) -> Stores:
    """The chain with a database of this test's own, to tamper with; Kafka and the bucket are everybody's."""
    dsn = make_database(chains.template)
    dsns = {short: as_role(dsn, role) for short, role in pipeline_roles.logins().items()}
    config = tmp_path / "sealstream.toml"
    settings = chains.made.settings
    write_settings(
        config,
        {
            "log": LOG,
            "kafka": {"bootstrap": stack.kafka_bootstrap},
            "postgres": {f"{short}_dsn": value for short, value in dsns.items()},
            "archive": {
                "bucket": chains.archive.bucket,
                "endpoint_url": stack.s3_endpoint_url,
                "region": stack.s3_region,
                "access_key": stack.s3_access_key,
                "secret_key": stack.s3_secret_key,
            },
            "chains": {
                settings.name: {
                    "vkey": settings.vkey,
                    "retention": "soc2",
                    "segment_entries": settings.limits.entries,
                    "segment_bytes": settings.limits.bytes,
                    "segment_seconds": settings.limits.seconds,
                }
            },
        },
    )
    return Stores(chains.made, kafka, chains.archive, dsn, **dsns, config=config)


@pytest.fixture
def archive_copy(stores: Stores, tmp_path: Path) -> Path:
    """The bucket's objects and manifests as files of this test's own."""
    folder = tmp_path / "copy"
    store = ArchiveStore(stores.archive, stores.settings.name)
    try:
        for segment in store.segments():
            for stored in (segment.object, segment.manifest):
                path = folder / stored.key
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(store.read(stored.key, stored.versions[0]))
    finally:
        store.close()
    return folder
