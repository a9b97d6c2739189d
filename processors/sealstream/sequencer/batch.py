"""From records to sealed entries: the order of a chain, decided one record after another.

A `Scribe` holds the chain's tip and what is remembered of its inputs. It is fed with the records of both topics and
gives a `Batch`: the sealed entries in order, the dead letters, the tip after them. The invariants, for every record of
an input topic in order:

* it becomes exactly one entry, or its offset is noted and settled by an `input.passed` before that topic's next entry;
* an entry follows the one before it in hash, number, time and offsets (`sealstream.sealing.next_tip` agrees);
* an event that is not signed as it should be is sealed like any other, and `signature.refused` says so before the next
  event or control entry;
* whatever a record holds, and whatever its validation raises, no other record fares differently for it.

Pure but for the randomness of ids, which is an argument. A crash leaves nothing behind: a batch that was not committed
was never seen, and the next scribe starts from the chain's tail and reads the same records again.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from sealstream.events import (
    KEY_STATEMENTS,
    KeyRing,
    RefusedSignature,
    ValidEvent,
    format_timestamp,
    log_statement,
    uuid7,
    validate_control,
    validate_event,
)
from sealstream.layout import ChainTopics
from sealstream.sealing import Tip
from sealstream.sequencer import statements
from sealstream.sequencer.account import Account
from sealstream.sequencer.deduplication import Deduplication, Verdict
from sealstream.sequencer.judging import REPEATED, DeadLetter, Validate, dead_letter, judge_record
from sealstream.sequencer.producers import Range
from sealstream.sequencer.statements import Statement

if TYPE_CHECKING:  # the pure core needs its shape and not the driver
    from sealstream.kafka import Record

__all__ = ["Batch", "Counted", "Scribe", "garbage_waits", "sealed_time"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Counted(NamedTuple):
    """What happened beside sealing: records that became no entry, and the log's own statements by action."""

    refused: int
    repeated: int
    statements: Mapping[str, int]


class Batch(NamedTuple):
    """What one transaction writes. `entries`: key (the event's id) and value (the sealed entry)."""

    entries: list[tuple[bytes, bytes]]
    dead_letters: list[DeadLetter]
    tip: Tip
    counted: Counted


class _Input:
    """One input topic: how its records are validated, what is remembered of them, what was passed over."""

    def __init__(
        self,
        kind: str,
        topic_name: str,
        account: Account,
        memory: Deduplication,
        validate: Validate,
    ) -> None:
        self.kind = kind
        self.topic_name = topic_name
        self.account = account
        self.memory = memory
        self.validate = validate


def sealed_time(unix_us: int) -> str:
    """Microseconds since 1970 as `YYYY-MM-DDTHH:MM:SS.ffffffZ`."""
    return format_timestamp(_EPOCH + timedelta(microseconds=unix_us))


def _validate_control(value: bytes | None) -> ValidEvent:
    return validate_control(value)._replace(closes_at=None)  # `producer.closed` is a raw event's word


@contextmanager
def garbage_waits() -> Iterator[None]:
    """No garbage collection inside: what is made here is kept, and looking at it again and again costs a tenth."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class Scribe:
    """Seals what comes next. `events`, `controls`: what is remembered of each kind; `keys`: which keys producers may
    sign with; `process` speaks for the log.
    """

    def __init__(
        self,
        chain: str,
        topics: ChainTopics,
        tip: Tip,
        events: Deduplication,
        controls: Deduplication,
        *,
        keys: KeyRing | None = None,
        randomness: Callable[[int], bytes],
        process: str = "sequencer",
    ) -> None:
        self.chain = chain
        self.raw = Account("raw", tip.raw_offset + 1)
        self.control = Account("control", tip.control_offset + 1)
        self._inputs = {
            "event": _Input("event", topics.raw, self.raw, events, validate_event),
            "control": _Input("control", topics.control, self.control, controls, _validate_control),
        }
        self._keys = keys if keys is not None else KeyRing("")
        self._randomness = randomness
        self._process = process
        self._size = tip.size
        self._hash = tip.hash
        self._hash_hex = tip.hash.hex()
        self._raw_offset = tip.raw_offset
        self._control_offset = tip.control_offset
        self._sequenced_at = tip.sequenced_at
        self._now_ns = 0
        self._entries: list[tuple[bytes, bytes]] = []
        self._dead_letters: list[DeadLetter] = []
        self._refused = self._repeated = 0
        self._said: Counter[str] = Counter()
        self._received_ms = -1
        self._received_at = ""

    @property
    def tip(self) -> Tip:
        """The chain after everything that was sealed so far, committed or not."""
        return Tip(self._size, self._hash, self._raw_offset, self._control_offset, self._sequenced_at)

    def begin(self, now_ns: int) -> None:
        """Start a batch: all its entries get this time, or the time of the entry before, whichever is later."""
        self._now_ns = now_ns
        self._sequenced_at = max(sealed_time(now_ns // 1000), self._sequenced_at)

    def take(self, kind: str, records: Sequence[Record]) -> None:
        """Seal, refuse or pass over the records of one input in their order. `kind`: `event` or `control`."""
        source = self._inputs[kind]
        at = 0
        with garbage_waits():
            while at < len(records):
                at = self._seal_run(source, records, at)
                if at < len(records):
                    self._take_one(source, records[at])
                    at += 1

    def _take_one(self, source: _Input, record: Record) -> None:
        """One record, whatever it is."""
        offset, timestamp_ms, _, value, _ = record
        account = source.account
        event = judge_record(source.validate, value)
        if isinstance(event, str):
            record_sha256 = sha256(value or b"").digest()
            account.refused(offset, record_sha256, event)
            self._refused += 1
            self._bury(source, offset, value, record_sha256, event)
            return
        digest = sha256(event.canonical).digest()
        verdict = source.memory.judge(event, digest)
        if verdict is not None and verdict.what == "repeat":
            self._pass_repeat(source, offset, value, verdict)
            return
        account.skip_to(offset)
        if account:
            self._settle(source)
        account.next = offset + 1
        self._moved(source, offset)
        seq = self._size
        self._append(event.canonical, event.id, source.kind, f'"received_at":"{self._received(timestamp_ms)}",')
        missing = source.memory.sealed(event, digest, seq, self._sequenced_at)
        refused = None
        if source.kind == "event":
            refused = self._keys.judge(event, self._sequenced_at)
        elif event.action in KEY_STATEMENTS:
            self._heed(event, seq)
        if verdict is not None or missing or refused is not None:
            self._remark(event, digest, seq, verdict, missing, refused)

    def _seal_run(self, source: _Input, records: Sequence[Record], at: int) -> int:
        """Seal records from index `at` on as long as nothing is to be said of them; the index of the first other one.

        The same as `_take_one` for each, at half the cost: nearly every record of a log passes here.
        """
        account, validate, in_turn = source.account, source.validate, source.memory.sealed_in_turn
        if account:
            return at
        of_events, keys, demands = source.kind == "event", self._keys, self._keys.demands
        lead, middle = f',"written":{{"chain":"{self.chain}","control_offset":', ""
        if source.kind == "event":
            lead += f'{self._control_offset},"kind":"event","raw_offset":'
        else:
            middle = f',"kind":"control","raw_offset":{self._raw_offset}'
        sequenced_at = self._sequenced_at
        end = f',"sequenced_at":"{sequenced_at}","v":1}}'
        entries, received_ms, received_at = self._entries, self._received_ms, self._received_at
        next_offset, seq, own_hash, own_hex = account.next, self._size, self._hash, self._hash_hex
        for index in range(at, len(records)):
            offset, timestamp_ms, _, value, _ = records[index]
            if offset != next_offset:
                break
            try:
                event = validate(value)
            except Exception:  # noqa: BLE001 - the long way meets it again, and refuses this record
                break
            canonical = event[0]
            if of_events:
                if (event[6] is not None or demands) and keys.judge(event, sequenced_at) is not None:
                    break
            elif event[4] in KEY_STATEMENTS:
                break
            if not in_turn(event, sha256(canonical).digest(), seq, sequenced_at):
                break
            if timestamp_ms != received_ms:
                received_ms, received_at = timestamp_ms, self._received(timestamp_ms)
            head = canonical[:-1]
            written = f'{lead}{offset}{middle},"received_at":"{received_at}","seq":{seq}{end}'.encode()
            own_hash = sha256(b"".join((b"\0", own_hash, head, written, b"}"))).digest()
            prev_hex, own_hex = own_hex, own_hash.hex()
            seal = f',"prev_hash":"{prev_hex}","hash":"{own_hex}"}}'.encode()
            entries.append((event[1].encode(), b"".join((head, written, seal))))
            next_offset += 1
            seq += 1
        else:
            index = len(records)
        if seq > self._size:
            self._moved(source, next_offset - 1)
            account.next = next_offset
            self._size, self._hash, self._hash_hex = seq, own_hash, own_hex
        return index

    def _moved(self, source: _Input, offset: int) -> None:
        if source.kind == "event":
            self._raw_offset = offset
        else:
            self._control_offset = offset

    def _received(self, timestamp_ms: int) -> str:
        if timestamp_ms != self._received_ms:
            self._received_ms = timestamp_ms
            self._received_at = sealed_time(timestamp_ms * 1000)
        return self._received_at

    def _append(self, event: bytes, event_id: str, kind: str, received: str) -> None:
        """The seal, as `sealstream.sealing.seal` makes it, with the hash of the entry before at hand in both forms."""
        head = event[:-1]
        written = (
            f',"written":{{"chain":"{self.chain}","control_offset":{self._control_offset},"kind":"{kind}",'
            f'"raw_offset":{self._raw_offset},{received}"seq":{self._size},'
            f'"sequenced_at":"{self._sequenced_at}","v":1}}'
        ).encode()
        own_hash = sha256(b"".join((b"\0", self._hash, head, written, b"}"))).digest()
        own_hex = own_hash.hex()
        seal = f',"prev_hash":"{self._hash_hex}","hash":"{own_hex}"}}'.encode()
        self._entries.append((event_id.encode(), b"".join((head, written, seal))))
        self._size += 1
        self._hash = own_hash
        self._hash_hex = own_hex

    def _heed(self, event: ValidEvent, seq: int) -> None:
        """The control entry just sealed says something of a producer's key, in the form that its schema demands."""
        self._keys.say(event.action, msgspec.json.decode(event.canonical)["metadata"], seq)

    def refuse_signature(self, seq: int, refused: RefusedSignature) -> None:
        """Say of entry `seq`, the last event, that it is not signed as it should be."""
        self.say(statements.signature_refused(seq, refused))

    def _remark(
        self,
        event: ValidEvent,
        digest: bytes,
        seq: int,
        verdict: Verdict | None,
        missing: list[Range] | None,
        refused: RefusedSignature | None,
    ) -> None:
        """What the log has to say about the entry just sealed: the conflict first, since it must stand right behind."""
        if verdict is not None and verdict.of is not None:
            self.say(statements.producer_conflict(seq, digest, verdict.of))
        if refused is not None:
            self.refuse_signature(seq, refused)
        if event.producer_id is None or event.producer_seq is None:
            return
        if verdict is not None and verdict.what == "unsure":
            self.say(statements.producer_unsure(event.producer_id, event.producer_seq))
        if missing:
            self.say(statements.producer_gap(event.producer_id, missing))

    def _pass_repeat(self, source: _Input, offset: int, value: bytes | None, verdict: Verdict) -> None:
        record_sha256 = sha256(value or b"").digest()
        self._repeated += 1
        if verdict.of is not None:
            source.account.repeated(offset, record_sha256, verdict.of.seq)
        else:
            source.account.repeated(offset, record_sha256, None)
            self._bury(source, offset, value, record_sha256, REPEATED)

    def _bury(self, source: _Input, offset: int, value: bytes | None, record_sha256: bytes, reason: str) -> None:
        self._dead_letters.append(dead_letter(source.topic_name, offset, value, record_sha256, reason))

    def say(self, statement: Statement) -> None:
        """Seal a statement of the log at this place."""
        event_id = uuid7(self._now_ns, self._randomness(8))
        event = log_statement(
            statement.action,
            id=event_id,
            timestamp=self._sequenced_at,
            process=self._process,
            resource_type=statement.resource_type,
            resource_id=statement.resource_id,
            metadata=statement.metadata,
        )
        self._append(event, event_id, "log", "")
        self._said[statement.action] += 1

    def settle(self) -> bool:
        """Seal what both inputs passed over and nothing has settled yet; whether there was any."""
        unsettled = [source for source in self._inputs.values() if source.account]
        for source in unsettled:
            self._settle(source)
        return bool(unsettled)

    def _settle(self, source: _Input) -> None:
        account = source.account
        for items in account.settle():
            last = items[-1]["last"]
            assert isinstance(last, int)
            self._moved(source, last)
            self.say(statements.input_passed(account.topic, source.topic_name, items))

    def lose_input(self, kind: str, *, old_topic_id: str, new_topic_id: str, last: int | None, next: int) -> None:
        """Seal that records are lost, by an operator's decision; `next`: the offset that will be read next."""
        source = self._inputs[kind]
        first = source.account.next
        self._moved(source, next - 1)
        source.account.next = next
        self.say(
            statements.input_lost(
                source.account.topic,
                source.topic_name,
                old_topic_id=old_topic_id,
                new_topic_id=new_topic_id,
                first=first,
                last=last,
            )
        )

    def review_producers(self, *, day_ago: str, month_ago: str) -> None:
        """State who fell silent, and forget whose time is over; both by `log` entries."""
        for source in self._inputs.values():
            memory = source.memory
            silent = memory.newly_silent(day_ago)
            self._list_producers("producer.silent", memory, silent)
            memory.silenced(silent)
            dropped = memory.to_drop(day_ago, month_ago)
            self._list_producers("producer.dropped", memory, dropped)
            memory.drop(dropped)

    def _list_producers(self, action: str, memory: Deduplication, producer_ids: Iterable[str]) -> None:
        states = ((producer_id, memory.producers[producer_id]) for producer_id in producer_ids)
        for statement in statements.producers_listed(action, self.chain, states):
            self.say(statement)

    def finish(self) -> Batch:
        """Everything since the last batch, ready for one transaction.

        Records that were passed over are settled now, so that the tail accounts for all that was read; empty offsets
        alone wait for the topic's next entry, or for the next heartbeat.
        """
        for source in self._inputs.values():
            if source.account.records:
                self._settle(source)
        counted = Counted(self._refused, self._repeated, self._said)
        batch = Batch(self._entries, self._dead_letters, self.tip, counted)
        self._entries, self._dead_letters = [], []
        self._refused, self._repeated, self._said = 0, 0, Counter()
        return batch
