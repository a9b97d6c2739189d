"""The doctor on servers with TLS, passwords and ACLs: what is open elsewhere passes here, until it is opened."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from tests.doctor.looking import failing, passing, system_at, unasked
from tests.long_runs import long_run
from tests.pipeline import sql, wait_until
from tests.settings.secured_servers import secured_servers
from tests.settings.world import CHAIN, World, make_world

from sealstream.doctor import CHECKS, State, System, outcome_of
from sealstream.kafka import KafkaSettings, end_offset
from sealstream.kafka.probing import acls
from sealstream.layout import ChainTopics

pytestmark = long_run


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with secured_servers(tmp_path_factory.mktemp("secured")) as servers:
        yield make_world(servers, tmp_path_factory.mktemp("world"))


def as_user(world: World, user: str) -> System:
    """As the doctor sees it with this user of Kafka."""
    return system_at(world.config(user), sealed_within_s=1.0)


def with_rules(world: World) -> System:
    """With a user who may ask for the ACLs, by the listener that is the tests' own."""
    return as_user(world, "verifier")._replace(kafka=KafkaSettings(world.servers.kafka["plain"]))


def test_servers_that_ask_for_tls_and_passwords_pass(world: World) -> None:
    system = as_user(world, "verifier")
    passing("kafka.tls", system)
    passing("kafka.authentication", system)
    passing("postgres.tls", system)
    assert "a wrong password was refused" in passing("postgres.authentication", system)
    passing("archive.tls", system)
    passing("archive.private", system)


def test_a_certificate_that_is_not_checked_fails(world: World) -> None:
    system = as_user(world, "verifier")
    options = {**system.kafka.options, "enable.ssl.certificate.verification": "false"}
    assert "not checked" in failing("kafka.tls", system._replace(kafka=system.kafka._replace(options=options)))
    dsn = system.dsns["reader"].replace("verify-full", "require")
    assert "sslmode=require" in failing("postgres.tls", system._replace(dsns={"reader": dsn}))


def test_an_open_listener_beside_the_closed_one_fails(world: World) -> None:
    assert "was let in" in failing("kafka.authentication", with_rules(world))


def test_the_acls_that_the_clients_are_given_pass_and_one_too_many_fails(world: World) -> None:
    assert "an authorizer is in force" in unasked("kafka.authorization", as_user(world, "verifier"))
    unasked("kafka.separation", as_user(world, "verifier"))
    system = with_rules(world)
    passing("kafka.authorization", system)
    assert "User:sequencer" in passing("kafka.separation", system)
    topic = ChainTopics.of(CHAIN, world.prefix).chain
    about = (ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, "User:producer")
    given = AclBinding(*about, "*", AclOperation.WRITE, AclPermissionType.ALLOW)
    admin = AdminClient({"bootstrap.servers": world.servers.kafka["plain"], "log_level": 0})
    next(iter(admin.create_acls([given]).values())).result(10)
    try:
        hears_of_it("kafka.separation", system, State.FAIL)
        assert "User:producer may write" in failing("kafka.separation", system)
        own = as_user(world, "producer")
        assert topic in failing("kafka.forbidden", own)
        assert end_offset(KafkaSettings(world.servers.kafka["plain"]), topic, committed=False) == 0
        denied = AclBinding(*about, "192.0.2.1", AclOperation.WRITE, AclPermissionType.DENY)
        next(iter(admin.create_acls([denied]).values())).result(10)
        wait_until(lambda: any(not rule.allows for rule in acls(system.kafka) or ()), 60)
        assert "User:producer may write" in failing("kafka.separation", system), "from everywhere else"
    finally:
        every = AclBindingFilter(*about, None, AclOperation.WRITE, AclPermissionType.ANY)
        next(iter(admin.delete_acls([every]).values())).result(10)
        hears_of_it("kafka.separation", system, State.PASS)


def hears_of_it(check_id: str, system: System, state: State) -> None:
    """The broker's authorizer, by the metadata log."""
    wait_until(lambda: outcome_of(check_id, system).state is state, 60)


def test_the_doctors_own_user_may_ask_everything_and_write_no_more_than_its_reading(world: World) -> None:
    system = as_user(world, "doctor")
    unknown = [check for check in CHECKS if check.startswith("kafka.") and _is_unknown(check, system)]
    assert unknown == ["kafka.forbidden"]
    passing("kafka.separation", system)
    assert "no application's user" in unasked("kafka.forbidden", system)
    failing("watch.activity", system)
    failing("watch.detectors", system)
    failing("watch.pipeline", system)
    failing("alerts.forwarded", system._replace(targets=("soc",)))
    failing("chain.alive", system)
    assert end_offset(KafkaSettings(world.servers.kafka["plain"]), system_topics(world).control, committed=False) > 0


def _is_unknown(check_id: str, system: System) -> bool:
    return outcome_of(check_id, system).state is State.UNKNOWN


def system_topics(world: World) -> ChainTopics:
    return ChainTopics.of(CHAIN, world.prefix)


def test_a_record_for_the_chain_is_refused_to_all_but_its_writers(world: World) -> None:
    passing("kafka.forbidden", as_user(world, "producer"))
    assert "no application's user" in unasked("kafka.forbidden", as_user(world, "verifier"))
    assert "as a process of the log does" in unasked("kafka.forbidden", as_user(world, "sequencer"))
    given = as_user(world, "sequencer")._replace(producer=world.kafka("producer"))
    assert "with --producer-config" in passing("kafka.forbidden", given)


def test_connections_that_are_logged_pass(world: World) -> None:
    system = as_user(world, "verifier")
    database = urlsplit(system.dsns["reader"]).path.lstrip("/")
    dsn = world.servers.admin_dsn(database)
    failing("postgres.connections", system)
    sql(dsn, "ALTER SYSTEM SET log_connections = 'on'")
    sql(dsn, "ALTER SYSTEM SET log_disconnections = 'on'")
    sql(dsn, "SELECT pg_reload_conf()")
    passing("postgres.connections", system)


def test_a_hba_line_that_trusts_fails(world: World) -> None:
    system = as_user(world, "verifier")
    hba = world.servers.postgres_cluster / "hostssl.conf"
    before, dsn = hba.read_text(), world.servers.admin_dsn()
    hba.write_text("hostssl all sealstream_reader all trust\n" + before)
    sql(dsn, "SELECT pg_reload_conf()")
    try:
        assert "postgres.reader_dsn: a wrong password was let in" in failing("postgres.authentication", system)
    finally:
        hba.write_text(before)
        sql(dsn, "SELECT pg_reload_conf()")
