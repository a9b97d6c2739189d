"""Judges producers' own signatures again, along with a walk, and holds what the log says of them against that.

The log has to say `signature.refused` of an event that is not signed as it should be, and of no other, before the next
event or control entry. What it says is not believed but computed again, from the keys that the chain itself registers
and revokes; where the two differ, the entry is **invalid**. A signature that the log has refused, rightly, is no fault
of the log: it was forged, or its key is not registered; it is counted and told. Pure.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sealstream.errors import InvalidEvent
from sealstream.events import KEY_STATEMENTS, WHY_REFUSED, KeyRing, RefusedSignature, ValidEvent, check_metadata
from sealstream.layout import Entry

__all__ = ["MAX_REFUSED_LISTED", "Refused", "SignatureJudge", "SignatureTally", "signature_notes"]

MAX_REFUSED_LISTED = 1_000
_SHOWN = 5


class Refused(NamedTuple):
    """An event that is not signed as it should be: where, why (`WHY_REFUSED`), and by which key it says it is."""

    seq: int
    why: str
    key: str | None


@dataclass
class SignatureTally:
    """How many events each key signed, by label; which are not signed as they should be (the first 1,000; counted by
    reason); how many could not be judged; of which signed ones the number was sealed before (`again`, the
    first 1,000).
    """

    signed: Counter[str] = field(default_factory=Counter)
    refused: list[Refused] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    unjudged: int = 0
    signed_seqs: set[int] = field(default_factory=set)
    again: list[int] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.signed or self.reasons or self.unjudged)

    def add(self, other: SignatureTally) -> None:
        """Count these too."""
        self.signed.update(other.signed)
        self.reasons.update(other.reasons)
        self.refused += other.refused[: MAX_REFUSED_LISTED - len(self.refused)]
        self.unjudged += other.unjudged

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "signed": dict(sorted(self.signed.items())),
            "refused": dict(sorted(self.reasons.items())),
            "first_refused": [one._asdict() for one in self.refused],
            "not_judged": self.unjudged,
            "sealed_again": self.again,
        }


class SignatureJudge:
    """Fed with a chain's entries in order. Each call gives what is wrong with what the log says, if anything is.

    `certain`: every entry so far was seen, from entry 0 on. Where that is not so, a key may have been registered or
    revoked unseen: then nothing is held against the log, and events of keys that are not known are not judged.
    """

    def __init__(self, keys: KeyRing, *, certain: bool) -> None:
        self.keys = keys
        self.certain = certain
        self.pending: tuple[int, RefusedSignature] | None = None
        self._last_event = -1

    def doubt(self) -> None:
        """Entries are missing here, or were changed."""
        self.certain = False
        self.pending = None

    def event(self, tally: SignatureTally, seq: int, event: ValidEvent, sequenced_at: str) -> str | None:
        """An entry of kind `event`."""
        wrong = self._unsaid()
        self._last_event = seq
        if event.signature_key is None and not self.keys.demands:
            return wrong
        refused = self.keys.judge(event, sequenced_at)
        if refused is None:
            if event.signature_key is not None:
                tally.signed[event.signature_key] += 1
                tally.signed_seqs.add(seq)
        elif not self.certain and refused.why == "unknown":
            tally.unjudged += 1
        else:
            self.pending = (seq, refused)
            tally.reasons[refused.why] += 1
            if len(tally.refused) < MAX_REFUSED_LISTED:
                tally.refused.append(Refused(seq, *refused))
        return wrong

    def control(self, seq: int, entry: Entry) -> str | None:
        """An entry of kind `control`."""
        wrong = self._unsaid()
        self._last_event = -1
        if entry.action in KEY_STATEMENTS:
            try:
                check_metadata(entry.action, entry.metadata)
            except InvalidEvent:
                return wrong  # reported as against the rules; it counts for nothing
            self.keys.say(entry.action, entry.metadata or {}, seq)
        return wrong

    def log(self, entry: Entry) -> str | None:
        """An entry of kind `log`."""
        if entry.action != "signature.refused":
            return None
        said = entry.metadata or {}
        claimed = (said.get("seq"), RefusedSignature(str(said.get("why")), said.get("key")))
        pending, self.pending = self.pending, None
        if claimed == pending or not self.certain:
            return None
        if pending is None:
            what = (
                "is signed by a key that counts, or need not be"
                if claimed[0] == self._last_event
                else "stands not here"
            )
            return f"the log says of entry {claimed[0]} that its signature is refused ({claimed[1].why}), but it {what}"
        return (
            f"the log says of entry {claimed[0]} that its signature is refused ({claimed[1].why}), but of entry "
            f"{pending[0]} it is: {WHY_REFUSED[pending[1].why]}"
        )

    def _unsaid(self) -> str | None:
        pending, self.pending = self.pending, None
        if pending is None or not self.certain:
            return None
        return (
            f"entry {pending[0]} is not signed as it should be ({WHY_REFUSED[pending[1].why]}), and the log does not "
            "say so behind it"
        )


def signature_notes(tally: SignatureTally, keys: KeyRing) -> list[str]:
    """What a person is told of it."""
    notes = []
    if tally.signed:
        by = ", ".join(f"{count:,} by {_who(label, keys)}" for label, count in sorted(tally.signed.items()))
        notes.append(f"signed at the source: {by}")
    if tally.reasons:
        why = ", ".join(f"{count:,}: {WHY_REFUSED[reason]}" for reason, count in sorted(tally.reasons.items()))
        seqs = ", ".join(str(one.seq) for one in tally.refused[:_SHOWN])
        more = sum(tally.reasons.values()) - len(tally.refused[:_SHOWN])
        notes.append(
            f"NOT signed as they should be, as the log itself says ({why}): entries {seqs}"
            + (f" and {more:,} more" if more else "")
            + "; whoever wrote these had no key that counts for it"
        )
    if tally.again:
        seqs = ", ".join(str(seq) for seq in tally.again[:_SHOWN])
        more = len(tally.again) - len(tally.again[:_SHOWN])
        notes.append(
            f"signed events that were sealed before (sent again, or replayed by somebody): entries {seqs}"
            + (f" and {more:,} more" if more else "")
        )
    if tally.unjudged:
        notes.append(
            f"{tally.unjudged:,} signed events were not judged: where their keys are registered was not read; verify "
            "from entry 0 on"
        )
    for key in keys.listed():
        if key.doubted_from is not None:
            notes.append(
                f"entry {key.revoked} revoked the key {key.label} and says that nothing which it signed from entry "
                f"{key.doubted_from} on is to be believed"
            )
    return notes


def _who(label: str, keys: KeyRing) -> str:
    key = keys.key(label)
    if key is None:
        return label
    return f"{label} (registered by entry {key.registered}" + (
        f", revoked by entry {key.revoked})" if key.revoked is not None else ")"
    )
