"""The doctor on servers that are open, or that don't keep what they promise: each check sees it fail.

The servers of the tests have no TLS and no ACLs, as those of `sealstream up`: of these it is seen to fail as it is.
"""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from tests.doctor.looking import failing, passing, unasked
from tests.long_runs import long_run
from tests.pipeline import sql

from sealstream.access import person_at_this_machine
from sealstream.archive import ArchiveSettings, Bucket, Lock, init_bucket
from sealstream.archive.canary import sweep_canaries, try_canary
from sealstream.archive.watched import BucketWatched, covers_data_events
from sealstream.devstack.directory import open_stack
from sealstream.devstack.ports import HOST, free_port
from sealstream.devstack.postgres_server import PostgresServer
from sealstream.devstack.s3_server import REGION, S3Server
from sealstream.devstack.supervisor import Supervisor
from sealstream.doctor import System
from sealstream.doctor.checks.archive_bucket import judged_watched
from sealstream.doctor.checks.archive_held import judged_hosts
from sealstream.doctor.checks.clocks import Offset, judged_kernel, judged_offsets
from sealstream.doctor.checks.kafka_access import judged_authorizer, judged_rules
from sealstream.doctor.checks.postgres_recorded import judged_connections, judged_pgaudit
from sealstream.kafka import KafkaSettings, end_offset
from sealstream.kafka.probing import Rule, would_take
from sealstream.layout import ChainSettings, ChainTopics, Retention
from sealstream.layout.archive import CANARIES, ENTRIES, MANIFESTS, SegmentName, archive_prefix

pytestmark = long_run


@pytest.fixture
def system(
    kafka: KafkaSettings, chain: ChainSettings, bucket: ArchiveSettings, database: str, tmp_path: Path
) -> System:
    """A new chain, of which nothing is sealed, a bucket and a database; nobody's own user."""
    return System(
        reader=person_at_this_machine(),
        kafka=kafka,
        prefix="audit",
        chains=(chain,),
        dsns={"reader": database},
        archive=bucket,
        state_dir=tmp_path,
        token_file=tmp_path / "tokens.json",
        key_file=tmp_path / "keys.json",
        sealed_within_s=1.0,
    )


# --- Kafka ----------------------------------------------------------------------------------------------------------


def test_kafka_that_is_open_to_all_fails(system: System) -> None:
    assert "PLAINTEXT" in failing("kafka.tls", system)
    assert "was let in" in failing("kafka.authentication", system)
    assert "no authorizer" in failing("kafka.authorization", system)
    failing("kafka.separation", system)
    topics = ChainTopics.of(system.chains[0].name)
    assert topics.chain in failing("kafka.forbidden", system)
    for topic in topics:
        written = end_offset(system.kafka, topic, committed=False)
        assert written == 0 or topic == topics.control, "the readings themselves are"


def test_what_is_offered_to_a_topic_is_never_written(system: System) -> None:
    topic = ChainTopics.of(system.chains[0].name).chain
    assert would_take(system.kafka, topic)
    assert end_offset(system.kafka, topic, committed=False) == 0


def test_a_topic_without_acls_must_be_closed_and_the_brokers_must_tell_so() -> None:
    passing("kafka.authorization", judged_authorizer(9, None))
    passing("kafka.authorization", judged_authorizer(9, "false"))
    assert "open to all" in failing("kafka.authorization", judged_authorizer(9, "True"))
    assert "do not tell" in unasked("kafka.authorization", judged_authorizer(9, ""))


def rules(**writers: Sequence[str]) -> list[Rule]:
    """Who may write which topic of `audit.*.main`."""
    return [
        Rule(f"User:{who}", "topic", f"audit.{topic}.main", "literal", "WRITE", True)
        for topic, names in writers.items()
        for who in names
    ]


RIGHT = {"raw": ["app"], "chain": ["sequencer"], "checkpoints": ["signer"], "segments": ["signer"]}


def test_who_may_write_what_is_held_against_each_other() -> None:
    topics = ChainTopics.of("main")
    passing("kafka.separation", judged_rules(rules(**RIGHT), topics))
    assert "User:app may write audit.raw.main and audit.chain.main" in failing(
        "kafka.separation", judged_rules(rules(**{**RIGHT, "chain": ["app"]}), topics)
    )
    two = judged_rules(rules(**{**RIGHT, "chain": ["sequencer", "other"]}), topics)
    assert "expected one" in failing("kafka.separation", two)
    same = judged_rules(rules(**{**RIGHT, "checkpoints": ["sequencer"]}), topics)
    assert "expected two users" in failing("kafka.separation", same)
    every = Rule("User:*", "topic", "audit.", "prefixed", "ALL", True)
    assert "User:*" in failing("kafka.separation", judged_rules([*rules(**RIGHT), every], topics))
    denied = Rule("User:*", "topic", "*", "literal", "ALL", False)
    passing("kafka.separation", judged_rules([*rules(**RIGHT), every, denied], topics))
    only_writing = denied._replace(operation="WRITE")
    said = failing("kafka.separation", judged_rules([*rules(**RIGHT), every, only_writing], topics))
    assert "everybody may DELETE audit.chain.main" in said
    for operation in ("DELETE", "ALTER", "ALTER_CONFIGS"):
        spoiling = Rule("User:app", "topic", "audit.chain.main", "literal", operation, True)
        assert f"User:app, who write audit.raw.main, may {operation} audit.chain.main" in failing(
            "kafka.separation", judged_rules([*rules(**RIGHT), spoiling], topics)
        )
        passing("kafka.separation", judged_rules([*rules(**RIGHT), spoiling._replace(principal="User:sink")], topics))


def test_who_is_denied_from_one_address_alone_may_write_from_all_others() -> None:
    topics = ChainTopics.of("main")
    both = rules(**{**RIGHT, "chain": ["sequencer", "app"]})
    denied = Rule("User:app", "topic", "audit.chain.main", "literal", "WRITE", False)
    passing("kafka.separation", judged_rules([*both, denied], topics))
    from_one = denied._replace(host="192.0.2.1")
    assert "User:app may write" in failing("kafka.separation", judged_rules([*both, from_one], topics))
    only_from_one = [*rules(**RIGHT), from_one._replace(allows=True)]
    assert "User:app may write" in failing("kafka.separation", judged_rules(only_from_one, topics))


# --- Postgres -------------------------------------------------------------------------------------------------------


def test_postgres_that_records_nobody_fails(system: System, database: str) -> None:
    assert "not loaded" in failing("postgres.pgaudit", system)
    name = urlsplit(database).path.lstrip("/")
    sql(database, f"ALTER DATABASE {name} SET pgaudit.log = 'read'")
    assert "not loaded" in failing("postgres.pgaudit", system), "a setting that nobody reads is none"
    failing("postgres.connections", system)
    failing("postgres.tls", system)


def test_pgaudit_and_the_logging_of_connections_are_judged_by_what_they_record() -> None:
    passing("postgres.pgaudit", judged_pgaudit("none", ["analyst: read, ddl"]))
    passing("postgres.pgaudit", judged_pgaudit("all", []))
    assert "reads are not recorded" in failing("postgres.pgaudit", judged_pgaudit("write, ddl", ["app: write"]))
    on = {"log_disconnections": "on"}
    passing("postgres.connections", judged_connections({**on, "log_connections": "on"}))
    passing("postgres.connections", judged_connections({**on, "log_connections": "receipt, authentication"}))
    failing("postgres.connections", judged_connections({**on, "log_connections": "receipt"}))
    failing("postgres.connections", judged_connections({**on, "log_connections": ""}))
    failing("postgres.connections", judged_connections({"log_disconnections": "off", "log_connections": "all"}))


@contextmanager
def trusting_postgres(folder: Path) -> Iterator[str]:
    """A server that lets everybody in: its superuser's DSN, with a password that nobody looks at."""
    (folder / "data" / "logs").mkdir(parents=True)
    stack = open_stack(folder / "data", {name: free_port() for name in ("kafka", "postgres", "s3")})
    hba = folder / "data" / "postgres" / "cluster" / "open.conf"
    server = PostgresServer(folder / "data", stack, {"hba_file": str(hba)})
    supervisor = Supervisor(folder / "data")
    try:
        server.prepare(lambda _: None)
        hba.write_text("host all all all trust\n")
        if os.geteuid() == 0:
            os.chown(hba, pwd.getpwnam("nobody").pw_uid, -1)
        supervisor.start([server.spec()], together=True)
        yield f"postgresql://postgres:any@{HOST}:{stack.ports['postgres']}/postgres"
    finally:
        supervisor.stop()


def test_postgres_that_looks_at_no_password_fails(system: System, tmp_path: Path) -> None:
    with trusting_postgres(tmp_path) as dsn:
        trusting = system._replace(dsns={"reader": dsn})
        assert "a wrong password was let in" in failing("postgres.authentication", trusting)
        nameless = urlunsplit(urlsplit(dsn)._replace(netloc=dsn.partition("@")[2].partition("/")[0]))
        unasked("postgres.authentication", system._replace(dsns={"reader": nameless}))


# --- the archive ----------------------------------------------------------------------------------------------------


def test_a_bucket_without_lock_or_versions_fails(system: System, new_bucket: ArchiveSettings, s3: Any) -> None:
    plain = f"{new_bucket.bucket}-plain"
    s3.create_bucket(Bucket=plain)
    without = system._replace(archive=new_bucket._replace(bucket=plain))
    failing("archive.object_lock", without)
    failing("archive.versioning", without)
    assert "could not be locked" in failing("archive.forbidden", without)
    failing("archive.tls", without)
    assert not s3.list_object_versions(Bucket=plain).get("Versions"), "nothing is left there"


def test_a_bucket_without_default_retention_or_with_a_weak_one_fails(
    system: System, bucket: ArchiveSettings, s3: Any
) -> None:
    assert "no default retention" in failing("archive.object_lock", system)
    for mode, days in (("GOVERNANCE", 400), ("COMPLIANCE", 30)):
        rule = {"DefaultRetention": {"Mode": mode, "Days": days}}
        s3.put_object_lock_configuration(
            Bucket=bucket.bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
        )
        assert f"{mode}, {days} days" in failing("archive.object_lock", system)


@pytest.mark.parametrize(
    ("mode", "through"),
    [
        (None, "shortening its retention WENT THROUGH"),
        ("GOVERNANCE", "deleting its version past GOVERNANCE WENT THROUGH"),
    ],
)
def test_a_store_that_takes_a_lock_and_does_not_keep_to_it_fails(
    system: System, monkeypatch: pytest.MonkeyPatch, mode: str | None, through: str
) -> None:
    """As one that ignores locks, or gives weaker ones: what is put is not locked as was asked, and said to be."""
    real = Bucket.__init__

    def weaken(params: dict[str, Any], **_: Any) -> None:
        if mode is None:
            params.pop("ObjectLockMode", None)
            params.pop("ObjectLockRetainUntilDate", None)
        elif "ObjectLockMode" in params:
            params["ObjectLockMode"] = mode

    def weak(self: Bucket, settings: ArchiveSettings) -> None:
        real(self, settings)
        self.client.meta.events.register("provide-client-params.s3.PutObject", weaken)

    monkeypatch.setattr(Bucket, "__init__", weak)
    assert "was asked for, and the object has" in failing("archive.forbidden", system)
    monkeypatch.setattr(Bucket, "lock", lambda *_: Lock("COMPLIANCE", system.clock().replace(year=2999)))
    assert through in failing("archive.forbidden", system)


def test_a_bucket_that_everybody_may_list_fails(system: System, bucket: ArchiveSettings, s3: Any) -> None:
    passing("archive.private", system)
    s3.put_bucket_acl(Bucket=bucket.bucket, ACL="public-read")
    assert "without any credentials" in failing("archive.private", system)


READ_AND_LOCK = [
    "s3:PutObject",
    "s3:PutObjectRetention",
    "s3:GetObject*",
    "s3:ListBucket*",
    "s3:GetBucketObjectLockConfiguration",
    "s3:GetBucketVersioning",
]
RIGHTS = {"locks": [], "deletes": ["s3:DeleteObject", "s3:DeleteObjectVersion", "s3:BypassGovernanceRetention"]}


@pytest.fixture(scope="module")
def s3_with_users(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArchiveSettings]:
    """A store of its own: each of `RIGHTS` may put under a lock, and that; name and secret are one."""
    folder = tmp_path_factory.mktemp("s3")
    (folder / "data" / "logs").mkdir(parents=True)
    stack = open_stack(folder / "data", {name: free_port() for name in ("kafka", "postgres", "s3")})

    def user(name: str, key: str, secret: str, **may: object) -> dict[str, object]:
        return {"name": name, "credentials": [{"accessKey": key, "secretKey": secret}], **may}

    def policy(name: str, actions: list[str]) -> dict[str, str]:
        allowed = [{"Effect": "Allow", "Action": READ_AND_LOCK + actions, "Resource": ["arn:aws:s3:::audit*"]}]
        return {"name": name, "content": json.dumps({"Version": "2012-10-17", "Statement": allowed})}

    users = [
        user("admin", stack.s3_access_key, stack.s3_secret_key, actions=["Admin", "Read", "Write", "List"]),
        *(user(name, f"user-{name}", name, policyNames=[name]) for name in RIGHTS),
    ]
    config = folder / "identities.json"
    policies = [policy(name, actions) for name, actions in RIGHTS.items()]
    config.write_text(json.dumps({"identities": users, "policies": policies}))
    server, supervisor = S3Server(folder / "data", stack, {"s3.config": str(config)}), Supervisor(folder / "data")
    try:
        server.prepare(lambda _: None)
        supervisor.start([server.spec()], together=True)
        settings = ArchiveSettings(
            "audit", endpoint_url=f"http://{HOST}:{stack.ports['s3']}", region=REGION, access_key=stack.s3_access_key,
            secret_key=stack.s3_secret_key,
        )  # fmt: skip
        init_bucket(settings, Retention("1y", archive_days=366))
        yield settings
    finally:
        supervisor.stop()


def test_a_key_that_may_not_delete_anyway_shows_nothing_of_locks(
    system: System, s3_with_users: ArchiveSettings
) -> None:
    deletes, locks = (
        s3_with_users._replace(access_key=f"user-{user}", secret_key=user) for user in ("deletes", "locks")
    )
    passing("archive.forbidden", system._replace(archive=deletes))
    said = unasked("archive.forbidden", system._replace(archive=locks))
    assert "deleting a version that there is not, which no lock forbids, was refused, too (AccessDenied" in said


@pytest.mark.parametrize("kind", [ENTRIES, MANIFESTS])
def test_an_object_that_everybody_may_read_fails(
    system: System, bucket: ArchiveSettings, s3: Any, chain: ChainSettings, kind: str
) -> None:
    other = chain._replace(name=f"{chain.name}-2")
    keys = {each: f"{archive_prefix(each, other.name)}date=2026-11-24/x" for each in (ENTRIES, MANIFESTS)}
    for key in keys.values():
        s3.put_object(Bucket=bucket.bucket, Key=key, Body=b"x")
    asked = system._replace(chains=(chain, other))
    assert f"reading {keys[ENTRIES]}, {keys[MANIFESTS]} was refused" in passing("archive.private", asked)
    part = f"arn:aws:s3:::{bucket.bucket}/{kind}/*"
    reading = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": part}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [reading]})
    s3.put_bucket_policy(Bucket=bucket.bucket, Policy=policy)
    assert failing("archive.private", asked) == f"{keys[kind]} was read without any credentials"


def test_canaries_are_swept_when_their_lock_is_over(system: System, bucket: ArchiveSettings, s3: Any) -> None:
    opened = Bucket(bucket)
    now = system.clock()
    assert try_canary(opened, "one", now).locked_until is not None
    assert sweep_canaries(opened, now + timedelta(hours=1)) == 0, "its lock holds: nobody can"
    s3.put_object(Bucket=bucket.bucket, Key=f"{CANARIES}/a-first", Body=b"")
    assert sweep_canaries(opened, now) == 0, "one that was just put may be another run's"
    assert sweep_canaries(opened, now + timedelta(hours=1)) == 1
    opened.close()


def test_a_bucket_whose_access_nobody_records_fails(system: System) -> None:
    assert "no AWS" in failing("archive.recorded", system)
    passing("archive.recorded", judged_watched(BucketWatched("logs/audit/", (), ())))
    passing("archive.recorded", judged_watched(BucketWatched("", ("compliance-audit-trail",), ())))


BASIC = {"ReadWriteType": "All", "DataResources": [{"Type": "AWS::S3::Object", "Values": ["arn:aws:s3:::audit/"]}]}
ADVANCED = [
    {"Field": "eventCategory", "Equals": ["Data"]},
    {"Field": "resources.type", "Equals": ["AWS::S3::Object"]},
    {"Field": "resources.ARN", "StartsWith": ["arn:aws:s3:::audit/"]},
]


def test_only_a_trail_that_records_reads_and_writes_of_every_object_counts() -> None:
    assert covers_data_events({"EventSelectors": [BASIC]}, "audit")
    assert not covers_data_events({"EventSelectors": [BASIC]}, "other")
    assert not covers_data_events({"EventSelectors": [{**BASIC, "ReadWriteType": "WriteOnly"}]}, "audit")
    assert not covers_data_events({"EventSelectors": [{"ReadWriteType": "All"}]}, "audit"), "management events"
    part = [{"Type": "AWS::S3::Object", "Values": ["arn:aws:s3:::audit/entries/"]}]
    assert not covers_data_events({"EventSelectors": [{**BASIC, "DataResources": part}]}, "audit")

    def advanced(*fields: dict[str, Any]) -> dict[str, Any]:
        return {"AdvancedEventSelectors": [{"FieldSelectors": [*ADVANCED, *fields]}]}

    assert covers_data_events(advanced(), "audit")
    assert not covers_data_events(advanced(), "other")
    assert not covers_data_events(advanced({"Field": "readOnly", "Equals": ["false"]}), "audit")
    assert not covers_data_events(advanced({"Field": "eventName", "Equals": ["GetObject"]}), "audit")


def put_segments(s3: Any, bucket: str, names: Sequence[SegmentName], *kinds: str) -> None:
    """Keys without contents: which are there is all that is looked at."""
    for name in names:
        for kind in kinds:
            s3.put_object(Bucket=bucket, Key=name.object_key if kind == ENTRIES else name.manifest_key, Body=b"x")


def test_a_segment_without_its_manifest_fails_but_for_the_newest(
    system: System, bucket: ArchiveSettings, s3: Any
) -> None:
    """One of many, all of a day, also of the first, and all that there are."""
    chain = system.chains[0].name
    days = [f"2026-11-{20 + n // 2}" for n in range(6)]
    names = [SegmentName(chain, day, n * 10, n * 10 + 9) for n, day in enumerate(days)]
    put_segments(s3, bucket.bucket, names, ENTRIES)
    assert f"{names[0].manifest_key} is missing" in failing("archive.whole", system)
    put_segments(s3, bucket.bucket, names[2:], MANIFESTS)
    said = failing("archive.whole", system)
    assert [f"{name.manifest_key} is missing" in said for name in names] == [True] * 2 + [False] * 4, "the first day"
    put_segments(s3, bucket.bucket, names[:2], MANIFESTS)
    assert "6 segments" in passing("archive.whole", system)
    following = [SegmentName(chain, "2026-11-23", n * 10, n * 10 + 9) for n in range(6, 9)]
    put_segments(s3, bucket.bucket, following, ENTRIES)
    put_segments(s3, bucket.bucket, following[1:2], MANIFESTS)
    assert failing("archive.whole", system) == f"chain {chain}: {following[0].manifest_key} is missing"
    put_segments(s3, bucket.bucket, following[:1], MANIFESTS)
    assert "but the newest, whose is on its way" in passing("archive.whole", system)


def test_an_archive_on_the_same_host_fails(system: System) -> None:
    assert "on the same host as Kafka and Postgres" in failing("archive.separate", system)
    passing("archive.separate", judged_hosts("AWS S3", set(), {"Kafka": {"10.0.0.1"}}))
    passing("archive.separate", judged_hosts("https://s3", {"10.0.1.9"}, {"Kafka": {"10.0.0.1"}}))


# --- clocks ---------------------------------------------------------------------------------------------------------


def test_a_clock_that_nobody_keeps_fails() -> None:
    failing("clocks.kept", judged_kernel(0x40 | 0x1))
    passing("clocks.kept", judged_kernel(0x1))
    unasked("clocks.kept", judged_kernel(None))


def test_an_offset_counts_beyond_what_asking_took() -> None:
    passing("clocks.agree", judged_offsets({"Postgres": Offset(5.0, 4.0)}, {}))
    failing("clocks.agree", judged_offsets({"Postgres": Offset(-5.0, 2.0)}, {"S3": "no answer"}))
    unasked("clocks.agree", judged_offsets({"Postgres": Offset(0.0, 0.1)}, {"S3": "no answer"}))
