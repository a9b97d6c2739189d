"""What is sent: one alert, one entry, or that an alert was closed; made from a record, and chosen by filters. Pure.

A message's id follows from its content alone, so a receiver that gets it again, after a crash or from another process,
knows it: an alert's own id; an entry's hash, which no other entry of any log has.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

import msgspec

from sealstream.errors import NotCanonical
from sealstream.forward.targets import Target
from sealstream.layout import Entry, decode_entry
from sealstream.layout.alerts import SEVERITIES, Alert, decode_alert, encode_alert
from sealstream.sealing import split_sealed

__all__ = [
    "Message",
    "alert_message",
    "closing_message",
    "entry_message",
    "link_of",
    "readable",
    "trial_message",
    "wanted",
]

_CLOSED_NEEDLE = b'"action":"alert.closed"'  # in the canonical bytes of each entry that closes an alert


class Message(NamedTuple):
    """One message. `at`: RFC 3339, an alert's last second or when the entry was sealed. `value`: JSON as it was read.

    `alert` or `entry` is given, by `what`; a closing is of an entry. `came_ms`: when the broker got it, since 1970.
    """

    id: str
    what: Literal["alert", "entry", "closing"]
    chain: str
    at: str
    value: bytes
    alert: Alert | None = None
    entry: Entry | None = None
    came_ms: int = 0

    @property
    def closed_alert(self) -> str:
        """Of a closing: the alert's id."""
        if self.alert is not None:
            return self.alert.id
        assert self.entry is not None
        return str((self.entry.metadata or {}).get("alert", ""))


def alert_message(value: bytes, came_ms: int = 0) -> Message:
    """From a record of `audit.alerts`. Raises `NotCanonical`."""
    alert = decode_alert(value)
    return Message(alert.id, "alert", alert.chain, alert.window[1], value, alert=alert, came_ms=came_ms)


def entry_message(value: bytes, came_ms: int = 0) -> Message:
    """From a sealed entry. Raises `NotCanonical`."""
    entry = decode_entry(value)
    digest = split_sealed(value).hash.hex()
    return Message(
        digest, "entry", entry.written.chain, entry.written.sequenced_at, value, entry=entry, came_ms=came_ms
    )


def closing_message(value: bytes, came_ms: int = 0) -> Message | None:
    """From a sealed entry that closes an alert; None: it does not. Raises `NotCanonical`."""
    if _CLOSED_NEEDLE not in value:
        return None
    message = entry_message(value, came_ms)
    assert message.entry is not None
    closes = message.entry.written.kind == "control" and message.entry.action == "alert.closed"
    return message._replace(what="closing") if closes and message.closed_alert else None


def trial_message(target: Target, identity: str, now: datetime) -> Message:
    """An alert that says that it is a test."""
    second = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    alert = Alert(
        id=identity,
        detector="test",
        subject_kind="pipeline",
        subject=target.name,
        chain=target.chains[0] if target.chains else "main",
        severity="low",
        confidence=1.0,
        summary=f"Test of the target {target.name}: nothing has happened, and messages arrive",
        window=(second, second),
        query="action:test",
        incident=identity,
    )
    return alert_message(encode_alert(alert), int(now.timestamp() * 1000))


def wanted(target: Target, message: Message) -> bool:
    """Whether this target's filters let the message through."""
    if target.chains and message.chain not in target.chains:
        return False
    if message.what == "closing":
        return True
    told: Any = message.alert if message.alert is not None else message.entry
    if target.tenants and told.tenant not in target.tenants:
        return False
    if message.alert is None:
        return True
    least = SEVERITIES.index(target.minimum_severity)
    if SEVERITIES.index(message.alert.severity) < least:
        return False
    return not target.detectors or message.alert.detector in target.detectors


def link_of(target: Target, message: Message) -> str:
    """Where a person finds more of it; empty where no link is set."""
    return target.link.replace("{id}", message.id).replace("{chain}", message.chain)


def readable(value: bytes) -> msgspec.Raw:
    """JSON to be put into JSON as it is. Raises `NotCanonical` when it is none."""
    try:
        msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NotCanonical(f"not JSON: {error}: {value[:80]!r}") from error
    return msgspec.Raw(value)
