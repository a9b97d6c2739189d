"""What the chain has sealed that it destroyed of its own archive (`archive.destroyed`), while Kafka still has it.

Asked only where the archive lacks what Kafka has: then entries are so old that their time in the archive was over. What
lists them was sealed after that; so only that part of the topic is read. It is believed as far as the policy goes: what
is listed before its time counts for nothing, by the time that Kafka's own entry says. Reads only.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import TypeVar

from sealstream.errors import InputLost, InvalidEvent, Unavailable
from sealstream.events import check_metadata, format_timestamp, parse_timestamp
from sealstream.kafka import CommittedReader, KafkaSettings, Record, offset_reaching, read_until_end
from sealstream.layout import ChainSettings, ChainTopics, decode_entry
from sealstream.layout.archive import DESTROYED_ACTION, SegmentName, parse_archive_key
from sealstream.sealing import Written, read_written, split_sealed

__all__ = ["Destroyed"]

_T = TypeVar("_T")

_WAIT_S = 5.0
_NEEDLE = b'"action":"' + DESTROYED_ACTION.encode() + b'"'


class Destroyed:
    """The segments from entry `oldest` of the topic on that are listed as destroyed; read when first asked for."""

    def __init__(
        self, kafka: KafkaSettings, chain: ChainSettings, oldest: Written, clock: Callable[[], datetime]
    ) -> None:
        self._kafka = kafka
        self._chain = chain
        self._oldest = oldest
        self._clock = clock
        self._names: set[SegmentName] | None = None

    def names(self, segment: SegmentName) -> bool:
        """Whether it is listed."""
        return segment in self._listed()

    def up_to(self, seq: int) -> bool:
        """Whether every entry from the oldest up to this one, which is not meant, is in a listed segment."""
        reached = self._oldest.seq
        for name in sorted(self._listed(), key=lambda name: name.first_seq):
            if name.first_seq <= reached <= name.last_seq < seq:
                reached = name.last_seq + 1
        return reached == seq and self._asked(lambda: self._is_over(seq - 1))

    def _asked(self, ask: Callable[[], _T]) -> _T:
        try:
            return ask()
        except InputLost as error:
            raise Unavailable(f"the chain's topic is being trimmed by another sink: {error}") from error

    def _is_over(self, seq: int) -> bool:
        """Whether the policy's time is over for this entry, as the topic has it, and so for all before it."""
        topic = ChainTopics.of(self._chain.name, self._chain.prefix).chain
        offset = offset_reaching(self._kafka, topic, lambda record: _written(record).seq >= seq)
        with CommittedReader(self._kafka, topic, offset) as reader:
            records = reader.read(1, _WAIT_S)
        if not records or _written(records[0]).seq != seq:
            return False
        return parse_timestamp(_written(records[0]).sequenced_at) <= self._ended()

    def _ended(self) -> datetime:
        return self._clock() - timedelta(days=self._chain.retention.archive_days + 1)

    def _listed(self) -> set[SegmentName]:
        if self._names is None:
            self._names = set(self._asked(self._read))
        return self._names

    def _read(self) -> list[SegmentName]:
        topic = ChainTopics.of(self._chain.name, self._chain.prefix).chain
        days = timedelta(days=self._chain.retention.archive_days)
        since = format_timestamp(parse_timestamp(self._oldest.sequenced_at) + days)
        begin = offset_reaching(self._kafka, topic, lambda record: _written(record).sequenced_at >= since)
        found = []
        for records in read_until_end(self._kafka, topic, begin):
            for record in records:
                if _NEEDLE in (record.value or b""):
                    found += self._segments(record.value or b"")
        return found

    def _segments(self, value: bytes) -> list[SegmentName]:
        """Those that one sealed statement lists, and whose time is over."""
        entry = decode_entry(value)
        if entry.action != DESTROYED_ACTION or entry.written.kind != "control":
            return []
        try:
            check_metadata(entry.action, entry.metadata)
        except InvalidEvent:
            return []
        parsed = [parse_archive_key(str(item["object"])) for item in (entry.metadata or {})["segments"]]
        ended = self._ended().date()
        return [name for _, name in filter(None, parsed) if name.chain == self._chain.name and _day(name) <= ended]


def _day(name: SegmentName) -> date:
    try:
        return date.fromisoformat(name.date)
    except ValueError:
        return date.max  # no day: whoever listed it has made it up


def _written(record: Record) -> Written:
    return read_written(split_sealed(record.value or b"").body)
