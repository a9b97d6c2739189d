"""Reconcile: hold Kafka, Postgres and the archive against the signed sizes, and tell each entry in which one differs.

Every store answers for whole spans (`spans.py`): its own leaf hashes, recomputed from its bytes, fold to the signed
subtree roots or they don't. All stores are asked at once. Only into a span that does not fold is looked, entry by
entry, against a store that does hold it. What lies above the newest signed size is compared store with store.

Reads only. The stores go on meanwhile: Postgres and the archive are looked at as of the start, Kafka as of a moment
later, so an entry that Kafka lacks was never sealed there. A crash leaves nothing behind.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import pairwise
from typing import NamedTuple, Protocol

from sealstream.errors import Misconfigured, NotCanonical
from sealstream.kafka import start_offset
from sealstream.layout import ChainSettings, ChainTopics
from sealstream.layout.tables import AUDIT_CHECKPOINT, AUDIT_LOG, AUDIT_POSITION
from sealstream.rebuild.archive_view import ArchiveView, Verified
from sealstream.rebuild.differences import (
    Difference,
    differing_fields,
    differing_leaves,
    differing_without_truth,
    in_store,
)
from sealstream.rebuild.kafka_view import KafkaView, Mark
from sealstream.rebuild.postgres_view import PostgresView, column_differences
from sealstream.rebuild.reconciliation import ComparedStore, Reconciliation, Sources, kafka_notes
from sealstream.rebuild.spans import Leaf, Span, spans_between
from sealstream.sealing import EMPTY_RANGE, entry_hash, read_written, split_sealed
from sealstream.verify.kafka import formerly_online
from sealstream.verify.report import Fault, FaultKind
from sealstream.verify.signed import StoredNote, signed_sizes

__all__ = ["reconcile"]

Progress = Callable[[int, int | None], None]

_DESCRIBED = 20  # edited entries whose fields are spelled out, for each span


class _View(Protocol):
    def bounds(self) -> tuple[int, int]: ...

    def leaves(self, first: int, stop: int) -> Iterator[Leaf]: ...


class _Answers(NamedTuple):
    """A store's answers: by a span's first entry, whether it folds and whether all beside the bytes agrees."""

    folds: dict[int, bool]
    intact: dict[int, bool]
    seconds: float


def reconcile(
    chain: ChainSettings,
    sources: Sources,
    *,
    quick: bool = False,
    workers: int = 2,
    verified: Verified | None = None,
    kept: Sequence[StoredNote] = (),
    kafka_behind: Mark | None = None,
    progress: Progress = lambda _done, _total: None,
) -> Reconciliation:
    """Compare the stores. Raises what makes a store unreadable.

    `kept`: notes that this verifier keeps itself. `kafka_behind`: a former round's mark: the topic is read from there.
    """
    begun = time.monotonic()
    with ExitStack() as stack:
        result = _Comparison(stack, chain, sources, quick, workers, verified, kept, kafka_behind, progress).run()
    result.elapsed_s = time.monotonic() - begun
    return result


class _Comparison:
    def __init__(
        self,
        stack: ExitStack,
        chain: ChainSettings,
        sources: Sources,
        quick: bool,
        workers: int,
        verified: Verified | None,
        kept: Sequence[StoredNote],
        kafka_behind: Mark | None,
        progress: Progress,
    ) -> None:
        self._chain = chain
        self._sources = sources
        self._progress = progress
        self._views: dict[str, _View] = {}
        self._faults: list[Difference] = []
        self._notes: list[str] = []
        notes = list(kept)
        if sources.archive is not None:
            self._archive = ArchiveView(sources.archive, chain.name, verified)
            stack.callback(self._archive.close)
            self._views["archive"] = self._archive
            self._faults += in_store("archive", self._archive.faults)
            notes += self._archive.notes()
        if sources.reader_dsn is not None:
            self._postgres = stack.enter_context(
                PostgresView(sources.reader_dsn, chain.name, workers=workers, quick=quick)
            )
            self._views["postgres"] = self._postgres
            stored = self._postgres.notes()
            self._position = self._postgres.position()
            self._postgres_size = max((note.size for note in stored), default=0)
            notes += [
                StoredNote(note.note, f"{AUDIT_CHECKPOINT} size {note.size}", tuple(note.compact_range))
                for note in stored
            ]
        if sources.kafka is not None:
            notes += kafka_notes(sources.kafka, chain)
            self._kafka = KafkaView(sources.kafka, chain, kafka_behind)
            stack.callback(self._kafka.close)
            self._views["kafka"] = self._kafka
        if not self._views:
            raise Misconfigured("nothing to compare: name at least one store")
        sizes, faults = signed_sizes(notes, chain.vkey)
        for fault in faults:
            self._faults.append(Difference(_store_of(fault.place), fault))
        self._bounds = {name: view.bounds() for name, view in self._views.items()}
        highest = max(stop for _, stop in self._bounds.values())
        begins = self._archive.start() if "archive" in self._views else EMPTY_RANGE
        self._spans = spans_between([signed for signed in sizes if signed.size <= highest], begins)
        self._signed = self._spans[-1].stop if self._spans else 0
        self._newest_size = sizes[-1].size if sizes else 0

    def run(self) -> Reconciliation:
        answers = self._ask()
        self._ends()
        for span in self._spans:
            self._span(span, answers)
        self._unsigned_tail()
        stores = [
            ComparedStore(name, *self._bounds[name], len(answers[name].folds), round(answers[name].seconds, 3))
            for name in self._views
        ]
        result = Reconciliation(self._chain.name, self._signed, stores)
        result.differences = [
            Difference(store, fault)
            for store in dict.fromkeys(difference.store for difference in self._faults)
            for fault in _merged(difference.fault for difference in self._faults if difference.store == store)
        ]
        result.notes = self._notes
        result.kafka_mark = self._kafka.mark if "kafka" in self._views else None
        return result

    # --- asking ---------------------------------------------------------------------------------------------------

    def _ask(self) -> dict[str, _Answers]:
        """Every store at once, each in a thread of its own: the database and the wire work while Python hashes."""
        total = sum(span.stop - span.first for name in self._views for span in self._held(name))
        done = 0

        def ask(name: str) -> _Answers:
            nonlocal done
            begun = time.monotonic()
            answers = _Answers({}, {}, 0.0)
            for span, folds, intact in self._answers(name):
                answers.folds[span.first], answers.intact[span.first] = folds, intact
                done += span.stop - span.first
                self._progress(done, total)
            return answers._replace(seconds=time.monotonic() - begun)

        with ThreadPoolExecutor(len(self._views), thread_name_prefix="reconcile") as pool:
            asked = {name: pool.submit(ask, name) for name in self._views}
            return {name: future.result() for name, future in asked.items()}

    def _held(self, name: str) -> list[Span]:
        """The spans that a store holds from their first entry to their last."""
        first, stop = self._bounds[name]
        if name == "kafka":
            first = max(first, self._kafka.checked_before)
        return [span for span in self._spans if first <= span.first and span.stop <= stop]

    def _answers(self, name: str) -> Iterator[tuple[Span, bool, bool]]:
        spans = self._held(name)
        if name == "postgres":
            for answer in self._postgres.check(spans):
                yield answer.span, answer.folds, answer.intact
            return
        view = self._kafka if name == "kafka" else self._archive
        for span, folds in view.check(spans):
            yield span, folds, True

    # --- judging ----------------------------------------------------------------------------------------------------

    def _ends(self) -> None:
        """Where each store begins and ends, and where it must."""
        highest = max(stop for _, stop in self._bounds.values())
        for name, (first, stop) in self._bounds.items():
            if first > 0:
                left = self._left(name, first)
                if left:
                    self._notes.append(f"{name}: the time of the entries below {left} is over there")
                if left < first:
                    self._fault(name, FaultKind.MISSING, name, "not there", left, first - 1)
            must = {"kafka": self._newest_size, "postgres": 0, "archive": 0}[name]
            if name == "postgres":
                must = max(self._position, self._postgres_size)
            if stop < must:
                what = f"{AUDIT_POSITION} or a stored note says" if name == "postgres" else "a note is signed over"
                detail = f"ends with entry {stop - 1}: {what} {must} entries"
                self._fault(name, FaultKind.ROLLED_BACK, name, detail, stop, must - 1)
            elif stop < highest:
                self._notes.append(f"{name} is {highest - stop:,} entries behind")
        if "postgres" in self._bounds:
            first, stop = self._bounds["postgres"]
            end = self._bounds["kafka"][1] if "kafka" in self._bounds else self._position
            for low, high in ((first, min(0, stop)), (max(end, first), stop)):
                if low < high:
                    detail = "rows with numbers that no entry has"
                    self._fault("postgres", FaultKind.INSERTED, AUDIT_LOG, detail, low, high - 1)

    def _left(self, name: str, first: int) -> int:
        """How many entries a store that begins with `first` may lack: Kafka by the policy, in force or before it was
        extended; Postgres those of which the chain has sealed that they go; each those that were destroyed.
        """
        destroyed = self._archive.destroyed_up_to(first) if "archive" in self._views else 0
        if name == "postgres":
            return max(destroyed, self._postgres.left_up_to(first))
        if name == "archive" or self._sources.kafka is None:
            return destroyed
        if self._chain.retention.online_days is not None:
            return first
        topic = ChainTopics.of(self._chain.name, self._chain.prefix).chain
        start = start_offset(self._sources.kafka, topic)
        formerly, _ = formerly_online(self._sources.kafka, topic, start, datetime.now(UTC))
        return first if formerly is not None else destroyed

    def _span(self, span: Span, answers: dict[str, _Answers]) -> None:
        wrong = [name for name in self._views if answers[name].folds.get(span.first) is False]
        partly = [
            name
            for name in self._views
            if span.first not in answers[name].folds
            and self._overlaps(name, span)
            and not (name == "kafka" and span.first < self._kafka.checked_before)
        ]
        rows = answers.get("postgres")
        if rows is not None and rows.folds.get(span.first) and not rows.intact[span.first]:
            self._beside_the_bytes(span.first, span.stop)
        if not wrong and not partly:
            return
        right = next((name for name in self._views if answers[name].folds.get(span.first)), None)
        if right is None:
            self._without_truth(span, wrong + partly)
            return
        truth = {leaf.seq: leaf.hash for leaf in self._views[right].leaves(span.first, span.stop)}
        for name in wrong:
            self._descend(name, span.first, span.stop, truth, right)
        for name in partly:
            first, stop = self._bounds[name]
            low, high = max(first, span.first), min(stop, span.stop)
            self._descend(name, low, high, {seq: own for seq, own in truth.items() if low <= seq < high}, right)

    def _overlaps(self, name: str, span: Span) -> bool:
        first, stop = self._bounds[name]
        return first < span.stop and stop > span.first

    def _descend(self, name: str, first: int, stop: int, truth: dict[int, bytes], right: str) -> None:
        faults = differing_leaves(name, self._views[name].leaves(first, stop), truth)
        edited = [fault.first_seq for fault in faults if fault.kind is FaultKind.EDITED and fault.first_seq is not None]
        described = self._described(name, right, sorted(edited)[:_DESCRIBED])
        self._faults += in_store(
            name,
            (
                fault._replace(detail=described[fault.first_seq])
                if fault.kind is FaultKind.EDITED and fault.first_seq in described
                else fault
                for fault in faults
            ),
        )
        if name == "postgres":
            said = set(edited)
            self._beside_the_bytes(first, stop, said)

    def _described(self, name: str, right: str, seqs: list[int]) -> dict[int, str]:
        """For edited entries: what they say, and what the signed ones say."""
        if not seqs:
            return {}
        held, true = self._values(name, seqs), self._values(right, seqs)
        return {
            seq: differing_fields(held[seq], true[seq])
            for seq in seqs
            if seq in held and seq in true and held[seq] != true[seq]
        }

    def _values(self, name: str, seqs: list[int]) -> dict[int, bytes]:
        """The sealed entries with these numbers, read in one go."""
        if name == "postgres":
            return {row.seq: row.sealed_value for seq in seqs for row in self._postgres.rows(seq, seq + 1)}
        view = self._kafka if name == "kafka" else self._archive
        found: dict[int, bytes] = {}
        for value in view.values(seqs[0], seqs[-1] + 1):
            try:
                seq = read_written(split_sealed(value).body).seq
            except NotCanonical:
                continue  # no entry any more: told without its fields
            if seq in seqs:
                found.setdefault(seq, value)
        return found

    def _beside_the_bytes(self, first: int, stop: int, said: set[int] | None = None) -> None:
        """Stored hashes and hot columns of rows whose bytes hold."""
        faults = []
        for row in self._postgres.rows(first, stop):
            if said is not None and row.seq in said:
                continue
            place = f"{AUDIT_LOG} seq {row.seq}"
            own = entry_hash(row.prev_hash, row.body)
            if said is None and own != row.hash:
                detail = f"column hash says {row.hash.hex()!r}, the bytes hash to {own.hex()!r}"
                faults.append(Fault(FaultKind.EDITED, place, detail, row.seq, row.seq))
            faults += [Fault(FaultKind.EDITED, place, detail, row.seq, row.seq) for detail in column_differences(row)]
        self._faults += in_store("postgres", faults)

    def _without_truth(self, span: Span, names: list[str]) -> None:
        """No store holds what was signed: say so, with the entries that betray themselves, where there are any."""
        for name in names:
            first, stop = self._bounds[name]
            first, stop = max(first, span.first), min(stop, span.stop)
            faults = differing_without_truth(name, self._views[name].leaves(first, stop), first, stop)
            if faults:
                self._faults += in_store(name, faults)
                continue
            detail = f"the entries do not fold to the root signed for size {span.stop}, and no other store has them"
            self._fault(name, FaultKind.FORKED, name, detail, first, stop - 1)
        held = {
            name: {leaf.seq: leaf.hash for leaf in self._views[name].leaves(span.first, span.stop)} for name in names
        }
        for one, other in pairwise(names):
            unlike = sorted(seq for seq in held[one] if seq in held[other] and held[one][seq] != held[other][seq])
            if unlike:
                shown = ", ".join(map(str, unlike[:10]))
                self._notes.append(f"{one} and {other} differ in the entries {shown}{' ...' if unlike[10:] else ''}")

    def _unsigned_tail(self) -> None:
        """Above the newest signed size: Postgres against Kafka."""
        if "kafka" not in self._views or "postgres" not in self._views:
            return
        first, stop = self._bounds["postgres"]
        first, stop = max(self._signed, first, self._bounds["kafka"][0]), min(stop, self._bounds["kafka"][1])
        if first >= stop:
            return
        truth = {leaf.seq: leaf.hash for leaf in self._kafka.tail() if first <= leaf.seq < stop}
        self._descend("postgres", first, stop, truth, "kafka")

    def _fault(self, store: str, kind: FaultKind, place: str, detail: str, first: int, last: int) -> None:
        self._faults.append(Difference(store, Fault(kind, place, detail, first, last)))


def _merged(faults: Iterator[Fault]) -> list[Fault]:
    return [difference.fault for difference in in_store("", sorted(faults, key=lambda f: f.first_seq or 0))]


def _store_of(place: str) -> str:
    if place.startswith(AUDIT_CHECKPOINT):
        return "postgres"
    return "archive" if place.startswith("manifests/") else "kafka"
