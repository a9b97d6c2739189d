"""What can be asked for: every key of the query language, where its value stands in an entry, and how it is written.

The one list; the parser, both backends, `matches`, the help and the documentation go by it. Pure.
"""

from __future__ import annotations

import difflib
import re
from typing import Literal, NamedTuple

from sealstream.events import SOURCE_FIELDS

__all__ = ["COUNTABLE", "FIELDS", "PERIODS", "TIME_KEYS", "Field", "countable", "nearest_key", "searchable"]

Kind = Literal["text", "one_of", "resource", "address", "seq", "id", "chain", "json", "list"]


class Field(NamedTuple):
    """A key. `column`: the hot column that holds it; "" when it is read from the entry itself, at `path`."""

    key: str
    kind: Kind
    meaning: str
    column: str = ""
    path: tuple[str, ...] = ()
    values: tuple[str, ...] = ()


def _body(key: str, meaning: str, *path: str) -> Field:
    return Field(key, "text", meaning, path=path or (key,))


FIELDS: dict[str, Field] = {
    field.key: field
    for field in (
        Field("actor", "text", "who did it", "actor_id", ("actor_id",)),
        Field(
            "actor_type", "one_of", "what kind of actor", "actor_type", ("actor_type",),
            ("user", "service", "admin", "system", "anonymous"),
        ),
        Field("action", "text", "what was done", "action", ("action",)),
        Field("resource", "resource", "to what: type/id, or a type alone"),
        Field("resource_type", "text", "to what kind of resource", "resource_type", ("resource_type",)),
        Field("resource_id", "text", "to which resource, whatever its type", "resource_id", ("resource_id",)),
        Field("result", "one_of", "with what result", "result", ("result",), ("success", "failure", "denied")),
        Field("ip", "address", "from where: an address or a network", "ip_address", ("ip_address",)),
        Field("session", "text", "in which session", "session_id", ("session_id",)),
        Field("tenant", "text", "for which tenant", "tenant", ("tenant",)),
        Field(
            "kind", "one_of", "an application's event, a control statement, or the log's own", "kind",
            ("written", "kind"), ("event", "control", "log"),
        ),
        Field("chain", "chain", "in which chain", "chain", ("written", "chain")),
        Field("id", "id", "the entry's id", "id", ("id",)),
        Field("seq", "seq", "the entry's place: a number, or first..last", "seq", ("written", "seq")),
        _body("on_behalf_of", "whom the actor acted for"),
        _body("reason", "the reason that was given"),
        _body("user_agent", "the program that the actor used"),
        _body("trace", "the trace that it belongs to", "trace_id"),
        _body("producer", "which producer numbered it", "producer_id"),
        _body("subject", "whose personal data it holds", "subject_id"),
        _body("signed_by", "the key that its producer says it is signed with", "signature", "key"),
        *(_body(f"source.{name}", f"the reporting component's {name}", "source", name) for name in SOURCE_FIELDS),
        Field("changed", "list", "a field that a write changed", path=("changed_fields",)),
    )
}  # fmt: skip
"""By key, in the order in which the help lists them."""

TIME_KEYS = {
    "after": "happened at this time or later (`timestamp`)",
    "before": "happened before this time (`timestamp`)",
    "sealed_after": "was placed in the log at this time or later (`sequenced_at`)",
    "sealed_before": "was placed in the log before this time (`sequenced_at`)",
}

PERIODS = ("day", "month", "sealed_day")
"""What else can be counted by: the UTC day or month in which it happened, the UTC day on which it was sealed."""

_METADATA = "metadata."
_METADATA_KEY = re.compile(r"metadata\.[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}")
_NOT_COUNTED = {"id", "seq", "changed"}

COUNTABLE = (*(key for key in FIELDS if key not in _NOT_COUNTED), *PERIODS)

# What people write who know other query languages.
_ALSO = {
    "user": "actor", "actor_id": "actor", "who": "actor", "operation": "action", "event": "action", "type": "action",
    "created": "after", "since": "after", "from": "after", "timestamp": "after", "until": "before", "to": "before",
    "sequenced_at": "sealed_after", "ip_address": "ip", "actor_ip": "ip", "address": "ip", "session_id": "session",
    "trace_id": "trace", "service": "source.service", "host": "source.host", "status": "result", "outcome": "result",
    "org": "tenant", "customer": "tenant", "agent": "user_agent", "changed_fields": "changed",
    "producer_id": "producer", "subject_id": "subject", "behalf": "on_behalf_of",
    "authenticated_as": "source.authenticated_as", "repo": "resource",
    "signature": "signed_by", "signer": "signed_by",
}  # fmt: skip


def searchable(key: str) -> Field | None:
    """The field that a key names; `metadata.<name>` is one for every name. None: there is no such key."""
    if _METADATA_KEY.fullmatch(key):
        return Field(key, "json", "a value of the event's metadata", path=("metadata", key[len(_METADATA) :]))
    return FIELDS.get(key)


def countable(key: str) -> bool:
    """Whether entries can be counted by it."""
    return key in COUNTABLE or (key.startswith(_METADATA) and searchable(key) is not None)


def nearest_key(key: str, among: tuple[str, ...] | None = None) -> str:
    """The key that somebody who wrote this most likely meant; "" when nothing is near."""
    known = (*FIELDS, *TIME_KEYS) if among is None else among
    lowered = key.lower().replace("-", "_")
    if lowered in known:
        return lowered
    if _ALSO.get(lowered) in known:
        return _ALSO[lowered]
    near = difflib.get_close_matches(lowered, known, n=5, cutoff=0.6)
    # Of those that are as near, the one that begins alike: people err in the middle of a word.
    return max(
        near,
        key=lambda each: (
            difflib.SequenceMatcher(a=each, b=lowered).ratio(),
            _alike(each, lowered),
        ),
        default="",
    )


def _alike(one: str, other: str) -> int:
    """How many characters two words begin with alike."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
