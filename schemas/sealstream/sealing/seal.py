"""The seal: how an event becomes an entry, and an entry a sealed entry that binds everything before it.

    entry = event + {written: {...}}        body = its canonical bytes
    leaf  = prev_hash || body               hash = SHA-256(0x00 || leaf)
    sealed = body without its last "}" + ,"prev_hash":"<64 hex>","hash":"<64 hex>"}

`written` sorts after every field of an event, so the canonical event is a verbatim prefix of the body and sealing is
one splice. `hash` is the link of the chain and the RFC 6962 leaf hash of `leaf` at once. The suffix is 154 bytes in
every version. Pure functions: a crash leaves nothing behind. Normative text: docs/format.md.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import NamedTuple

from sealstream.errors import NotCanonical

__all__ = [
    "HASH_BYTES",
    "MAX_ENTRY_BYTES",
    "MAX_EVENT_BYTES",
    "SEAL_BYTES",
    "SEAL_VERSION",
    "Sealed",
    "Written",
    "entry_body",
    "entry_hash",
    "genesis_hash",
    "seal",
    "split_sealed",
]

HASH_BYTES = 32
SEAL_BYTES = 154
SEAL_VERSION = 1
MAX_EVENT_BYTES = 61_440
"""The canonical event; also the bound of a `log` or `control` statement's event part."""
MAX_ENTRY_BYTES = 65_535 - HASH_BYTES
"""`body`: so that `leaf` fits an entry of a C2SP entry bundle (its length is 16 bits)."""

_seal = re.compile(rb',"prev_hash":"([0-9a-f]{64})","hash":"([0-9a-f]{64})"\}').fullmatch


class Written(NamedTuple):
    """What the log writes beside an event. Times as `YYYY-MM-DDTHH:MM:SS.ffffffZ`; `received_at` None for `log`."""

    chain: str
    control_offset: int
    kind: str
    raw_offset: int
    received_at: str | None
    seq: int
    sequenced_at: str


class Sealed(NamedTuple):
    """A sealed entry in its parts: `body` (canonical, without the seal) and the two 32-byte hashes."""

    body: bytes
    prev_hash: bytes
    hash: bytes

    @property
    def leaf(self) -> bytes:
        """The Merkle tree's leaf: prev_hash || body."""
        return self.prev_hash + self.body

    def to_bytes(self) -> bytes:
        """The sealed entry: exactly the bytes of a record's value.

        Of a body that does not end as an object does, no byte is left out: so its hash can't fit.
        """
        return b'%b,"prev_hash":"%b","hash":"%b"}' % (
            self.body[:-1] if self.body.endswith(b"}") else self.body + b"}",
            self.prev_hash.hex().encode(),
            self.hash.hex().encode(),
        )


def genesis_hash(origin: str) -> bytes:
    """The `prev_hash` of seq 0: SHA-256 of the origin (`<log>/<chain>`) in UTF-8."""
    return sha256(origin.encode()).digest()


def entry_hash(prev_hash: bytes, body: bytes) -> bytes:
    """SHA-256(0x00 || prev_hash || body): the entry's link and its RFC 6962 leaf hash."""
    return sha256(b"\0" + prev_hash + body).digest()


def entry_body(event: bytes, written: Written) -> bytes:
    """The canonical entry: the canonical `event` (at least one field) with `written` spliced in as its last member.

    Nothing is checked: the names and times in `written` are the log's own and need no escape.
    """
    chain, control_offset, kind, raw_offset, received_at, seq, sequenced_at = written
    received = "" if received_at is None else f'"received_at":"{received_at}",'
    return event[:-1] + (
        f',"written":{{"chain":"{chain}","control_offset":{control_offset},"kind":"{kind}",'
        f'"raw_offset":{raw_offset},{received}"seq":{seq},"sequenced_at":"{sequenced_at}","v":1}}}}'
    ).encode("ascii")


def seal(event: bytes, written: Written, prev_hash: bytes) -> Sealed:
    """The canonical `event` placed by `written` behind the entry whose hash is `prev_hash`."""
    body = entry_body(event, written)
    return Sealed(body, prev_hash, sha256(b"\0" + prev_hash + body).digest())


def split_sealed(value: bytes) -> Sealed:
    """A sealed entry's parts, sliced off. The hashes are as claimed: nothing is verified.

    Raises `NotCanonical` when the last 154 bytes are not a seal in its one exact form.
    """
    parts = _seal(value, max(len(value) - SEAL_BYTES, 0))
    if parts is None or len(value) <= SEAL_BYTES:
        raise NotCanonical(
            f'no seal: expected ,"prev_hash":"<64 hex>","hash":"<64 hex>"}} as the last {SEAL_BYTES} bytes, '
            f"got {value[-SEAL_BYTES:][:60]!r}"
        )
    prev_hash, own_hash = parts.groups()
    return Sealed(value[:-SEAL_BYTES] + b"}", bytes.fromhex(prev_hash.decode()), bytes.fromhex(own_hash.decode()))
