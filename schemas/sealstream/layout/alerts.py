"""An alert: what a detector found, with its evidence, as `audit.alerts` and the statement `alert.raised` hold it. Pure.

Its id follows from detector, subject and window alone, and every other byte from the records that it was found in:
found again, by another worker or in a replay, it is the same alert, and the sequencer passes over the repeat.
"""

from __future__ import annotations

import uuid
from typing import Literal

import msgspec

from sealstream.errors import NotCanonical

__all__ = ["SEVERITIES", "Alert", "Severity", "SubjectKind", "alert_id", "decode_alert", "encode_alert"]

Severity = Literal["low", "medium", "high", "critical"]
SEVERITIES: tuple[Severity, ...] = ("low", "medium", "high", "critical")
SubjectKind = Literal["actor", "address", "pipeline"]

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "sealstream/alert")


class Alert(msgspec.Struct, omit_defaults=True, frozen=True):
    """One alert.

    `window`: first and last second, `YYYY-MM-DDTHH:MM:SSZ`, both inclusive. `summary`: one sentence for a person, with
    what is usual. `seen`, `usual`: the figures behind it, by name. `score`: how far beyond usual or threshold, 1.0
    being just so far. `confidence`: 0 to 1. `seqs`: closed ranges of the entries of `chain` behind it. `query`: what
    `sealstream search` finds them with. `incident`: the id of the first alert of the incident that it belongs to (its
    own: it opens one). `rule`: the Sigma rule's id, for those.
    """

    id: str
    detector: str
    subject_kind: SubjectKind
    subject: str
    chain: str
    severity: Severity
    confidence: float
    summary: str
    window: tuple[str, str]
    query: str
    incident: str
    score: float = 1.0
    seen: dict[str, int | float | str] = {}
    usual: dict[str, int | float | str] = {}
    seqs: list[list[int]] = []
    tenant: str | None = None
    rule: str | None = None
    v: int = 1


def alert_id(detector: str, chain: str, subject_kind: str, subject: str, window: str) -> str:
    """A UUIDv5 of what makes two alerts one. `window`: the second in which the detector's window begins."""
    return str(uuid.uuid5(_NAMESPACE, "\n".join((detector, chain, subject_kind, window, subject))))


def encode_alert(alert: Alert) -> bytes:
    """JSON with members in the order of the class."""
    return _encoder.encode(alert)


def decode_alert(value: bytes) -> Alert:
    """The reverse. Raises `NotCanonical`."""
    try:
        return _decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NotCanonical(f"not an alert: {error}: {value[:80]!r}") from error


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Alert)
