"""What whoever rules Kafka, or has the signing key, can do to copies of a chain's topics: found, placed and named."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import pytest
from confluent_kafka.admin import AdminClient
from tests.markers import wait_for_markers
from tests.verify.conftest import Built, Verdict

from sealstream.checkpointing import load_signer
from sealstream.events import log_statement, new_event_id
from sealstream.kafka import KafkaSettings, TransactionalProducer, create_topics, trim
from sealstream.layout import ChainTopics, CheckpointHeaders, checkpoint_headers, decode_entry, parse_checkpoint_headers
from sealstream.sealing import (
    EMPTY_RANGE,
    Checkpoint,
    CompactRange,
    Sealed,
    Signer,
    Written,
    entry_body,
    entry_hash,
    extend,
    new_signing_key,
    root,
    sign_checkpoint,
    signer,
    split_sealed,
)


class Note(NamedTuple):
    """A note of either topic, and what stands beside it."""

    value: bytes
    beside: CheckpointHeaders

    @property
    def size(self) -> int:
        """A checkpoint's second line."""
        return int(self.value.split(b"\n")[1])


class Copy:
    """What the topics hold, to be changed in place and then written under a prefix of its own."""

    def __init__(self, built: Built) -> None:
        self._built = built
        pipeline = built.pipeline
        self.raw = [record.value or b"" for record in pipeline.records(pipeline.topics.raw)]
        self.control = [record.value or b"" for record in pipeline.records(pipeline.topics.control)]
        self.chain = list(built.values)
        self.checkpoints = self._notes(pipeline.topics.checkpoints)
        self.segments = self._notes(pipeline.topics.segments)
        self.signer: Signer = load_signer(pipeline.folder / "keys" / f"{pipeline.name}.key")
        self.prefix = f"c-{uuid.uuid4().hex[:12]}"
        self.topics = ChainTopics.of(pipeline.name, self.prefix)

    def _notes(self, topic: str) -> list[Note]:
        records = self._built.pipeline.records(topic)
        return [Note(record.value or b"", parse_checkpoint_headers(record.headers)) for record in records]

    def sign_anew(self) -> None:
        """Every note once more for the entries as they are now, by the chain's own key: the insider's way."""
        trees = trees_of(self.chain)
        for notes in (self.checkpoints, self.segments):
            notes[:] = [self.note(trees[note.size], note.beside) for note in notes]

    def note(self, tree: CompactRange, beside: CheckpointHeaders) -> Note:
        """A note by the chain's own key."""
        statement = Checkpoint(self._built.pipeline.chain.origin, tree.size, root(tree))
        return Note(sign_checkpoint(statement, self.signer), beside._replace(compact_range=tree.hashes))

    def write(self) -> None:
        """Into topics of its own. Offsets count from 0 there, so what is said of them beside a note is written anew."""
        kafka = self._built.pipeline.kafka
        create_topics(kafka, self.topics.configs())
        producer = TransactionalProducer(kafka, self.prefix)
        producer.open()
        try:
            producer.begin()
            for topic, values in (
                (self.topics.raw, self.raw),
                (self.topics.control, self.control),
                (self.topics.chain, self.chain),
            ):
                for value in values:
                    producer.produce(topic, value)
            for topic, notes in ((self.topics.checkpoints, self.checkpoints), (self.topics.segments, self.segments)):
                for note in notes:
                    beside = checkpoint_headers(note.beside._replace(chain_offset=note.size))
                    producer.produce(topic, note.value, headers=beside)
            producer.commit()
            for topic in (self.topics.chain, self.topics.checkpoints, self.topics.segments):
                wait_for_markers(self._built.pipeline.kafka, topic)
        finally:
            producer.close()

    def remove(self) -> None:
        """The topics are gone."""
        admin = AdminClient({"bootstrap.servers": self._built.pipeline.kafka.bootstrap})
        for deleted in admin.delete_topics(list(self.topics)).values():
            deleted.exception()  # one that was never made is no failure


@pytest.fixture
def copy(built: Built, command_settings: Callable[..., None]) -> Iterator[Copy]:
    """A copy that the commands of this test read, once it is written."""
    made = Copy(built)
    command_settings(KAFKA__PREFIX=made.prefix)
    yield made
    made.remove()


@pytest.fixture
def verdict_on(built: Built) -> Callable[..., Verdict]:
    """Write the copy, and ask for the verdict."""

    def verdict(copy: Copy, *options: str, **more: object) -> Verdict:
        copy.write()
        return built.verify("kafka", *options, **more)  # type: ignore[arg-type]

    return verdict


def trees_of(values: Sequence[bytes]) -> Mapping[int, CompactRange]:
    """The tree at each size."""
    trees, tree = {}, EMPTY_RANGE
    for value in values:
        tree = extend(tree, [split_sealed(value).hash])
        trees[tree.size] = tree
    return trees


def relinked(values: Sequence[bytes], first: int, body: bytes) -> list[bytes]:
    """Entry `first` gets this body; it and all behind it are hashed and linked anew."""
    forged, prev_hash = list(values), split_sealed(values[first - 1]).hash
    for seq in range(first, len(values)):
        this = body if seq == first else split_sealed(values[seq]).body
        sealed = Sealed(this, prev_hash, entry_hash(prev_hash, this))
        forged[seq], prev_hash = sealed.to_bytes(), sealed.hash
    return forged


def another_story(value: bytes) -> bytes:
    """The body of a sealed event, which now says something else."""
    return split_sealed(value).body.replace(b'"treatment"', b'"curiosity"')


def last_signed_below(copy: Copy, seq: int) -> int:
    """The newest signed size that does not hold entry `seq`."""
    return max(note.size for note in [*copy.checkpoints, *copy.segments] if note.size <= seq)


def test_the_chain_and_an_untouched_copy_hold(built: Built, copy: Copy, verdict_on: Callable[..., Verdict]) -> None:
    verdict = verdict_on(copy)
    assert (verdict.code, verdict.found) == (0, [])
    assert verdict.report["entries"] == verdict.report["signed_size"] == built.size


def test_an_entry_that_was_edited(built: Built, copy: Copy, verdict_on: Callable[..., Verdict]) -> None:
    seq = built.seq_of(502)
    copy.chain[seq] = copy.chain[seq].replace(b'"treatment"', b'"curiosity"')
    verdict = verdict_on(copy)
    assert (verdict.code, verdict.found) == (1, [("edited", seq, seq)])
    assert verdict.places == [f"{copy.topics.chain} offset {seq}"]


def test_an_entry_that_is_not_there(built: Built, copy: Copy, verdict_on: Callable[..., Verdict]) -> None:
    seq = built.seq_of(502)
    del copy.chain[seq]
    verdict = verdict_on(copy)
    assert (verdict.code, verdict.found) == (1, [("missing", seq, seq)])


def test_entries_twice_and_out_of_order(built: Built, copy: Copy, verdict_on: Callable[..., Verdict]) -> None:
    twice, moved = built.seq_of(202), built.seq_of(702)
    late = copy.chain.pop(moved)
    copy.chain.insert(moved + 20, late)
    copy.chain.insert(twice + 1, copy.chain[twice])
    verdict = verdict_on(copy)
    assert (verdict.code, verdict.found) == (1, [("duplicated", twice, twice), ("reordered", moved, moved)])


def test_a_suffix_that_was_hashed_anew(built: Built, copy: Copy, verdict_on: Callable[..., Verdict]) -> None:
    seq = built.seq_of(702)
    copy.chain = relinked(copy.chain, seq, another_story(copy.chain[seq]))
    first = last_signed_below(copy, seq)
    verdict = verdict_on(copy)
    assert (verdict.code, verdict.found) == (1, [("forked", first, built.size - 1), ("inserted", seq, seq)])
    assert verdict.report["signed_size"] == first


@pytest.mark.parametrize("what", ["refused", "repeated", "empty"])
def test_an_event_that_was_left_out_with_a_lie(
    built: Built, copy: Copy, verdict_on: Callable[..., Verdict], what: str
) -> None:
    """The insider signs everything anew: hashes, links, roots and signatures all hold. The input topic knows better."""
    seq = built.seq_of(999)  # the last of its producer, so no number is missing behind it
    written = decode_entry(split_sealed(copy.chain[seq]).body).written
    digest = sha256(sha256(copy.raw[written.raw_offset]).digest()).hexdigest()
    details: dict[str, dict[str, object]] = {
        "refused": {"sha256": digest, "reason": "event is not acceptable JSON"},
        "repeated": {"sha256": digest, "of": built.seq_of(500)},
        "empty": {},
    }
    item = {"what": what, "first": written.raw_offset, "last": written.raw_offset, **details[what]}
    lie = log_statement(
        "input.passed",
        id=new_event_id(),
        timestamp=written.sequenced_at,
        process="sequencer",
        resource_type="topic",
        resource_id=built.pipeline.topics.raw,
        metadata={"topic": "raw", "items": [item]},
    )
    as_log = Written(
        built.pipeline.name, written.control_offset, "log", written.raw_offset, None, seq, written.sequenced_at
    )
    copy.chain = relinked(copy.chain, seq, entry_body(lie, as_log))
    copy.sign_anew()
    verdict = verdict_on(copy)
    assert (verdict.code, verdict.found) == (1, [("unaccounted", seq, seq)])
    assert verdict.places == [f"{copy.topics.raw} offset {written.raw_offset}"]


def test_an_event_that_was_left_out_and_passed_over_in_silence(
    built: Built, copy: Copy, verdict_on: Callable[..., Verdict]
) -> None:
    seq = built.seq_of(502)
    written = decode_entry(split_sealed(copy.chain[seq]).body).written
    silence = log_statement(
        "chain.heartbeat",
        id=new_event_id(),
        timestamp=written.sequenced_at,
        process="sequencer",
        resource_type="chain",
        resource_id=built.pipeline.name,
        metadata=None,
    )
    before = Written(
        built.pipeline.name, written.control_offset, "log", written.raw_offset - 1, None, seq, written.sequenced_at
    )
    copy.chain = relinked(copy.chain, seq, entry_body(silence, before))
    copy.sign_anew()
    verdict = verdict_on(copy)
    assert verdict.code == 1
    assert ("unaccounted", seq + 1, seq + 1) in verdict.found  # where the offset jumps, and the producer's numbers too
    assert verdict.kinds == {"unaccounted"}


def test_an_event_that_nobody_sent(built: Built, copy: Copy, verdict_on: Callable[..., Verdict]) -> None:
    seq = built.seq_of(502)
    copy.chain = relinked(copy.chain, seq, another_story(copy.chain[seq]))
    copy.sign_anew()
    verdict = verdict_on(copy)
    assert (verdict.code, verdict.found) == (1, [("inserted", seq, seq)])


def test_an_input_topic_that_was_cut_and_changed(built: Built, copy: Copy, verdict_on: Callable[..., Verdict]) -> None:
    end = len(copy.raw) - 2
    del copy.raw[end:]
    copy.raw[-1] = b"another event"
    verdict = verdict_on(copy)
    changed, gone, beyond = (built.seq_at(offset) for offset in (end - 1, end, end + 1))
    assert verdict.code == 1  # at the copy's own end stands its transaction's marker, which is no record
    assert verdict.found == [("inserted", changed, changed), ("inserted", gone, gone), ("rolled back", beyond, beyond)]


def test_a_chain_that_was_cut(built: Built, copy: Copy, verdict_on: Callable[..., Verdict]) -> None:
    del copy.chain[-100:]
    verdict = verdict_on(copy)
    assert (verdict.code, verdict.found) == (1, [("rolled back", built.size - 100, built.size - 1)])


def test_a_chain_that_was_cut_with_its_notes_and_inputs(
    built: Built, copy: Copy, verdict_on: Callable[..., Verdict], tmp_path: Path, command_settings: Callable[..., None]
) -> None:
    command_settings(KAFKA__PREFIX=built.pipeline.prefix)
    assert built.verify("kafka", state_dir=tmp_path).code == 0  # keeps what it saw
    command_settings(KAFKA__PREFIX=copy.prefix)
    size = copy.segments[1].size
    written = decode_entry(split_sealed(copy.chain[size - 1]).body).written
    del copy.chain[size:], copy.raw[written.raw_offset + 1 :], copy.control[written.control_offset + 1 :]
    copy.checkpoints = [note for note in copy.checkpoints if note.size <= size]
    copy.segments = copy.segments[:2]
    assert verdict_on(copy).code == 0, "a verifier that never looked before can't know"
    stale = built.verify("kafka", after=timedelta(minutes=4))
    assert (stale.code, stale.found) == (2, [("stale", None, None)])
    kept = built.verify("kafka", state_dir=tmp_path)
    assert (kept.code, kept.found) == (1, [("rolled back", size, built.size - 1)])


def test_a_note_that_the_chains_key_did_not_sign(built: Built, copy: Copy, verdict_on: Callable[..., Verdict]) -> None:
    other = signer(new_signing_key(built.pipeline.chain.origin))
    tree = trees_of(copy.chain)[300]
    forged = sign_checkpoint(Checkpoint(built.pipeline.chain.origin, 300, root(tree)), other)
    copy.checkpoints.append(Note(forged, copy.checkpoints[-1].beside._replace(compact_range=tree.hashes)))
    verdict = verdict_on(copy)
    assert (verdict.code, verdict.found) == (1, [("unsigned", None, None)])
    assert verdict.places[0].startswith(copy.topics.checkpoints)


def test_two_roots_for_one_size(built: Built, copy: Copy, verdict_on: Callable[..., Verdict]) -> None:
    note = copy.segments[1]
    seq = next(seq for seq in range(note.size - 1, 0, -1) if b'"kind":"event"' in copy.chain[seq])
    other = trees_of(relinked(copy.chain, seq, another_story(copy.chain[seq])))[note.size]
    copy.checkpoints.append(copy.note(other, note.beside._replace(first_seq=None, last_seq=None)))
    verdict = verdict_on(copy)
    assert (verdict.code, verdict.found) == (1, [("forked", note.size - 1, note.size - 1)])


def test_entries_that_were_never_signed(built: Built, copy: Copy, verdict_on: Callable[..., Verdict]) -> None:
    size = copy.segments[1].size
    copy.checkpoints = [note for note in copy.checkpoints if note.size <= size]
    copy.segments = copy.segments[:2]
    young = verdict_on(copy)
    assert (young.code, young.report["not_yet_signed"]) in {(0, built.size - size), (1, built.size - size)}
    old = built.verify("kafka", after=timedelta(seconds=70))
    assert (old.code, old.found) == (1, [("unsigned", size, built.size - 1)])


def test_beginning_in_the_middle_still_finds_what_is_behind(
    built: Built, copy: Copy, verdict_on: Callable[..., Verdict], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--since` goes by the notes' own times, so this is asked of the chain's own topics, and of a copy."""
    since = built.paused_at.isoformat().replace("+00:00", "Z")
    seq = built.seq_of(902)
    copy.chain[seq] = copy.chain[seq].replace(b'"treatment"', b'"curiosity"')
    verdict = verdict_on(copy, "--since", since)
    assert (verdict.code, verdict.found) == (1, [("edited", seq, seq)])
    monkeypatch.setenv("SEALSTREAM_KAFKA__PREFIX", built.pipeline.prefix)
    whole = built.verify("kafka", "--since", since)
    assert (whole.code, whole.found) == (0, [])
    assert 0 < whole.report["first_seq"] <= built.seq_of(500)
    assert whole.report["entries"] == built.size - whole.report["first_seq"]


@pytest.mark.parametrize("behind", [0, 3])
def test_the_head_of_a_chain_that_is_never_trimmed(built: Built, copy: Copy, kafka: KafkaSettings, behind: int) -> None:
    """Also where the topic then begins inside a segment: what is left of it is read, and an edit in it found."""
    first = copy.segments[0].size + behind
    seq = next(seq for seq in range(first + 5, built.size) if b'"result":"success"' in copy.chain[seq])
    copy.chain[seq] = copy.chain[seq].replace(b'"result":"success"', b'"result":"failure"')
    copy.write()
    trim(kafka, copy.topics.chain, first)
    verdict = built.verify("kafka")
    assert verdict.code == 1
    assert ("missing", 0, first - 1) in verdict.found
    assert ("edited", seq, seq) in verdict.found
