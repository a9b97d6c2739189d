"""Walks entries in a store's own order and says what is wrong with each and between neighbours. Pure.

Nothing here is believed: hashes are computed again from the bytes, links compared, numbers counted, offsets accounted.
What the walk leaves behind is what the signatures are then held against: one leaf hash for each seq (`history.py`).

How faults are told apart:

* the bytes do not hash to the entry's own hash: **edited**;
* they do, but the next entry links to another hash: this entry was replaced whole, **edited** too;
* a seq is skipped: **missing**, until it turns up later: then it is **reordered**;
* a seq comes again: **duplicated** if it is the same entry, **inserted** if it is another one;
* everything holds but the rules of the format or of the account do not: **invalid** or **unaccounted**.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

from sealstream.errors import InvalidEvent, NotCanonical, SealstreamError
from sealstream.events import FIELDS, STATEMENTS, KeyRing, ValidEvent, check_metadata, validate_control, validate_event
from sealstream.layout import Entry, decode_entry
from sealstream.layout.archive import DESTROYED_ACTION
from sealstream.layout.chains import RETENTION_EXTENDED, STORE_EXPIRED
from sealstream.layout.holds import HOLD_LIFTED, HOLD_SET
from sealstream.sealing import (
    SEAL_BYTES,
    Sealed,
    Tip,
    canonical_json,
    check_entries,
    check_next,
    is_canonical,
    parse_json,
    read_written,
    split_sealed,
    tip_after,
)
from sealstream.sealing.written import WRITTEN_START, match_written
from sealstream.verify.producers import Ranges
from sealstream.verify.report import Fault, FaultKind
from sealstream.verify.signatures import SignatureJudge, SignatureTally

__all__ = ["Each", "Statement", "Walk", "WalkResult"]

_RECENT = 200_000
_STATEMENTS_KEPT = {
    "chain.continued": "log",
    "chain.created": "log",
    "producer.gap": "log",
    RETENTION_EXTENDED: "control",
    DESTROYED_ACTION: "control",
    HOLD_LIFTED: "control",
    HOLD_SET: "control",
    STORE_EXPIRED: "control",
    "segment.archived": "control",
}
_WRITTEN = b',"written":{'
_SHORT = 15  # digits: no number that has so few is beyond 2^53-1

Each = Callable[[int, int, Entry, Sealed], None]


class Statement(NamedTuple):
    """A statement of the log (or of its sinks) that later checks need. `at`: when it was sealed."""

    seq: int
    action: str
    metadata: dict[str, Any]
    at: str = ""


@dataclass
class WalkResult:
    """What a batch left: `leaves` and `times` (sequenced_at) by seq; numbered events, statements, faults in order;
    what was found of producers' signatures.
    """

    entries: int = 0
    leaves: dict[int, bytes] = field(default_factory=dict)
    times: dict[int, str] = field(default_factory=dict)
    numbered: list[tuple[str, int, int]] = field(default_factory=list)
    statements: list[Statement] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    notes: set[str] = field(default_factory=set)
    signatures: SignatureTally = field(default_factory=SignatureTally)


class Walk:
    """One store's entries from seq `expected` on; feed it batches in the store's order.

    `tip` is what the first entry must extend; None when nothing before it is known (then it is taken as it comes).
    `each(place, seq, entry, sealed)` is called with every entry whose bytes hold: a store's own checks hang there.
    `signatures` judges producers' signatures; None: by no key, as where none is known.
    """

    def __init__(
        self,
        chain: str,
        place: Callable[[int], str],
        *,
        expected: int = 0,
        tip: Tip | None = None,
        each: Each | None = None,
        signatures: SignatureJudge | None = None,
    ) -> None:
        self.expected = expected
        self.signatures = signatures or SignatureJudge(KeyRing(""), certain=False)
        self.tip = tip
        self.first: bytes | None = None  # the first entry as stored, for whoever walked what comes before it
        self._chain = chain
        self._chain_bytes = chain.encode()
        self._place = place
        self._each = each
        self._holes = Ranges()
        self._recent: dict[int, bytes] = {}
        self._at_fault: set[int] = set()

    def add(self, values: Sequence[bytes], places: Sequence[int]) -> WalkResult:
        """Check a batch of sealed entries. Raises `SealstreamError` for a seal version that this reader can't judge."""
        result = WalkResult(entries=len(values))
        if self.first is None and values:
            self.first = values[0]
        if self._add_run(result, values, places):
            self._forget()
            return result
        for value, place in zip(values, places, strict=True):
            tip = self.tip
            if tip is not None and tip.size == self.expected:
                after, problems = check_next(tip, value, self._chain)
                if not problems:
                    self.tip = after
                    self._accept(result, place, Sealed(value[:-SEAL_BYTES] + b"}", tip.hash, after.hash))
                    continue
            self._look_closer(result, value, place)
        self._forget()
        return result

    def _add_run(self, result: WalkResult, values: Sequence[bytes], places: Sequence[int]) -> bool:
        """The whole batch at once, if each entry extends the one before it; else False, and nothing done."""
        if self.tip is None or self.tip.size != self.expected:
            return False
        tip, hashes, problems = check_entries(self.tip, values, self._chain)
        if problems:
            return False
        prev_hash, self.tip = self.tip.hash, tip
        for value, place, own_hash in zip(values, places, hashes, strict=True):
            self._accept(result, place, Sealed(value[:-SEAL_BYTES] + b"}", prev_hash, own_hash))
            prev_hash = own_hash
        return True

    def take(self, results: Sequence[WalkResult], tip: Tip, keys: KeyRing) -> None:
        """Go on behind entries that another walk has walked from this one's tip, and found nothing wrong with; `keys`:
        as they are behind them.
        """
        self.signatures.keys = keys
        self.signatures.pending = None
        for result in results:
            self.expected += result.entries
            self._recent.update(result.leaves)
        self.tip = tip
        self._forget()

    def _forget(self) -> None:
        """Seldom, and all at once: a dict is slow to give up its oldest members one by one."""
        if len(self._recent) > 2 * _RECENT:
            self._recent = dict(islice(self._recent.items(), len(self._recent) - _RECENT, None))

    def _accept(self, result: WalkResult, place: int, sealed: Sealed) -> None:
        """An entry that stands where it should and hashes to what it says: note what later checks need of it."""
        seq = self.expected
        self.expected = seq + 1
        result.leaves[seq] = sealed.hash
        self._recent[seq] = sealed.hash
        if self._each is None and self._accept_plain_event(result, seq, sealed.body, place):
            return
        try:
            entry = decode_entry(sealed.body)
        except NotCanonical as error:
            self._fault(result, FaultKind.INVALID, place, str(error), seq)
            self.signatures.doubt()
            return
        written = entry.written
        result.times[seq] = written.sequenced_at
        valid = self._valid(result, place, entry, sealed.body)
        self._judge(result, place, seq, entry, valid)
        if written.kind == "event":
            self._number(result, seq, entry)
        elif _STATEMENTS_KEPT.get(entry.action) == written.kind and _fits(entry):  # of the wrong kind: for nothing
            result.statements.append(Statement(seq, entry.action, entry.metadata or {}, written.sequenced_at))
        if self._each is not None:
            self._each(place, seq, entry, sealed)

    def _judge(self, result: WalkResult, place: int, seq: int, entry: Entry, valid: ValidEvent | None) -> None:
        """What the log says of producers' signatures. An event against the rules is reported as that."""
        written, judge = entry.written, self.signatures
        wrong = None
        if written.kind == "log":
            wrong = judge.log(entry)
        elif written.kind == "control":
            wrong = judge.control(seq, entry)
        elif valid is not None:
            wrong = judge.event(result.signatures, seq, valid, written.sequenced_at)
        if wrong is not None:
            self._fault(result, FaultKind.INVALID, place, wrong, seq)

    def _accept_plain_event(self, result: WalkResult, seq: int, body: bytes, place: int) -> bool:
        """The quick way for what nearly every entry is: an event in canonical form, with `written` as version 1 writes
        it. False, and nothing noted, for whatever is in doubt: then it is looked at rule by rule.

        The event's own bytes are canonical, and so is what matches the one form of `written` with this chain's name
        and with numbers too short to be beyond 2^53-1; so the body, which is one after the other, is canonical as well.
        """
        start = body.rfind(WRITTEN_START)
        found = match_written(body, start, len(body) - 1) if start > 0 else None
        if found is None:
            return False
        chain, control_offset, kind, raw_offset, _, own_seq, sequenced_at = found.groups()
        if kind != b"event" or chain != self._chain_bytes:
            return False
        if len(control_offset) > _SHORT or len(raw_offset) > _SHORT or len(own_seq) > _SHORT:
            return False
        event = body[:start] + b"}"
        try:
            valid = validate_event(event)
        except InvalidEvent:
            return False
        if valid.canonical != event:
            return False
        result.times[seq] = sequenced_at.decode()
        wrong = self.signatures.event(result.signatures, seq, valid, result.times[seq])
        if wrong is not None:
            self._fault(result, FaultKind.INVALID, place, wrong, seq)
        if valid.producer_id is not None and valid.producer_seq is not None:
            result.numbered.append((valid.producer_id, valid.producer_seq, seq))
        return True

    def _look_closer(self, result: WalkResult, value: bytes, place: int) -> None:
        """The entry does not simply extend the tip: say what is wrong, and go on behind it as well as can be."""
        self.signatures.doubt()
        try:
            sealed = split_sealed(value)
        except NotCanonical as error:
            self._fault(result, FaultKind.EDITED, place, str(error), self.expected)
            self._leave_behind(None)
            return
        computed = hashlib.sha256(b"\x00" + sealed.prev_hash + sealed.body).digest()
        intact = computed == sealed.hash
        try:
            seq = read_written(sealed.body).seq
        except NotCanonical as error:
            _refuse_unknown_version(sealed.body, self._place(place))
            self._fault(result, FaultKind.INVALID if intact else FaultKind.EDITED, place, str(error), self.expected)
            result.leaves[self.expected] = sealed.hash
            self._leave_behind(sealed)
            return
        if not intact and seq != self.expected:
            seq = self._seq_by_link(sealed, seq)
        if seq > self.expected:
            self._skipped(result, place, seq, sealed if intact else None)
        elif seq < self.expected:
            self._again(result, place, seq, sealed)
            return
        if not intact:
            detail = "the bytes do not hash to the hash in their seal: they were changed after they were sealed"
            self._fault(result, FaultKind.EDITED, place, detail, seq)
            result.leaves[seq] = sealed.hash
            self._leave_behind(sealed)
            return
        if self.tip is not None and self.tip.size == seq:
            _, problems = check_next(self.tip, value, self._chain)
            for problem in problems:
                if problem.kind == "forked" and seq:
                    self._broken_link(result, place, seq, sealed)
                else:
                    self._fault(result, FaultKind(problem.kind), place, problem.detail, seq)
        elif seq - 1 in self._at_fault:
            result.leaves[seq - 1] = sealed.prev_hash  # the hash that the entry at fault was sealed with
        self.tip = tip_after(sealed)
        self._accept(result, place, sealed)

    def _broken_link(self, result: WalkResult, place: int, seq: int, sealed: Sealed) -> None:
        before = seq - 1
        if before in self._at_fault:
            return  # said already: its bytes were changed; what this entry links to was its hash
        result.leaves[before] = sealed.prev_hash  # the roots decide: what was signed is what was linked to
        detail = (
            f"entry {seq} links to {sealed.prev_hash.hex()}, but the entry that stands before it hashes to "
            f"{self._recent.get(before, b'').hex()}: it was replaced after entry {seq} was sealed"
        )
        self._fault(result, FaultKind.EDITED, place, detail, before)

    def _seq_by_link(self, sealed: Sealed, claimed: int) -> int:
        """Where an entry of changed bytes stands: where its link says, else where it was found."""
        if self.tip is None or sealed.prev_hash == self.tip.hash or abs(claimed - self.expected) > _RECENT:
            return self.expected
        return claimed

    def _skipped(self, result: WalkResult, place: int, seq: int, sealed: Sealed | None) -> None:
        first, last = self.expected, seq - 1
        if sealed is not None and first == last:
            result.leaves[first] = sealed.prev_hash  # one missing entry's hash is known from the next one's link
        self._holes.add(first, last)
        detail = f"after entry {first - 1} comes entry {seq}" if first else f"begins with entry {seq}"
        self._fault(result, FaultKind.MISSING, place, detail, first, last)
        self.expected, self.tip = seq, None

    def _again(self, result: WalkResult, place: int, seq: int, sealed: Sealed) -> None:
        if seq in self._holes:
            self._holes.remove(seq, seq)
            result.leaves[seq] = sealed.hash
            detail = f"entry {seq} stands behind entry {self.expected - 1}"
            self._fault(result, FaultKind.REORDERED, place, detail, seq)
            self._number(result, seq, decode_entry(sealed.body))
        elif self._recent.get(seq) == sealed.hash:
            self._fault(result, FaultKind.DUPLICATED, place, f"entry {seq} stands here a second time", seq)
        else:
            detail = f"another entry with the number {seq}, which stands in its place already"
            self._fault(result, FaultKind.INSERTED, place, detail, seq)

    def _leave_behind(self, sealed: Sealed | None) -> None:
        """Go on behind an entry that does not hold; the next one's link is compared with the hash that it claims."""
        self._at_fault.add(self.expected)
        if sealed is not None:
            self._recent[self.expected] = sealed.hash
        self.expected += 1
        self.tip = None

    def _valid(self, result: WalkResult, place: int, entry: Entry, body: bytes) -> ValidEvent | None:
        """The rules for the event inside: the log must not have sealed what it had to refuse. The event, if it holds
        and is none of the log's own.
        """
        event = body[: body.rfind(_WRITTEN)] + b"}"
        kind = entry.written.kind
        try:
            if kind == "log":
                if not is_canonical(body):
                    raise InvalidEvent("its bytes are not in canonical form (RFC 8785)")
                if entry.action in STATEMENTS:
                    check_metadata(entry.action, entry.metadata)
                else:
                    result.notes.add(f"a statement of the log that this version does not know: {entry.action}")
                return None
            valid = validate_event(event) if kind == "event" else validate_control(event)
            if valid.canonical != event or not _is_canonical_written(body, len(event)):
                raise InvalidEvent("its bytes are not in canonical form (RFC 8785)")
            return valid
        except InvalidEvent as error:
            unknown = _unknown_fields(body)
            if unknown and is_canonical(body):
                result.notes.add(f"fields that this version does not know (the seal covers them): {', '.join(unknown)}")
                return None
            self._fault(result, FaultKind.INVALID, place, f"sealed against the rules: {error}", entry.written.seq)
            return None

    def _number(self, result: WalkResult, seq: int, entry: Entry) -> None:
        if entry.producer_id is not None and entry.producer_seq is not None and entry.written.kind == "event":
            result.numbered.append((entry.producer_id, entry.producer_seq, seq))

    def _fault(
        self, result: WalkResult, kind: FaultKind, place: int, detail: str, first: int, last: int | None = None
    ) -> None:
        self._at_fault.add(first)
        result.faults.append(Fault(kind, self._place(place), detail, first, first if last is None else last))


def _fits(entry: Entry) -> bool:
    """Whether a statement says what its action must; one that does not is reported, and believed in nothing."""
    try:
        check_metadata(entry.action, entry.metadata)
    except InvalidEvent:
        return False
    return True


def _refuse_unknown_version(body: bytes, place: str) -> None:
    """A seal of a later version is not a fault: this reader can't judge it, and says so."""
    try:
        entry = parse_json(body)
        version = entry["written"]["v"]
    except (NotCanonical, KeyError, TypeError):
        return
    if type(version) is int and version > 1:
        raise SealstreamError(
            f"{place}: a seal of version {version}; this version of Sealstream reads version 1: verify with a newer one"
        )


def _is_canonical_written(body: bytes, event_bytes: int) -> bool:
    """Whether what the log wrote is canonical, given that the event before it is; members may be unknown."""
    written = body[event_bytes - 1 + len(_WRITTEN) - 1 : -1]
    try:
        return canonical_json(parse_json(written)) == written
    except NotCanonical:
        return False


def _unknown_fields(body: bytes) -> list[str]:
    """Top-level fields of a later version, if the event holds without them; nothing otherwise."""
    try:
        entry = parse_json(body)
    except NotCanonical:
        return []
    if not isinstance(entry, dict):
        return []
    unknown = sorted(set(entry) - set(FIELDS) - {"written"})
    rest = {name: value for name, value in entry.items() if name in FIELDS}
    try:
        validate_event(canonical_json(rest))
    except (InvalidEvent, NotCanonical):
        return []
    return unknown
