"""Trimming: nothing goes from a topic that was not seen in the archive, nor before its time."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from tests.long_runs import long_run

from sealstream.archive import ColumnMaker, Trimmer, trimming
from sealstream.errors import Forked
from sealstream.events import control_statement, format_timestamp
from sealstream.kafka import end_offset, last_record, produce, start_offset, trim
from sealstream.layout import Retention, decode_entry, retention_members
from sealstream.layout.archive import DESTROYED_ACTION, MANIFESTS, archive_prefix
from sealstream.layout.holds import Hold

pytestmark = long_run

MAKER = ColumnMaker()


class Old:
    """A stage whose inputs are in Kafka too, and a clock that can be set forward."""

    def __init__(self, stage, **options) -> None:
        self.s = stage(at=datetime.now(UTC).replace(hour=0, minute=0, second=1, microsecond=0), **options)
        self.ahead = timedelta(0)

    def clock(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def grow(self, events: int) -> None:
        """As many events in the raw topic and in the chain, archived as far as segments go."""
        produce(self.s.kafka, self.s.topics.raw, [b"{}"] * events)
        self.s.chain.at = max(self.s.chain.at, datetime.now(UTC))
        self.s.chain.events(events, after_s=0.0001)
        self.s.publish()
        self.s.archive_all()

    def trimmer(self, **options) -> Trimmer:
        return Trimmer(self.s.kafka, self.s.chain.settings, self.s.bucket, MAKER, clock=self.clock, **options)

    def trim(self, trimmer: Trimmer | None = None, archived: int | None = None) -> None:
        trimmer = trimmer or self.trimmer()
        while trimmer.step(self.s.chain.segments[-1].last_seq + 1 if archived is None else archived):
            pass

    def start(self, topic: str) -> int:
        return start_offset(self.s.kafka, topic)

    def offsets_at(self, seq: int) -> tuple[int, int]:
        written = decode_entry(self.s.chain.entries[seq].body).written
        return written.raw_offset, written.control_offset


@pytest.fixture
def old(stage):
    return lambda **options: Old(stage, **options)


def test_inputs_are_kept_for_seven_days(old) -> None:
    o = old()
    o.grow(70)
    o.ahead = timedelta(days=6, hours=23)
    o.trim()
    assert o.start(o.s.topics.raw) == 0
    assert o.start(o.s.topics.control) == 0


def test_inputs_are_trimmed_up_to_what_is_archived_and_old(old) -> None:
    o = old()
    o.grow(70)
    o.ahead = timedelta(days=7, minutes=1)
    o.trim()
    raw, control = o.offsets_at(o.s.chain.segments[-1].last_seq)
    assert o.start(o.s.topics.raw) == raw + 1
    assert raw + 1 < end_offset(o.s.kafka, o.s.topics.raw, committed=True)  # the open segment's stay
    assert o.start(o.s.topics.control) == control + 1
    assert o.start(o.s.topics.chain) == 0


def test_trimming_goes_on_where_it_was_after_a_restart_and_in_the_same_life(old) -> None:
    o = old()
    same = o.trimmer()
    for _ in range(3):
        o.grow(45)
        o.ahead = timedelta(days=7, minutes=1)
        o.trim(same)
        raw, _ = o.offsets_at(o.s.chain.segments[-1].last_seq)
        assert o.start(o.s.topics.raw) == raw + 1
        o.ahead = timedelta(0)
    for _ in range(2):
        o.grow(45)
        o.ahead = timedelta(days=7, minutes=1)
        o.trim()
        raw, _ = o.offsets_at(o.s.chain.segments[-1].last_seq)
        assert o.start(o.s.topics.raw) == raw + 1
        o.ahead = timedelta(0)


def test_a_second_sink_that_trims_at_the_same_moment_is_no_lost_input(old, monkeypatch) -> None:
    o = old()
    o.grow(70)
    o.ahead = timedelta(days=8)
    looked = trimming.last_record

    def look_and_be_overtaken(kafka, topic):
        found = looked(kafka, topic)
        if o.start(topic) == 0 and topic == o.s.topics.raw:
            trim(kafka, topic, 3)
        return found

    monkeypatch.setattr(trimming, "last_record", look_and_be_overtaken)
    o.trim()
    raw, _ = o.offsets_at(o.s.chain.segments[-1].last_seq)
    assert o.start(o.s.topics.raw) == raw + 1


def test_a_second_sink_that_trims_the_chain_at_the_same_moment_is_no_fork(old, monkeypatch) -> None:
    o = old(retention=Retention("pci", archive_days=732, online_days=366))
    o.grow(130)
    o.ahead = timedelta(days=367)
    looked, names = trimming.find_segment, [each.name for each in o.s.stored_segments()]

    def look_and_be_overtaken(kafka, chain, last_seq):
        if o.start(o.s.topics.chain) == 0:
            trim(kafka, o.s.topics.chain, looked(kafka, chain, names[1].last_seq).chain_offset)
        return looked(kafka, chain, last_seq)

    monkeypatch.setattr(trimming, "find_segment", look_and_be_overtaken)
    o.trim(o.trimmer(kept_entries=0))
    assert o.start(o.s.topics.chain) > 0


def test_what_is_not_archived_yet_is_not_trimmed(old) -> None:
    o = old()
    o.grow(70)
    o.ahead = timedelta(days=8)
    o.trim(archived=o.s.chain.segments[0].last_seq + 1)
    raw, _ = o.offsets_at(o.s.chain.segments[0].last_seq)
    assert o.start(o.s.topics.raw) == raw + 1


def test_a_chain_without_an_online_time_is_never_trimmed(old) -> None:
    o = old()
    o.grow(70)
    o.ahead = timedelta(days=4_000)
    o.trim(o.trimmer(kept_entries=0))
    assert o.start(o.s.topics.chain) == 0


def test_a_chain_under_a_legal_hold_is_not_trimmed(old) -> None:
    o = old(retention=Retention("pci", archive_days=732, online_days=366))
    o.grow(130)
    o.ahead = timedelta(days=367)
    day = o.s.stored_segments()[0].name.date
    trimmer = o.trimmer(kept_entries=0)
    while trimmer.step(o.s.chain.segments[-1].last_seq + 1, lambda: (Hold("h", day, day),)):
        pass
    assert o.start(o.s.topics.chain) == 0
    assert o.start(o.s.topics.raw) > 0  # what it held is sealed
    o.trim(trimmer)
    assert o.start(o.s.topics.chain) > 0


def destroy(o: Old, monkeypatch, segments: int, listed: int | None = None, date: str = "") -> None:
    """The first segments are gone from the archive, and the chain says so, of so many of them (None: of all), and as
    those of another day, if one is given.
    """
    stored, manifests = o.s.stored_segments(), o.s.manifests()
    items = [
        {
            "object": re.sub("date=[0-9-]*", f"date={date}", each.object.key) if date else each.object.key,
            "object_version": each.object.versions[0].version_id,
            "object_sha256": manifest.object_sha256.hex(), "manifest": each.manifest.key,
            "manifest_version": each.manifest.versions[0].version_id, "manifest_sha256": "ab" * 32,
            "first_seq": manifest.first_seq, "last_seq": manifest.last_seq, "first_hash": manifest.first_hash.hex(),
            "last_hash": manifest.last_hash.hex(), "retain_until": manifest.retain_until,
        }
        for each, manifest in zip(stored[: segments if listed is None else listed], manifests, strict=False)
    ]  # fmt: skip
    last = manifests[len(items) - 1]
    members = {
        "first_seq": 0, "last_seq": last.last_seq, "last_hash": last.last_hash.hex(), "root": "cd" * 32,
        "segments": items, "retention": retention_members(o.s.chain.retention), "reason": "over",
    }  # fmt: skip
    o.s.chain.at = o.clock()
    said = control_statement(
        DESTROYED_ACTION, id=str(uuid.uuid4()), timestamp=format_timestamp(o.clock()), actor_id="ann",
        actor_type="admin", resource_type="archive", resource_id="0", metadata=members,
    )  # fmt: skip
    o.s.chain.control(said)
    o.s.publish()
    gone = {each.manifest.key for each in stored[:segments]}
    listing = o.s.bucket.list_stored
    monkeypatch.setattr(
        o.s.bucket, "list_stored", lambda *args: (stored for stored in listing(*args) if stored.key not in gone)
    )


def test_what_was_destroyed_in_the_archive_as_sealed_goes_from_the_chains_topic_too(old, monkeypatch) -> None:
    o = old(retention=Retention("pci", archive_days=732, online_days=366))
    o.grow(130)
    *_, last, newest = o.s.chain.segments
    o.ahead = timedelta(days=735)
    destroy(o, monkeypatch, 2)
    o.trim(o.trimmer(kept_entries=0), newest.last_seq + 1)
    assert o.start(o.s.topics.chain) == o.s.offsets[last.last_seq] + 1


@pytest.mark.parametrize(
    ("ahead", "listed", "date"), [(735, 1, ""), (700, None, ""), (700, None, "2000-01-01"), (735, None, "2024-99-99")]
)
def test_what_is_gone_from_the_archive_otherwise_stays_in_the_chains_topic(
    old, monkeypatch, ahead, listed, date
) -> None:
    """Not all of it is listed; or it was listed before its time, as of another day, or of none."""
    o = old(retention=Retention("pci", archive_days=732, online_days=366))
    o.grow(130)
    archived = o.s.chain.segments[-1].last_seq + 1
    o.ahead = timedelta(days=ahead)
    destroy(o, monkeypatch, 2, listed, date)
    o.trim(o.trimmer(kept_entries=0), archived)
    assert o.start(o.s.topics.chain) == 0


def test_a_hold_on_days_that_the_archive_has_no_more_keeps_them_in_the_chains_topic(old, monkeypatch) -> None:
    o = old(retention=Retention("pci", archive_days=732, online_days=366))
    o.grow(45)
    day = o.s.stored_segments()[0].name.date
    o.s.chain.at = datetime.now(UTC) + timedelta(days=1)
    o.grow(130)
    gone = [each for each in o.s.stored_segments() if each.name.date == day]
    archived = o.s.chain.segments[-1].last_seq + 1
    o.ahead = timedelta(days=740)
    destroy(o, monkeypatch, len(gone))
    trimmer = o.trimmer(kept_entries=0)
    while trimmer.step(archived, lambda: (Hold("h", day, day),)):
        pass
    assert o.start(o.s.topics.chain) == 0
    o.trim(trimmer, archived)
    assert o.start(o.s.topics.chain) > 0


def test_segments_that_are_destroyed_while_it_walks_are_no_alarm(old, monkeypatch) -> None:
    o = old(retention=Retention("pci", archive_days=732, online_days=366))
    o.grow(130)
    archived = o.s.chain.segments[-1].last_seq + 1
    o.ahead = timedelta(days=735)
    trimmer = o.trimmer(kept_entries=0, input_days=10_000)
    manifests, listing = archive_prefix(MANIFESTS, o.s.chain.name), o.s.bucket.list_stored
    listed = list(listing(manifests))
    destroy(o, monkeypatch, 2)
    now = o.s.bucket.list_stored

    def just_before(prefix, *more):
        return iter(listed) if prefix == manifests else listing(prefix, *more)

    monkeypatch.setattr(o.s.bucket, "list_stored", just_before)
    looked = trimming.look

    def look(bucket, chain, name, *more):
        if name in {each.name for each in o.s.stored_segments()[:2]}:
            raise Forked(f"{name.object_key} is gone")
        return looked(bucket, chain, name, *more)

    monkeypatch.setattr(trimming, "look", look)
    o.trim(trimmer, archived)
    assert o.start(o.s.topics.chain) > 0
    monkeypatch.setattr(o.s.bucket, "list_stored", now)
    o.trim(trimmer, archived)


def test_a_segment_waits_for_no_trimming(old) -> None:
    o = old()
    o.grow(70)
    o.ahead = timedelta(days=8)
    sink = o.s.sink(trim_every_s=3600.0, clock=o.clock)
    sink.step()
    o.s.chain.at = max(o.s.chain.at, datetime.now(UTC))
    o.s.chain.events(45, after_s=0.0001)
    o.s.publish()
    size = sink.next_seq
    sink.step()  # one segment's trimming at most, until it has been fetched
    sink.step()
    assert sink.next_seq > size
    sink.close()


def test_a_chain_is_trimmed_past_its_online_time_but_for_its_newest_entries(old) -> None:
    o = old(retention=Retention("pci", archive_days=732, online_days=366))
    o.grow(130)
    o.ahead = timedelta(days=365)
    o.trim(o.trimmer(kept_entries=0))
    assert o.start(o.s.topics.chain) == 0
    o.ahead = timedelta(days=367)
    o.trim()
    assert o.start(o.s.topics.chain) == 0  # the newest 200,000 are kept
    o.trim(o.trimmer(kept_entries=60))
    size = len(o.s.chain.entries)
    kept = [s for s in o.s.chain.segments if s.last_seq < size - 60]
    assert o.start(o.s.topics.chain) == o.s.offsets[kept[-1].last_seq] + 1
    # The sink and the trimmer go on from the rest.
    o.ahead = timedelta(0)
    o.grow(45)
    o.ahead = timedelta(days=367)
    o.trim(o.trimmer(kept_entries=60))
    size = len(o.s.chain.entries)
    kept = [s for s in o.s.chain.segments if s.last_seq < size - 60]
    assert o.start(o.s.topics.chain) == o.s.offsets[kept[-1].last_seq] + 1


def test_the_last_segment_stays_in_the_chains_topic_for_checkpointing_to_start_with(old) -> None:
    o = old(retention=Retention("pci", archive_days=732, online_days=366))
    o.grow(21)
    o.ahead = timedelta(days=367)
    o.trim(o.trimmer(kept_entries=0))
    assert o.start(o.s.topics.chain) == 0
    o.ahead = timedelta(0)
    o.grow(45)
    o.ahead = timedelta(days=367)
    o.trim(o.trimmer(kept_entries=0))
    assert o.start(o.s.topics.chain) == o.s.offsets[o.s.chain.segments[-2].last_seq] + 1


def test_an_object_that_is_not_what_it_was_stops_the_trimming(old, monkeypatch) -> None:
    o = old()
    o.grow(70)
    o.ahead = timedelta(days=8)
    second = o.s.stored_segments()[1].object.key
    read = o.s.bucket.read

    def other(key, version, at_most):
        data = read(key, version, at_most)
        return data[:-200] + bytes([data[-200] ^ 1]) + data[-199:] if key == second else data

    monkeypatch.setattr(o.s.bucket, "read", other)
    with pytest.raises(Forked, match="SHA-256"):
        o.trim()
    raw, _ = o.offsets_at(o.s.chain.segments[0].last_seq)
    assert o.start(o.s.topics.raw) <= raw + 1


def test_a_lock_that_is_weaker_than_sealed_stops_the_trimming(old, monkeypatch) -> None:
    o = old()
    o.grow(30)
    o.ahead = timedelta(days=8)
    monkeypatch.setattr(o.s.bucket, "lock", lambda key, version: None)
    with pytest.raises(Forked, match="expected a COMPLIANCE lock"):
        o.trim()
    assert o.start(o.s.topics.raw) == 0


def test_a_gap_in_the_archive_ends_the_trimming_before_it(old, monkeypatch) -> None:
    o = old()
    o.grow(90)
    o.ahead = timedelta(days=8)
    listed = o.s.bucket.list_stored
    hidden = o.s.stored_segments()[2].manifest.key
    monkeypatch.setattr(
        o.s.bucket, "list_stored", lambda *args: (stored for stored in listed(*args) if stored.key != hidden)
    )
    o.trim()
    raw, _ = o.offsets_at(o.s.chain.segments[1].last_seq)
    assert o.start(o.s.topics.raw) == raw + 1


def test_an_archive_that_begins_after_the_topic_does_trims_nothing(old, monkeypatch) -> None:
    o = old()
    o.grow(90)
    o.ahead = timedelta(days=8)
    listed = o.s.bucket.list_stored
    hidden = o.s.stored_segments()[0].manifest.key
    monkeypatch.setattr(
        o.s.bucket, "list_stored", lambda *args: (stored for stored in listed(*args) if stored.key != hidden)
    )
    o.trim()
    assert o.start(o.s.topics.raw) == 0


def test_records_of_a_recreated_input_that_came_later_are_not_trimmed(old, monkeypatch) -> None:
    """Offsets of the topic that was lost say nothing of what came into the new one afterwards."""
    o = old()
    o.grow(70)
    later = datetime.now(UTC) + timedelta(days=3)
    real = last_record

    def shifted(record):
        return record and record._replace(timestamp_ms=int(later.timestamp() * 1000))

    import sealstream.archive.trimming as trimming

    before = trimming.record_before
    monkeypatch.setattr(trimming, "record_before", lambda *args: shifted(before(*args)))
    o.ahead = timedelta(days=8)
    o.trim()
    assert real(o.s.kafka, o.s.topics.raw) is not None
    assert o.start(o.s.topics.raw) == 0


def test_the_sink_trims_as_it_goes(old) -> None:
    o = old()
    o.grow(70)
    o.ahead = timedelta(days=8)
    sink = o.s.sink(trim_every_s=3600.0, clock=o.clock)
    while sink.step():
        pass
    sink.close()
    raw, _ = o.offsets_at(o.s.chain.segments[-1].last_seq)
    assert o.start(o.s.topics.raw) == raw + 1
