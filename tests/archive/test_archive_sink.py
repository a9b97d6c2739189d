"""The sink against Kafka and S3: what it leaves behind, whatever happens to it and around it."""

from __future__ import annotations

import io
import threading
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.long_runs import long_run

from sealstream.archive import Bucket
from sealstream.archive import sink as sink_module
from sealstream.errors import ChainBroken, Forked, InputLost, Misconfigured, Unavailable
from sealstream.events import control_statement
from sealstream.kafka import trim
from sealstream.layout import Retention, SegmentLimits
from sealstream.layout.archive import SegmentName
from sealstream.sealing import (
    EMPTY_RANGE,
    BadNote,
    Checkpoint,
    Sealed,
    entry_hash,
    extend,
    root,
    sign_checkpoint,
)

DATE = "2026-11-24"


def soon(days: float) -> datetime:
    return (datetime.now(UTC) + timedelta(days=days)).replace(microsecond=0)


def rewritten(data: bytes, change=None, **options) -> bytes:
    table = pq.read_table(pa.BufferReader(data))
    out = io.BytesIO()
    pq.write_table(change(table) if change else table, out, **options)
    return out.getvalue()


def name_of(stage, index: int) -> SegmentName:
    segment = stage.chain.segments[index]
    return SegmentName(stage.chain.name, DATE, segment.first_seq, segment.last_seq)


def test_every_segment_becomes_a_locked_object_a_manifest_and_a_sealed_statement(stage) -> None:
    s = stage()
    s.chain.events(70)
    s.publish()
    s.archive_all()
    assert len(s.chain.segments) >= 3
    s.check()


def test_a_sink_that_is_started_again_goes_on_and_says_nothing_twice(stage) -> None:
    s = stage()
    for _ in range(3):
        s.chain.events(25)
        s.publish()
        s.archive_all()
    s.check()
    assert len(s.controls()) == len(s.chain.segments)


def test_an_empty_chain_is_waited_for(stage) -> None:
    s = stage()
    sink = s.sink(poll_s=0.05)
    sink.step()
    assert not sink.step()
    assert sink.next_seq == 0
    s.chain.events(30)
    s.publish()
    s.run(sink)
    assert sink.next_seq == 20
    sink.close()
    s.check()


def test_segments_end_with_the_day(stage) -> None:
    s = stage()
    s.chain.events(7)
    s.chain.event(after_s=86_400)
    s.chain.events(25)
    s.publish()
    s.archive_all()
    assert [m.first_sequenced_at[:10] for m in s.manifests()][:2] == ["2026-11-24", "2026-11-25"]
    s.check()


def test_short_retention_still_locks_for_a_day(stage, make_chain) -> None:
    s = stage(retention=Retention("own", archive_days=1), at=datetime(2020, 1, 1, tzinfo=UTC))
    s.chain.events(30)
    s.publish()
    s.archive_all()
    for manifest in s.manifests():
        assert datetime.fromisoformat(manifest.retain_until) > soon(0.95)
    s.check()


# Crashes


class Breaking(Bucket):
    """Raises once, at the n-th call: before it, or after it went through."""

    def __init__(self, settings, at: int, after: bool) -> None:
        super().__init__(settings)
        self.calls, self.at, self.after = 0, at, after

    def _break(self, work):
        self.calls += 1
        if self.calls - 1 != self.at:
            return work()
        if self.after:
            work()
        raise Unavailable("broken by the test")

    def check(self):
        return self._break(super().check)

    def put_once(self, key, body, retain_until, held=False):
        return self._break(lambda: Bucket.put_once(self, key, body, retain_until, held=held))

    def stored(self, key):
        return self._break(lambda: Bucket.stored(self, key))

    def read(self, key, version_id, at_most):
        return self._break(lambda: Bucket.read(self, key, version_id, at_most))

    def lock(self, key, version_id):
        return self._break(lambda: Bucket.lock(self, key, version_id))

    def list_folders(self, prefix):
        return self._break(lambda: Bucket.list_folders(self, prefix))


@long_run
@pytest.mark.parametrize("after", [False, True], ids=["before", "after it went through"])
def test_a_crash_at_any_call_to_the_bucket_leaves_a_whole_archive(stage, after: bool) -> None:
    s = stage()
    s.chain.events(45)
    s.publish()
    at, broke = 0, 0
    while True:
        bucket = Breaking(s.bucket_settings, at, after)
        sink = s.sink(bucket=bucket, poll_s=0.05)
        try:
            s.run(sink)
        except Unavailable:
            broke += 1
        else:
            break
        finally:
            sink.close()
        at += 1
        if at % 6 == 0:  # a new segment now and then, so that later calls have something to do
            s.chain.events(20)
            s.publish()
    assert broke >= 10
    s.archive_all()
    s.check()


@long_run
@pytest.mark.parametrize("after", [False, True], ids=["before", "after it went through"])
def test_a_crash_while_saying_it_leaves_one_statement(stage, monkeypatch, after: bool) -> None:
    s = stage()
    s.chain.events(90)
    s.publish()
    real = sink_module.produce

    def broken(*arguments, **options):
        if after:
            real(*arguments, **options)
        raise Unavailable("broken by the test")

    for _ in range(3):
        monkeypatch.setattr(sink_module, "produce", broken)
        sink = s.sink()
        with pytest.raises(Unavailable):
            s.run(sink)
        sink.close()
        s.seal_controls()
    monkeypatch.setattr(sink_module, "produce", real)
    s.archive_all()
    s.check()
    if after:  # what was sealed is not said again
        assert len(s.controls()) == len(s.chain.segments)


def test_a_statement_that_nobody_seals_is_said_again_later(stage) -> None:
    s = stage()
    s.chain.events(25)
    s.publish()
    sink = s.sink(seal_timeout_s=0.0, poll_s=0.05)
    while sink.waiting_for is None:
        sink.step()
    with pytest.raises(Unavailable, match="is the sequencer of main running"):
        sink.step()
    sink.close()
    assert len(s.controls()) == 1
    s.archive_all()
    said = s.controls()
    assert len(said) == 2
    assert said[0] == said[1]
    s.check()


# Two at once


def test_two_sinks_in_turns_leave_one_archive(stage) -> None:
    s = stage()
    s.chain.events(90)
    s.publish()
    sinks = [s.sink(poll_s=0.05), s.sink(poll_s=0.05)]
    while any(sink.waiting_for or sink.next_seq <= s.chain.segments[-1].last_seq for sink in sinks):
        for sink in sinks:
            sink.step()
        s.seal_controls()
    for sink in sinks:
        sink.close()
    s.check()


def test_two_sinks_in_threads_leave_one_archive(stage) -> None:
    s = stage()
    s.chain.events(90)
    s.publish()
    stop = threading.Event()
    failures: list[BaseException] = []

    def work(sink) -> None:
        try:
            while not stop.is_set():
                sink.step()
        except BaseException as error:  # noqa: BLE001
            failures.append(error)
        finally:
            sink.close()

    threads = [threading.Thread(target=work, args=(s.sink(poll_s=0.02),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    deadline = datetime.now(UTC) + timedelta(seconds=60)
    while len(s.archived()) < len(s.chain.segments) and datetime.now(UTC) < deadline and not failures:
        s.seal_controls()
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    s.check()


# What stands there already


def put(s, key: str, body: bytes, days: float = 400) -> str:
    assert s.bucket.put_once(key, body, soon(days))
    return s.bucket.stored(key).versions[0].version_id


def test_an_object_of_another_writer_is_adopted(stage, build_object) -> None:
    s = stage()
    s.chain.events(45)
    s.publish()
    other = rewritten(build_object(s.chain, s.chain.segments[0]), compression="snappy", row_group_size=7)
    version = put(s, name_of(s, 0).object_key, other)
    s.archive_all()
    assert s.manifests()[0].object_version == version
    s.check()


def test_an_adopted_object_is_locked_for_long_enough(stage, build_object) -> None:
    s = stage()
    s.chain.events(25)
    s.publish()
    version = put(s, name_of(s, 0).object_key, build_object(s.chain, s.chain.segments[0]), days=2)
    s.archive_all()
    until = datetime.fromisoformat(s.manifests()[0].retain_until)
    assert until >= datetime.fromisoformat(s.manifests()[0].last_sequenced_at) + timedelta(days=366)
    assert s.bucket.lock(name_of(s, 0).object_key, version).holds(until)
    s.check()


def test_a_longer_lock_is_taken_as_it_is(stage, build_object) -> None:
    s = stage()
    s.chain.events(25)
    s.publish()
    put(s, name_of(s, 0).object_key, build_object(s.chain, s.chain.segments[0]), days=4000)
    s.archive_all()
    assert datetime.fromisoformat(s.manifests()[0].retain_until) > soon(3999)
    s.check()


@pytest.mark.parametrize("foreign", ["junk", "empty", "other entries", "other column"])
def test_a_foreign_object_in_the_place_is_an_alarm(stage, build_object, foreign: str) -> None:
    s = stage()
    s.chain.events(45)
    s.publish()
    data = build_object(s.chain, s.chain.segments[1])

    def blank_actor(table):
        index = table.column_names.index("actor_id")
        return table.set_column(index, "actor_id", pa.array(["nobody"] * table.num_rows))

    body = {
        "junk": b"PAR1 what is this PAR1",
        "empty": b"",
        "other entries": build_object(s.chain, s.chain.segments[0]),
        "other column": rewritten(data, blank_actor),
    }[foreign]
    put(s, name_of(s, 1).object_key, body)
    sink = s.sink()
    with pytest.raises(Forked, match="holds other entries"):
        s.run(sink)
    sink.close()
    assert len(s.manifests()) == 1
    assert len(s.controls()) == 1
    again = s.sink()
    with pytest.raises(Forked, match="holds other entries"):
        s.run(again)
    again.close()


def test_a_delete_marker_does_not_make_the_sink_write_a_second_version(stage) -> None:
    s = stage()
    s.chain.events(25)
    s.publish()
    # The fourth call of the bucket's put is never reached: the object is there, the manifest is not.
    sink = s.sink(bucket=Breaking(s.bucket_settings, 4, after=True))
    with pytest.raises(Unavailable):
        s.run(sink)
    sink.close()
    key = name_of(s, 0).object_key
    assert len(s.bucket.stored(key).versions) == 1
    assert s.bucket.stored(name_of(s, 0).manifest_key).versions == ()
    s.bucket.client.delete_object(Bucket=s.bucket_settings.bucket, Key=key)
    s.archive_all()
    stored = s.bucket.stored(key)
    assert len(stored.versions) == 1
    assert len(stored.delete_markers) == 1
    assert s.archived()[0]["object_version"] == stored.versions[0].version_id


@pytest.mark.parametrize(
    "member",
    [
        *("object_sha256", "checkpoint"),
        *(pytest.param(member, marks=long_run) for member in ("first_hash", "last_sequenced_at", "retain_until")),
    ],
)
def test_a_manifest_that_says_something_else_is_an_alarm(stage, member: str) -> None:
    s = stage()
    s.chain.events(25)
    s.publish()
    s.archive_all()
    true = s.manifests()[0]
    data = s.bucket.read(true.object, true.object_version, 2**30)
    s.use_another_bucket()
    false = {
        "object_sha256": true._replace(object_sha256=bytes(32)),
        "first_hash": true._replace(first_hash=bytes(32)),
        "last_sequenced_at": true._replace(last_sequenced_at="2026-11-24T23:59:59.999999Z"),
        "retain_until": true._replace(retain_until="9000-01-01T00:00:00.000000Z"),
        "checkpoint": true._replace(checkpoint=true.checkpoint.replace("\n20\n", "\n21\n")),
    }[member]
    version = put(s, true.object, data)
    put(s, true.segment.manifest_key, false._replace(object_version=version).to_bytes())
    sink = s.sink()
    with pytest.raises(Forked):
        s.run(sink)
    sink.close()
    assert len(s.archived()) == 1  # the one of the other bucket


def test_a_true_manifest_of_another_sink_is_adopted(stage) -> None:
    s = stage()
    s.chain.events(45)
    s.publish()
    first = s.sink()
    first.step()
    first.step()
    first.close()
    assert len(s.manifests()) == 1
    assert len(s.controls()) == 1
    s.archive_all()
    s.check()
    assert len(s.controls()) == len(s.chain.segments) + 1  # said once more, as it was not sealed yet


# What Kafka says


def test_entries_that_were_changed_in_kafka_are_an_alarm(stage) -> None:
    s = stage()
    s.chain.events(25)
    entry = s.chain.entries[5]
    s.chain.entries[5] = entry._replace(body=entry.body.replace(b"user-5", b"user-6"))
    s.publish()
    sink = s.sink()
    with pytest.raises(ChainBroken, match="entry 5"):
        s.run(sink)
    sink.close()
    assert s.stored_segments() == []


def test_a_rehashed_chain_does_not_get_past_the_signature(stage) -> None:
    s = stage()
    s.chain.events(25)
    s.chain.entries = rehashed(s.chain.entries)
    s.publish()
    sink = s.sink()
    with pytest.raises(Forked, match="Merkle root"):
        s.run(sink)
    sink.close()
    assert s.stored_segments() == []


def rehashed(entries):
    """The same chain with one event changed and every hash after it made new."""
    made = entries[:5]
    for entry in entries[5:]:
        body = entry.body.replace(b"user-5", b"user-6") if len(made) == 5 else entry.body
        made.append(Sealed(body, made[-1].hash, entry_hash(made[-1].hash, body)))
    return made


def test_a_segment_signed_with_another_key_is_an_alarm(stage, make_chain) -> None:
    s = stage()
    s.chain.events(25)
    stranger = make_chain()
    stranger.events(25)
    s.chain.segments[0].note = stranger.segments[0].note
    s.publish()
    sink = s.sink()
    with pytest.raises(Forked, match="signed by") as caught:
        s.run(sink)
    sink.close()
    assert isinstance(caught.value.__cause__, BadNote)


def test_a_signed_checkpoint_that_is_no_segments_end_is_an_alarm(stage) -> None:
    """Who can write the topic, but not sign, can list any signed size as a segment's end."""
    s = stage()
    s.chain.events(25)
    first = s.chain.segments[0]
    first.entries = first.entries[:10]
    first.compact_range = extend(EMPTY_RANGE, [entry.hash for entry in first.entries])
    first.note = sign_checkpoint(Checkpoint(s.chain.origin, 10, root(first.compact_range)), s.chain.signer)
    s.publish()
    sink = s.sink()
    with pytest.raises(ChainBroken, match="entry 9 does not end a segment"):
        s.run(sink)
    sink.close()
    assert s.stored_segments() == []


def test_a_segment_that_is_missing_from_the_list_is_an_alarm(stage) -> None:
    s = stage()
    s.chain.events(65)
    del s.chain.segments[1]
    s.publish()
    sink = s.sink()
    with pytest.raises(ChainBroken, match="follows one that ends with 19"):
        s.run(sink)
    sink.close()


def test_a_list_of_segments_that_lost_its_beginning_is_an_alarm(stage) -> None:
    s = stage()
    s.chain.events(45)
    del s.chain.segments[0]
    s.publish()
    sink = s.sink()
    with pytest.raises(InputLost, match="expected one from entry 0"):
        s.run(sink)
    sink.close()


def test_a_note_that_was_signed_again_is_passed_over(stage) -> None:
    s = stage()
    s.chain.events(45)
    s.chain.segments.insert(1, s.chain.segments[0])
    s.publish()
    s.archive_all()
    del s.chain.segments[1]
    s.check()


@long_run
@pytest.mark.parametrize("steps", [4, 7, 10, 1000])
def test_a_note_that_was_lost_and_signed_again_later_is_found(stage, steps: int) -> None:
    """Whether the sink is started again behind it or not; each segment is archived once, in order."""
    s = stage()
    s.chain.events(105)
    lost = s.chain.segments.pop(1)
    s.chain.segments.append(lost)
    s.publish()
    s.chain.segments.sort(key=lambda segment: segment.first_seq)
    sink = s.sink()
    for _ in range(steps):
        sink.step()
        s.seal_controls()
        if sink.waiting_for is None and sink.next_seq > s.chain.segments[-1].last_seq:
            break
    sink.close()
    s.archive_all()
    s.check()


def test_entries_that_were_trimmed_before_they_were_archived_are_an_alarm(stage) -> None:
    s = stage()
    s.chain.events(45)
    s.publish()
    trim(s.kafka, s.topics.chain, s.offsets[7])
    sink = s.sink()
    with pytest.raises(InputLost):
        s.run(sink)
    sink.close()


def test_a_chain_in_kafka_that_lost_archived_segments_is_an_alarm(stage, monkeypatch) -> None:
    s = stage()
    s.chain.events(65)
    s.publish()
    s.archive_all()
    monkeypatch.setattr("sealstream.archive.resuming.find_segment", lambda *_: None)
    sink = s.sink()
    with pytest.raises(Forked, match="was its list of segments cut off"):
        s.run(sink)
    sink.close()


def test_names_of_no_segment_are_passed_over(stage) -> None:
    s = stage()
    s.chain.events(25)
    s.publish()
    s.archive_all()
    junk = SegmentName("main", "9999-12-31", 10**15, 10**15 + 5)
    put(s, junk.manifest_key, b"{}")
    put(s, "manifests/chain=main/date=9999-12-31/notes.txt", b"?")
    s.bucket.client.delete_object(Bucket=s.bucket_settings.bucket, Key=junk._replace(date="9999-12-30").manifest_key)
    s.chain.events(25)
    s.publish()
    s.archive_all()
    assert len(s.archived()) == len(s.chain.segments)


# What the chain says


def forged(s, index: int, **members) -> bytes:
    metadata = {
        "object": name_of(s, index).object_key,
        "object_version": "v",
        "object_sha256": "00" * 32,
        "manifest": name_of(s, index).manifest_key,
        "manifest_version": "v",
        "manifest_sha256": "00" * 32,
        "retain_until": "2027-11-25T00:00:00.000000Z",
        **members,
    }
    return control_statement(
        "segment.archived",
        id="01939e2c-0000-7000-8000-ffffffffffff",
        timestamp="2026-11-24T03:00:00.000000Z",
        actor_id="sealstream/archive",
        resource_type="segment",
        resource_id=name_of(s, index).decimal,
        metadata=metadata,
    )


def test_another_statement_of_the_same_segment_is_an_alarm(stage) -> None:
    s = stage()
    s.chain.events(22)
    s.publish()
    sink = s.sink()
    while not s.controls():
        sink.step()
    s.chain.control(forged(s, 0))
    s.publish()
    with pytest.raises(Forked, match="object_version"):
        s.run(sink)
    sink.close()
    again = s.sink()
    with pytest.raises(Forked, match="object_version"):
        s.run(again)
    again.close()


def test_an_event_that_looks_like_the_statement_counts_for_nothing(stage) -> None:
    s = stage()
    s.chain.events(22)
    s.chain.event(action="segment.archived", metadata={"object": name_of(s, 0).object_key})
    s.publish()
    s.archive_all()
    s.check()


# Settings


def test_a_bucket_that_is_not_there_stops_the_sink_with_a_sentence(stage) -> None:
    s = stage()
    s.bucket_settings = s.bucket_settings._replace(bucket="no-such-bucket")
    sink = s.sink()
    with pytest.raises(Misconfigured, match="sealstream archive init"):
        sink.step()
    sink.close()


def test_settings_that_are_not_those_of_entry_0_are_refused(stage) -> None:
    s = stage()
    s.chain.events(25)
    s.publish()
    s.chain.settings = s.chain.settings._replace(limits=SegmentLimits(entries=21))
    sink = s.sink()
    with pytest.raises(Misconfigured, match="created with segment_entries 20, but the settings say 21"):
        s.run(sink)
    sink.close()
