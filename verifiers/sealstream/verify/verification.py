"""What a verification is asked, the same for every store, and how entries and signatures are brought together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sealstream.errors import NotCanonical
from sealstream.events import KeyRing
from sealstream.sealing import EMPTY_RANGE, CompactRange, Tip, check_next, split_sealed, start_tip
from sealstream.verify.ahead import SegmentWalked
from sealstream.verify.history import ChainIdentity, History
from sealstream.verify.report import Report, merge_runs, not_given
from sealstream.verify.signatures import SignatureJudge, signature_notes
from sealstream.verify.signed import SignedSize, StoredNote, signed_sizes
from sealstream.verify.walk import Each, Walk

__all__ = ["ONLINE_STALE_AFTER", "Examination", "Verification"]

ONLINE_STALE_AFTER = timedelta(minutes=3)


class Verification(NamedTuple):
    """The question: this chain, as of `now` (when the copy was taken), from the segment that holds `since` on.

    `notes` are what this verifier holds the store to beyond the store's own; `progress(done, total or None)` is called
    now and then. `workers`: how many processes of their own may look at an archive (`ahead.py` says who may ask).
    `producer_keys`: the public keys that producers gave this verifier; None: those that the chain registers will do.
    """

    identity: ChainIdentity
    now: datetime
    since: datetime | None = None
    notes: Sequence[StoredNote] = ()
    progress: Callable[[int, int | None], None] = lambda _done, _total: None
    workers: int = 1
    producer_keys: frozenset[str] | None = None


class Examination:
    """One store under examination: its signed sizes, its walk and its history, begun at a place that can be trusted."""

    def __init__(self, asked: Verification, store: str, stored: Sequence[StoredNote]) -> None:
        self.asked = asked
        self.report = Report(store, asked.identity.name, asked.identity.origin, asked.now)
        self.sizes, self._note_faults = signed_sizes([*stored, *asked.notes], asked.identity.vkey)
        self._history: History | None = None
        self._walk: Walk | None = None
        self.start = 0

    def begin(
        self,
        place: Callable[[int], str],
        *,
        at: SignedSize | None = None,
        behind: CompactRange | None = None,
        first_seq: int = 0,
        each: Each | None = None,
    ) -> int:
        """Begin with entry 0, or right behind a signed size that has its compact range, or (what lies before being
        gone for a good reason) with `first_seq`, whose tree is known at the next signed size, or `behind` a range that
        the next signed size will prove or belie. Gives the first seq.
        """
        start: CompactRange = EMPTY_RANGE
        tip: Tip | None = start_tip(self.asked.identity.origin) if first_seq == 0 else None
        if at is not None and at.compact_range is not None:
            start, tip, first_seq = at.compact_range, None, at.size
        elif behind is not None and behind.size:
            start, tip, first_seq = behind, None, behind.size
        self.start = first_seq
        self.report.first_seq = first_seq
        self._history = History(
            self.asked.identity, self.report.store, self.sizes, start=start, from_the_start=first_seq == 0
        )
        judge = SignatureJudge(KeyRing(self.asked.identity.origin), certain=first_seq == 0)
        self._walk = Walk(self.asked.identity.name, place, expected=first_seq, tip=tip, each=each, signatures=judge)
        return first_seq

    @property
    def history(self) -> History:
        """The history so far; after `begin`."""
        assert self._history is not None
        return self._history

    @property
    def signatures(self) -> SignatureJudge:
        """The judge of producers' signatures, as of the entries so far; after `begin`."""
        assert self._walk is not None
        return self._walk.signatures

    @property
    def first_link(self) -> bytes:
        """The hash that the first entry read names as the one before it; empty: nothing was read that has one."""
        try:
            return split_sealed((self._walk and self._walk.first) or b"").prev_hash
        except NotCanonical:
            return b""

    def add(self, values: Sequence[bytes], places: Sequence[int]) -> None:
        """The next sealed entries, as the store holds them."""
        assert self._walk is not None
        result = self._walk.add(values, places)
        self.history.add(result, self._walk.expected)
        self.report.entries += result.entries
        self.report.notes += [note for note in sorted(result.notes) if note not in self.report.notes]

    def add_walked(self, walked: SegmentWalked, place: int) -> bool:
        """The next entries, which another walk has walked; False, and nothing done, when they don't follow here."""
        walk = self._walk
        assert walk is not None
        if walk.tip is None or walk.tip.size != walk.expected:
            return False
        judge = walk.signatures
        if judge.pending is not None or (judge.certain, judge.keys.listed()) != (walked.certain, walked.keys_before):
            return False
        after, problems = check_next(walk.tip, walked.first, self.asked.identity.name)
        if problems or after != walked.first_tip:
            return False
        self.add([walked.first], [place])
        reached = walk.expected
        walk.take(walked.results, walked.tip, walked.keys)
        for result in walked.results:
            reached += result.entries
            self.history.add(result, reached)
            self.report.entries += result.entries
        return True

    def finish(self, *, stale_after: timedelta, assurance: str) -> Report:
        """The report, with everything that can only be said at the end."""
        self.history.finish(self.report, self.asked.now, stale_after=stale_after)
        self.report.faults = merge_runs([*self._note_faults, *self.report.faults])
        self.report.assurance = [assurance]
        self.report.signatures = self.history.signatures
        if self.asked.producer_keys is not None:
            self.report.faults += not_given(self.signatures.keys, self.asked.producer_keys, self.report.store)
        self.report.notes += signature_notes(self.history.signatures, self.signatures.keys)
        if self.start:
            before = [s for s in self.sizes if s.size < self.start and not s.must_reach]
            if before:
                self.report.notes.append(f"begun at seq {self.start}: an older checkpoint of yours was not compared")
        return self.report
