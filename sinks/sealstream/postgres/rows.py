"""A sealed entry as a row of `audit_log`, in Postgres' own binary form, and back as text.

The sink copies rows that are encoded here (half the processor time of handing values to the driver, and the interpreter
is free while they are sent), and verification compares columns in this form: as values, whatever a store may hold. The
invariant: `column_text` gives, for what `wire_columns` made, the text in the entry. Pure functions.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from struct import Struct
from struct import error as StructError
from typing import NamedTuple

from sealstream.errors import ChainBroken, NotCanonical
from sealstream.layout import HOT_COLUMNS, Entry, decode_entry
from sealstream.sealing import SEAL_BYTES

__all__ = ["COPY_END", "COPY_START", "ColumnFault", "EncodedRows", "column_faults", "encode_rows", "wire_columns"]

COPY_START = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPY_END = b"\xff\xff"

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)  # of timestamptz
_MICROSECOND = timedelta(microseconds=1)
_INT8 = Struct(">q")
_int8 = _INT8.pack
_LENGTHS = tuple(Struct(">i").pack(length) for length in range(65_536))
_NULL = Struct(">i").pack(-1)
_18_FIELDS = Struct(">h").pack(4 + len(HOT_COLUMNS))
_8_BYTES, _16_BYTES, _32_BYTES = _LENGTHS[8], _LENGTHS[16], _LENGTHS[32]
_INET_V4 = bytes((2, 32, 0, 4))  # family, bits, is it a network, bytes: as inet_send writes them
_INET_V6 = bytes((3, 128, 0, 16))

# The hot columns in their order: ip_address, session_id and tenant may be absent.
Wire = tuple[
    bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes,
    bytes | None, bytes | None, bytes | None,
]  # fmt: skip


class EncodedRows(NamedTuple):
    """Rows for one COPY, without its start and end. `months`: those of `sequenced_at` among them, as `YYYY-MM`."""

    data: bytes
    months: list[str]


class ColumnFault(NamedTuple):
    """A hot column that says something else than the body beside it; None stands for an absent value."""

    column: str
    stored: str | None
    expected: str | None


def encode_rows(chain: str, sealed_values: Iterable[bytes], hashes: Iterable[bytes], prev_hash: bytes) -> EncodedRows:
    """Rows of checked entries. `hashes`: each entry's; `prev_hash`: that of the entry before the first.

    Raises `ChainBroken` for an entry that no row can hold.
    """
    chain_field = _LENGTHS[len(chain)] + chain.encode()
    parts: list[bytes] = []
    months: list[str] = []
    month = ""
    for value, own_hash in zip(sealed_values, hashes, strict=True):
        body = value[:-SEAL_BYTES] + b"}"
        try:
            entry = decode_entry(value)
            columns = wire_columns(entry)
            parts.append(_row(chain_field, columns, body, prev_hash, own_hash))
        except (NotCanonical, ValueError, OSError, IndexError, StructError) as error:
            raise ChainBroken(f"chain {chain}: an entry that no row can hold: {error}: {body[:200]!r}") from error
        if entry.written.sequenced_at[:7] != month:
            month = entry.written.sequenced_at[:7]
            months.append(month)
        prev_hash = own_hash
    return EncodedRows(b"".join(parts), months)


def wire_columns(entry: Entry) -> Wire:
    """The hot columns in their order, as Postgres sends them. Raises `ValueError`, `OSError`, `StructError`."""
    written = entry.written
    session_id, tenant = entry.session_id, entry.tenant
    return (
        _int8(written.seq),
        written.kind.encode(),
        _uuid(entry.id),
        _timestamp(entry.timestamp),
        _timestamp(written.sequenced_at),
        entry.actor_id.encode(),
        entry.actor_type.encode(),
        entry.action.encode(),
        entry.resource_type.encode(),
        entry.resource_id.encode(),
        entry.result.encode(),
        None if entry.ip_address is None else _inet(entry.ip_address),
        None if session_id is None else session_id.encode(),
        None if tenant is None else tenant.encode(),
    )


def column_faults(body: bytes, columns: Wire) -> list[ColumnFault]:
    """Where stored columns differ, as values, from the entry in `body`. Raises `NotCanonical` when it is no entry."""
    try:
        expected = wire_columns(decode_entry(body))
    except (ValueError, OSError, StructError) as error:
        raise NotCanonical(f"an entry whose fields fit no column: {error}") from error
    if columns == expected:
        return []
    return [
        ColumnFault(name, column_text(name, stored), column_text(name, wanted))
        for name, stored, wanted in zip(HOT_COLUMNS, columns, expected, strict=True)
        if stored != wanted
    ]


def column_text(column: str, wire: bytes | None) -> str | None:
    """One stored value as an entry would spell it; what no entry can hold is told in words."""
    if wire is None:
        return None
    if column == "seq":
        return str(_INT8.unpack(wire)[0])
    if column in ("timestamp", "sequenced_at"):
        return _time_text(_INT8.unpack(wire)[0])
    if column == "id":
        digits = wire.hex()
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
    if column == "ip_address":
        family = socket.AF_INET if wire[0] == 2 else socket.AF_INET6
        address = socket.inet_ntop(family, wire[4:])
        return address if wire[:4] in (_INET_V4, _INET_V6) else f"{address}/{wire[1]}"
    return wire.decode("utf-8", "replace")


def _row(chain_field: bytes, columns: Wire, body: bytes, prev_hash: bytes, own_hash: bytes) -> bytes:
    (
        seq, kind, event_id, timestamp, sequenced_at, actor_id, actor_type, action, resource_type, resource_id, result,
        ip_address, session_id, tenant,
    ) = columns  # fmt: skip
    lengths = _LENGTHS
    return b"".join(
        (
            _18_FIELDS, chain_field, _8_BYTES, seq, lengths[len(kind)], kind, _16_BYTES, event_id,
            _8_BYTES, timestamp, _8_BYTES, sequenced_at, lengths[len(actor_id)], actor_id,
            lengths[len(actor_type)], actor_type, lengths[len(action)], action,
            lengths[len(resource_type)], resource_type, lengths[len(resource_id)], resource_id,
            lengths[len(result)], result,
            _NULL if ip_address is None else lengths[len(ip_address)], ip_address or b"",
            _NULL if session_id is None else lengths[len(session_id)], session_id or b"",
            _NULL if tenant is None else lengths[len(tenant)], tenant or b"",
            lengths[len(body)], body, _32_BYTES, prev_hash, _32_BYTES, own_hash,
        )
    )  # fmt: skip


@lru_cache(maxsize=4096)
def _second(text: str) -> int:
    """Microseconds since 2000 of `YYYY-MM-DDTHH:MM:SS`; most entries share theirs with a neighbour."""
    if text[10] != "T":
        raise ValueError(f"time {text!r}: expected a T between date and hour")
    return (datetime.fromisoformat(text + "+00:00") - _EPOCH) // _MICROSECOND


def _timestamp(text: str) -> bytes:
    """`YYYY-MM-DDTHH:MM:SS.ffffffZ` as timestamptz."""
    fraction = text[20:26]
    if len(text) != 27 or text[19] != "." or text[26] != "Z" or not (fraction.isascii() and fraction.isdigit()):
        raise ValueError(f"time {text!r}: expected YYYY-MM-DDTHH:MM:SS.ffffffZ")
    return _int8(_second(text[:19]) + int(fraction))


def _uuid(text: str) -> bytes:
    wire = bytes.fromhex(text.replace("-", ""))
    if len(wire) != 16 or len(text) != 36:
        raise ValueError(f"id {text!r}: expected a hyphenated UUID")
    return wire


@lru_cache(maxsize=16_384)
def _inet(text: str) -> bytes:
    if ":" in text:
        return _INET_V6 + socket.inet_pton(socket.AF_INET6, text)
    return _INET_V4 + socket.inet_pton(socket.AF_INET, text)


def _time_text(microseconds: int) -> str:
    try:
        time = _EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        return f"{microseconds} microseconds after 2000-01-01"
    return time.isoformat(timespec="microseconds").replace("+00:00", "Z")
