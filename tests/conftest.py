"""Real servers for every test, started once a session, and what each test gets of its own: chain, database, bucket.

The servers live in a temporary directory on free ports and end with the session, also after Ctrl-C or kill -9 of
pytest; pytest-xdist's workers share them. With `SEALSTREAM_TEST_STACK=<data directory>` the servers of a stack that
already runs (`make up`) are used instead, and left running; what the tests made there stays, which is harmless: every
name is new. With `SEALSTREAM_TEST_SERVERS=containers` or `compose` they are containers (tests/providers).
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from hypothesis import settings

from sealstream.devstack import Endpoints, Stack, endpoints_of, status_of
from sealstream.devstack.ports import free_port
from sealstream.layout import ChainSettings, ChainTopics, Retention, SegmentLimits

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from sealstream.archive import ArchiveSettings
    from sealstream.kafka import KafkaSettings
    from sealstream.sealing import Signer

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that tests can import tests.pipeline

from tests.long_runs import LONG
from tests.providers.provided import Provided, chosen, in_containers

settings.register_profile("untimed", deadline=None)  # how long an example takes says how busy the machine is
settings.load_profile("untimed")

LOG = "audit.example.com/tests"
SMALL_SEGMENTS = SegmentLimits(entries=100, bytes=1_000_000, seconds=300)


_SHARED = "SEALSTREAM_TEST_STACK"
# Files of few tests that take long: first, so that no worker is left with one of them when the others have ended.
_LONGEST = (
    "cli/test_up.py",
    "e2e",
    "devstack/test_stack.py",
    "sequencer/test_sequencer_faults.py",
    "verify",
    "archive",
)


def pytest_configure(config: pytest.Config) -> None:
    """Start the servers that the workers will share. Output is as wide as in a pipe, as it is without workers."""
    os.environ.pop("COLUMNS", None)
    elsewhere = _SHARED in os.environ or chosen()
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput") and not elsewhere:
        servers = ExitStack()
        config.add_cleanup(servers.close)
        os.environ[_SHARED] = str(servers.enter_context(_running_stack()).data_dir)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first; those that are marked `long` only when they are asked for."""
    if not LONG:
        later = pytest.mark.skip(reason="`make long` runs it (SEALSTREAM_LONG_TESTS=1)")
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(later)
    here = Path(__file__).parent
    order = {here / name: at for at, name in enumerate(_LONGEST)}

    def place(item: pytest.Item) -> int:
        return min((order[path] for path in (item.path, *item.path.parents) if path in order), default=len(order))

    items.sort(key=place)


@contextmanager
def _running_stack() -> Iterator[Stack]:
    taken: set[int] = set()
    ports = {name: free_port(taken) for name in ("kafka", "postgres", "s3")}
    with tempfile.TemporaryDirectory(prefix="sealstream-tests-") as folder:
        running = Stack(Path(folder) / "data", ports=ports, progress=print)
        try:
            running.start()
            yield running
        finally:
            running.stop()


@pytest.fixture(scope="session")
def provided(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provided]:
    """The three servers, and how they want to be asked."""
    shared = os.environ.get(_SHARED)
    if shared:
        assert any(each.state == "running" for each in status_of(Path(shared))), f"no stack runs in {shared}"
        yield Provided(endpoints_of(Path(shared)))
    elif name := chosen():
        with in_containers(name, tmp_path_factory.mktemp(name)) as servers:
            yield servers
    else:
        with _running_stack() as running:
            yield Provided(endpoints_of(running.data_dir))


@pytest.fixture(scope="session")
def stack(provided: Provided) -> Endpoints:
    """The three servers: their addresses and keys."""
    return provided.endpoints


@pytest.fixture(scope="session")
def kafka(provided: Provided) -> KafkaSettings:
    """The broker, as Sealstream's processes take it."""
    from sealstream.cli.settings_sections import KafkaSection
    from sealstream.kafka import KafkaSettings

    section = KafkaSection.model_validate({"bootstrap": provided.endpoints.kafka_bootstrap, **provided.kafka})
    return KafkaSettings(section.bootstrap, section.driver_options())


@pytest.fixture
def chain_name() -> str:
    """A chain's name that no other test has."""
    return f"t{uuid.uuid4().hex[:16]}"


@pytest.fixture
def chain_key(chain_name: str) -> str:
    """A new signing key for the chain, as C2SP text."""
    from sealstream.sealing import new_signing_key

    return new_signing_key(f"{LOG}/{chain_name}")


@pytest.fixture
def chain_signer(chain_key: str) -> Signer:
    """The signer of that key."""
    from sealstream.sealing import signer

    return signer(chain_key)


@pytest.fixture
def chain(kafka: KafkaSettings, provided: Provided, chain_name: str, chain_signer: Signer) -> ChainSettings:
    """A new chain with small segments and a key of its own; its topics exist and are empty."""
    from sealstream.kafka import create_topics

    create_topics(kafka, ChainTopics.of(chain_name).configs(), provided.kafka.get("replication", 1))
    return ChainSettings(chain_name, LOG, chain_signer.vkey, Retention("soc2", archive_days=366), SMALL_SEGMENTS)


@pytest.fixture(scope="session")
def postgres_admin_dsn(stack: Endpoints) -> str:
    """The superuser's DSN of the database `postgres`: to make databases and roles, not to work in."""
    return stack.postgres_admin_dsn


@pytest.fixture(scope="session")
def make_database(postgres_admin_dsn: str) -> Iterator[Callable[..., str]]:
    """`make_database(template="")`: the superuser's DSN of a new database, dropped when the session ends."""
    made: list[str] = []

    def make(template: str = "") -> str:
        name = f"t_{uuid.uuid4().hex[:16]}"
        _execute(postgres_admin_dsn, f"CREATE DATABASE {name}" + (f" TEMPLATE {template}" if template else ""))
        made.append(name)
        return urlunsplit(urlsplit(postgres_admin_dsn)._replace(path=f"/{name}"))

    yield make
    for name in made:
        _execute(postgres_admin_dsn, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def migrated_template(make_database: Callable[..., str]) -> str:
    """The name of a database that was migrated once, to be cloned and otherwise left alone."""
    from sealstream.postgres import migrate

    dsn = make_database()
    migrate(dsn)
    return urlsplit(dsn).path.lstrip("/")


@pytest.fixture
def database(make_database: Callable[..., str], migrated_template: str) -> str:
    """The superuser's DSN of a new database with Sealstream's schema."""
    return make_database(migrated_template)


@pytest.fixture(scope="session")
def s3_settings(stack: Endpoints) -> dict[str, Any]:
    """endpoint_url, region, access_key, secret_key."""
    return {
        "endpoint_url": stack.s3_endpoint_url,
        "region": stack.s3_region,
        "access_key": stack.s3_access_key,
        "secret_key": stack.s3_secret_key,
    }


@pytest.fixture(scope="session")
def s3(s3_settings: dict[str, Any]) -> Iterator[S3Client]:
    """A boto3 client with all rights."""
    import boto3

    client = boto3.client(
        "s3",
        endpoint_url=s3_settings["endpoint_url"],
        region_name=s3_settings["region"],
        aws_access_key_id=s3_settings["access_key"],
        aws_secret_access_key=s3_settings["secret_key"],
    )
    yield client
    client.close()


@pytest.fixture
def new_bucket(s3_settings: dict[str, Any]) -> ArchiveSettings:
    """Where a bucket could be, with a name that no other test has: nothing is there yet."""
    from sealstream.archive import ArchiveSettings

    return ArchiveSettings(f"t-{uuid.uuid4().hex[:16]}", **s3_settings)


@pytest.fixture
def bucket(new_bucket: ArchiveSettings, s3: S3Client) -> ArchiveSettings:
    """A new, empty bucket with Object Lock (and so with versions), without default retention."""
    s3.create_bucket(Bucket=new_bucket.bucket, ObjectLockEnabledForBucket=True)
    return new_bucket


def _execute(dsn: str, statement: str) -> None:
    import asyncpg

    async def run() -> Any:
        connection = await asyncpg.connect(dsn)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run())
