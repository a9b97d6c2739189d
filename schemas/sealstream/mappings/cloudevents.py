"""Entries and alerts as CloudEvents 1.0 (https://github.com/cloudevents/spec), in structured mode. Pure.

The whole sealed entry is the event's data, so `entry_of` takes it back whatever JSON has done to it on the way:
canonical again, it has its own hash or it was changed. Attributes repeat what brokers route by.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from sealstream.errors import NotCanonical
from sealstream.mappings.exported import Exported, checked_entry
from sealstream.mappings.rows import Row, Rows, filled
from sealstream.sealing import Sealed, canonical_json

__all__ = ["ROWS", "VERSION", "document", "entry_of"]

VERSION = "1.0"
_TYPES = {"event": "sealstream.event.v1", "control": "sealstream.control.v1", "log": "sealstream.log.v1"}


def _subject(exported: Exported) -> str:
    return _plain(f"{exported.fields.resource_type}/{exported.fields.resource_id}")


def _plain(text: str) -> str:
    """What a CloudEvents String may not hold (spec, "Type System"), written as %-escapes of its UTF-8, and `%` too."""
    if text.isascii() and text.isprintable() and "%" not in text:
        return text
    return "".join(each if _allowed(each) else "".join(f"%{byte:02X}" for byte in each.encode()) for each in text)


def _allowed(character: str) -> bool:
    code = ord(character)
    if code < 0x20 or 0x7F <= code <= 0x9F or character == "%":
        return False
    return not (0xFDD0 <= code <= 0xFDEF or code & 0xFFFE == 0xFFFE)


def _type(exported: Exported) -> str:
    written = exported.fields.written
    return "sealstream.alert.v1" if written is None else _TYPES.get(written.kind, "sealstream.entry.v1")


def _sequence(exported: Exported) -> str | None:
    written = exported.fields.written
    return None if written is None else f"{written.seq:020}"


ROWS: Rows = (
    Row("specversion", "1.0", lambda e: VERSION),
    Row("id", "`hash`, which no other entry of any log has; an alert's `id`", lambda e: e.fields.hash or e.fields.id),
    Row("source", "`//` and the chain's origin", lambda e: f"//{e.origin}"),
    Row(
        "type",
        "`sealstream.event.v1`, `sealstream.control.v1` or `sealstream.log.v1` by `written.kind`; of an alert "
        "`sealstream.alert.v1`",
        _type,
    ),
    Row("time", "`timestamp`", lambda e: e.fields.timestamp),
    Row("subject", "`resource_type`, `/`, `resource_id`", _subject),
    Row("datacontenttype", "application/json", lambda e: "application/json"),
    Row("sequence", "`written.seq`, in 20 digits (the extension Sequence)", _sequence),
    Row(
        "recordedtime",
        "`written.sequenced_at` (the extension Recorded Time)",
        lambda e: e.fields.written and e.fields.written.sequenced_at,
    ),
    Row("partitionkey", "the chain (the extension Partitioning)", lambda e: e.chain),
    Row("auditaction", "`action`", lambda e: _plain(e.fields.action)),
    Row("auditresult", "`result`", lambda e: e.fields.result),
    Row("auditactor", "`actor_id`", lambda e: _plain(e.fields.actor_id)),
    Row("audittenant", "`tenant`", lambda e: _plain(e.fields.tenant or "")),
    Row("data", "the sealed entry, as JSON", lambda e: msgspec.Raw(e.text.encode())),
)
document = filled(ROWS)


def entry_of(made: Mapping[str, Any]) -> bytes:
    """The sealed entry in an event as it was received, canonical again and its hash computed. Raises `NotCanonical`."""
    data = made.get("data")
    if not isinstance(data, Mapping):
        raise NotCanonical("the event's data is no JSON object: expected a sealed entry")
    body = {name: value for name, value in data.items() if name not in ("prev_hash", "hash")}
    try:
        hashes = bytes.fromhex(data["prev_hash"]), bytes.fromhex(data["hash"])
    except (KeyError, TypeError, ValueError) as error:
        raise NotCanonical("the event's data has no seal: expected prev_hash and hash, 64 hex digits each") from error
    return checked_entry(Sealed(canonical_json(body), *hashes).to_bytes())
