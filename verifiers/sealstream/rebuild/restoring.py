"""Restores a chain's topics in Kafka from the archive and Postgres, so that the pipeline goes on where it stood.

    archive, then Postgres above it ──▶ Regrowth (all checked) ──▶ audit.chain.C, audit.segments.C, audit.checkpoints.C

First everything that the stores hold is read and checked, against the chain's key and every checkpoint that is known;
nothing is written before. Then, in this order, so that nobody can begin a second history meanwhile:

1. the largest known checkpoint goes into `audit.checkpoints.C`, before the chain's own topic exists: a sequencer that
   starts beside it finds fewer entries than were published, and stops;
2. entries, and the segments' notes among them, in transactions under the sequencer's own transactional id, which
   fences one that runs; each is read back before the next;
3. the input topics are made where they are missing, last, since a sequencer waits for them;
4. `segment.archived` is said again of segments of whose statement the chain was cut off.

A crash anywhere leaves whole transactions: a topic that holds a prefix of the chain. The same command goes on behind
it; the same lines mend a topic whose tail was lost. Producers' states are made again by the sequencer, from the chain.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from sealstream.archive.statements import ArchivedStatement
from sealstream.checkpointing.growing import SignedSize
from sealstream.errors import ChainStopped, Fenced, Forked, Misconfigured, Unavailable
from sealstream.kafka import (
    CommittedReader,
    KafkaSettings,
    TransactionalProducer,
    create_topics,
    end_offset,
    last_record,
    produce,
    start_offset,
    trim,
)
from sealstream.layout import (
    ChainSettings,
    ChainTopics,
    CheckpointHeaders,
    checkpoint_headers,
    decode_entry,
    sequencer_transactional_id,
)
from sealstream.layout.archive import ARCHIVED_ACTION
from sealstream.rebuild.remaining import PublishedNote, Regrowth, Remainder, Survey, by_size, survey
from sealstream.rebuild.topics import NOTHING, InKafka, look_into_kafka, set_aside
from sealstream.sealing import open_checkpoint, tip_after
from sealstream.sequencer.producers import AS_OF_KEY, AsOf, encode_as_of

__all__ = ["Restored", "TailLost", "largest_beyond", "restore_kafka"]

_ENTRIES = 10_000
_BYTES = 8 * 1024 * 1024
_READ_BACK_S = 30.0
_NEEDLE = f'"action":"{ARCHIVED_ACTION}"'.encode()

Progress = Callable[[str, int, int | None], None]


class TailLost(ChainStopped):
    """A checkpoint is published that no store reaches: the chain must not go on. `note` is that checkpoint."""

    def __init__(self, sentence: str, size: int, note: PublishedNote) -> None:
        super().__init__(sentence)
        self.size = size
        self.note = note


class Restored(NamedTuple):
    """`size`: entries in the chain now, of which `written` were; `signed`: the largest known checkpoint's size;
    `evidence`: files with what Kafka held before; `strange`: notes in Kafka that contradict the stores; `made_topics`:
    whether some topic was not there before; `begin`: the first entry that is left, those before being over.
    """

    size: int
    written: int
    signed: int
    segments: int
    said_again: int
    evidence: list[Path]
    strange: list[PublishedNote]
    made_topics: bool = False
    begin: int = 0


def largest_beyond(notes: dict[int, PublishedNote], size: int) -> PublishedNote | None:
    """The largest note of more than `size` entries."""
    largest = max(notes, default=0)
    return notes[largest] if largest > size else None


def restore_kafka(
    kafka: KafkaSettings,
    chain: ChainSettings,
    remainder: Remainder,
    *,
    kept: Sequence[PublishedNote] = (),
    replication: int = 1,
    replace: Path | None = None,
    progress: Progress = lambda _what, _done, _total: None,
) -> Restored:
    """Restore the chain's topics. `kept`: notes that somebody has kept; `replace`: where what Kafka holds instead goes.

    Raises `TailLost`; `Forked` where Kafka holds another history, without `replace`; `ChainBroken`, `Forked` where the
    stores do not hold; `Misconfigured` where there is nothing to restore; `Fenced` when a sequencer runs.
    """
    topics = ChainTopics.of(chain.name, chain.prefix)
    evidence: list[Path] = []
    known = by_size([*remainder.notes(), *kept])
    try:
        there = look_into_kafka(kafka, chain, pass_over=replace is not None)
    except ChainStopped as error:
        raise type(error)(f"{error}; {_ADVICE}") from error
    found = survey(
        remainder,
        chain,
        known,
        doubted=there.notes,
        look_at=[there.tip.size - 1] if there.tip is not None else [],
        progress=lambda done, total: progress("checking", done, total),
    )
    if not found.size:
        raise Misconfigured(f"no store holds an entry of chain {chain.name}: there is nothing to restore from")
    contradiction = _contradiction(topics, there, found)
    if contradiction and replace is None:
        raise Forked(f"{contradiction}; {_ADVICE}")
    begin = 0 if there.tip is None else there.tip.size
    for note in there.notes:
        if note not in found.contradicting:
            known.setdefault(note.size, note)
    size = found.size if replace is not None else max(begin, found.size)
    _refuse_beyond(chain, known, size)
    published = max((note.size for note in there.notes), default=0)
    if (
        replace is None
        and begin == size
        and there.complete
        and (found.newest is None or published >= found.newest.size)
    ):
        return Restored(size, 0, max(known, default=0), 0, 0, evidence, [], begin=found.begin.size)
    if replace is not None:
        evidence, there, begin = set_aside(kafka, topics, replace), NOTHING, 0
    restoring = _Restoring(kafka, chain, remainder, known, found, replication)
    segments = restoring.run(begin, there.segments, lambda done: progress("restoring", done, found.size))
    said_again = restoring.say_again()
    signed = max(known, default=0)
    written = max(0, found.size - max(begin, found.begin.size))
    made = not there.complete
    return Restored(size, written, signed, segments, said_again, evidence, found.contradicting, made, found.begin.size)


_ADVICE = (
    "if the stores are right (`sealstream verify postgres`, `sealstream verify archive`), `--replace FOLDER` keeps "
    "what Kafka holds as evidence in FOLDER and restores the chain's topics"
)


def _refuse_beyond(chain: ChainSettings, known: dict[int, PublishedNote], size: int) -> None:
    if (beyond := largest_beyond(known, size)) is not None:
        raise TailLost(
            f"chain {chain.name}: a checkpoint of {beyond.size} entries is published ({beyond.place}), but the stores "
            f"hold {size}: entries {size} to {beyond.size - 1} are lost, and a log is never continued below what was "
            f"published; `sealstream chain continue {chain.name}` closes it and begins its successor, which says so",
            size,
            beyond,
        )


def _contradiction(topics: ChainTopics, there: InKafka, found: Survey) -> str:
    """What Kafka holds that the stores deny; empty when it holds a prefix of the chain, or more than they do."""
    if found.contradicting:
        note = found.contradicting[0]
        return (
            f"{note.place}: a checkpoint of {note.size} entries with the root {note.checkpoint.root.hex()} is signed "
            "by the chain's key, but the stores' entries have another: two histories"
        )
    if there.tip is None or there.tip.size > found.size:
        return ""
    seq = there.tip.size - 1
    if seq < found.begin.size:
        return f"{topics.chain} ends with entry {seq}, and the stores begin with {found.begin.size} only"
    if found.hashes[seq] != there.tip.hash:
        return (
            f"{topics.chain} ends with an entry {seq} of the hash {there.tip.hash.hex()}, but the stores' has "
            f"{found.hashes[seq].hex()}: another history"
        )
    return ""


class _Restoring:
    """Writes one chain behind what its topic holds."""

    def __init__(
        self,
        kafka: KafkaSettings,
        chain: ChainSettings,
        remainder: Remainder,
        notes: dict[int, PublishedNote],
        found: Survey,
        replication: int,
    ) -> None:
        self._kafka = kafka
        self._chain = chain
        self._topics = ChainTopics.of(chain.name, chain.prefix)
        self._remainder = remainder
        self._notes = notes
        self._found = found
        self._replication = replication
        self._archived: set[str] = set()

    def run(self, begin: int, noted: set[int], progress: Callable[[int], None]) -> int:
        """Write what comes behind `begin` entries; how many segments' notes were written, besides those `noted`."""
        kafka, topics = self._kafka, self._topics
        configs = topics.configs()
        create_topics(kafka, [each for each in configs if each.name == topics.checkpoints], self._replication)
        producer = TransactionalProducer(kafka, sequencer_transactional_id(self._chain.name))
        try:
            producer.open()
            self._publish_newest(producer, begin)
            inputs = (topics.raw, topics.control)  # whoever waits for these takes the chain as soon as they are there
            create_topics(kafka, [each for each in configs if each.name not in inputs], self._replication)
            self._check_settled(begin)
            self._begin_later(producer, begin)
            segments = self._write_entries(producer, begin, noted, progress)
            create_topics(kafka, configs, self._replication)
            return segments
        finally:
            producer.close()

    def say_again(self) -> int:
        """Say `segment.archived` of every segment whose statement is not among the entries; how many."""
        said = 0
        for stored in self._remainder.segments():
            if stored.name.object_key not in self._archived:
                segment = self._remainder.manifest(stored)
                statement = ArchivedStatement(
                    self._chain, segment.manifest, segment.manifest_bytes, segment.manifest_version
                )
                produce(self._kafka, self._topics.control, [statement.event], repeatable=True)
                said += 1
        return said

    def _publish_newest(self, producer: TransactionalProducer, begin: int) -> None:
        """The largest known checkpoint stands in Kafka before any entry is written."""
        newest, topic = self._found.newest, self._topics.checkpoints
        last = last_record(self._kafka, topic)
        if newest is None or (
            last is not None and open_checkpoint(last.value or b"", self._chain.vkey).size >= newest.size
        ):
            return
        # About where the entry after it will stand; who reads on from there looks for it.
        begin = max(begin, self._found.begin.size)
        offset = newest.size - self._found.begin.size + (newest.size - begin) // _ENTRIES
        headers = CheckpointHeaders(self._found.newest_range.hashes, offset)
        producer.begin()
        producer.produce(topic, newest.note, headers=checkpoint_headers(headers))
        producer.commit()

    def _check_settled(self, begin: int) -> None:
        """Whoever wrote before us is fenced; what it wrote since we looked would be in the way."""
        tail = last_record(self._kafka, self._topics.chain)
        if (0 if tail is None else tip_after(tail.value or b"").size) != begin:
            raise Fenced(f"{self._topics.chain} grew meanwhile: stop the sequencer, and run the command again")

    def _begin_later(self, producer: TransactionalProducer, begin: int) -> None:
        """Where what is left begins later than with entry 0 the topic begins later than at offset 0: as one that was
        trimmed, which is what everybody takes it for. What is remembered of producers begins there, too.
        """
        kafka, topic = self._kafka, self._topics.chain
        if not self._found.begin.size or begin:
            return
        if last_record(kafka, self._topics.producers) is None:
            producer.begin()
            as_of = encode_as_of(AsOf(self._found.begin.size, "", "", keys=0))
            producer.produce(self._topics.producers, as_of, AS_OF_KEY)
            producer.commit()
        if start_offset(kafka, topic):
            return
        if not end_offset(kafka, topic, committed=False):
            producer.begin()
            producer.produce(topic, b"")
            producer.flush()
            producer.abort()
        deadline = time.monotonic() + _READ_BACK_S
        while not (end := end_offset(kafka, topic, committed=True)):  # the abort's marker is written in its own time
            if time.monotonic() > deadline:
                raise Unavailable(f"{topic}: a transaction that was aborted has not ended: run the command again")
            time.sleep(0.1)
        trim(kafka, topic, end)

    def _write_entries(
        self, producer: TransactionalProducer, begin: int, noted: set[int], progress: Callable[[int], None]
    ) -> int:
        kafka, topic = self._kafka, self._topics.chain
        regrowth = Regrowth(self._chain, self._notes, self._found.begin)
        end, segments = end_offset(kafka, topic, committed=True), 0
        with CommittedReader(kafka, topic, end) as seen:
            for batch in _batches(self._remainder.values()):
                self._remember_archived(batch)
                known = batch[: max(0, begin - regrowth.size)]
                regrowth.add(known, 0)
                new = batch[len(known) :]
                if not new:
                    continue
                base = end_offset(kafka, topic, committed=False)
                ends = [
                    # One that is found to have ended as its follower comes ends before what is written now.
                    end._replace(chain_offset=max(end.chain_offset, base))
                    for end in regrowth.add(new, base)
                    if end.size >= begin and end.size in self._notes and end.size not in noted
                ]
                producer.begin()
                producer.produce_all(topic, [(decode_entry(value).id.encode(), value) for value in new])
                self._produce_segments(producer, ends)
                segments += len(ends)
                producer.flush()
                if producer.delivered()[topic] != (base, base + len(new) - 1):
                    raise Fenced(f"{topic}: somebody else writes to it: stop the sequencer, and run the command again")
                producer.commit()
                _see(seen, topic, new)
                progress(regrowth.size)
        if regrowth.size != self._found.size:
            raise Fenced(f"the stores hold {regrowth.size} entries now, {self._found.size} were checked: run it again")
        return segments

    def _produce_segments(self, producer: TransactionalProducer, ends: list[SignedSize]) -> None:
        """The notes of segments that end here; one that nobody has signed yet checkpointing signs."""
        for end in ends:
            headers = CheckpointHeaders(end.compact_range.hashes, end.chain_offset, end.first_seq, end.size - 1)
            note = self._notes[end.size].note
            producer.produce(self._topics.segments, note, headers=checkpoint_headers(headers))

    def _remember_archived(self, values: list[bytes]) -> None:
        for value in values:
            if _NEEDLE in value:
                entry = decode_entry(value)
                if entry.action == ARCHIVED_ACTION and entry.written.kind == "control":
                    self._archived.add(str((entry.metadata or {}).get("object")))


def _batches(runs: Iterator[list[bytes]]) -> Iterator[list[bytes]]:
    """The same values, so many at once as one transaction takes."""
    for run in runs:
        batch: list[bytes] = []
        size = 0
        for value in run:
            batch.append(value)
            size += len(value)
            if len(batch) >= _ENTRIES or size >= _BYTES:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch


def _see(reader: CommittedReader, topic: str, values: list[bytes]) -> None:
    """What was committed stands there as a reader sees it."""
    deadline = time.monotonic() + _READ_BACK_S
    seen = 0
    while seen < len(values):
        records = reader.read(len(values) - seen, max(0.0, deadline - time.monotonic()))
        for record in records:
            if record.value != values[seen]:
                raise Fenced(f"{topic}, offset {record.offset}: a record that we did not write: run the command again")
            seen += 1
        if not records and time.monotonic() > deadline:
            raise Fenced(f"{topic}: {len(values) - seen} entries reported as committed were not seen: run it again")
