"""Folds the chain's statements about alerts into what is known of each. Pure: what counts is what was sealed last.

The invariant: the book is a function of the statements in the chain's order, so that everybody who reads it sees the
same, and an auditor can fold it again. A statement about an alert that was never raised changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, Literal, NamedTuple

from sealstream.errors import InvalidEvent
from sealstream.events import parse_timestamp
from sealstream.layout import Entry
from sealstream.layout.alerts import SEVERITIES

__all__ = ["ACTIONS", "Book", "Case", "Incident", "Judgement", "Mute", "fold"]

ACTIONS = ("alert.raised", "alert.acknowledged", "alert.closed", "alert.muted", "alert.unmuted")

State = Literal["open", "acknowledged", "closed"]


class Judgement(NamedTuple):
    """What a person said of an alert. `verdict`: `true-positive`, `false-positive`, `benign`; empty: looks into it."""

    seq: int
    at: datetime
    by: str
    verdict: str
    words: str


class Mute(NamedTuple):
    """Alerts that are nobody's work. `detector`, `subject`: of which; empty: of all. `ended`: None while none has."""

    id: str
    chain: str
    seq: int
    since: datetime
    until: datetime
    detector: str
    subject: str
    reason: str
    by: str
    ended: datetime | None = None

    def in_force(self, moment: datetime) -> bool:
        """Whether it holds at this moment."""
        return self.since <= moment < min(self.until, self.ended or self.until)

    def covers(self, detector: str, subject: str) -> bool:
        """Whether such an alert is meant."""
        return self.detector in ("", detector) and self.subject in ("", subject)


class Case(NamedTuple):
    """One alert, and what was said of it, the newest last. `at`: when it was sealed. `facts`: the statement's own."""

    id: str
    chain: str
    seq: int
    at: datetime
    subject_kind: str
    subject: str
    tenant: str | None
    facts: dict[str, Any]
    said: tuple[Judgement, ...] = ()
    muted_by: Mute | None = None

    @property
    def detector(self) -> str:
        """Which detector raised it."""
        return str(self.facts["detector"])

    @property
    def severity(self) -> str:
        """One of `SEVERITIES`."""
        return str(self.facts["severity"])

    @property
    def incident(self) -> str:
        """The id of the first alert of its incident."""
        return str(self.facts["incident"])

    @property
    def verdict(self) -> str:
        """How it was judged last; empty: not yet."""
        return next((each.verdict for each in reversed(self.said) if each.verdict), "")

    @property
    def state(self) -> State:
        """Closed once it was judged, acknowledged once somebody looks into it."""
        if self.verdict:
            return "closed"
        return "acknowledged" if self.said else "open"

    @property
    def is_work(self) -> bool:
        """Whether somebody has to do something about it."""
        return self.state != "closed" and self.muted_by is None


class Incident(NamedTuple):
    """Alerts of one subject that follow each other, the first one first."""

    cases: tuple[Case, ...]

    @property
    def id(self) -> str:
        """Its first alert's."""
        return self.cases[0].incident

    @property
    def severity(self) -> str:
        """The worst of its alerts'."""
        return max((case.severity for case in self.cases), key=SEVERITIES.index)

    @property
    def state(self) -> State:
        """That of the alert of which most is left to do."""
        states = {case.state for case in self.cases if case.muted_by is None} or {"closed"}
        return "open" if "open" in states else "acknowledged" if "acknowledged" in states else "closed"


class Book(NamedTuple):
    """All alerts and mutes of one chain or more, in the order in which they were sealed."""

    cases: dict[str, Case]
    mutes: dict[str, Mute]

    def find(self, wanted: str) -> list[Case]:
        """The alerts whose id begins so."""
        return [case for key, case in self.cases.items() if key.startswith(wanted.lower())]

    def incidents(self) -> Iterator[Incident]:
        """In the order of their first alerts."""
        grouped: dict[tuple[str, str], list[Case]] = {}
        for case in self.cases.values():
            grouped.setdefault((case.chain, case.incident), []).append(case)
        for cases in grouped.values():
            yield Incident(tuple(cases))

    def mute_of(self, detector: str, subject: str, chain: str, moment: datetime) -> Mute | None:
        """The mute that is in force for such an alert."""
        return next(
            (
                mute
                for mute in self.mutes.values()
                if mute.chain == chain and mute.in_force(moment) and mute.covers(detector, subject)
            ),
            None,
        )


def fold(statements: Iterable[Entry]) -> Book:
    """The book that these entries make, given in each chain's order; others than `ACTIONS` are passed over."""
    book = Book({}, {})
    for entry in statements:
        _add(book, entry)
    return book


def _add(book: Book, entry: Entry) -> None:
    said: dict[str, Any] = entry.metadata or {}
    at = parse_timestamp(entry.written.sequenced_at)
    match entry.action:
        case "alert.raised":
            if entry.id not in book.cases:  # the first one sealed counts
                mute = book.mute_of(str(said["detector"]), entry.resource_id, entry.written.chain, at)
                book.cases[entry.id] = Case(
                    entry.id,
                    entry.written.chain,
                    entry.written.seq,
                    at,
                    entry.resource_type,
                    entry.resource_id,
                    entry.tenant,
                    said,
                    muted_by=mute,
                )
        case "alert.acknowledged" | "alert.closed":
            case = book.cases.get(str(said["alert"]))
            if case is not None and case.chain == entry.written.chain:
                words = str(said.get("reason") or said.get("note") or "")
                judged = Judgement(entry.written.seq, at, _who(entry), str(said.get("as", "")), words)
                book.cases[case.id] = case._replace(said=(*case.said, judged))
        case "alert.muted":
            try:
                until = parse_timestamp(said["until"])
            except InvalidEvent:
                return  # the schema knows the form alone: a 99th of a month ends nothing
            book.mutes.setdefault(
                str(said["mute"]),
                Mute(
                    str(said["mute"]),
                    entry.written.chain,
                    entry.written.seq,
                    at,
                    until,
                    str(said.get("detector", "")),
                    str(said.get("subject", "")),
                    str(said["reason"]),
                    _who(entry),
                ),
            )
        case "alert.unmuted":
            mute = book.mutes.get(str(said["mute"]))
            if mute is not None and mute.chain == entry.written.chain:
                book.mutes[mute.id] = mute._replace(ended=at)


def _who(entry: Entry) -> str:
    by = (entry.metadata or {}).get("by")
    return f"{entry.actor_id} (for {by})" if by else entry.actor_id
