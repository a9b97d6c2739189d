"""Makes the secrets of docker-compose.yml: authority, certificates, passwords; each service's in a folder of its own.

    docker compose run --rm secrets        # `docker compose up` runs it first, each time

Repeatable: what is there stays, whatever is missing is made, and a certificate that ends within 30 days is made anew.
`authority/` keeps what the rest is made of, for root alone. The others hold files for one service, which only its user
can read; a service is given its own folder and no other. Nothing is printed but names.

Crash story: each file is written beside and renamed; the next run makes what is missing.
"""

from __future__ import annotations

import ipaddress
import json
import os
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sealstream.layout.archive import CANARIES

__all__ = [
    "ARCHIVE_ACTIONS",
    "CANARY_ACTIONS",
    "DOCTOR_ACTIONS",
    "KAFKA_USERS",
    "READER_ACTIONS",
    "Owner",
    "folders",
    "main",
    "make",
]

KAFKA_USERS = {
    "clinic": "producer",
    "collect": "producer",
    "outbox-relay": "outbox-relay",
    "sequencer": "sequencer",
    "checkpointing": "checkpointing",
    "postgres-sink": "postgres-sink",
    "archive-sink": "archive-sink",
    "activity": "activity",
    "anomaly": "anomaly",
    "forward": "forward",
    "watch": "watch",
    "serve": "verifier",  # it verifies, too, when it is asked to
    "cli": "verifier",
    "keeper": "verifier",
    "doctor": "doctor",
}
"""Kafka's users, and which of the clients of `sealstream config acls` each one is."""

READER_ACTIONS = (
    "s3:GetObject",
    "s3:GetObjectVersion",
    "s3:GetObjectRetention",
    "s3:GetObjectLegalHold",
    "s3:ListBucket",
    "s3:ListBucketVersions",
    "s3:GetBucketVersioning",
    "s3:GetBucketObjectLockConfiguration",
)
ARCHIVE_ACTIONS = (
    *READER_ACTIONS,
    "s3:PutObject",
    "s3:PutObjectRetention",
    "s3:PutObjectLegalHold",
)
"""The archive sink writes, locks and holds. Only who makes the bucket may delete what is a chain's, or its lock."""
DOCTOR_ACTIONS = (*READER_ACTIONS, "s3:GetBucketLogging")
CANARY_ACTIONS = (
    "s3:PutObject",
    "s3:PutObjectRetention",
    "s3:BypassGovernanceRetention",
    "s3:DeleteObject",
    "s3:DeleteObjectVersion",
)
"""On the doctor's own objects: all may be asked for that the store itself must refuse, and it must be the store."""

_BUCKET = "audit-archive"
_DATABASE, _APPLICATION = "sealstream", "application"
_ROLES = ("sink", "reader", "keeper")
_DAY = timedelta(days=1)
_AUTHORITY_DAYS, _CERTIFICATE_DAYS, _RENEW_DAYS = 3650, 398, 30
_CA = "ca.pem"


class Owner(NamedTuple):
    """Whose the files are, and their mode. A group that may read is root's, which a service without rights has."""

    uid: int
    gid: int
    mode: int


ROOT = Owner(0, 0, 0o400)
SEALSTREAM = Owner(10001, 10001, 0o400)
KAFKA = Owner(1000, 0, 0o440)  # `appuser` of apache/kafka
POSTGRES = Owner(999, 999, 0o400)  # `postgres` of the Debian image
S3 = Owner(1000, 0, 0o440)  # root, or `seaweed`, as the image's version has it

_HOSTS = {
    "kafka": ("kafka", "kafka-1", "kafka-2", "kafka-3", "localhost", "127.0.0.1"),
    "kafka-admin": ("kafka-admin",),
    "postgres": ("postgres", "localhost", "127.0.0.1"),
    "s3": ("s3", "localhost", "127.0.0.1"),
    "serve": ("serve", "localhost", "127.0.0.1"),
    "collect": ("collect", "localhost", "127.0.0.1"),
}
_SIGNS_CERTIFICATES = x509.KeyUsage(
    key_cert_sign=True,
    crl_sign=True,
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    encipher_only=False,
    decipher_only=False,
)


class Authority:
    """Signs certificates; its key and what it has signed are kept in `folder`, for root alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sealstream-compose")])
        if not (folder / "ca.key").exists():
            key = ec.generate_private_key(ec.SECP256R1())
            usage = x509.BasicConstraints(ca=True, path_length=0)
            extensions: list[tuple[x509.ExtensionType, bool]] = [(usage, True), (_SIGNS_CERTIFICATES, True)]
            certificate = self._signed(self._name, key.public_key(), key, _AUTHORITY_DAYS, extensions)
            write(folder / _CA, certificate, ROOT)
            write(folder / "ca.key", _pem(key), ROOT)  # last: with it, the authority is there
        loaded = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        self._key = loaded
        self.certificate = (folder / _CA).read_bytes()

    def issue(self, name: str, hosts: Sequence[str]) -> tuple[bytes, bytes]:
        """Certificate and key (PEM) for these names: those that were issued before, unless they end soon."""
        certificate_file, key_file = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        if certificate_file.exists() and key_file.exists():
            kept = x509.load_pem_x509_certificate(certificate_file.read_bytes())
            if kept.not_valid_after_utc > datetime.now(UTC) + _RENEW_DAYS * _DAY:
                return certificate_file.read_bytes(), key_file.read_bytes()
        key = ec.generate_private_key(ec.SECP256R1())
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        certificate = self._signed(
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]),
            key.public_key(),
            self._key,
            _CERTIFICATE_DAYS,
            [(x509.SubjectAlternativeName([_general_name(host) for host in hosts]), False), (usage, False)],
        )
        certificate_file.unlink(missing_ok=True)  # never a certificate beside another's key
        write(key_file, _pem(key), ROOT)
        write(certificate_file, certificate, ROOT)
        return certificate, _pem(key)

    def _signed(
        self,
        subject: x509.Name,
        public_key: ec.EllipticCurvePublicKey,
        key: ec.EllipticCurvePrivateKey,
        days: int,
        extensions: Sequence[tuple[x509.ExtensionType, bool]],
    ) -> bytes:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(
            self._name, subject, public_key, x509.random_serial_number(), now - _DAY, now + days * _DAY
        )
        # Whose key it is and who signed it: Python 3.13 and newer take no certificate without (VERIFY_X509_STRICT).
        identifiers = (
            x509.SubjectKeyIdentifier.from_public_key(public_key),
            x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()),
        )
        for extension, critical in [*extensions, *((each, False) for each in identifiers)]:
            builder = builder.add_extension(extension, critical)
        return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def write(path: Path, content: bytes, owner: Owner) -> None:
    """The file with this content, readable by its owner alone from its first moment on."""
    if not (path.exists() and path.read_bytes() == content):
        beside = path.with_name(f".{path.name}.new")
        beside.unlink(missing_ok=True)
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        beside.rename(path)
    os.chown(path, owner.uid, owner.gid)
    path.chmod(owner.mode)


class Passwords:
    """Passwords by name, made when they are first asked for."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._kept: dict[str, str] = json.loads(file.read_text()) if file.exists() else {}

    def __getitem__(self, name: str) -> str:
        if name not in self._kept:
            self._kept[name] = secrets.token_urlsafe(24)
            write(self._file, json.dumps(self._kept, indent=1, sort_keys=True).encode(), ROOT)
        return self._kept[name]


def folders(
    authority: Authority, passwords: Passwords, *, postgres_tls: bool = True
) -> dict[str, tuple[Owner, dict[str, bytes]]]:
    """Each service's folder: whose it is, and its files by name."""
    issued = {name: authority.issue(name, hosts) for name, hosts in _HOSTS.items()}
    tls = f"?sslmode=verify-full&sslrootcert=/run/secrets/{_CA}" if postgres_tls else "?sslmode=disable"

    def dsn(user: str, password: str, database: str = _DATABASE) -> bytes:
        return f"postgresql://{user}:{password}@postgres:5432/{database}{tls}\n".encode()

    def s3_keys(identity: str) -> dict[str, bytes]:
        return {
            "s3-access-key": f"sealstream-{identity}".encode(),
            "s3-secret-key": passwords[f"s3-{identity}"].encode(),
        }

    dsns = {f"{role}-dsn": dsn(f"sealstream_{role}", passwords[f"postgres-{role}"]) for role in _ROLES}
    reading = {"reader-dsn": dsns["reader-dsn"], **s3_keys("reader")}
    own: dict[str, dict[str, bytes]] = {user: {} for user in KAFKA_USERS}
    own["postgres-sink"] = {"sink-dsn": dsns["sink-dsn"]}
    own["archive-sink"] = s3_keys("archive")
    own["anomaly"] = {"reader-dsn": dsns["reader-dsn"]}
    own["watch"] = own["cli"] = reading
    own["keeper"] = {**dsns, **s3_keys("archive")}
    own["doctor"] = {
        **dsns,
        **s3_keys("doctor"),
        # an application's, as which it tries to write to the chain
        "application.toml": _APPLICATION_SETTINGS.encode(),
        "application-password": passwords["kafka-clinic"].encode(),
    }
    own["serve"] = reading | _pair("tls", issued["serve"])
    own["collect"] = _pair("tls", issued["collect"])
    own["outbox-relay"] = {"outbox-dsn": dsn("sealstream_relay", passwords["postgres-relay"], _APPLICATION)}
    made = {
        user: (SEALSTREAM, {"kafka-password": passwords[f"kafka-{user}"].encode(), **files})
        for user, files in own.items()
    }
    made["init"] = (
        SEALSTREAM,
        {
            "admin-dsn": dsn("postgres", passwords["postgres-admin"]),
            **dsns,
            "application-password": passwords["postgres-application"].encode(),
            "relay-password": passwords["postgres-relay"].encode(),
            **{f"kafka-{user}.password": passwords[f"kafka-{user}"].encode() for user in KAFKA_USERS},
            **_pair("kafka-admin", issued["kafka-admin"]),
            **s3_keys("admin"),
        },
    )
    made["kafka"] = (
        KAFKA,
        {
            "server.pem": issued["kafka"][1] + issued["kafka"][0] + authority.certificate,
            "client.properties": _KAFKA_CLIENT.encode(),
        },
    )
    made["postgres"] = (
        POSTGRES,
        {
            "admin-password": passwords["postgres-admin"].encode(),
            **_pair("server", issued["postgres"]),
        },
    )
    made["s3"] = (
        S3,
        {"identities.json": json.dumps(identities(passwords), indent=1).encode()} | _pair("server", issued["s3"]),
    )
    return {name: (owner, {_CA: authority.certificate, **files}) for name, (owner, files) in made.items()}


# How the broker's own tools reach it, from within its container.
_KAFKA_CLIENT = """security.protocol=SSL
ssl.keystore.type=PEM
ssl.keystore.location=/run/secrets/server.pem
ssl.truststore.type=PEM
ssl.truststore.location=/run/secrets/ca.pem
"""

_APPLICATION_SETTINGS = """[kafka]
bootstrap = "kafka:9092"
security_protocol = "SASL_SSL"
sasl_mechanism = "SCRAM-SHA-512"
ca_file = "/run/secrets/ca.pem"
username = "clinic"
password_file = "/run/secrets/application-password"
"""


def _pair(name: str, issued: tuple[bytes, bytes]) -> dict[str, bytes]:
    return {f"{name}.crt": issued[0], f"{name}.key": issued[1]}


def identities(passwords: Passwords) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    """SeaweedFS's identities: one makes the bucket, one writes and locks, one reads, and one tries the locks."""

    def credentials(name: str) -> dict[str, object]:
        return {
            "name": name,
            "credentials": [{"accessKey": f"sealstream-{name}", "secretKey": passwords[f"s3-{name}"]}],
        }

    def statement(actions: Sequence[str], *where: str) -> dict[str, object]:
        return {"Effect": "Allow", "Action": list(actions), "Resource": [f"arn:aws:s3:::{each}" for each in where]}

    def policy(name: str, *statements: dict[str, object]) -> dict[str, str]:
        return {"name": name, "content": json.dumps({"Version": "2012-10-17", "Statement": list(statements)})}

    everything = (_BUCKET, f"{_BUCKET}/*")

    return {
        "identities": [
            credentials("admin") | {"actions": ["Admin", "Read", "Write", "List"]},
            credentials("archive") | {"policyNames": ["archive"]},
            credentials("reader") | {"policyNames": ["reader"]},
            credentials("doctor") | {"policyNames": ["doctor"]},
        ],
        "policies": [
            policy("archive", statement(ARCHIVE_ACTIONS, *everything)),
            policy("reader", statement(READER_ACTIONS, *everything)),
            policy(
                "doctor",
                statement(DOCTOR_ACTIONS, *everything),
                statement(CANARY_ACTIONS, f"{_BUCKET}/{CANARIES}/*"),
            ),
        ],
    }


def make(root: Path, *, postgres_tls: bool = True) -> Iterator[str]:
    """Make all that is missing below `root`; the names of the folders, as they are done."""
    keep = root / "authority"
    keep.mkdir(mode=0o700, parents=True, exist_ok=True)
    keep.chmod(0o700)
    authority, passwords = Authority(keep), Passwords(keep / "passwords.json")
    write(root / _CA, authority.certificate, Owner(0, 0, 0o444))
    for name, (owner, files) in folders(authority, passwords, postgres_tls=postgres_tls).items():
        folder = root / name
        folder.mkdir(mode=0o700, exist_ok=True)  # Docker may have made it, to bind it: the folder itself must stay
        for file, content in files.items():
            write(folder / file, content, owner)
        os.chown(folder, owner.uid, owner.gid)
        folder.chmod(0o750 if owner.mode & 0o040 else 0o700)
        yield name


def main() -> int:
    """For the folder that is named, `/secrets` by default."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else "/secrets")
    tls = os.environ.get("POSTGRES_TLS", "on")
    if tls not in ("on", "off"):
        print(f"POSTGRES_TLS is {tls!r}: expected on or off", file=sys.stderr)
        return 2
    print("secrets are there for", ", ".join(make(root, postgres_tls=tls == "on")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
