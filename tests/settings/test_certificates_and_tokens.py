"""Kafka's users by client certificate and by OAUTHBEARER, and what is said of certificates that are wrong."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from tests.long_runs import long_run
from tests.pipeline import say, sql, wait_until
from tests.settings.secured_servers import ANOTHER_HOST, KEY_PASSWORD, secure_cluster
from tests.settings.token_server import AUDIENCE, https
from tests.settings.world import CHAIN, World, wrong

from sealstream.cli.settings import load_settings
from sealstream.client import AuditClient
from sealstream.devstack import ProcessSpec
from sealstream.devstack.ports import free_port
from sealstream.devstack.running import spawn
from sealstream.errors import Misconfigured, Unavailable
from sealstream.kafka import produce, read_until_end, topic_ids
from sealstream.layout import ChainTopics

pytestmark = [
    long_run,
    pytest.mark.timeout(300),
]


def emit(world: World, config: Path, events: int) -> None:
    """As an application does, with the options that these settings make."""
    kafka = load_settings(config).kafka_settings()
    with AuditClient(CHAIN, kafka.bootstrap, prefix=world.prefix, kafka_options=kafka.options) as client:
        for n in range(events):
            client.emit("read", resource_type="record", resource_id=n, actor_id="a", actor_type="user")
        assert client.flush(20) == 0


@contextmanager
def sequencer(world: World, config: Path) -> Iterator[Callable[[], str]]:
    """The whole process, which must live until it is told to end; given: its log so far."""
    path = world.folder / f"{config.stem}.log"
    argv = [sys.executable, "-m", "sealstream.cli.entry", "--config", str(config), "run", "sequencer", "--chain", CHAIN]
    process = spawn(ProcessSpec(name="sequencer", argv=argv), path)

    def log() -> str:
        return path.read_text(errors="replace")

    try:
        yield log
        assert process.poll() is None, log()
        process.terminate()
        assert process.wait(20) == 0, log()
    finally:
        process.kill()
        process.wait()


def sealed(world: World) -> int:
    """How many entries the chain has."""
    chain = ChainTopics.of(CHAIN, world.prefix).chain
    return sum(len(batch) for batch in read_until_end(world.kafka("verifier"), chain))


@pytest.fixture
def as_tokens_were(world: World) -> Iterator[None]:
    yield
    tokens = world.servers.tokens
    tokens.audience, tokens.lifetime_s, tokens.away = AUDIENCE, 300, False


def test_a_process_and_an_application_work_with_certificates_and_acls(world: World) -> None:
    (world.folder / "key-password").write_text(f"{KEY_PASSWORD}\n")
    (world.folder / "key-password").chmod(0o600)
    issued = world.issue("sequencer", password=KEY_PASSWORD)
    config = world.config(
        "sequencer", kafka=world.servers.certificate_section(issued, key_password_file="key-password")
    )
    said = say(config, "config", "check", "--for", "sequencer")
    assert said.code == 0, said.out
    assert "1 broker, SSL with a client's certificate" in said.out
    assert f"kafka certificate: {issued.certificate_file}: CN=sequencer,OU=clients,O=Example, until" in said.out
    assert "this user has the ACLs of sequencer" in said.out
    application = world.config("producer", kafka=world.servers.certificate_section(world.issue("producer")))
    begun = sealed(world)
    with sequencer(world, config) as log:
        emit(world, application, 5)
        wait_until(lambda: sealed(world) >= begun + 5, 60, log)
    with pytest.raises(Misconfigured, match="authorization failed"):
        produce(
            load_settings(application).kafka_settings(),
            ChainTopics.of(CHAIN, world.prefix).chain,
            [b"forged"],
            timeout_s=10,
        )


def test_check_names_the_setting_of_a_certificate_that_can_not_work(world: World) -> None:
    servers, right, locked = world.servers, world.issue("sequencer"), world.issue("sequencer", password=KEY_PASSWORD)
    nothing = world.folder / "nothing.pem"

    def found(**changed: object) -> dict[str, str]:
        section = servers.certificate_section(right, **changed)
        config = world.config("sequencer", kafka={name: value for name, value in section.items() if value})
        return wrong(say(config, "config", "check", "--for", "sequencer", "--json"))

    none = found(certificate_file="", key_file="")
    assert "the broker wants a certificate of this client, and none was given" in none["kafka"]
    assert "set kafka.certificate_file and kafka.key_file" in none["kafka"]
    strange = servers.other.issue("sequencer", file="stranger")
    other = found(certificate_file=str(strange.certificate_file), key_file=str(strange.key_file))
    assert "the broker refuses this client's certificate" in other["kafka"]
    assert "name one in kafka.certificate_file that is in time and signed by an authority" in other["kafka"]
    old = world.issue("sequencer", expired=True)
    expired = found(certificate_file=str(old.certificate_file), key_file=str(old.key_file))
    assert f"{old.certificate_file} has expired at" in expired["kafka certificate"]
    assert "name it in kafka.certificate_file" in expired["kafka certificate"]
    assert "the broker refuses this client's certificate" in expired["kafka"]
    swapped = found(certificate_file=str(old.certificate_file))
    assert f"{right.key_file} is the key of another certificate" in swapped["kafka certificate"]
    assert "kafka.key_file" in swapped["kafka"]
    opened = {"certificate_file": str(locked.certificate_file), "key_file": str(locked.key_file)}
    shut = found(**opened)
    assert f"{locked.key_file} has a password: set kafka.key_password_file" in shut["kafka certificate"]
    assert "kafka.key_password" in shut["kafka"]
    assert "kafka.key_password does not open" in found(**opened, key_password="no")["kafka certificate"]
    lost = found(certificate_file=str(nothing))
    assert f"there is no file {nothing}, which kafka.certificate_file names" in lost["kafka certificate"]
    assert "check kafka.ca_file" in found(ca_file=str(nothing))["kafka"]


def test_a_process_says_that_the_broker_refuses_its_certificate(world: World) -> None:
    old = world.issue("sequencer", expired=True)
    config = world.config("sequencer", kafka=world.servers.certificate_section(old))
    with pytest.raises(Unavailable, match="the broker refuses this client's certificate"):
        topic_ids(load_settings(config).kafka_settings(), ["x"])


@pytest.mark.usefixtures("as_tokens_were")
def test_a_process_goes_on_when_its_tokens_end_and_when_none_can_be_had_for_a_while(world: World) -> None:
    tokens = world.servers.tokens
    (world.folder / "client-secret").write_text(f"{tokens.secrets['sequencer']}\n")
    (world.folder / "client-secret").chmod(0o600)
    by_file = {"client_secret": "", "client_secret_file": "client-secret"}
    section = world.servers.token_section("sequencer", **by_file)
    config = world.config("sequencer", kafka={name: value for name, value in section.items() if value})
    said = say(config, "config", "check", "--for", "sequencer")
    assert said.code == 0, said.out
    assert "1 broker, SASL_SSL with a token for sequencer" in said.out
    assert "this user has the ACLs of sequencer" in said.out
    application = world.config("producer", kafka=world.servers.token_section("producer"))
    begun, tokens.lifetime_s = sealed(world), 6
    with sequencer(world, config) as log:
        emit(world, application, 5)
        wait_until(lambda: sealed(world) >= begun + 5, 60, log)
        given = tokens.given["sequencer"]
        time.sleep(2.5 * tokens.lifetime_s)
        assert tokens.given["sequencer"] > given
        emit(world, application, 5)
        wait_until(lambda: sealed(world) >= begun + 10, 30, log)
        tokens.away = True
        time.sleep(2.5 * tokens.lifetime_s)
        tokens.away = False
        emit(world, application, 5)
        wait_until(lambda: sealed(world) >= begun + 15, 60, log)
    with pytest.raises(Misconfigured, match="authorization failed"):
        produce(
            load_settings(application).kafka_settings(),
            ChainTopics.of(CHAIN, world.prefix).chain,
            [b"forged"],
            timeout_s=10,
        )


@pytest.mark.usefixtures("as_tokens_were")
def test_check_names_the_setting_of_a_token_that_can_not_be_had_or_is_refused(world: World) -> None:
    servers = world.servers

    def found(**changed: object) -> str:
        section = servers.token_section("sequencer", **changed)
        config = world.config("sequencer", kafka={name: value for name, value in section.items() if value})
        return wrong(say(config, "config", "check", "--json"))["kafka"]

    unknown = found(client_secret="no")
    assert "invalid_client" in unknown
    assert "check kafka.client_id and kafka.client_secret" in unknown
    assert "check kafka.token_url" in found(token_url=f"https://127.0.0.1:{free_port(set())}/token")
    for ca_file in (str(servers.wrong_ca_file), ""):  # none: those that the system trusts
        distrusted = found(token_ca_file=ca_file)
        assert "unable to get local issuer certificate" in distrusted, ca_file
        assert "check kafka.token_ca_file" in distrusted
    servers.tokens.audience = "another"
    refused = found()
    assert "invalid_token" in refused
    assert "sasl.oauthbearer.expected.issuer and .audience" in refused
    assert "check kafka.sasl_mechanism" in found(bootstrap=servers.kafka["sasl_ssl"])


@pytest.mark.parametrize(
    ("listener", "said", "to_do"),
    [
        ("expired", "certificate has expired", "the broker needs another certificate"),
        (
            "elsewhere",
            "IP address mismatch, certificate is not valid for '127.0.0.1'",
            "name the host",
        ),
    ],
)
def test_check_says_what_is_wrong_with_kafkas_certificate(world: World, listener: str, said: str, to_do: str) -> None:
    at = world.servers.kafka[listener]
    config = world.config("sequencer", kafka=world.servers.kafka_section("sequencer", bootstrap=at))
    found = wrong(say(config, "config", "check", "--json"))["kafka"]
    assert f"the certificate of {at} is refused (certificate verify failed): {said}" in found
    assert to_do in found
    with pytest.raises(Unavailable, match=said):
        topic_ids(load_settings(config).kafka_settings(), ["x"])


@pytest.mark.parametrize(
    ("issued", "said", "to_do"),
    [
        pytest.param({"expired": True}, "certificate has expired", "the server needs another", id="expired"),
        pytest.param(
            {"hosts": ANOTHER_HOST},
            "certificate is not valid for '127.0.0.1'",
            "that the host is named",
            id="elsewhere",
        ),
    ],
)
def test_check_says_what_is_wrong_with_postgres_certificate(
    world: World, issued: dict[str, Any], said: str, to_do: str
) -> None:
    servers = world.servers
    unchecked = servers.admin_dsn().replace("verify-full", "require").partition("&sslrootcert")[0]

    def give(**more: Any) -> None:
        secure_cluster(servers.postgres_cluster, world.issue("postgres", **more))
        sql(unchecked, "SELECT pg_reload_conf()")
        time.sleep(0.5)  # the postmaster reads it when it hears the signal

    give(**issued)
    try:
        found = wrong(say(world.config("sequencer"), "config", "check", "--json"))
    finally:
        give()
    for role in ("sink", "reader"):
        assert "the server's certificate is refused" in found[f"postgres {role}"]
        assert said in found[f"postgres {role}"]
        assert to_do in found[f"postgres {role}"]


@pytest.mark.parametrize(
    ("issued", "said", "to_do"),
    [
        pytest.param({"expired": True}, "certificate has expired", "the endpoint needs another", id="expired"),
        pytest.param({"hosts": ANOTHER_HOST}, "kafka.example.com", "archive.endpoint_url must name", id="elsewhere"),
    ],
)
def test_check_says_what_is_wrong_with_s3s_certificate(
    world: World, issued: dict[str, Any], said: str, to_do: str
) -> None:
    port = free_port(set())
    section = world.servers.archive_section("secured", endpoint_url=f"https://127.0.0.1:{port}")
    with https(port, BaseHTTPRequestHandler, world.issue("s3", **issued)):
        told = say(world.config("sequencer", archive=section), "config", "check", "--json")
    assert said in wrong(told)["archive"]
    assert to_do in wrong(told)["archive"]
    assert told.err == ""
