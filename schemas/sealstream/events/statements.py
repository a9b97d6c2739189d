"""Statements: what the log, and control records, say about the log itself, one JSON Schema of `metadata` for each.

The kind of a statement is where it may come from: `log` from the sequencer alone, `control` from the control topic,
`event` from any producer (a claim of that producer and of nobody else). The invariant: a `log` statement never
enters through a topic. Members that a schema does not name are allowed, as a reader must pass over what a newer
version says. Pure; nothing to lose in a crash.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from sealstream.errors import InvalidEvent
from sealstream.events.fields import MAX_INTEGER
from sealstream.events.metadata_schema import misfit
from sealstream.events.wording import printable

__all__ = ["MAX_LETTERS", "STATEMENTS", "WHY_REFUSED", "Statement", "check_control", "check_metadata"]

JsonSchema = Mapping[str, Any]

MAX_LETTERS = 200
"""In one `deadletter.dismissed`: with a reason of 1,000 bytes it then fits an entry, whatever the numbers are."""

END = r"(?![\s\S])"  # the end of the text in every regex dialect; `$` lets a newline through in some


WHY_REFUSED = {
    "unknown": "no such key is registered before it",
    "revoked": "its key was revoked before it",
    "expired": "its key had expired",
    "scope": "its key is registered for another service or tenant",
    "false": "its key has not signed this event",
    "missing": "it is not signed, though events of its kind must be",
}


class Statement(NamedTuple):
    """One action. `metadata`: the JSON Schema that its metadata fits; None: it has no metadata."""

    kind: Literal["log", "control", "event"]
    metadata: JsonSchema | None
    says: str


def _object(required: Mapping[str, JsonSchema], optional: Mapping[str, JsonSchema] | None = None) -> JsonSchema:
    return {"type": "object", "properties": {**required, **(optional or {})}, "required": sorted(required)}


_TEXT: JsonSchema = {"type": "string", "minLength": 1}
_COUNT: JsonSchema = {"type": "integer", "minimum": 0, "maximum": MAX_INTEGER}
_POSITIVE: JsonSchema = {"type": "integer", "minimum": 1, "maximum": MAX_INTEGER}
_PART: JsonSchema = {"type": "number", "minimum": 0, "maximum": 1}
_SCORE: JsonSchema = {"type": "number", "minimum": 0, "maximum": MAX_INTEGER}
_HEX_64: JsonSchema = {"type": "string", "pattern": f"^[0-9a-f]{{64}}{END}"}
_TIME: JsonSchema = {
    "type": "string",
    "pattern": rf"^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}T[0-9]{{2}}:[0-9]{{2}}:[0-9]{{2}}\.[0-9]{{6}}Z{END}",
}
_TOPIC: JsonSchema = {"enum": ["raw", "control"]}
_ORIGIN: JsonSchema = {"type": "string", "pattern": f"^[a-z0-9.-]+(?:/[a-z0-9._-]+)*/[a-z0-9][a-z0-9-]{{0,38}}{END}"}
_VKEY: JsonSchema = {"type": "string", "pattern": rf"^[^\s+]+\+[0-9a-f]{{8}}\+[A-Za-z0-9+/]+={{0,2}}{END}"}
_REASON: JsonSchema = {"type": "string", "pattern": f"^[ -~]{{1,120}}{END}"}
_RANGE: JsonSchema = {"type": "array", "items": _COUNT, "minItems": 2, "maxItems": 2}
_RANGES: JsonSchema = {"type": "array", "minItems": 1, "items": _RANGE}
_PRODUCERS = _object(
    {
        "producers": {
            "type": "array",
            "minItems": 1,
            "items": _object({"producer_id": _TEXT, "next": _COUNT, "last_seen": _TIME}),
        }
    }
)
_RETENTION = _object({"policy": _TEXT, "archive_days": _POSITIVE}, {"online_days": _POSITIVE})
_UUID: JsonSchema = {"type": "string", "pattern": f"^[0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}{END}"}
_SEQUENCER = {"host": _TEXT, "version": _TEXT}
_PASSED = {"first": _COUNT, "last": _COUNT}
_INPUT_PASSED = _object(
    {
        "topic": _TOPIC,
        "items": {
            "type": "array",
            "minItems": 1,
            "maxItems": 100,
            "items": {
                "anyOf": [
                    _object({"what": {"enum": ["refused"]}, **_PASSED, "sha256": _HEX_64, "reason": _REASON}),
                    _object({"what": {"enum": ["repeated"]}, **_PASSED, "sha256": _HEX_64}, {"of": _COUNT}),
                    _object({"what": {"enum": ["empty"]}, **_PASSED}),
                ]
            },
        },
    }
)
_READ = _object(
    {"what": _TEXT, "store": _TEXT, "phase": {"enum": ["whole", "begin", "end"]}},
    {
        "query": _TEXT,
        "rows": _COUNT,
        "begin_id": _TEXT,
        "outcome": {"enum": ["complete", "cut short"]},
        "verdict": _TEXT,
        "request_id": _TEXT,
    },
)
_KEY_LABEL: JsonSchema = {"type": "string", "pattern": rf"^[a-z0-9][a-z0-9._-]{{0,62}}\+[0-9a-f]{{8}}{END}"}
_SIGNING: JsonSchema = {"enum": ["required", "optional"]}
_TOKEN = {"name": _TEXT, "role": _TEXT, "chains": {"type": "array", "minItems": 1, "items": _TEXT}}
_API_KEY = {"name": _TEXT, "chain": _TEXT, "actor_types": {"type": "array", "minItems": 1, "items": _TEXT}}
_STORE = {"store": _TEXT, "first_seq": _COUNT, "last_seq": _COUNT, "reason": _TEXT}
_DAY: JsonSchema = {
    "type": "string",
    "pattern": f"^[0-9]{{4}}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01]){END}",
}
_MONTH: JsonSchema = {"type": "string", "pattern": f"^[0-9]{{4}}-(?:0[1-9]|1[0-2]){END}"}

_ARCHIVED = {
    "object": _TEXT,
    "object_version": _TEXT,
    "object_sha256": _HEX_64,
    "manifest": _TEXT,
    "manifest_version": _TEXT,
    "manifest_sha256": _HEX_64,
    "retain_until": _TIME,
}
_STRETCH = {"first_seq": _COUNT, "last_seq": _COUNT, "first_hash": _HEX_64, "last_hash": _HEX_64}

STATEMENTS: dict[str, Statement] = {
    "chain.created": Statement(
        "log",
        _object(
            {
                "origin": _ORIGIN,
                "vkey": _VKEY,
                "nonce": _HEX_64,
                "retention": _RETENTION,
                "segment_entries": _POSITIVE,
                "segment_bytes": _POSITIVE,
                "segment_seconds": _POSITIVE,
            }
        ),
        "entry 0: the chain's name, public key, retention and segment limits",
    ),
    "chain.continued": Statement(
        "log",
        _object({"origin": _ORIGIN, "checkpoint": _TEXT, "first_lost": _COUNT, "last_lost": _COUNT}),
        "entry 1 of a lost chain's successor: the old origin, its last known checkpoint, what is lost",
    ),
    "sequencer.started": Statement(
        "log",
        _object({**_SEQUENCER, "raw_topic_id": _TEXT, "control_topic_id": _TEXT}),
        "a sequencer has taken the chain, reading these topics",
    ),
    "sequencer.stopped": Statement("log", _object(_SEQUENCER), "a sequencer has given the chain up in good order"),
    "chain.heartbeat": Statement("log", None, "a minute has passed without an entry: silence is evidence"),
    "input.passed": Statement(
        "log", _INPUT_PASSED, "input offsets that became no entry, each accounted for, in order and without a gap"
    ),
    "input.lost": Statement(
        "log",
        _object({"topic": _TOPIC, "old_topic_id": _TEXT, "new_topic_id": _TEXT, "first": _COUNT}, {"last": _COUNT}),
        "an input topic was recreated or trimmed, and an operator decided to go on; last absent: unknown",
    ),
    "producer.gap": Statement(
        "log", _object({"producer_id": _TEXT, "ranges": _RANGES}), "numbers of a producer that are missing so far"
    ),
    "producer.unsure": Statement(
        "log",
        _object({"producer_id": _TEXT, "ranges": _RANGES}),
        "numbers below what is remembered of a producer: sealed, perhaps a second time",
    ),
    "producer.conflict": Statement(
        "log",
        _object({"seq": _COUNT, "of": _COUNT, "digest": _HEX_64, "of_digest": _HEX_64}),
        "the entry before has the id or the number of an earlier entry, and says something else",
    ),
    "producer.silent": Statement("log", _PRODUCERS, "producers that neither closed nor spoke for a day"),
    "producer.dropped": Statement("log", _PRODUCERS, "producers whose numbers are no longer remembered"),
    "segment.archived": Statement(
        "control",
        _object(_ARCHIVED),
        "a segment stands in the archive: these versions count",
    ),
    "archive.destroyed": Statement(
        "control",
        _object(
            {
                "first_seq": _COUNT,
                "last_seq": _COUNT,
                "last_hash": _HEX_64,
                "root": _HEX_64,
                "reason": _TEXT,
                "segments": {
                    "type": "array",
                    "minItems": 1,
                    "items": _object({**_ARCHIVED, **_STRETCH}),
                },
            },
            {"retention": _RETENTION, "by": _TEXT},
        ),
        "these versions, whose locks have ended, are deleted: nothing up to last_seq is in the archive any more",
    ),
    "store.expired": Statement(
        "control",
        _object(
            _STORE,
            {"month": _MONTH, "first_hash": _HEX_64, "last_hash": _HEX_64, "root": _HEX_64, "retention": _RETENTION},
        ),
        "entries leave a store, their time there being over; root: of the tree up to the last of them",
    ),
    "store.repaired": Statement("control", _object(_STORE), "entries of a store were built anew and swapped in"),
    "retention.extended": Statement(
        "control",
        _object({"from": _RETENTION, "to": _RETENTION}, {"by": _TEXT}),
        "entries after this one are kept for longer than entry 0, or an earlier extension, says",
    ),
    "hold.set": Statement(
        "control",
        _object({"hold": _UUID, "reason": _TEXT}, {"first_day": _DAY, "last_day": _DAY, "by": _TEXT}),
        "a legal hold: entries sealed on these UTC days (all, where none are named) are kept until it is lifted",
    ),
    "hold.lifted": Statement(
        "control", _object({"hold": _UUID, "reason": _TEXT}, {"by": _TEXT}), "a legal hold stands no longer"
    ),
    "deadletter.retried": Statement(
        "control",
        _object(
            {
                "letter": _COUNT,
                "topic": _TOPIC,
                "offset": _COUNT,
                "sha256": _HEX_64,
                "event": _UUID,
            },
            {"corrects": _COUNT, "by": _TEXT, "instead_of": _COUNT},
        ),
        "a refused record is sent again, corrected, as this event, which is sealed behind it",
    ),
    "deadletter.dismissed": Statement(
        "control",
        _object(
            {
                "reason": _TEXT,
                "letters": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": MAX_LETTERS,
                    "items": _object(
                        {"letter": _COUNT, "topic": _TOPIC, "offset": _COUNT, "sha256": _HEX_64},
                        {"corrects": _COUNT, "instead_of": _COUNT},
                    ),
                },
            },
            {"by": _TEXT},
        ),
        "nothing more is done about these records, which were refused or repeated, and why",
    ),
    "log.read": Statement(
        "control", _READ, "somebody read the log: what was asked of which store, and how many entries came of it"
    ),
    "token.created": Statement(
        "control",
        _object(_TOKEN, {"tenant": _TEXT, "expires_at": _TIME}),
        "a token for the API was made: who holds it may read these chains (all: `*`)",
    ),
    "token.revoked": Statement("control", _object({"name": _TEXT}), "a token for the API counts no longer"),
    "producer_key.registered": Statement(
        "control",
        _object(
            {"vkey": _VKEY, "signing": _SIGNING},
            {"service": _TEXT, "tenant": _TEXT, "expires_at": _TIME, "by": _TEXT},
        ),
        "from here on a producer's key may sign events (of this service, of this tenant), or must",
    ),
    "producer_key.revoked": Statement(
        "control",
        _object({"key": _KEY_LABEL, "reason": _TEXT}, {"from_seq": _COUNT, "signing": _SIGNING, "by": _TEXT}),
        "from here on a producer's key counts no longer; from_seq: nor is it to be believed from that entry on",
    ),
    "signature.refused": Statement(
        "log",
        _object({"seq": _COUNT, "why": {"enum": [*WHY_REFUSED]}}, {"key": _TEXT}),
        "the event before is not signed as it should be, by a key that counts; it is sealed all the same",
    ),
    "apikey.created": Statement(
        "control",
        _object(_API_KEY, {"tenant": _TEXT, "expires_at": _TIME, "certificate_sha256": _HEX_64}),
        "a key for the collector was made: who holds it, or this certificate, may write such events to the chain",
    ),
    "apikey.revoked": Statement("control", _object({"name": _TEXT}), "a key for the collector counts no longer"),
    "alert.raised": Statement(
        "control",
        _object(
            {
                "detector": _TEXT,
                "subject_kind": {"enum": ["actor", "address", "pipeline"]},
                "severity": {"enum": ["low", "medium", "high", "critical"]},
                "confidence": _PART,
                "summary": _TEXT,
                "window": {"type": "array", "items": _TEXT, "minItems": 2, "maxItems": 2},
                "incident": _UUID,
            },
            {
                "query": _TEXT,
                "score": _SCORE,
                "seen": _object({}),
                "usual": _object({}),
                "seqs": {"type": "array", "items": _RANGE},
                "rule": _TEXT,
            },
        ),
        "a detector found this; the entry's id is the alert's",
    ),
    "alert.acknowledged": Statement(
        "control", _object({"alert": _UUID}, {"note": _TEXT, "by": _TEXT}), "a person looks into an alert"
    ),
    "alert.closed": Statement(
        "control",
        _object(
            {"alert": _UUID, "as": {"enum": ["true-positive", "false-positive", "benign"]}, "reason": _TEXT},
            {"by": _TEXT},
        ),
        "a person has judged an alert; the last one said counts",
    ),
    "alert.muted": Statement(
        "control",
        _object({"mute": _UUID, "until": _TIME, "reason": _TEXT}, {"detector": _TEXT, "subject": _TEXT, "by": _TEXT}),
        "alerts of this detector, of this subject, or of both, are nobody's work until then; raised they are",
    ),
    "alert.unmuted": Statement(
        "control", _object({"mute": _UUID, "reason": _TEXT}, {"by": _TEXT}), "a mute ends before its time"
    ),
    "review.started": Statement(
        "control",
        _object(
            {"review": _UUID, "period": _TEXT, "first": _TIME, "before": _TIME},
            {"document_sha256": _HEX_64, "size": _COUNT, "by": _TEXT},
        ),
        "a person begins to review a period of the log, with the document that has this SHA-256",
    ),
    "review.signed": Statement(
        "control",
        _object(
            {"review": _UUID, "period": _TEXT, "note": _TEXT, "document_sha256": _HEX_64},
            {"size": _COUNT, "figures": _object({}), "open_alerts": _COUNT, "by": _TEXT},
        ),
        "a person has reviewed a period, and says what of it; the document with this SHA-256 is what was seen",
    ),
    "producer.closed": Statement(
        "event", _object({}, {"next": _COUNT}), "a producer ends its stream; next: the number it would have used"
    ),
    "audit.loss": Statement(
        "event", _object({"reason": _TEXT, "count": _COUNT}), "a producer had to drop events, and says how many"
    ),
}


def check_metadata(action: str, metadata: object) -> None:
    """Raises `InvalidEvent` when a known statement's metadata (None: absent) does not fit its schema."""
    statement = STATEMENTS.get(action)
    if statement is None:
        return
    if statement.metadata is None:
        if metadata is not None:
            raise InvalidEvent(f"metadata is not expected: {action} has none", "metadata")
        return
    if metadata is None:
        names = ", ".join(statement.metadata["required"])
        raise InvalidEvent(f"metadata is missing: {action} needs {names}", "metadata")
    found = misfit(statement.metadata, metadata, "metadata")
    if found is not None:
        path, fault = found
        raise InvalidEvent(f"{printable(path)} {fault} (in a {action})", path)


def check_control(action: str, metadata: object) -> None:
    """What the control topic refuses beyond the rules of an event: the log's own statements, and malformed ones.

    Actions that are nobody's statement pass: operators' commands and later versions' statements are such.
    """
    statement = STATEMENTS.get(action)
    if statement is None:
        return
    if statement.kind == "log":
        raise InvalidEvent(f"action {action} is the log's own statement: only the sequencer may make it", "action")
    if statement.kind == "control":
        check_metadata(action, metadata)
