"""A manifest: what one archived segment is, and the signature that it verifies against, in canonical JSON.

With its object it verifies alone, offline: extend `start_range` by the object's hashes, and the root is what
`checkpoint` has signed. Each names the one before by SHA-256, so they are a chain of their own. Pure.
"""

from __future__ import annotations

import base64
import re
from typing import Any, NamedTuple

from sealstream.errors import NotCanonical
from sealstream.layout.archive import SegmentName, parse_archive_key
from sealstream.layout.holds import Hold, hold_members, read_hold
from sealstream.sealing import canonical_json, is_time, parse_json

__all__ = ["MANIFEST_VERSION", "MAX_MANIFEST_BYTES", "Manifest", "parse_manifest"]

MANIFEST_VERSION = 1
MAX_MANIFEST_BYTES = 262_144
"""Far more than two compact ranges, a signed note and the rest need: nobody need read a larger one."""
_HEX_64 = re.compile(r"[0-9a-f]{64}")


class Manifest(NamedTuple):
    """The members of a manifest. Hashes as 32 raw bytes (hex and base64 in JSON), times in canonical form.

    `object_version` and `retain_until` are the bucket's; `checkpoint` is the signed note of the segment's end,
    verbatim; `previous_manifest_sha256` is None in the first. `holds`: the legal holds that stand behind the segment's
    last entry, absent where none does.
    """

    origin: str
    chain: str
    object: str
    object_version: str
    object_sha256: bytes
    rows: int
    first_seq: int
    last_seq: int
    first_hash: bytes
    last_hash: bytes
    first_sequenced_at: str
    last_sequenced_at: str
    retain_until: str
    start_range: tuple[bytes, ...]
    end_range: tuple[bytes, ...]
    checkpoint: str
    previous_manifest_sha256: bytes | None = None
    holds: tuple[Hold, ...] = ()

    @property
    def segment(self) -> SegmentName:
        """The segment that it describes."""
        return SegmentName(self.chain, self.first_sequenced_at[:10], self.first_seq, self.last_seq)

    def to_bytes(self) -> bytes:
        """The manifest as it is stored: RFC 8785 canonical JSON."""
        members: dict[str, Any] = {"v": MANIFEST_VERSION}
        for name, value in self._asdict().items():
            if name == "holds":
                members |= {"holds": [hold_members(hold) for hold in self.holds]} if self.holds else {}
            elif isinstance(value, bytes):
                members[name] = value.hex()
            elif isinstance(value, tuple):
                members[name] = [base64.b64encode(item).decode("ascii") for item in value]
            elif value is not None:
                members[name] = value
        return canonical_json(members)


def parse_manifest(data: bytes) -> Manifest:
    """The manifest in these bytes. Raises `NotCanonical` when they are not canonical or a member is not as it must be.

    Members that are not known are passed over, as a later version may add some; another `v` is refused.
    """
    members = parse_json(data)
    if not isinstance(members, dict):
        raise NotCanonical(f"not a manifest: expected a JSON object, got {data[:80]!r}")
    if canonical_json(members) != data:
        raise NotCanonical("not a manifest: its bytes are not RFC 8785 canonical JSON")
    if members.get("v") != MANIFEST_VERSION or isinstance(members["v"], bool):
        raise NotCanonical(f"manifest has v {members.get('v')!r}: this reader knows {MANIFEST_VERSION}")
    manifest = Manifest(
        origin=_text(members, "origin"),
        chain=_text(members, "chain"),
        object=_text(members, "object"),
        object_version=_text(members, "object_version"),
        object_sha256=_digest(members, "object_sha256"),
        rows=_count(members, "rows"),
        first_seq=_count(members, "first_seq"),
        last_seq=_count(members, "last_seq"),
        first_hash=_digest(members, "first_hash"),
        last_hash=_digest(members, "last_hash"),
        first_sequenced_at=_time(members, "first_sequenced_at"),
        last_sequenced_at=_time(members, "last_sequenced_at"),
        retain_until=_time(members, "retain_until"),
        start_range=_range(members, "start_range"),
        end_range=_range(members, "end_range"),
        checkpoint=_text(members, "checkpoint"),
        previous_manifest_sha256=(
            _digest(members, "previous_manifest_sha256") if "previous_manifest_sha256" in members else None
        ),
        holds=_holds(members),
    )
    _check_sense(manifest)
    return manifest


def _check_sense(manifest: Manifest) -> None:
    """What can be said of a manifest without its object: that its members agree with each other."""
    if manifest.rows != manifest.last_seq - manifest.first_seq + 1:
        raise NotCanonical(
            f"manifest has {manifest.rows} rows: expected {manifest.first_seq} to {manifest.last_seq}, one for each"
        )
    if len(manifest.start_range) != manifest.first_seq.bit_count():
        raise NotCanonical("manifest's start_range is not a compact range of first_seq entries")
    if len(manifest.end_range) != (manifest.last_seq + 1).bit_count():
        raise NotCanonical("manifest's end_range is not a compact range of last_seq + 1 entries")
    if parse_archive_key(manifest.object) != ("entries", manifest.segment):
        raise NotCanonical(f"manifest names the object {manifest.object}: expected {manifest.segment.object_key}")


def _member(members: dict[str, Any], name: str, expected: str, kind: type) -> Any:
    value = members.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise NotCanonical(f"manifest's {name}: expected {expected}, got {str(value)[:80]!r}")
    return value


def _text(members: dict[str, Any], name: str) -> str:
    text: str = _member(members, name, "text", str)
    if not text:
        raise NotCanonical(f"manifest's {name} is empty")
    return text


def _time(members: dict[str, Any], name: str) -> str:
    text = _text(members, name)
    if not is_time(text):
        raise NotCanonical(f"manifest's {name}: expected YYYY-MM-DDTHH:MM:SS.ffffffZ, got {text[:80]!r}")
    return text


def _digest(members: dict[str, Any], name: str) -> bytes:
    text = _text(members, name)
    if not _HEX_64.fullmatch(text):
        raise NotCanonical(f"manifest's {name}: expected 64 hex digits, got {text[:80]!r}")
    return bytes.fromhex(text)


def _count(members: dict[str, Any], name: str) -> int:
    number: int = _member(members, name, "an integer", int)
    if number < 0:
        raise NotCanonical(f"manifest's {name}: expected 0 or more, got {number}")
    return number


def _holds(members: dict[str, Any]) -> tuple[Hold, ...]:
    if "holds" not in members:
        return ()
    held = _member(members, "holds", "a list of holds", list)
    if not held or not all(isinstance(each, dict) for each in held):
        raise NotCanonical("manifest's holds: expected a list of holds, at least one")
    return tuple(read_hold(each) for each in held)


def _range(members: dict[str, Any], name: str) -> tuple[bytes, ...]:
    hashes = []
    for item in _member(members, name, "a list of base64 hashes", list):
        try:
            decoded = base64.b64decode(item, validate=True) if isinstance(item, str) else b""
        except ValueError:  # binascii.Error is one, and so is what a non-ASCII text gives
            decoded = b""
        if len(decoded) != 32 or base64.b64encode(decoded).decode("ascii") != item:
            raise NotCanonical(f"manifest's {name}: expected base64 of 32 bytes, got {str(item)[:80]!r}")
        hashes.append(decoded)
    return tuple(hashes)
