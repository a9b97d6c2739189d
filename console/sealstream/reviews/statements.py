"""Folds the chain's statements about reviews into what is known of each period. Pure.

The invariant: it is a function of the statements in the chain's order. A signature counts only when it was sealed after
its period was over: nobody can have seen a period whole that still ran.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from sealstream.errors import Misconfigured
from sealstream.events import parse_timestamp
from sealstream.layout import Entry
from sealstream.reports import Period

__all__ = ["ACTIONS", "Review", "Reviews", "Signature", "Started", "fold", "review_id"]

ACTIONS = ("review.started", "review.signed")

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "sealstream/review")


class Started(NamedTuple):
    """A document was made for a review. `document_sha256`: of its file, in hex."""

    seq: int
    at: datetime
    by: str
    document_sha256: str


class Signature(NamedTuple):
    """A person's word about a period. `person`: who ran the command; `by`: the same with whom they named."""

    seq: int
    at: datetime
    person: str
    by: str
    note: str
    document_sha256: str
    size: int
    open_alerts: int


class Review(NamedTuple):
    """One period of one chain: the documents that were made for it, and the signatures, each the newest last."""

    id: str
    chain: str
    period: Period
    started: tuple[Started, ...] = ()
    signatures: tuple[Signature, ...] = ()


class Reviews(NamedTuple):
    """All of one chain or more, by chain and period."""

    found: dict[tuple[str, Period], Review]

    def of(self, chain: str, period: Period) -> Review:
        """What is known of a period; nothing, where nobody has said anything."""
        return self.found.get((chain, period), Review("", chain, period))


def review_id(origin: str, period: Period) -> str:
    """A UUIDv5 of the chain's origin and the period: whoever reviews it, it is one review."""
    return str(uuid.uuid5(_NAMESPACE, f"{origin}\n{period}"))


def fold(statements: Iterable[Entry]) -> Reviews:
    """What these entries say, given in each chain's order; others than `ACTIONS`, and a period that is none, are
    passed over.
    """
    reviews = Reviews({})
    for entry in statements:
        said: dict[str, Any] = entry.metadata or {}
        if entry.action not in ACTIONS:
            continue
        try:
            period = Period.parse(str(said["period"]))
        except Misconfigured:
            continue
        review = reviews.of(entry.written.chain, period)._replace(id=str(said["review"]))
        at, sha256 = parse_timestamp(entry.written.sequenced_at), str(said.get("document_sha256", ""))
        if entry.action == "review.started":
            review = review._replace(started=(*review.started, Started(entry.written.seq, at, _who(entry), sha256)))
        elif at >= period.ends:
            signature = Signature(
                entry.written.seq,
                at,
                entry.actor_id,
                _who(entry),
                str(said["note"]),
                sha256,
                int(said.get("size", 0)),
                int(said.get("open_alerts", 0)),
            )
            review = review._replace(signatures=(*review.signatures, signature))
        reviews.found[review.chain, period] = review
    return reviews


def _who(entry: Entry) -> str:
    by = (entry.metadata or {}).get("by")
    return f"{entry.actor_id} (for {by})" if by else entry.actor_id
