"""The part of `config check` about this client's own certificate: in time, with its key. Reads files alone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from sealstream.cli.findings import Finding, ok, warning, wrong
from sealstream.cli.settings_sections import KafkaSection
from sealstream.errors import Misconfigured

__all__ = ["check_certificate"]

_ABOUT = "kafka certificate"
_SOON = timedelta(days=14)


def check_certificate(section: KafkaSection, now: datetime | None = None) -> Sequence[Finding]:
    """Nothing where none is given. `now`: aware; else the clock's."""
    options, now = section.driver_options(), now or datetime.now(UTC)
    named = options.get("ssl.certificate.location"), options.get("ssl.key.location")
    if not named[0] or not named[1]:
        return []
    certificate_file, key_file = Path(named[0]), Path(named[1])
    try:
        certificate = _certificate(certificate_file)
        public_key = _public_key(key_file, options.get("ssl.key.password", ""))
    except Misconfigured as error:
        return [wrong(_ABOUT, str(error))]
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if certificate.public_key().public_bytes(*form) != public_key:
        to_do = "name the two that were made together in kafka.certificate_file and kafka.key_file"
        return [wrong(_ABOUT, f"{key_file} is the key of another certificate than {certificate_file}", to_do)]
    name = certificate.subject.rfc4514_string()
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if ends < now:
        to_do = "have a new one signed, and name it in kafka.certificate_file"
        return [wrong(_ABOUT, f"{certificate_file} has expired at {ends:%Y-%m-%d %H:%M} UTC", to_do)]
    if begins > now:
        to_do = "set this machine's clock, or name another in kafka.certificate_file"
        return [wrong(_ABOUT, f"{certificate_file} is not valid before {begins:%Y-%m-%d %H:%M} UTC", to_do)]
    said = f"{certificate_file}: {name}, until {ends:%Y-%m-%d %H:%M} UTC"
    if ends - now < _SOON:
        return [warning(_ABOUT, said, "have a new one signed; processes take it when they are started anew")]
    return [ok(_ABOUT, f"{said}; to Kafka User:{name}, unless its ssl.principal.mapping.rules make another of it")]


def _certificate(file: Path) -> x509.Certificate:
    """The first one in the file."""
    try:
        return x509.load_pem_x509_certificate(_read(file, "certificate_file"))
    except ValueError as error:
        raise Misconfigured(f"{file} is no certificate: expected PEM in kafka.certificate_file") from error


def _public_key(file: Path, password: str) -> bytes:
    """That of the private key in the file, as DER."""
    data = _read(file, "key_file")
    try:
        key = load_pem_private_key(data, password.encode() or None)
    except TypeError as error:  # a password and none needed, which the driver does not mind, or the reverse
        if not password:
            raise Misconfigured(f"{file} has a password: set kafka.key_password_file") from error
        key = load_pem_private_key(data, None)
    except (ValueError, UnsupportedAlgorithm) as error:
        if password:
            raise Misconfigured(f"kafka.key_password does not open {file}, or it holds no private key (PEM)") from error
        raise Misconfigured(f"{file} is no private key: expected PEM in kafka.key_file") from error
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _read(file: Path, setting: str) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError as error:
        raise Misconfigured(f"there is no file {file}, which kafka.{setting} names") from error
    except OSError as error:
        raise Misconfigured(f"can't read {file}, which kafka.{setting} names: {error.strerror}") from error
