"""The bytes of a spool: segments of framed events, and the mark that says how far Kafka has them.

    <directory>/<producer_id>/mark                       locked by the one process that writes or drains this stream
    <directory>/<producer_id>/<first, 16 digits>.events  a header of 1,024 bytes, then records, then zeros

A record is a frame and the exact bytes that Kafka gets, their number in them. The invariant: a frame is believed only
when its checksum over number and bytes holds. The first byte of a frame occurs in no UTF-8, so no event can look like
one, and behind a damaged place the next whole record is found again.

Pure. The crash story: a record is whole or not there. A mark that does not hold counts as none, which sends events
again that Kafka has already, with the same bytes and the same numbers; the sequencer leaves them out.
"""

from __future__ import annotations

import json
import struct
from typing import Any, NamedTuple
from zlib import crc32

from sealstream.events import MAX_EVENT_BYTES

__all__ = [
    "FRAME_BYTES",
    "HEADER_BYTES",
    "MAX_RECORD_BYTES",
    "NO_MARK",
    "Mark",
    "Record",
    "SegmentHeader",
    "decode_header",
    "decode_mark",
    "encode_header",
    "encode_mark",
    "encode_record",
    "records_in",
    "resume_at",
    "segment_name",
]

_MAGIC = b"\xf5\xa7"
_FRAME = struct.Struct(">2sIQI")  # magic, length, number, checksum
FRAME_BYTES = _FRAME.size
MAX_RECORD_BYTES = FRAME_BYTES + MAX_EVENT_BYTES

HEADER_BYTES = 1_024
_HEADER_BEGINS = b"sealstream-spool 1 "

_MARK = struct.Struct(">4sQQBI")  # magic, acknowledged, lost, flags, checksum
_MARK_MAGIC = b"mrk1"
_FLAG_UNSPOOLED, _FLAG_REPORTED = 1, 2


class Record(NamedTuple):
    """An event with its number; `value` is what Kafka gets."""

    number: int
    value: bytes


class SegmentHeader(NamedTuple):
    """Who wrote a segment, for which topic. Its first record has the number `first`; those from `after` to `first` were
    never on disk, as there was no room; below `after` the segment before has all.
    """

    topic: str
    producer_id: str
    first: int
    after: int
    host: str
    pid: int
    boot_id: str
    begun: str


class Mark(NamedTuple):
    """Kafka has all numbers below `acknowledged`. `lost`: events dropped without a number, and not yet reported.

    `unspooled`: some numbers were never on disk, so nobody but the writer knows which number comes next. `reported`:
    what is damaged or lost here has been told.
    """

    acknowledged: int = 0
    lost: int = 0
    unspooled: bool = False
    reported: bool = False


NO_MARK = Mark(unspooled=True)
"""What is known without a mark: nothing."""


def segment_name(first: int) -> str:
    """The file name of the segment that begins with this number."""
    return f"{first:016}.events"


def encode_record(number: int, value: bytes) -> bytes:
    """The frame and the bytes."""
    return _FRAME.pack(_MAGIC, len(value), number, _checksum(number, value)) + value


def records_in(data: bytes, number: int | None) -> tuple[list[Record], int]:
    """The whole records from the beginning of `data` on, the first with this number (None: any), the others in turn;
    and how many bytes they take.
    """
    found: list[Record] = []
    at, end = 0, len(data)
    unpack, frame = _FRAME.unpack_from, FRAME_BYTES
    while at + frame <= end:
        magic, length, own, checksum = unpack(data, at)
        if magic != _MAGIC or not length or (number is not None and own != number) or at + frame + length > end:
            break
        value = data[at + frame : at + frame + length]
        if _checksum(own, value) != checksum:
            break
        found.append(Record(own, value))
        number = own + 1
        at += frame + length
    return found, at


def resume_at(data: bytes, least: int) -> int | None:
    """Where, behind a damaged beginning, a whole record of number `least` or higher begins."""
    at = data.find(_MAGIC, 1)
    while at >= 0:
        found, _ = records_in(data[at : at + MAX_RECORD_BYTES], None)
        if found and found[0].number >= least:
            return at
        at = data.find(_MAGIC, at + 1)
    return None


def _checksum(number: int, value: bytes) -> int:
    return crc32(value, (number ^ (number >> 32) ^ len(value)) & 0xFFFFFFFF)


def encode_header(header: SegmentHeader) -> bytes:
    """A line that a person can read, too."""
    text = json.dumps(header._asdict(), separators=(",", ":")).encode()
    line = b"%b%08x %b" % (_HEADER_BEGINS, crc32(text), text)
    return line.ljust(HEADER_BYTES - 1) + b"\n"


def decode_header(data: bytes) -> SegmentHeader | None:
    """None: this is no header, or a damaged one."""
    begins, checksum = len(_HEADER_BEGINS), data[len(_HEADER_BEGINS) : len(_HEADER_BEGINS) + 8]
    text = data[begins + 9 : HEADER_BYTES].rstrip()
    if not data.startswith(_HEADER_BEGINS) or checksum != b"%08x" % crc32(text):
        return None
    try:
        members: dict[str, Any] = json.loads(text)
        header = SegmentHeader(**members)
    except (ValueError, TypeError):
        return None
    return header if encode_header(header) == data[:HEADER_BYTES] else None


def encode_mark(mark: Mark) -> bytes:
    """Always as long, so that it is overwritten in place."""
    flags = _FLAG_UNSPOOLED * mark.unspooled | _FLAG_REPORTED * mark.reported
    bare = _MARK.pack(_MARK_MAGIC, mark.acknowledged, mark.lost, flags, 0)
    return _MARK.pack(_MARK_MAGIC, mark.acknowledged, mark.lost, flags, crc32(bare))


def decode_mark(data: bytes) -> Mark:
    """`NO_MARK` for what is none."""
    if len(data) != _MARK.size:
        return NO_MARK
    magic, acknowledged, lost, flags, checksum = _MARK.unpack(data)
    if magic != _MARK_MAGIC or crc32(_MARK.pack(magic, acknowledged, lost, flags, 0)) != checksum:
        return NO_MARK
    return Mark(acknowledged, lost, bool(flags & _FLAG_UNSPOOLED), bool(flags & _FLAG_REPORTED))
