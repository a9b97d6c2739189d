"""Which imported events the log has already, or has been sent: so that a record that comes again is not sent again.

An event is known by its id and by the SHA-256 of the record that it was made of, so another record with the same id is
no repeat. Postgres is asked, by its index on ids. What it may not have yet is held here: entries of the chain behind
its end, records that wait for the sequencer, and what this import has sent. One of these is let go when Postgres has
it, and only then; when Postgres falls too far behind, the import waits. Without Postgres in the settings the chain's
topic is read through at the start, and nothing is let go. Reads only; a crash loses nothing.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import msgspec

from sealstream.cli.settings import Settings
from sealstream.errors import Misconfigured, Unavailable
from sealstream.importers import Event
from sealstream.kafka import last_record, offset_reaching, read_until_end, start_offset
from sealstream.layout import ChainTopics
from sealstream.postgres import PostgresStore
from sealstream.sealing import read_written, split_sealed

__all__ = ["KnownEvents"]

_HELD = 400_000
_HELD_WITHOUT_POSTGRES = 4_000_000
_LET_GO_AT_ONCE = 20_000
_PATIENCE_S = 120.0


class _Metadata(msgspec.Struct):
    source_sha256: str = ""


class _Imported(msgspec.Struct):
    id: str
    metadata: _Metadata | None = None


_decode = msgspec.json.Decoder(_Imported).decode


class KnownEvents:
    """Of one chain, as of when it is made, and what `unsent` has given since. Raises `Unavailable`."""

    def __init__(
        self,
        settings: Settings,
        chain: str,
        *,
        held: int = _HELD,
        stopping: Callable[[], bool] = lambda: False,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        self._dsn = settings.postgres.reader_dsn
        self._chain = chain
        self._limit = held if self._dsn else _HELD_WITHOUT_POSTGRES
        self._stopping = stopping
        self._patience_s = patience_s
        self._held: dict[bytes, None] = {}
        stored = 0
        if self._dsn:
            with PostgresStore(self._dsn) as store:
                stored = store.next_seq(chain)
        for value in _values_behind(settings, chain, stored):
            self._hold(value)
            if stopping():
                raise KeyboardInterrupt

    def unsent(self, events: Sequence[Event]) -> list[Event]:
        """Those that the log does not have and that were not given before, in their order; they count as sent."""
        held = self._held
        new: dict[bytes, Event] = {}
        for event in events:
            key = _key(event.id, event.source_sha256)
            if key not in held:
                new.setdefault(key, event)
        if self._dsn and new:
            with PostgresStore(self._dsn) as store:
                there = store.holding(self._chain, [(event.id, _mark(event.source_sha256)) for event in new.values()])
            new = {key: each for key, each in new.items() if (each.id, _mark(each.source_sha256)) not in there}
        if new:
            self._make_room(len(new))
        held.update(dict.fromkeys(new))
        return list(new.values())

    def _hold(self, value: bytes) -> None:
        if b'"source_sha256":"' not in value:
            return
        try:
            found = _decode(value)
            if found.metadata is not None and found.metadata.source_sha256:
                self._held[_key(found.id, found.metadata.source_sha256)] = None
        except (msgspec.MsgspecError, ValueError):
            return  # no event, or none of an import
        if not self._dsn:
            self._make_room(0)

    def _make_room(self, count: int) -> None:
        """Let the oldest go that Postgres has by now; wait until it has them."""
        deadline = time.monotonic() + self._patience_s
        while self._held and len(self._held) + count > self._limit:
            if not self._dsn:
                raise Misconfigured(
                    f"chain {self._chain} holds more than {self._limit:,} imported events: to know which of them are "
                    "there, postgres.reader_dsn must be set"
                )
            oldest = list(islice(self._held, _LET_GO_AT_ONCE))
            with PostgresStore(self._dsn) as store:
                asked = [(str(uuid.UUID(bytes=key[:16])), _mark(key[16:].hex())[:-1]) for key in oldest]
                there = store.holding(self._chain, asked)
            gone = [key for key, each in zip(oldest, asked, strict=True) if each in there]
            for key in gone:
                del self._held[key]
            if gone:
                deadline = time.monotonic() + self._patience_s
                continue
            if self._stopping():
                raise KeyboardInterrupt
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"Postgres has none of the {len(oldest):,} oldest events that were sent, after "
                    f"{self._patience_s:.0f} s: is the Postgres sink running? Run the same command again to go on"
                )
            time.sleep(0.2)


def _key(event_id: str, source_sha256: str) -> bytes:
    return uuid.UUID(event_id).bytes + bytes.fromhex(source_sha256[:32])


def _mark(source_sha256: str) -> bytes:
    return b'"source_sha256":"%b"' % source_sha256.encode()


def _values_behind(settings: Settings, chain: str, first_seq: int) -> Iterator[bytes]:
    """The chain's entries from that seq on, and behind them what waits for the sequencer."""
    kafka, topics = settings.kafka_settings(), ChainTopics.of(chain, settings.kafka.prefix)
    raw_offset = -1

    def seq_of(value: bytes | None) -> int:
        return read_written(split_sealed(value or b"").body).seq

    begin = (
        offset_reaching(kafka, topics.chain, lambda record: seq_of(record.value) >= first_seq) if first_seq else None
    )
    last: bytes | None = None
    for records in read_until_end(kafka, topics.chain, begin):
        for record in records:
            if record.value is not None:
                last = record.value
                yield record.value
    if last is None:
        tail = last_record(kafka, topics.chain)
        last = None if tail is None else tail.value
    if last is not None:
        raw_offset = read_written(split_sealed(last).body).raw_offset
    for records in read_until_end(kafka, topics.raw, max(raw_offset + 1, start_offset(kafka, topics.raw))):
        for record in records:
            if record.value is not None:
                yield record.value
