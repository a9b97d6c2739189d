"""What differs between a store and the signed entries, told entry by entry. Pure.

A difference names a kind (those of docs/format.md, "Verification"), a store, a place in it, and the entries concerned.
One difference is told once: a run of missing entries is one, an entry that stands late is not also missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from sealstream.errors import NotCanonical
from sealstream.rebuild.spans import Leaf
from sealstream.sealing import parse_json, split_sealed
from sealstream.verify.report import Fault, FaultKind, merge_runs

__all__ = ["Difference", "differing_fields", "differing_leaves", "differing_without_truth", "in_store", "runs"]


class Difference(NamedTuple):
    """A fault of one store, found by holding it against the signed sizes and the other stores."""

    store: str
    fault: Fault

    def to_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {"store": self.store, **self.fault.to_json()}


def in_store(store: str, faults: Iterable[Fault]) -> list[Difference]:
    """Faults as differences of one store; neighbours with the same words are one."""
    return [Difference(store, fault) for fault in merge_runs(faults)]


def differing_leaves(store: str, held: Iterable[Leaf], truth: Mapping[int, bytes]) -> list[Fault]:
    """How a store's entries differ from the true ones, `truth` having a hash for each seq."""
    faults: list[Fault] = []
    seen: dict[int, bytes] = {}
    late: list[Leaf] = []
    highest = -1
    for leaf in held:
        expected = truth.get(leaf.seq)
        if leaf.seq in seen:
            same = seen[leaf.seq] == leaf.hash
            kind = FaultKind.DUPLICATED if same else FaultKind.INSERTED
            detail = f"{'the same' if same else 'another'} entry {leaf.seq} once more"
            faults.append(Fault(kind, leaf.place, detail, leaf.seq, leaf.seq))
            continue
        if expected is None:
            detail = f"an entry {leaf.seq}, which has no place here"
            faults.append(Fault(FaultKind.INSERTED, leaf.place, detail, leaf.seq, leaf.seq))
            continue
        seen[leaf.seq] = leaf.hash
        if leaf.hash != expected:
            faults.append(Fault(FaultKind.EDITED, leaf.place, "its bytes are not the signed ones", leaf.seq, leaf.seq))
        elif not leaf.intact:
            detail = "its bytes are the signed ones, the hash that is stored beside them is not theirs"
            faults.append(Fault(FaultKind.EDITED, leaf.place, detail, leaf.seq, leaf.seq))
        if leaf.seq < highest:
            late.append(leaf)
        highest = max(highest, leaf.seq)
    for leaf in late:
        faults.append(
            Fault(FaultKind.REORDERED, leaf.place, "stands behind entries that come after it", leaf.seq, leaf.seq)
        )
    for first, last in runs(seq for seq in sorted(truth) if seq not in seen):
        faults.append(Fault(FaultKind.MISSING, store, "not there", first, last))
    return faults


def differing_without_truth(store: str, held: Iterable[Leaf], first: int, stop: int) -> list[Fault]:
    """What a store's entries `first` to `stop` - 1 betray when no store has the signed ones.

    Their numbers, their own hashes and their links tell what is missing, doubled or edited. A part of the chain that
    was sealed anew up to `stop` betrays nothing.
    """
    leaves = list(held)
    by_seq = {leaf.seq: leaf for leaf in reversed(leaves)}
    claimed = {seq: by_seq[seq].hash if seq in by_seq else b"" for seq in range(first, stop)}
    faults = [fault for fault in differing_leaves(store, leaves, claimed) if fault.kind is not FaultKind.EDITED]
    for seq in (seq for seq in claimed if seq in by_seq):
        leaf, after = by_seq[seq], by_seq.get(seq + 1)
        if not leaf.intact:
            detail = "the bytes do not hash to the hash beside them; no other store has the signed ones"
        elif after is not None and after.intact and after.prev_hash != leaf.hash:
            detail = f"entry {seq + 1} was sealed behind another entry {seq}; no other store has the signed one"
        else:
            continue
        faults.append(Fault(FaultKind.EDITED, leaf.place, detail, seq, seq))
    return faults


def differing_fields(held: bytes, true: bytes) -> str:
    """Which fields of two sealed entries say something else, in words."""
    try:
        ours, theirs = (parse_json(split_sealed(value).body) for value in (held, true))
    except NotCanonical:
        return "the bytes are no sealed entry any more"
    if not isinstance(ours, dict) or not isinstance(theirs, dict):
        return "the bytes are no sealed entry any more"
    said = []
    for name in sorted(set(ours) | set(theirs)):
        if ours.get(name) != theirs.get(name):
            said.append(f"{name} says {_shown(ours.get(name))}, the signed entry says {_shown(theirs.get(name))}")
    return "; ".join(said[:5]) or "the same fields, in other bytes"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def runs(seqs: Iterable[int]) -> list[tuple[int, int]]:
    """Ascending numbers as runs, first and last."""
    found: list[tuple[int, int]] = []
    for seq in seqs:
        if found and seq == found[-1][1] + 1:
            found[-1] = (found[-1][0], seq)
        else:
            found.append((seq, seq))
    return found
