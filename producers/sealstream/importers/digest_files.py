"""CloudTrail's digest and log files, one by one: their names, what of them is hashed, and what is signed.

Written from AWS's "CloudTrail digest file structure". Pure.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from sealstream.importers.unpacking import unpacked

__all__ = [
    "DIGEST",
    "HEX",
    "HOUR",
    "LOG",
    "Digest",
    "PublicKey",
    "StoredFile",
    "digests_among",
    "holds",
    "log_fault",
    "log_time",
    "moment_of",
    "to_sign",
]

HOUR = timedelta(hours=1)
DIGEST = re.compile(
    r"(?:^|/)([0-9]{12})_CloudTrail-Digest_([a-z0-9-]+)_(.+)_([a-z0-9-]+)_([0-9]{8}T[0-9]{6}Z)(_backfill)?\.json\.gz$"
)
LOG = re.compile(r"(?:^|/)([0-9]{12})_CloudTrail_([a-z0-9-]+)_([0-9]{8}T[0-9]{4})Z_[^/]*\.json\.gz$")
HEX = re.compile(r"(?:[0-9a-fA-F]{2})+").fullmatch


class StoredFile(NamedTuple):
    """A file as it lies there, and the signature that S3 keeps beside a digest (hex); None: a copy has none."""

    data: bytes
    signature: str | None = None


class PublicKey(NamedTuple):
    """A key of CloudTrail's, which whoever gives it here trusts. `fingerprints`: by which digests may name it."""

    key: rsa.RSAPublicKey
    fingerprints: frozenset[str]


def log_time(name: str) -> datetime | None:
    """When a log file was delivered, by its name."""
    found = LOG.search(name)
    return datetime.strptime(found[3], "%Y%m%dT%H%M").replace(tzinfo=UTC) if found else None


def digests_among(names: Iterable[str]) -> tuple[set[str], datetime, datetime] | None:
    """In which regions the trails live whose digests are among these, and when the first and the last ended."""
    found = [match for match in map(DIGEST.search, names) if match]
    if not found:
        return None
    ends = sorted(datetime.strptime(match[5], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC) for match in found)
    return {match[4] for match in found}, ends[0], ends[-1]


class Digest:
    """One digest file. `content`: what its signature was made over, as far as that is known."""

    def __init__(self, name: str, end: datetime, home: str) -> None:
        self.name = name
        self.end = end
        self.start = end - HOUR
        self.home = home
        self.fault: str | None = None
        self.unverified: str | None = None
        self.fields: dict[str, Any] = {}
        self.contents: list[bytes] = []
        self.behind = False
        self.signature: str | None = None
        self.sha256 = ""

    @property
    def valid(self) -> bool:
        return self.fault is None and self.unverified is None

    @property
    def previous(self) -> str | None:
        return self.fields.get("previousDigestS3Object")


def log_fault(data: bytes, sha256: str) -> str | None:
    """What is wrong with a log file that should have this SHA-256 (hex) over its unpacked content; None: nothing."""
    members, behind = unpacked(data)
    whole = hashlib.sha256()
    matched = False
    for member in members:
        matched = False
        whole.update(member)
        if whole.hexdigest() == sha256.lower():
            matched, appended = True, member is not members[-1] or bool(behind.strip(b"\0"))
            if appended:
                return "has data behind what CloudTrail wrote: something was appended to the gzip file"
    return None if matched else "was changed: its content has another SHA-256 than the digest says"


def to_sign(fields: Mapping[str, Any], content: bytes) -> bytes:
    before = fields.get("previousDigestSignature")
    return "\n".join(
        (
            str(fields["digestEndTime"]),
            f"{fields['digestS3Bucket']}/{fields['digestS3Object']}",
            hashlib.sha256(content).hexdigest(),
            "null" if before is None else str(before),  # the first of a chain
        )
    ).encode(errors="surrogatepass")


def holds(key: rsa.RSAPublicKey, signature: bytes, text: bytes) -> bool:
    try:
        key.verify(signature, text, padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        return False
    return True


def moment_of(text: object) -> datetime:
    if not isinstance(text, str):
        raise TypeError
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
