"""Which events are new, by the last 200,000 entries and by each producer's numbers; one object for each kind.

An event is a **repeat** when the entry that it repeats is known to be in the chain: by id and digest among the recent
entries, beyond them by its producer's number. It is a **conflict** when a recent entry has its id or its number and
says something else; it is sealed all the same, since which of the two is true is not for the log to judge. The
invariant: what is called a repeat was sealed before, so leaving it out loses nothing.

Pure. A crash leaves nothing behind: everything here follows from the entries in their order, and is fed with them
again (`sealed`, `silenced`, `drop`) by whoever takes the chain next.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Literal, NamedTuple

from sealstream.events import ValidEvent
from sealstream.sequencer.producers import ProducerState, Range, source_of

__all__ = ["MAX_PRODUCERS", "MAX_RANGES_HELD", "RECENT_ENTRIES", "Deduplication", "Place", "Verdict"]

RECENT_ENTRIES = 200_000
MAX_PRODUCERS = 100_000
MAX_RANGES_HELD = 500_000
"""Missing ranges of all producers together, so that memory stays flat whatever they claim."""


class Place(NamedTuple):
    """Where a recent event stands in the chain, and by what it is known."""

    seq: int
    digest: bytes
    id: str
    producer_id: str | None
    number: int


_place = tuple.__new__  # half the time of `Place(...)`, in the one place where that counts


class Verdict(NamedTuple):
    """`repeat` of `of` (None: sealed before the recent entries); `conflict` with `of`; `unsure`: below the floor."""

    what: Literal["repeat", "conflict", "unsure"]
    of: Place | None


_REPEAT_OF_OLD = Verdict("repeat", None)
_UNSURE = Verdict("unsure", None)
_NOTHING: dict[int, Place] = {}
_SOURCE = b',"source":{'


class Deduplication:
    """What is remembered of one kind of entries. `producers`: states by producer_id, the longest unheard first."""

    def __init__(
        self,
        producers: dict[str, ProducerState] | None = None,
        *,
        recent_entries: int = RECENT_ENTRIES,
        max_producers: int = MAX_PRODUCERS,
        max_ranges: int = MAX_RANGES_HELD,
    ) -> None:
        loaded = (producers or {}).items()
        self.producers = dict(sorted(loaded, key=lambda item: item[1].last_seen))
        self._ranges = sum(len(state.missing) for state in self.producers.values())
        self._recent_entries = recent_entries
        self._max_producers = max_producers
        self._max_ranges = max_ranges
        self._recent: deque[Place] = deque()
        self._ids: dict[str, Place] = {}
        self._numbers: dict[str, dict[int, Place]] = {}
        self._shadowed: dict[bytes, Place] = {}  # recent, but a later entry has the same id
        self._changed: dict[str, None] = {}
        self._spoke: dict[str, None] = {}  # and still stand in `producers` where they stood before

    def judge(self, event: ValidEvent, digest: bytes) -> Verdict | None:
        """None: new, to be sealed. A `conflict` and what is `unsure` are sealed too, a `repeat` is not."""
        known = self._ids.get(event.id)
        if known is not None:
            if known.digest == digest:
                return Verdict("repeat", known)
            if (earlier := self._shadowed.get(digest)) is not None:
                return Verdict("repeat", earlier)
        producer_id, number = event.producer_id, event.producer_seq
        if producer_id is not None and number is not None:
            same_number = self._numbers.get(producer_id, _NOTHING).get(number)
            if same_number is None:
                state = self.producers.get(producer_id)
                knows = "new" if state is None or number >= state.next else state.knows(number)
                # Also when a recent entry has its id: of two that share an id, the older one may come a second time.
                if knows == "seen":
                    return _REPEAT_OF_OLD
                if knows == "unsure" and known is None:
                    return _UNSURE
            elif known is None or same_number.seq < known.seq:
                known = same_number
        return None if known is None else Verdict("conflict", known)

    @property
    def overfull(self) -> bool:
        """Whether more producers are remembered than should be: `to_drop` says who is forgotten."""
        return len(self.producers) > self._max_producers

    @property
    def missing_ranges(self) -> int:
        """Runs of numbers that are missing, of all producers together."""
        return self._ranges

    def sealed(self, event: ValidEvent, digest: bytes, seq: int, sequenced_at: str) -> list[Range] | None:
        """The event was sealed as entry `seq`: which of its producer's numbers are now missing that were not before."""
        self.recall(event, digest, seq)
        if event.producer_id is None or event.producer_seq is None:
            return None
        return self._count(event, event.producer_id, event.producer_seq, sequenced_at)

    def sealed_in_turn(self, event: ValidEvent, digest: bytes, seq: int, sequenced_at: str) -> bool:
        """`judge` and `sealed` in one, for an event that is new and has its producer's next number or none.

        False: it is not so, or it may be the first to say whose it is; nothing was done, and the long way decides.
        """
        canonical, event_id, producer_id, number, _, closes_at, _ = event
        if event_id in self._ids or closes_at is not None:
            return False
        if producer_id is not None and number is not None:
            state, numbers = self.producers.get(producer_id), self._numbers.get(producer_id)
            if state is None or number != state.next or numbers is None or number in numbers:
                return False
            if state.source is None and _SOURCE in canonical:
                return False
            state.next = number + 1
            state.last_seen = sequenced_at
            if state.closed or state.silent:
                state.closed = state.silent = False
            self._spoke[producer_id] = None
            numbers[number] = place = _place(Place, (seq, digest, event_id, producer_id, number))
        else:
            place = _place(Place, (seq, digest, event_id, None, -1))
        self._ids[event_id] = place
        recent = self._recent
        recent.append(place)
        if recent[0][0] <= seq - self._recent_entries:
            self._forget_until(seq)
        return True

    def recall(self, event: ValidEvent, digest: bytes, seq: int) -> None:
        """The event is entry `seq`, among the recent ones; the producers' states take it into account already."""
        producer_id, number = event.producer_id, event.producer_seq
        place = Place(seq, digest, event.id, producer_id, -1 if number is None else number)
        earlier = self._ids.get(event.id)
        if earlier is not None:
            self._shadowed[earlier.digest] = earlier
        self._ids[event.id] = place
        self._recent.append(place)
        self._forget_until(seq)
        if producer_id is None or number is None:
            return
        numbers = self._numbers.get(producer_id)
        if numbers is None:
            numbers = self._numbers[producer_id] = {}
        numbers[number] = place

    def _count(self, event: ValidEvent, producer_id: str, number: int, sequenced_at: str) -> list[Range] | None:
        closes_at = event.closes_at
        self._spoke[producer_id] = None
        known = self.producers.get(producer_id)
        state = known or self.producers.setdefault(producer_id, ProducerState())
        if state.source is None and _SOURCE in event.canonical:
            state.source = source_of(event.canonical)
        if known is not None and number == state.next and closes_at is None:  # nearly always
            state.next = number + 1
            state.last_seen = sequenced_at
            state.closed = state.silent = False
            return None
        before = len(state.missing)
        missing = state.sealed(number, sequenced_at, closes_at)
        self._ranges += len(state.missing) - before
        while self._ranges > self._max_ranges and state.missing:
            state.give_up_oldest()
            self._ranges -= 1
        return missing

    def _forget_until(self, seq: int) -> None:
        recent, oldest = self._recent, seq - self._recent_entries
        while recent and recent[0].seq <= oldest:
            self._forget(recent.popleft())

    def _forget(self, place: Place) -> None:
        if self._ids.get(place.id) is place:
            del self._ids[place.id]
        elif self._shadowed.get(place.digest) is place:
            del self._shadowed[place.digest]
        if place.producer_id is not None:
            numbers = self._numbers[place.producer_id]
            if numbers.get(place.number) is place:
                del numbers[place.number]
                if not numbers:
                    del self._numbers[place.producer_id]

    def changed(self) -> dict[str, ProducerState | None]:
        """States that changed since the last call; None: dropped."""
        self._longest_unheard_first()
        states = {producer_id: self.producers.get(producer_id) for producer_id in self._changed}
        self._changed.clear()
        return states

    def write_again(self, producer_ids: Iterable[str]) -> None:
        """Whatever is on record of these is not to be trusted: they count as changed."""
        self._changed.update(dict.fromkeys(producer_ids))

    def _longest_unheard_first(self) -> dict[str, ProducerState]:
        """`producers` in the order of `last_seen`: whoever spoke since the last call moves to the end."""
        spoke = [(producer_id, self.producers.pop(producer_id, None)) for producer_id in self._spoke]
        self._changed.update(self._spoke)
        known = [(producer_id, state) for producer_id, state in spoke if state is not None]
        self.producers.update(sorted(known, key=lambda one: one[1].last_seen))
        self._spoke.clear()
        return self.producers

    def newly_silent(self, day_ago: str) -> list[str]:
        """Who neither closed nor spoke since `day_ago` and of whom that was not yet stated."""
        silent = []
        for producer_id, state in self._longest_unheard_first().items():
            if state.last_seen > day_ago:
                break
            if not state.closed and not state.silent:
                silent.append(producer_id)
        return silent

    def to_drop(self, day_ago: str, month_ago: str) -> list[str]:
        """Who is forgotten: closed since a day, silent since a month, and the longest silent of too many."""
        excess = len(self.producers) - self._max_producers
        dropped: list[str] = []
        for producer_id, state in self._longest_unheard_first().items():
            due = state.last_seen <= day_ago and (state.closed or state.last_seen <= month_ago)
            if len(dropped) < excess or due:
                dropped.append(producer_id)
            elif state.last_seen > day_ago:
                break
        return dropped

    def silenced(self, producer_ids: Iterable[str]) -> None:
        """Their silence was stated."""
        for producer_id in producer_ids:
            if (state := self.producers.get(producer_id)) is not None:
                state.silent = True
                self._changed[producer_id] = None

    def drop(self, producer_ids: Iterable[str]) -> None:
        """Forget their numbers; recent entries stay at hand."""
        for producer_id in producer_ids:
            if (state := self.producers.pop(producer_id, None)) is not None:
                self._ranges -= len(state.missing)
                self._changed[producer_id] = None
