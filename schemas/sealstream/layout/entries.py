"""An entry as readers decode it: the hot columns of Postgres and Parquet, and what the log wrote beside the event.

The one list of hot columns; `body` is the truth, these are copies that verification compares with it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from sealstream.errors import NotCanonical

__all__ = ["HOT_COLUMNS", "Entry", "WrittenFields", "decode_entry"]


class WrittenFields(msgspec.Struct, frozen=True):
    """The member `written` of an entry (docs/format.md). Times as text, in canonical form."""

    chain: str
    control_offset: int
    kind: str
    raw_offset: int
    seq: int
    sequenced_at: str
    v: int
    received_at: str | None = None


class Entry(msgspec.Struct, frozen=True):
    """An entry's fields that a store or a check needs; others are passed over. Absent is None."""

    id: str
    timestamp: str
    actor_id: str
    actor_type: str
    action: str
    resource_type: str
    resource_id: str
    result: str
    written: WrittenFields
    on_behalf_of: str | None = None
    ip_address: str | None = None
    session_id: str | None = None
    tenant: str | None = None
    reason: str | None = None
    producer_id: str | None = None
    producer_seq: int | None = None
    metadata: dict[str, Any] | None = None


# In the order of docs/format.md; `seq`, `kind` and `sequenced_at` come from `written`.
HOT_COLUMNS = (
    "seq",
    "kind",
    "id",
    "timestamp",
    "sequenced_at",
    "actor_id",
    "actor_type",
    "action",
    "resource_type",
    "resource_id",
    "result",
    "ip_address",
    "session_id",
    "tenant",
)

_decoder = msgspec.json.Decoder(Entry)


def decode_entry(body: bytes) -> Entry:
    """The entry whose canonical bytes are `body` (or sealed: the seal is passed over). Raises `NotCanonical`."""
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:  # ValidationError is a DecodeError
        raise NotCanonical(f"not an entry: {error}: {body[:80]!r}") from error
