"""Makes what the processes of docker-compose.yml find: topics, users with ACLs, roles and tables, bucket, chain.

    docker compose run --rm prepare        # `docker compose up` runs it, before every process

Repeatable: what is there is checked and kept, passwords and ACLs are set as they must be. It alone comes to Kafka,
Postgres and S3 as an administrator, and ends before any process starts. What it writes for all is `sealstream.toml`,
without a secret in it; the chain's key goes into a volume that checkpointing alone is given; the first token of the API
and the first key of the collector go to `cli`.

Crash story: each part is made whole or not at all, the settings by rename; the next run checks what is there, keeps the
log's name, and makes the rest.
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from compose.make_secrets import KAFKA_USERS
from sealstream.cli.chain import create_chain
from sealstream.cli.settings import KafkaSection, load_settings, write_settings
from sealstream.errors import SealstreamError, Unavailable
from sealstream.kafka import KafkaSettings, Permission, permissions
from sealstream.layout import SegmentLimits
from sealstream.postgres.driver import Session

__all__ = ["CHAIN", "log_name", "main", "shared_settings"]

CHAIN = "main"
SECRETS = Path("/run/secrets")
CREDENTIALS = Path("/var/lib/sealstream/credentials")
_CLIENTS_PORT, _ADMIN_PORT, _METRICS_PORT = 9092, 9094, 9464
_PROCESSES = ["sequencer", "checkpointing", "postgres-sink", "archive-sink", "activity", "anomaly", "watch", "collect"]
_ANSWER_S = 30
_PATIENCE_S = 600
_CLUSTER = 3


def shared_settings(log: str, bootstrap: str, replication: int) -> dict[str, Any]:
    """What every process is told. Who it is, and its secrets, each gets by variables of its own."""
    return {
        "log": log,
        "kafka": {
            "bootstrap": bootstrap,
            "replication": replication,
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "SCRAM-SHA-512",
            "ca_file": str(SECRETS / "ca.pem"),
        },
        "archive": {
            "bucket": "audit-archive",
            "endpoint_url": "https://s3:8333",
            "region": "us-east-1",
            "ca_file": str(SECRETS / "ca.pem"),
        },
        "metrics": {
            "host": "0.0.0.0",
            "stay_after_alarm": True,
            "targets": {name: f"http://{name}:{_METRICS_PORT}" for name in _PROCESSES},
        },
        "serve": {
            "host": "0.0.0.0",
            "tls_cert": str(SECRETS / "tls.crt"),
            "tls_key": str(SECRETS / "tls.key"),
            "tokens_file": str(CREDENTIALS / "tokens.json"),
        },
        "collect": {
            "host": "0.0.0.0",
            "tls_cert": str(SECRETS / "tls.crt"),
            "tls_key": str(SECRETS / "tls.key"),
            "keys_file": str(CREDENTIALS / "collect-keys.json"),
        },
    }


def log_name(config: Path, asked: str) -> str:
    """What the settings say once they are there, since the key that was made next bears it; else what was asked for."""
    if config.exists():
        return load_settings(config).log
    return asked or f"localhost/compose-{secrets.token_hex(4)}"


def _administrator(prefix: str, bootstrap: str, replication: int) -> KafkaSection:
    """Kafka's, by certificate, at a port that nobody else comes to."""
    return KafkaSection(
        bootstrap=bootstrap,
        prefix=prefix,
        replication=replication,
        security_protocol="SSL",
        ca_file=str(SECRETS / "ca.pem"),
        certificate_file=str(SECRETS / "kafka-admin.crt"),
        key_file=str(SECRETS / "kafka-admin.key"),
    )


def _brokers(kafka: KafkaSettings) -> list[str]:
    """The brokers' hosts. Raises `Unavailable`."""
    try:
        found = AdminClient({"bootstrap.servers": kafka.bootstrap, "log_level": 0, **kafka.options}).list_topics(
            timeout=_ANSWER_S
        )
    except KafkaException as error:
        raise Unavailable(f"Kafka at {kafka.bootstrap} does not answer: {error.args[0].str()}") from error
    expected = _CLUSTER if _is_known(f"kafka-{_CLUSTER}") else 1
    if len(found.brokers) != expected:
        raise Unavailable(f"{len(found.brokers)} of {expected} brokers are there")
    return sorted(broker.host for broker in found.brokers.values())


def _is_known(host: str) -> bool:
    """Whether there is such a service: the profile `cluster`."""
    try:
        return bool(socket.getaddrinfo(host, None))
    except OSError:
        return False


def _make_users(kafka: KafkaSettings, clients: Mapping[str, str], prefix: str) -> int:
    """Each user with its password and exactly the ACLs that its client needs; how many users there are."""
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap, "log_level": 0, **kafka.options})
    credential = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
    wanted = [
        UserScramCredentialUpsertion(user, credential, (SECRETS / f"kafka-{user}.password").read_bytes())
        for user in clients
    ]
    bindings = [
        _binding(user, permission, operation)
        for user, client in clients.items()
        for permission in permissions(client, CHAIN, prefix)
        for operation in permission.operations
    ]
    try:
        for future in (*admin.alter_user_scram_credentials(wanted).values(), *admin.create_acls(bindings).values()):
            future.result(_ANSWER_S)
    except KafkaException as error:
        raise Unavailable(f"Kafka did not take users and ACLs: {error.args[0].str()}") from error
    return len(wanted)


def _binding(user: str, permission: Permission, operation: str) -> AclBinding:
    kind = "BROKER" if permission.resource == "cluster" else permission.resource  # librdkafka's word for it
    return AclBinding(
        ResourceType[kind.replace("-", "_").upper()],
        permission.name,
        ResourcePatternType.LITERAL,
        f"User:{user}",
        "*",
        AclOperation[operation],
        AclPermissionType.ALLOW,
    )


def _make_application(admin_dsn: str) -> None:
    """The database of an application with an outbox, and its two roles: for the profile `outbox`."""
    roles = {
        "application": (SECRETS / "application-password").read_text(),
        "sealstream_relay": (SECRETS / "relay-password").read_text(),
    }

    async def ensure(connection: asyncpg.Connection[Any]) -> None:
        for role, password in roles.items():
            if not await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role):
                await connection.execute(f"CREATE ROLE {role} LOGIN")
            quoted = await connection.fetchval("SELECT quote_literal($1::text)", password)
            await connection.execute(f"ALTER ROLE {role} PASSWORD {quoted}")
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = 'application'"):
            await connection.execute("CREATE DATABASE application ENCODING 'UTF8' TEMPLATE template0")

    with Session(admin_dsn, "prepare") as session:
        session.run("making the application's database", ensure)
    dsn = urlunsplit(urlsplit(admin_dsn)._replace(path="/application"))
    _sealstream(
        ("outbox", "init", "--app-role", "application", "--relay-role", "sealstream_relay"),
        {"SEALSTREAM_OUTBOX_DSN": dsn},
    )


def _sealstream(words: Sequence[str], variables: Mapping[str, str]) -> str:
    """What a command of `sealstream` prints; it must end well."""
    done = subprocess.run(
        ["sealstream", *words],
        check=False,
        text=True,
        capture_output=True,
        env=os.environ | dict(variables),
        timeout=120,
    )
    if done.returncode:
        raise Unavailable(f"`sealstream {' '.join(words)}` ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout.strip()


def _make_credentials(folder: Path) -> list[str]:
    """The first token of the API and the first key of the collector, where there are none; which were made."""
    me = {
        "SEALSTREAM_KAFKA__USERNAME": "cli",
        "SEALSTREAM_KAFKA__PASSWORD_FILE": str(SECRETS / "kafka-cli.password"),
    }
    made = []
    for kept, shown, words in (
        ("tokens.json", "api-token", ("tokens", "create", "compose", "--role", "auditor", "--chain", CHAIN)),
        ("collect-keys.json", "collect-key", ("collect", "keys", "create", "compose", "--chain", CHAIN)),
    ):
        if not (CREDENTIALS / kept).exists():
            file = folder / shown
            file.unlink(missing_ok=True)
            file.touch(mode=0o600)
            file.write_text(_sealstream([*words, "--expires", "1y"], me) + "\n")
            made.append(shown)
    return made


def prepare(config: Path, *, log: str, retention: str, segment_seconds: int) -> None:
    """All of it. Raises one of `SealstreamError`."""
    kept = load_settings(config, must_exist=False)
    kafka = _administrator(kept.kafka.prefix, f"kafka:{_ADMIN_PORT}", 1)
    hosts = _brokers(kept.model_copy(update={"kafka": kafka}).kafka_settings())
    replication = min(3, len(hosts))
    print(f"kafka     {len(hosts)} broker(s): {', '.join(hosts)}; {replication} replica(s) of each topic", flush=True)
    log = log_name(config, log)
    if kept.chains:
        replication = kept.kafka.replication
    bootstrap = ",".join(f"{host}:{_CLIENTS_PORT}" for host in hosts)
    write_settings(config, shared_settings(log, bootstrap, replication))
    kafka = _administrator(kept.kafka.prefix, ",".join(f"{host}:{_ADMIN_PORT}" for host in hosts), replication)
    settings = load_settings(config).model_copy(update={"kafka": kafka})
    limits, made = SegmentLimits(seconds=segment_seconds), settings.chains.get(CHAIN)
    if made is not None:  # what is sealed stays
        retention = made.retention
        limits = SegmentLimits(made.segment_entries, made.segment_bytes, made.segment_seconds)
    create_chain(
        config,
        settings,
        CHAIN,
        retention=retention,
        limits=limits,
        say=lambda line: print(line, flush=True),
    )
    users = _make_users(settings.kafka_settings(), KAFKA_USERS, kept.kafka.prefix)
    print(f"users     {users} of Kafka, each with the ACLs of its work", flush=True)
    _make_application(settings.postgres.admin_dsn)
    print("outbox    the application's database, for the profile outbox", flush=True)
    for name in _make_credentials(Path("/run/cli")):
        print(f"made      {name}", flush=True)


def main() -> int:
    """By variables: SEALSTREAM_CONFIG, and CHAIN_LOG, CHAIN_RETENTION, CHAIN_SEGMENT_SECONDS for a chain made now."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            prepare(
                Path(os.environ["SEALSTREAM_CONFIG"]),
                log=os.environ.get("CHAIN_LOG", ""),
                retention=os.environ.get("CHAIN_RETENTION") or "soc2",
                segment_seconds=int(os.environ.get("CHAIN_SEGMENT_SECONDS") or "60"),
            )
            return 0
        except Unavailable as wait:
            print(f"prepare: {wait}", file=sys.stderr, flush=True)
            if time.monotonic() > deadline:
                return 1
            time.sleep(2)
        except SealstreamError as error:
            print(f"prepare: {error}", file=sys.stderr)
            return 1


if __name__ == "__main__":
    sys.exit(main())
