"""What became of dead letters, as the chain says it: sent again, corrected, or dismissed. For commands; reads only.

Both are statements about a record, and the first one sealed counts, until another says that it stands instead of it: so
of two people who work off the same letter at once, one does. A letter that was dismissed may still be retried, when a
correction comes late: then both stand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sealstream.cli.letters import Letter, RecordKey, Refusal, input_of
from sealstream.cli.reading import ReadLog
from sealstream.cli.sealed import sealed_statements, sealed_with_ids
from sealstream.cli.settings import Settings
from sealstream.layout import ChainTopics, Entry
from sealstream.sequencer.judging import REPEATED

__all__ = [
    "DISMISSED",
    "RETRIED",
    "Fate",
    "announced",
    "fate_of",
    "fates_of",
    "members_of",
    "recorded",
    "waits",
    "who_said",
    "why_said",
]

RETRIED = "deadletter.retried"
DISMISSED = "deadletter.dismissed"


class Fate(NamedTuple):
    """Of one record: the statements that count. `is_sent`: the event that the claim announces is sealed."""

    claim: Entry | None = None
    is_sent: bool = False
    dismissal: Entry | None = None

    @property
    def is_open(self) -> bool:
        """Whether something is still to be done. A retry that was begun behind a dismissal is to be finished."""
        if self.is_sent or self.dismissal is None:
            return not self.is_sent
        return self.claim is not None and self.dismissal.written.seq < self.claim.written.seq


def fates_of(
    settings: Settings, chain: str, topics: ChainTopics, letters: Sequence[Letter]
) -> Mapping[RecordKey, Fate]:
    """What became of each of these letters, by its record."""
    fates = {letter.record: Fate() for letter in letters}
    if not letters:
        return fates
    since = min(letter.refused_at for letter in letters)
    for entry in sealed_statements(settings, chain, [RETRIED, DISMISSED], since=since):
        said = entry.metadata or {}
        for item in [said] if entry.action == RETRIED else said["letters"]:
            record = getattr(topics, item["topic"]), int(item["offset"]), str(item["sha256"])
            if record in fates:
                fates[record] = _after(fates[record], entry, item)
    claims = [fate.claim for fate in fates.values() if fate.claim is not None]
    ids = [announced(claim) for claim in claims]
    found = sealed_with_ids(settings, chain, ids, since=since) if ids else iter(())
    events = {entry.id for entry, _ in found if entry.written.kind == "event"}
    return {
        record: fate._replace(is_sent=fate.claim is not None and announced(fate.claim) in events)
        for record, fate in fates.items()
    }


def fate_of(settings: Settings, chain: str, topics: ChainTopics, letter: Letter) -> Fate:
    """What became of one letter."""
    return fates_of(settings, chain, topics, [letter])[letter.record]


def _after(fate: Fate, entry: Entry, item: Mapping[str, Any]) -> Fate:
    """What counts once this statement is sealed, too."""
    if entry.action == DISMISSED:
        counts = fate.dismissal is None or "instead_of" in item
        return fate._replace(dismissal=entry) if counts else fate
    counts = fate.claim is None or item.get("instead_of") == fate.claim.written.seq
    return fate._replace(claim=entry) if counts else fate


def announced(claim: Entry) -> str:
    """The id of the event that a retry sends."""
    return str((claim.metadata or {}).get("event"))


def waits(letter: Letter, fate: Fate) -> bool:
    """Whether it is to be mended or dismissed: a repeat's event is sealed."""
    return fate.is_open and letter.reason != REPEATED


def who_said(entry: Entry) -> str:
    """Who says so, and whom they named."""
    by = (entry.metadata or {}).get("by")
    return f"{entry.actor_id} (for {by})" if by else entry.actor_id


def why_said(entry: Entry) -> str:
    """The reason that they gave; empty: none."""
    return str((entry.metadata or {}).get("reason", ""))


def members_of(
    letter: Letter, topics: ChainTopics, refusal: Refusal | None, instead_of: Entry | None
) -> dict[str, object]:
    """What a statement says of the record: which, what accounts for it, and whose retry it stands instead of."""
    members: dict[str, object] = {
        "letter": letter.offset,
        "topic": input_of(letter, topics),
        "offset": letter.topic_offset,
        "sha256": letter.sha256,
    }
    if refusal is not None:
        members["corrects"] = refusal.seq
    if instead_of is not None:
        members["instead_of"] = instead_of.written.seq
    return members


def recorded(settings: Settings, chain: str, query: str, rows: int) -> None:
    """That letters are read is in the log before they are shown: repeats and conflicts are copies of sealed events."""
    ReadLog(settings, "deadletter", query, [chain]).counted("kafka", {chain: rows})
