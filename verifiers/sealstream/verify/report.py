"""What a verification found: faults with kind and place, and the verdict with its assurance. Pure values.

Exit codes: 0 all holds, 1 tampering found, 2 could not verify (a stale store, or one that can't be read); 1 wins.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from sealstream.events import KeyRing
from sealstream.verify.signatures import SignatureTally

__all__ = ["Fault", "FaultKind", "Report", "merge_runs", "not_given"]


class FaultKind(StrEnum):
    """The kinds of fault; the table in docs/format.md says what is observed for each and which seqs it names."""

    EDITED = "edited"
    MISSING = "missing"
    INSERTED = "inserted"
    REORDERED = "reordered"
    DUPLICATED = "duplicated"
    FORKED = "forked"
    UNSIGNED = "unsigned"
    ROLLED_BACK = "rolled back"
    STALE = "stale"
    UNACCOUNTED = "unaccounted"
    UNLOCKED = "unlocked"
    INVALID = "invalid"


class Fault(NamedTuple):
    """One fault. `place` is where in the store; `first_seq` to `last_seq` are the entries concerned, where known."""

    kind: FaultKind
    place: str
    detail: str
    first_seq: int | None = None
    last_seq: int | None = None

    def seqs(self) -> str:
        """The entries concerned, for people: `7`, `7-9` or nothing."""
        if self.first_seq is None:
            return ""
        if self.last_seq is None or self.last_seq == self.first_seq:
            return str(self.first_seq)
        return f"{self.first_seq}-{self.last_seq}"

    def to_json(self) -> dict[str, Any]:
        """The same for programs; absent members are left out."""
        document: dict[str, Any] = {"kind": str(self.kind), "place": self.place, "detail": self.detail}
        if self.first_seq is not None:
            document["first_seq"] = self.first_seq
            document["last_seq"] = self.last_seq if self.last_seq is not None else self.first_seq
        return document


@dataclass
class Report:
    """The verdict on one store of one chain.

    `entries` were read, from `first_seq` on; `size` and `root` are the newest signed checkpoint that the store has
    reached and that its entries hash to; `unsigned_entries` lie above it. Times are UTC and as claimed by the log.
    """

    store: str
    chain: str
    origin: str
    started_at: datetime
    entries: int = 0
    first_seq: int = 0
    size: int = 0
    root: bytes = b""
    checkpoint_note: bytes = b""
    unsigned_entries: int = 0
    newest_sequenced_at: str = ""
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    assurance: list[str] = field(default_factory=list)
    signatures: SignatureTally = field(default_factory=SignatureTally)
    elapsed_s: float = 0.0

    @property
    def exit_code(self) -> int:
        """0 all holds, 1 tampering found, 2 could not verify; 1 wins over 2."""
        kinds = {fault.kind for fault in self.faults}
        if kinds - {FaultKind.STALE}:
            return 1
        return 2 if kinds else 0

    @property
    def verdict(self) -> str:
        """The verdict in a word or two."""
        return {0: "holds", 1: "TAMPERED", 2: "could not verify"}[self.exit_code]

    def to_json(self) -> dict[str, Any]:
        """The whole report for programs."""
        return {
            "store": self.store,
            "chain": self.chain,
            "origin": self.origin,
            "verdict": self.verdict,
            "exit_code": self.exit_code,
            "started_at": self.started_at.isoformat(),
            "entries": self.entries,
            "first_seq": self.first_seq,
            "signed_size": self.size,
            "root": self.root.hex(),
            "checkpoint": self.checkpoint_note.decode(errors="replace"),
            "not_yet_signed": self.unsigned_entries,
            "newest_sequenced_at": self.newest_sequenced_at,
            "times": "as claimed by the log (sequenced_at)",
            "assurance": self.assurance,
            "source_signatures": self.signatures.to_json(),
            "faults": [fault.to_json() for fault in self.faults],
            "notes": self.notes,
            "elapsed_s": round(self.elapsed_s, 3),
        }


def not_given(keys: KeyRing, given: frozenset[str], place: str) -> list[Fault]:
    """A fault for each key of a producer that the chain registers and that is not among those that were given."""
    return [
        Fault(
            FaultKind.INVALID,
            place,
            f"registers the producer's key {key.label}, which is not among those that this verifier was given: what it "
            "signed is not known to be its name's",
            key.registered,
            key.registered,
        )
        for key in keys.listed()
        if key.vkey not in given
    ]


def merge_runs(faults: Iterable[Fault]) -> list[Fault]:
    """Neighbouring faults of the same kind, place and words become one with a range of seqs."""
    merged: list[Fault] = []
    for fault in faults:
        last = merged[-1] if merged else None
        if (
            last is not None
            and fault.first_seq is not None
            and last.first_seq is not None
            and last[:3] == fault[:3]
            and fault.first_seq == (last.last_seq if last.last_seq is not None else last.first_seq) + 1
        ):
            end = fault.last_seq if fault.last_seq is not None else fault.first_seq
            merged[-1] = last._replace(last_seq=end)
        else:
            merged.append(fault)
    return merged
