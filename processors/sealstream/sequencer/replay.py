"""What is remembered of a chain, made again from its entries: the pure half of taking a chain.

`Memory` is fed with sealed entries in order. It needs the last 200,000 of them for their ids and digests, and every one
from `as_of.size` on for the producers' states, which take those before into account. The invariant: memory made from
states and entries judges the next record as the sequencer did that wrote them.

Pure. A crash leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

from sealstream.errors import ChainBroken, InvalidEvent
from sealstream.events import KEY_STATEMENTS, KeyRing, ProducerKey, ValidEvent, check_metadata, validate_event
from sealstream.sealing import Written
from sealstream.sequencer.deduplication import RECENT_ENTRIES, Deduplication
from sealstream.sequencer.producers import AsOf, ProducerState

__all__ = ["LastEvent", "Memory"]


class _Written(msgspec.Struct):
    kind: str
    seq: int
    sequenced_at: str


class _Entry(msgspec.Struct):
    id: str
    action: str
    written: _Written
    producer_id: str | None = None
    producer_seq: int | None = None
    metadata: msgspec.Raw = msgspec.Raw()


_decode = msgspec.json.Decoder(_Entry).decode
_WRITTEN = b',"written":{"chain":"'
_REMEMBERED_STATEMENTS = frozenset(("sequencer.started", "input.lost", "producer.silent", "producer.dropped"))


class LastEvent(NamedTuple):
    """The last entry of an input, when it is an event of which no `signature.refused` was said."""

    seq: int
    canonical: bytes
    sequenced_at: str


class Memory:
    """What is remembered of both kinds of entries, of producers' signing keys, and which input topics the chain has
    recorded.

    `as_of`: how many entries the given states and keys take into account. `origin`: the chain's, by which its keys are
    known; "": no key counts. `topic_ids`: by `raw` and `control`, as the first
    `sequencer.started` said and each `input.lost` since; a later `sequencer.started` alone moves nothing, so that a
    recreated topic is noticed until an operator's decision is sealed.
    """

    def __init__(
        self,
        as_of: AsOf,
        events: dict[str, ProducerState] | None = None,
        controls: dict[str, ProducerState] | None = None,
        keys: Iterable[ProducerKey] = (),
        *,
        origin: str = "",
        recent_entries: int = RECENT_ENTRIES,
    ) -> None:
        self.as_of = as_of.size
        self.keys = KeyRing(origin, keys)
        self.last_event: LastEvent | None = None
        self.topic_ids = {"raw": as_of.raw_topic_id, "control": as_of.control_topic_id}
        self.events = Deduplication(events, recent_entries=recent_entries)
        self.controls = Deduplication(controls, recent_entries=recent_entries)
        self._next: int | None = None

    def replay(self, sealed_value: bytes) -> None:
        """Take the next entry into account. Raises `ChainBroken` when it is not the next, or no entry."""
        try:
            entry = _decode(sealed_value)
        except (msgspec.DecodeError, UnicodeError) as error:
            raise ChainBroken(f"entry {self._next}: not an entry: {error}: {sealed_value[:80]!r}") from error
        written = entry.written
        if self._next is not None and written.seq != self._next:
            raise ChainBroken(f"entry {self._next} was expected in the chain's topic, entry {written.seq} came")
        self._next = written.seq + 1
        if written.kind == "log":
            if entry.action == "signature.refused":
                self.last_event = None
            if written.seq >= self.as_of and entry.action in _REMEMBERED_STATEMENTS:
                try:
                    self._statement(entry.action, msgspec.json.decode(entry.metadata))
                except (KeyError, TypeError, msgspec.DecodeError) as error:
                    raise ChainBroken(f"entry {written.seq}: malformed {entry.action}: {error!r}") from error
            return
        canonical = sealed_value[: sealed_value.rfind(_WRITTEN)] + b"}"
        event = ValidEvent(canonical, entry.id, entry.producer_id, entry.producer_seq, entry.action, None)
        memory = self.events
        self.last_event = None
        if written.kind == "control":
            memory = self.controls
            if entry.action in KEY_STATEMENTS and written.seq >= self.as_of:
                self._heed(entry.action, entry.metadata, written.seq)
        else:
            self.last_event = LastEvent(written.seq, canonical, written.sequenced_at)
        if written.kind == "event" and entry.action == "producer.closed":
            event = event._replace(closes_at=_closes_at(canonical))
        digest = sha256(canonical).digest()
        if written.seq < self.as_of:
            memory.recall(event, digest, written.seq)
        else:
            memory.sealed(event, digest, written.seq, written.sequenced_at)

    def replay_keys(self, sealed_value: bytes, written: Written) -> None:
        """What this entry says of a producer's key, if it is a control entry that does, and nothing else of it."""
        try:
            entry = _decode(sealed_value)
        except (msgspec.DecodeError, UnicodeError):
            return
        if written.kind == "control" and entry.action in KEY_STATEMENTS:
            self._heed(entry.action, entry.metadata, written.seq)

    def _heed(self, action: str, metadata: msgspec.Raw, seq: int) -> None:
        """Entry `seq`, of kind `control`, says this of a producer's key."""
        try:
            said = msgspec.json.decode(metadata)
            check_metadata(action, said)
        except (InvalidEvent, msgspec.DecodeError):  # sealed by rules that are not ours: it counts for nothing
            return
        self.keys.say(action, said, seq)

    def _statement(self, action: str, metadata: dict[str, Any]) -> None:
        if action == "sequencer.started":
            for topic, recorded in self.topic_ids.items():
                if not recorded:
                    self.topic_ids[topic] = metadata[f"{topic}_topic_id"]
        elif action == "input.lost":
            self.topic_ids[metadata["topic"]] = metadata["new_topic_id"]
        else:
            for listed in metadata["producers"]:
                memory = self._of_listed(listed)
                if action == "producer.silent":
                    memory.silenced([listed["producer_id"]])
                else:
                    memory.drop([listed["producer_id"]])

    def _of_listed(self, listed: dict[str, Any]) -> Deduplication:
        """A statement does not say of which kind a producer is: the one whose state is what it states."""
        state = self.controls.producers.get(listed["producer_id"])
        if state is not None and (state.stated_next, state.last_seen) == (listed["next"], listed["last_seen"]):
            own = self.events.producers.get(listed["producer_id"])
            if own is None or (own.stated_next, own.last_seen) != (listed["next"], listed["last_seen"]):
                return self.controls
        return self.events


def _closes_at(canonical: bytes) -> int | None:
    try:
        return validate_event(canonical).closes_at
    except InvalidEvent:  # sealed by rules that are no longer ours: then it closes nothing
        return None
