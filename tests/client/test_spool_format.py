"""The bytes of a spool: no damage brings out an event that did not go in, and what is missing is counted."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from sealstream.client.spool_format import (
    HEADER_BYTES,
    NO_MARK,
    Mark,
    Record,
    SegmentHeader,
    decode_header,
    decode_mark,
    encode_header,
    encode_mark,
    encode_record,
    segment_name,
)
from sealstream.client.spool_reader import Reader

HEADER = SegmentHeader("audit.raw.main", "p-1", 0, 0, "host", 7, "boot", "2026-11-24T03:00:00.000000Z")

values = st.lists(st.binary(min_size=1, max_size=60) | st.just(b'{"a":1}'), min_size=1, max_size=20)


def write(folder: Path, first: int, after: int, events: list[bytes], padding: int = 200) -> Path:
    records = b"".join(encode_record(first + n, value) for n, value in enumerate(events))
    path = folder / segment_name(first)
    path.write_bytes(encode_header(HEADER._replace(first=first, after=after)) + records + bytes(padding))
    return path


def read(folder: Path, start: int = 0) -> tuple[list[Record], Reader]:
    found: list[Record] = []
    with Reader(folder) as reader:
        at = start
        while records := reader.read(at):
            found += records
            at = records[-1].number + 1
    return found, reader


@settings(max_examples=50)
@given(values, values, st.integers(0, 25))
def test_what_was_written_is_read_from_anywhere(one: list[bytes], two: list[bytes], start: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, 0, 0, one)
        write(folder, len(one), len(one), two)
        found, reader = read(folder, start)
        assert found == [Record(n, value) for n, value in enumerate(one + two) if n >= start]
        assert (reader.damaged, reader.torn) == (0, False)
        assert reader.header is not None
        assert reader.header.topic == "audit.raw.main"


@given(values, values, st.data())
def test_damage_costs_the_events_that_it_hits_and_each_is_counted(
    one: list[bytes], two: list[bytes], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = write(folder, 0, 0, one)
        write(folder, len(one), len(one), two)
        content = bytearray(path.read_bytes())
        size = HEADER_BYTES + sum(len(encode_record(0, value)) for value in one)
        at = data.draw(st.integers(HEADER_BYTES, size - 1))
        length = data.draw(st.integers(1, 80))
        kind = data.draw(st.sampled_from(["flipped", "zeroed", "cut"]))
        if kind == "flipped":
            content[at] ^= data.draw(st.integers(1, 255))
        elif kind == "zeroed":
            content[at : at + length] = bytes(len(content[at : at + length]))
        else:
            del content[at:]
        path.write_bytes(content)
        found, reader = read(folder)
        written = dict(enumerate(one + two))
        assert all(written[number] == value for number, value in found)
        assert [record.number for record in found] == sorted({record.number for record in found})
        assert len(found) + reader.damaged == len(written)  # the segment behind it says how many there were
        assert kind != "flipped" or reader.damaged <= 1


@settings(max_examples=50)
@given(values, st.integers(0, 1_000))
def test_a_torn_end_is_known_to_be_torn(events: list[bytes], cut: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = write(folder, 0, 0, events, padding=0)
        last = len(encode_record(0, events[-1]))
        content = path.read_bytes()
        torn = content[: len(content) - 1 - cut % (last - 1)]
        path.write_bytes(torn + bytes(len(content) - len(torn)))
        found, reader = read(folder)
        whole = content == path.read_bytes()  # the bytes that were cut off were zeros
        assert [value for _number, value in found] == (events if whole else events[:-1])
        assert (reader.damaged, reader.torn) == (0, not whole)


def test_numbers_that_never_were_on_disk_are_no_damage(tmp_path: Path) -> None:
    write(tmp_path, 0, 0, [b"a", b"b"])
    write(tmp_path, 10, 2, [b"c"])
    found, reader = read(tmp_path)
    assert [record.number for record in found] == [0, 1, 10]
    assert reader.damaged == 0


def test_an_event_that_looks_like_a_frame_is_none(tmp_path: Path) -> None:
    """Events are UTF-8, in which a frame's first byte does not occur; even so, only a whole record is believed."""
    inner = encode_record(1, b"forged")
    path = write(tmp_path, 0, 0, [b"a" + inner[2:], b"b"])
    content = bytearray(path.read_bytes())
    content[HEADER_BYTES + 8] ^= 1
    path.write_bytes(content)
    found, reader = read(tmp_path)
    assert found == [Record(1, b"b")]
    assert reader.damaged == 1


def test_headers_and_marks_are_whole_or_nothing() -> None:
    header = encode_header(HEADER)
    assert len(header) == HEADER_BYTES
    assert decode_header(header) == HEADER
    mark = encode_mark(Mark(7, 3, unspooled=True, reported=True))
    assert decode_mark(mark) == Mark(7, 3, unspooled=True, reported=True)
    assert decode_mark(b"") == decode_mark(mark[:-1]) == NO_MARK
    for at in range(len(mark)):
        assert decode_mark(mark[:at] + bytes([mark[at] ^ 1]) + mark[at + 1 :]) == NO_MARK
    for at in range(len(header.rstrip())):
        assert decode_header(header[:at] + bytes([header[at] ^ 1]) + header[at + 1 :]) is None
