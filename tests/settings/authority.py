"""Certificates made on the spot: right ones, and ones that are wrong in one way."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from sealstream.devstack.ports import HOST

__all__ = ["HERE", "Authority", "Issued"]

HERE = ("localhost", HOST)
"""What this machine is called."""
_DAY = timedelta(days=1)


class Issued(NamedTuple):
    """The PEM files of a certificate and of its key."""

    certificate_file: Path
    key_file: Path


class Authority:
    """Signs certificates. `ca_file`: its own."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.ca_file = folder / f"{name}.pem"
        usage = x509.BasicConstraints(ca=True, path_length=0)
        ca = self._certificate(self._name, self._key.public_key(), usage, 30 * _DAY)
        self.ca_file.write_bytes(ca.public_bytes(Encoding.PEM))

    def issue(
        self,
        name: str,
        *,
        file: str = "",
        hosts: Sequence[str] = HERE,
        expired: bool = False,
        password: str = "",
    ) -> Issued:
        """A certificate whose DN is `CN=<name>,OU=clients,O=Example`, in files that are named after it or `file`."""
        key = ec.generate_private_key(ec.SECP256R1())
        attributes = (
            (NameOID.ORGANIZATION_NAME, "Example"),
            (NameOID.ORGANIZATIONAL_UNIT_NAME, "clients"),
            (NameOID.COMMON_NAME, name),
        )
        subject = x509.Name([x509.NameAttribute(kind, value) for kind, value in attributes])
        certificate = self._certificate(
            subject,
            key.public_key(),
            x509.SubjectAlternativeName([_general_name(host) for host in hosts]),
            -_DAY / 24 if expired else 30 * _DAY,
        )
        made = Issued(self._folder / f"{file or name}.crt", self._folder / f"{file or name}.key")
        made.certificate_file.write_bytes(certificate.public_bytes(Encoding.PEM))
        encryption: KeySerializationEncryption = NoEncryption()
        if password:
            encryption = BestAvailableEncryption(password.encode())
        made.key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
        made.key_file.chmod(0o600)
        return made

    def _certificate(
        self, subject: x509.Name, key: Any, extension: x509.ExtensionType, ends_in: timedelta
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(
            self._name, subject, key, x509.random_serial_number(), now - _DAY, now + ends_in
        )
        critical = isinstance(extension, x509.BasicConstraints)
        return builder.add_extension(extension, critical).sign(self._key, hashes.SHA256())


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
