"""What follows from a batch of records of activity: alerts, and the states that their subjects have then. No I/O.

The invariant: alerts and states are functions of a subject's records in their order, however they are cut into batches
and however often some come again. A record that can't be understood is counted, told and passed over, as if it had
never been; where a detector fails at one, that is counted and told, and the other detectors have seen it. Nothing to
lose in a crash: states become known only through who stores them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import structlog

from sealstream.anomaly.detecting import epoch_of
from sealstream.anomaly.detectors import DETECTORS
from sealstream.anomaly.watching import Subject, Watch, chosen
from sealstream.errors import NotCanonical
from sealstream.layout import check_chain_name
from sealstream.layout.activity import Activity, AddressActivity, decode_activity, decode_address_activity
from sealstream.layout.alerts import Alert
from sealstream.layout.chains import original_name

__all__ = ["Handled", "Handling", "Kind", "State", "Taken", "counted_by", "decoded", "watches_of"]

Kind = Literal["actor", "address"]

_SUBJECTS_AT_HAND = 10_000
_TOLD_BYTES = 120


class Taken(NamedTuple):
    """A record as it was read."""

    kind: Kind
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None


class State(NamedTuple):
    """A subject's state after a batch. `partition`: of its records; `counted`: what `counted_by` says of it."""

    kind: Kind
    partition: int
    key: bytes
    value: bytes
    counted: int


class Handled(NamedTuple):
    """What a batch gave. `alerts`: each with the record that it was found in. `malformed`, `failed`: records that were
    passed over, since they could not be understood; at which a detector failed.
    """

    alerts: list[tuple[Alert, Taken]]
    states: list[State]
    malformed: int
    failed: int


class Handling:
    """`watches`: the detectors of each kind. `stored`: the stored state of a subject, None for one never seen."""

    def __init__(self, watches: Mapping[Kind, Watch[Any]], stored: Callable[[Kind, bytes], bytes | None]) -> None:
        self._watches = watches
        self._stored = stored
        self._at_hand: dict[tuple[Kind, bytes], Subject[Any]] = {}
        self._log = structlog.get_logger().bind(process="anomaly")

    def handle(self, records: Sequence[Taken]) -> Handled:
        """Records in the order of their offsets, of one or several partitions. What comes of them must be stored before
        the next call, or `forget` be called.
        """
        alerts: list[tuple[Alert, Taken]] = []
        touched: dict[tuple[Kind, bytes], list[tuple[Taken, Any]]] = {}
        malformed = failed = 0
        for taken in records:
            try:
                record = decoded(taken)
            except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the next one may be right
                malformed += 1
                self._tell("a record of activity can't be understood", taken, error)
                continue
            assert taken.key is not None
            name = (taken.kind, taken.key)
            try:
                found = self._watches[taken.kind].see(self._subject(name), record)
            except Exception as error:  # noqa: BLE001 - one record must not stop the watch over all others
                failed += 1
                self._tell("a record of activity can't be handled", taken, error, exc_info=True)
                self._go_back(name, touched.get(name, ()))
                continue
            if failures := self._watches[taken.kind].failures:
                failed += 1
                for detector, why in failures:
                    self._tell(f"the detector {detector} failed at a record of activity", taken, why, exc_info=why)
                failures.clear()
            touched.setdefault(name, []).append((taken, record))
            alerts += [(alert, taken) for alert in found]
        states, unwritable = self._states(touched)
        return Handled(alerts, states, malformed, failed + unwritable)

    def forget(self) -> None:
        """What is at hand may be old: the next batch begins with what is stored."""
        self._at_hand.clear()

    def _states(self, touched: Mapping[tuple[Kind, bytes], Sequence[tuple[Taken, Any]]]) -> tuple[list[State], int]:
        states, failed = [], 0
        for (kind, key), records in touched.items():
            subject, last = self._at_hand[kind, key], records[-1][0]
            try:
                value = self._watches[kind].encode(subject)
            except Exception as error:  # noqa: BLE001 - as where a detector fails: the state before stays
                failed += len(records)
                self._tell("a detector's state can't be written", last, error, exc_info=True)
                del self._at_hand[kind, key]
                continue
            if value != self._stored(kind, key):
                states.append(State(kind, last.partition, key, value, counted_by(subject)))
        if len(self._at_hand) > _SUBJECTS_AT_HAND:
            self._at_hand.clear()
        return states, failed

    def _subject(self, name: tuple[Kind, bytes]) -> Subject[Any]:
        subject = self._at_hand.get(name)
        if subject is None:
            subject = self._at_hand[name] = self._read(*name)
        return subject

    def _read(self, kind: Kind, key: bytes) -> Subject[Any]:
        value = self._stored(kind, key)
        if value is None:
            return Subject()
        try:
            return self._watches[kind].decode(value)
        except NotCanonical as error:
            self._log.error("a stored state can't be understood: begun anew", subject=key[:_TOLD_BYTES], why=str(error))
            return Subject()

    def _go_back(self, name: tuple[Kind, bytes], before: Sequence[tuple[Taken, Any]]) -> None:
        """A detector may have changed half of its state: make it again from the records before."""
        self._at_hand.pop(name, None)
        subject = self._subject(name)
        for _taken, record in before:
            self._watches[name[0]].see(subject, record)

    def _tell(self, what: str, taken: Taken, error: Exception, **more: Any) -> None:
        self._log.error(
            f"{what}: passed over",
            kind=taken.kind,
            partition=taken.partition,
            offset=taken.offset,
            key=None if taken.key is None else taken.key[:_TOLD_BYTES].decode(errors="backslashreplace"),
            why=f"{type(error).__name__}: {error}",
            **more,
        )


def watches_of(thresholds: Mapping[str, Mapping[str, Any]], more: Sequence[Any] = ()) -> dict[Kind, Watch[Any]]:
    """All detectors with these thresholds, and `more` of them, by whose records they read.

    Raises `msgspec.ValidationError`.
    """
    detectors = [*chosen(DETECTORS, thresholds), *more]
    return {
        "actor": Watch([each for each in detectors if each.subject == "actor"], Activity, goes_on=True),
        "address": Watch([each for each in detectors if each.subject == "address"], AddressActivity, goes_on=True),
    }


def counted_by(subject: Subject[Any]) -> int:
    """A number that rises with each record that the subject's state counts, whatever topic the record stood in."""
    return sum(record.last_seq + 1 for record in subject.last.values())


def decoded(taken: Taken) -> Activity | AddressActivity:
    """The record, with what detectors rely on checked. Raises one error or another for what is none."""
    if taken.key is None or taken.value is None:
        raise NotCanonical(f"a record without {'a key' if taken.key is None else 'a value'}")
    record: Activity | AddressActivity
    if taken.kind == "actor":
        record = decode_activity(taken.value)
        subject = record.actor_id
    else:
        record = decode_address_activity(taken.value)
        subject = record.ip_address
    if subject.encode() != taken.key:
        raise NotCanonical(f"a record of {subject[:_TOLD_BYTES]!r} under another key")
    check_chain_name(original_name(record.chain))
    epoch_of(record.second)
    if record.last_seq < 0:
        raise ValueError("a seq below 0")
    return record
