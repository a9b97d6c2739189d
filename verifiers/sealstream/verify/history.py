"""Holds what a walk found against what was signed: the tree, every checkpoint on the way, the producers' numbers.

The tree is grown from the leaves that the walk computed, and its root compared at every signed size that the store has
reached. A size where everything hashed well and the root still differs is a **fork**: somebody sealed another history,
between the last size that matches and this one. Where leaves are missing the tree goes on from the next compact range
that a signature vouches for, so that one hole does not hide what comes after it.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sealstream.errors import InvalidEvent, NotCanonical
from sealstream.events import parse_timestamp
from sealstream.layout import Retention, longest_retention, read_retention
from sealstream.layout.archive import DESTROYED_ACTION
from sealstream.layout.chains import RETENTION_EXTENDED, STORE_EXPIRED
from sealstream.layout.holds import HOLD_LIFTED, HOLD_SET, Hold, after_statement, covering
from sealstream.layout.leaving import why_not_expired
from sealstream.sealing import EMPTY_RANGE, CompactRange, extend, root
from sealstream.verify.producers import ProducerLedger, Ranges
from sealstream.verify.report import Fault, FaultKind, Report
from sealstream.verify.signatures import MAX_REFUSED_LISTED, SignatureTally
from sealstream.verify.signed import SignedSize
from sealstream.verify.walk import Statement, WalkResult

__all__ = ["ChainIdentity", "History"]

_UNSIGNED_GRACE = timedelta(seconds=60)


class ChainIdentity(NamedTuple):
    """What a verifier trusts: the chain's name, origin and public key."""

    name: str
    origin: str
    vkey: str


class History:
    """One store's history, fed with walk results in order of seq; then `finish()` fills the report.

    `start` is the compact range before the first entry read; EMPTY_RANGE from the beginning, or where it is not known
    (then not `from_the_start`, and the first signed size on the way gives it).
    """

    def __init__(
        self,
        identity: ChainIdentity,
        store: str,
        sizes: Sequence[SignedSize],
        *,
        start: CompactRange = EMPTY_RANGE,
        from_the_start: bool = True,
    ) -> None:
        self._identity = identity
        self._store = store
        self._sizes = list(sizes)
        self._next = bisect.bisect_right([signed.size for signed in sizes], start.size)
        self._tree = start
        self._matched = start.size
        self._leaves: dict[int, bytes] = {}
        self._times: dict[int, str] = {}  # sequenced_at by seq, above the newest signed size
        self._signed_at = ""  # of the last entry below the newest signed size
        self._faulty: set[int] = set()
        self._last_matching: SignedSize | None = None
        self._holes = Ranges()  # seqs that are missing or changed
        self._ledger = ProducerLedger(from_the_start=from_the_start, explained=self._holes.overlaps)
        self._top = start.size
        self.archived: dict[int, Statement] = {}
        self.created: Statement | None = None
        self.continued: Statement | None = None
        self._extended: list[Statement] = []
        self._expired: list[Statement] = []
        self.holding: list[Statement] = []
        self.destroyed: list[Statement] = []
        self.faults: list[Fault] = []
        self.signatures = SignatureTally()
        self._month = ""
        self._month_ends: dict[str, tuple[int, bytes]] = {}  # the last seq of each month that is over, and its hash
        self._last: tuple[int, bytes] = (-1, b"")

    def add(self, result: WalkResult, reached: int) -> None:
        """Take a batch's result; every seq below `reached` has been walked or is a hole."""
        self._leaves.update(result.leaves)
        self._times.update(result.times)
        self._note_months(result)
        self._faulty.update(f.first_seq for f in result.faults if f.first_seq is not None)
        self.faults += result.faults
        self.signatures.add(result.signatures)
        for fault in result.faults:
            if fault.kind in (FaultKind.EDITED, FaultKind.MISSING) and fault.first_seq is not None:
                self._holes.add(fault.first_seq, fault.first_seq if fault.last_seq is None else fault.last_seq)
        self._numbers(result)
        self._top = max(self._top, reached)
        while self._next < len(self._sizes) and self._sizes[self._next].size <= reached:
            self._compare(self._sizes[self._next])
            self._next += 1

    def _note_months(self, result: WalkResult) -> None:
        """Where months end: seldom, so a batch is looked through only when one ends in it."""
        times = result.times
        if not times:
            return
        seqs = iter(times)
        if self._month == next(reversed(times.values()))[:7] == times[next(seqs)][:7]:
            last = next(reversed(times))
            self._last = (last, result.leaves.get(last, b""))
            return
        for seq, time in times.items():
            month = time[:7]
            if month != self._month and self._last[0] == seq - 1:  # else some are missing between
                self._month_ends.setdefault(self._month, self._last)
            self._month, self._last = month, (seq, result.leaves.get(seq, b""))

    @property
    def trusted_size(self) -> int:
        """The newest signed size whose root this store's entries hash to; 0 when there is none."""
        return self._last_matching.size if self._last_matching else 0

    def _numbers(self, result: WalkResult) -> None:
        gaps = sorted((s for s in result.statements if s.action == "producer.gap"), key=lambda s: s.seq)
        waiting = iter(gaps)
        gap = next(waiting, None)
        for producer_id, number, seq in result.numbered:
            while gap is not None and gap.seq < seq:
                self._ledger.gap(str(gap.metadata.get("producer_id")), gap.metadata.get("ranges", []))
                gap = next(waiting, None)
            again = self._ledger.event(producer_id, number, seq)
            if again and seq in result.signatures.signed_seqs and len(self.signatures.again) < MAX_REFUSED_LISTED:
                self.signatures.again.append(seq)
        while gap is not None:
            self._ledger.gap(str(gap.metadata.get("producer_id")), gap.metadata.get("ranges", []))
            gap = next(waiting, None)
        for statement in result.statements:
            if statement.action == "chain.created" and statement.seq == 0:
                self.created = statement
                self._entry_zero(statement)
            elif statement.action == "chain.continued" and statement.seq == 1:
                self.continued = statement
            elif statement.action == "segment.archived":
                self._archived(statement)
            elif statement.action == RETENTION_EXTENDED:
                self._extended.append(statement)
            elif statement.action == STORE_EXPIRED:
                self._expired.append(statement)
            elif statement.action in (HOLD_SET, HOLD_LIFTED):
                self.holding.append(statement)
            elif statement.action == DESTROYED_ACTION:
                self.destroyed.append(statement)

    def _entry_zero(self, statement: Statement) -> None:
        for name, expected in (("origin", self._identity.origin), ("vkey", self._identity.vkey)):
            came = statement.metadata.get(name)
            if came != expected:
                detail = (
                    f"entry 0 says {name} {came!r}: the verifier's is {expected!r}; this is another chain's history"
                )
                self.faults.append(Fault(FaultKind.FORKED, self._store, detail, 0, 0))

    def promised(self, seq: int) -> Retention | None:
        """How long the chain promises to keep entry `seq`: by entry 0 and what was extended before it; None: not read.

        An extension that shortens something counts for what it lengthens: nobody can take a promise back. Where entry 0
        is gone, the first statement that names what was in force before it counts in its place.
        """
        if self.created is not None:
            return self._with_extensions(seq, self.created.metadata.get("retention"))
        told = sorted([*self.destroyed, *self._extended], key=lambda statement: statement.seq)[:1]
        was = [each.metadata.get("from" if each.action == RETENTION_EXTENDED else "retention") for each in told]
        return self._with_extensions(seq, *was)

    def _promised_before(self, statement: Statement) -> Retention | None:
        """By what a statement that lets entries go is judged; where entry 0 is gone, also by what it says itself: what
        another one says, which anybody may have had sealed, must not make it wrong.
        """
        if self.created is not None:
            return self.promised(statement.seq)
        return self._with_extensions(statement.seq, statement.metadata.get("retention"))

    def _with_extensions(self, seq: int, *base: Any) -> Retention | None:
        promise: Retention | None = None
        for members in (*base, *(each.metadata.get("to") for each in self._extended if each.seq < seq)):
            try:
                read = read_retention(members if isinstance(members, dict) else {})
            except NotCanonical:
                continue  # against the rules, and reported as that
            promise = read if promise is None else longest_retention(promise, read)
        return promise

    def holds(self, upto: int, before: tuple[Hold, ...] = (), behind: int = -1) -> tuple[Hold, ...]:
        """The legal holds that stand after entry `upto`, if `before` stood after entry `behind`."""
        held = before
        for statement in self.holding:
            if behind < statement.seq <= upto:
                held = after_statement(held, statement.action, statement.metadata)
        return held

    def expired(self, store: str, size: int, last_hash: bytes) -> Statement | None:
        """The signed `store.expired` by which most of a store's first `size` entries have left it; None: none of them.

        `last_hash`: of the entry `size` - 1, for a statement that says so of that one. Months leave in order; a store
        that was built anew may begin amid one whose time was over.
        """
        found: Statement | None = None
        for statement in self._expired:
            said, last = statement.metadata, int(statement.metadata["last_seq"])
            if said["store"] != store or statement.seq >= self.trusted_size or self._expired_wrongly(statement):
                continue
            if last == size - 1 and said["last_hash"] != last_hash.hex():
                continue
            if last >= size and said["month"] not in self._month_ends:
                continue  # it says so of entries that are there, and they end no such month
            if found is None or last > int(found.metadata["last_seq"]):
                found = statement
        return found

    def _expired_wrongly(self, statement: Statement) -> str:
        """Why a `store.expired` lets nothing go; empty: it does."""
        promise = self._promised_before(statement)
        early = why_not_expired(statement.metadata, statement.seq, statement.at, promise)
        return early or self._says_another_end(statement)

    def _says_another_end(self, statement: Statement) -> str:
        """What is wrong with the entries that a `store.expired` names, where its month was read; empty: nothing."""
        said = statement.metadata
        last, own_hash = self._month_ends.get(str(said.get("month")), (-1, b""))
        if last < 0:
            return ""
        if said["last_seq"] != last:
            return f"{said['month']} ends with entry {last}, and it says {said['last_seq']}"
        return "" if said.get("last_hash") == own_hash.hex() else f"its last_hash is not that of entry {last}"

    def destroyed_before(self, size: int, last_hash: bytes) -> tuple[int, Statement | None]:
        """How many of the archive's first `size` entries are gone as a signed `archive.destroyed` says, and the last
        that says so. `last_hash`: of the entry `size` - 1, which the list must name when it ends there.
        """
        gone, by = 0, None
        for statement in self.destroyed:
            if statement.seq >= self.trusted_size:
                continue
            for item in statement.metadata["segments"]:
                end = int(item["last_seq"]) + 1
                if gone < end <= size and (end < size or item["last_hash"] == last_hash.hex()):
                    gone, by = end, statement
        return gone, by

    def _destroyed_wrongly(self) -> None:
        """What was destroyed before its time, under a hold, or is not what was archived, whoever says so."""
        for statement in self.destroyed:
            holds, promise = self.holds(statement.seq), self._promised_before(statement)
            at = parse_timestamp(statement.at)
            for item in statement.metadata["segments"]:
                why = _too_early(item, at, promise) or _otherwise(item, self.archived.get(int(item["first_seq"])))
                if held := covering(holds, _day_of(item)):
                    why = f"the legal hold {held[0].id} stood"
                if why:
                    detail = f"lists {item['object']} as destroyed: {why}"
                    self.faults.append(Fault(FaultKind.INVALID, self._store, detail, statement.seq, statement.seq))

    def _too_early(self) -> None:
        """What was said to leave before the chain's promise of then was over, while it was held, or otherwise than it
        is.
        """
        for statement in self._expired:
            month = str(statement.metadata.get("month", "what it names"))
            wrong = [self._expired_wrongly(statement)]
            for hold in self.holds(statement.seq):
                if hold.covers_any(f"{month}-01", f"{month}-31"):
                    wrong.append(f"the legal hold {hold.id} covers it")
            for why in filter(None, wrong):
                detail = f"lets {month} leave {statement.metadata['store']} at {statement.at}: {why}"
                self.faults.append(Fault(FaultKind.INVALID, self._store, detail, statement.seq, statement.seq))

    def _archived(self, statement: Statement) -> None:
        first_seq = _first_seq(str(statement.metadata.get("object", "")))
        if first_seq is None:
            return
        former = self.archived.setdefault(first_seq, statement)
        if former is not statement and former.metadata != statement.metadata:
            detail = (
                f"the segment from {first_seq} was archived twice, by entry {former.seq} and differently by entry "
                f"{statement.seq}: {former.metadata} and {statement.metadata}"
            )
            self.faults.append(Fault(FaultKind.FORKED, self._store, detail, statement.seq, statement.seq))

    def _compare(self, signed: SignedSize) -> None:
        wanted = range(self._tree.size, signed.size)
        run = [self._leaves.get(seq) for seq in wanted]
        whole = [leaf for leaf in run if leaf is not None]
        if len(whole) == len(run):
            grown = extend(self._tree, whole)
            if root(grown) == signed.checkpoint.root:
                self._settle(signed, grown)
                self._last_matching = signed
                return
            first = self._matched
            explained = sorted(seq for seq in self._faulty if first <= seq < signed.size)
            why = f" (entries at fault in between: {_some(explained)})" if explained else ""
            detail = (
                f"the entries {first} to {signed.size - 1} do not hash to the root signed for size {signed.size} "
                f"({signed.place}): signed {signed.checkpoint.root.hex()}, computed {root(grown).hex()}; size {first} "
                f"is the last that matches{why}"
            )
            self._forked(first, signed.size - 1, detail)
            self._settle(signed, signed.compact_range or grown, matched=signed.compact_range is not None)
            return
        if signed.compact_range is not None:
            self._settle(signed, signed.compact_range)
        # else: the leaves stay, and the next signed size with a compact range goes on

    def _forked(self, first: int, last: int, detail: str) -> None:
        previous = self.faults[-1] if self.faults else None
        if previous is not None and previous.kind is FaultKind.FORKED and previous.last_seq == first - 1:
            self.faults[-1] = previous._replace(last_seq=last)  # one rewritten suffix is one fault
        else:
            self.faults.append(Fault(FaultKind.FORKED, self._store, detail, first, last))

    def _settle(self, signed: SignedSize, tree: CompactRange, *, matched: bool = True) -> None:
        """Go on from `tree` at this size; what lies below is done with, so that memory stays flat."""
        passed = range(self._tree.size, signed.size)
        self._tree = tree
        self._signed_at = self._times.get(signed.size - 1, self._signed_at)
        for done in (self._leaves, self._times):
            for seq in passed:
                done.pop(seq, None)
        self._faulty = {seq for seq in self._faulty if seq >= signed.size}
        if matched:
            self._matched = signed.size

    def finish(self, report: Report, now: datetime, *, stale_after: timedelta) -> None:
        """Fill the report with what can only be said at the end.

        Numbers that nobody named, signed sizes that must be reached and are not, entries that are unsigned for too
        long, and a newest signed entry older than `stale_after`.
        """
        for missing in self._ledger.unnamed():
            numbers = f"{missing.first}" if missing.first == missing.last else f"{missing.first} to {missing.last}"
            detail = (
                f"producer {missing.producer_id} numbered its events; {numbers} never arrived, and no producer.gap of "
                "the log says so"
            )
            self.faults.append(Fault(FaultKind.UNACCOUNTED, self._store, detail, missing.at_seq, missing.at_seq))
        self._not_reached()
        self._found_elsewhere()
        self._too_early()
        self._destroyed_wrongly()
        if self.continued is not None:
            report.notes.append(_continuation(self.continued))
        report.notes += filter(None, map(_extension, self._extended))
        highest = self._sizes[self._next - 1].size if self._next else 0
        if self._last_matching is not None:
            report.size = self._last_matching.size
            report.root = self._last_matching.checkpoint.root
            report.checkpoint_note = self._last_matching.note
        report.unsigned_entries = max(self._top - highest, 0)
        report.newest_sequenced_at = self._times.get(self._top - 1, self._signed_at)
        self._ages(now, highest, stale_after)
        report.faults += self.faults

    def _found_elsewhere(self) -> None:
        """What was skipped and turned up later is reordered, not missing."""
        moved = Ranges()
        for fault in self.faults:
            if fault.kind is FaultKind.REORDERED and fault.first_seq is not None:
                moved.add(fault.first_seq, fault.first_seq)
        if moved:
            self.faults = [
                fault
                for fault in self.faults
                if fault.kind is not FaultKind.MISSING or not moved.covers(fault.first_seq or 0, fault.last_seq or 0)
            ]

    def _not_reached(self) -> None:
        beyond = next((signed for signed in reversed(self._sizes[self._next :]) if signed.must_reach), None)
        if beyond is not None:
            detail = (
                f"ends at size {self._top}, but a checkpoint of size {beyond.size} is signed ({beyond.place}): the "
                "entries at the end are gone"
            )
            self.faults.append(Fault(FaultKind.ROLLED_BACK, self._store, detail, self._top, beyond.size - 1))

    def _ages(self, now: datetime, highest: int, stale_after: timedelta) -> None:
        if not self._signed_at:
            if self._top == 0:
                self.faults.append(Fault(FaultKind.STALE, self._store, "holds no entry of this chain"))
        elif (age := now - parse_timestamp(self._signed_at)) > stale_after:
            detail = (
                f"its newest signed entry was sealed at {self._signed_at}, {_span(age)} ago: expected at most "
                f"{_span(stale_after)}; a tail that was cut off would look the same"
            )
            self.faults.append(Fault(FaultKind.STALE, self._store, detail))
        oldest_unsigned = self._times.get(highest, "")
        if oldest_unsigned and (age := now - parse_timestamp(oldest_unsigned)) > _UNSIGNED_GRACE:
            detail = f"no checkpoint covers these entries; the first was sealed at {oldest_unsigned}, {_span(age)} ago"
            self.faults.append(Fault(FaultKind.UNSIGNED, self._store, detail, highest, self._top - 1))


def _continuation(statement: Statement) -> str:
    said = statement.metadata
    first, last = said.get("first_lost"), said.get("last_lost")
    lost = "nothing of it is lost"
    if isinstance(first, int) and isinstance(last, int) and first <= last:
        lost = f"entries {first} to {last} of it are lost, as the log itself says"
    return f"entry 1: this chain goes on where {said.get('origin')} was closed; {lost}"


def _extension(statement: Statement) -> str:
    try:
        read_retention(statement.metadata.get("to", {}))
    except NotCanonical:
        return ""  # it counts for nothing
    policies = [statement.metadata.get(member, {}) for member in ("from", "to")]
    before, after = (f"{policy.get('policy')} ({policy.get('archive_days')} days)" for policy in policies)
    return f"entry {statement.seq}: retention extended from {before} to {after}; entries behind it are kept so"


def _span(age: timedelta) -> str:
    seconds = int(age.total_seconds())
    if seconds < 120:
        return f"{seconds} s"
    if seconds < 7200:
        return f"{seconds // 60} min"
    return f"{seconds // 3600} h"


def _some(seqs: Sequence[int]) -> str:
    shown = ", ".join(str(seq) for seq in seqs[:5])
    return shown if len(seqs) <= 5 else f"{shown} and {len(seqs) - 5} more"


def _first_seq(object_key: str) -> int | None:
    name = object_key.rpartition("/")[2]
    digits = name[:20]
    return int(digits) if len(digits) == 20 and digits.isdigit() else None


def _day_of(item: dict[str, Any]) -> str:
    """The UTC day of a segment that is listed, by its key."""
    return str(item["object"]).partition("/date=")[2][:10]


def _too_early(item: dict[str, Any], at: datetime, promise: Retention | None) -> str:
    try:
        if at < parse_timestamp(item["retain_until"]):
            return f"it was locked until {item['retain_until']}"
    except InvalidEvent:
        return f"its retain_until is no time: {item['retain_until'][:30]}"
    if promise is None:
        return ""
    try:
        until = datetime.fromisoformat(f"{_day_of(item)}T00:00:00+00:00") + timedelta(days=promise.archive_days)
    except (ValueError, OverflowError):
        return "its key names no day"
    return f"{promise.policy} promises {promise.archive_days} days" if at < until else ""


def _otherwise(item: dict[str, Any], archived: Statement | None) -> str:
    """What is listed otherwise than it was archived; empty: nothing, or that is not known here."""
    for member, value in () if archived is None else archived.metadata.items():
        if item.get(member) != value:
            return f"its {member} is {item.get(member)}: entry {archived.seq if archived else 0} says {value}"
    return ""
