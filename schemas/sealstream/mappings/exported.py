"""What a mapping starts from: a sealed entry or an alert with its fields, its very bytes as text, and its origin. Pure.

The bytes go along into every schema, so what was mapped can be taken back and its hash computed again.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from sealstream.errors import NotCanonical
from sealstream.layout.alerts import decode_alert
from sealstream.layout.entries import WrittenFields
from sealstream.sealing import entry_hash, is_time, split_sealed

__all__ = ["Exported", "Fields", "alert_exported", "checked_entry", "entry_exported", "json_text", "milliseconds"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_IN_THE_EVENT = frozenset({"id", "subject", "chain", "tenant", "v"})


class Fields(msgspec.Struct, frozen=True):
    """A sealed entry's members. Of an alert, which no log has placed, `written` is None and the hashes are empty."""

    id: str
    timestamp: str
    actor_id: str
    actor_type: str
    action: str
    resource_type: str
    resource_id: str
    result: str
    written: WrittenFields | None
    prev_hash: str
    hash: str
    on_behalf_of: str | None = None
    ip_address: str | None = None
    user_agent: str | None = None
    session_id: str | None = None
    trace_id: str | None = None
    tenant: str | None = None
    reason: str | None = None
    source: dict[str, str] = {}
    changed_fields: list[str] | None = None
    old_values: dict[str, Any] | None = None
    new_values: dict[str, Any] | None = None
    metadata: dict[str, Any] = {}
    producer_id: str | None = None
    producer_seq: int | None = None
    subject_id: str | None = None


class Exported(NamedTuple):
    """`text`: the sealed entry's or the alert's JSON, byte for byte. `origin`: `<log>/<chain>`, or `chain` alone."""

    fields: Fields
    text: str
    origin: str
    chain: str

    @property
    def is_statement(self) -> bool:
        """Whether the log or its control topic says it, and no application: then its action is believed."""
        return self.fields.written is None or self.fields.written.kind != "event"


def entry_exported(value: bytes, log: str = "") -> Exported:
    """From a sealed entry and the log's name. Raises `NotCanonical` when it is none."""
    split_sealed(value)
    try:
        fields = _decode(value)
        text = value.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NotCanonical(f"not a sealed entry: {error}: {value[:80]!r}") from error
    written = fields.written
    if written is None or not (is_time(fields.timestamp) and is_time(written.sequenced_at)):
        raise NotCanonical(f"not a sealed entry: its times or its place are none: {value[:80]!r}")
    return Exported(fields, text, f"{log}/{written.chain}" if log else written.chain, written.chain)


def alert_exported(value: bytes, log: str = "") -> Exported:
    """From a record of `audit.alerts`: as the statement `alert.raised` says it, not sealed yet.

    Raises `NotCanonical`.
    """
    alert = decode_alert(value)
    members = msgspec.to_builtins(alert)
    fields = Fields(
        id=alert.id,
        timestamp=alert.window[1],
        actor_id="sealstream/anomaly",
        actor_type="system",
        action="alert.raised",
        resource_type=alert.subject_kind,
        resource_id=alert.subject,
        result="success",
        written=None,
        prev_hash="",
        hash="",
        tenant=alert.tenant,
        metadata={name: each for name, each in members.items() if name not in _IN_THE_EVENT and each is not None},
    )
    return Exported(fields, value.decode(), f"{log}/{alert.chain}" if log else alert.chain, alert.chain)


def checked_entry(value: bytes) -> bytes:
    """The same bytes, when they are a sealed entry that has the hash which it carries. Raises `NotCanonical`."""
    sealed = split_sealed(value)
    if entry_hash(sealed.prev_hash, sealed.body) != sealed.hash:
        raise NotCanonical(f"the entry does not have the hash that stands in it: {value[:80]!r}")
    return value


def milliseconds(time: str) -> int:
    """Since 1970, rounded down; negative before. `time`: RFC 3339."""
    return (datetime.fromisoformat(time) - _EPOCH) // _MILLISECOND


def json_text(value: Any) -> str | None:
    """As JSON; None: there is nothing in it."""
    return msgspec.json.encode(value).decode() if value else None


_decode = msgspec.json.Decoder(Fields).decode
