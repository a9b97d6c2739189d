"""Records each access to the log in the log itself, before its answer is shown.

The invariant: nobody sees an entry whose reading is not acknowledged by Kafka, in the control topic of the chain that
was read; the sequencer seals it from there. A crash between record and answer leaves a record of an answer that nobody
saw. A stream has a beginning, acknowledged before its first row, and an end with the count; a crash amid it leaves a
beginning without an end, which says: cut short, at an unknown row.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from types import MappingProxyType, TracebackType

from sealstream.access.statements import Access, Reader, end_id, read_statement
from sealstream.errors import SealstreamError, Unavailable
from sealstream.events import format_timestamp, new_event_id
from sealstream.kafka import KafkaSettings, StandingProducer
from sealstream.layout import ChainTopics

__all__ = ["AccessLog", "NotRecorded", "Streamed"]

_REFUSED_FOR_S = 3.0
_NONE_CLOSED: Mapping[str, str] = MappingProxyType({})


class NotRecorded(Unavailable):
    """An access could not be recorded, so nothing is shown."""


class Streamed:
    """A stream under way: `rows` counts what was given out."""

    def __init__(self, begin_id: str) -> None:
        self.begin_id = begin_id
        self.rows = 0


class AccessLog:
    """Where accesses are recorded; used by any thread. `continued`: closed chains and the chain that goes on for each.

    A closed chain is never written to again: who reads it is recorded in the chain that continues it.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        prefix: str,
        *,
        continued: Mapping[str, str] = _NONE_CLOSED,
        timeout_s: float = 10.0,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._producer = StandingProducer(kafka, timeout_s)
        self._prefix = prefix
        self._continued = continued
        self._now = now
        self._refused_until = float("-inf")
        self._refusal = ""

    def record(
        self,
        reader: Reader,
        access: Access,
        rows: int,
        *,
        result: str = "success",
        facts: Mapping[str, object] = _NONE_CLOSED,
    ) -> str:
        """Record an answer of so many entries; its `log.read`'s id. Raises `NotRecorded`: then show nothing."""
        read_id = new_event_id()
        self._say(
            access,
            read_statement(
                reader,
                access,
                id=read_id,
                timestamp=format_timestamp(self._now()),
                phase="whole",
                facts={"rows": rows, **facts},
                result=result,
            ),
        )
        return read_id

    @contextmanager
    def streamed(self, reader: Reader, access: Access) -> Iterator[Streamed]:
        """Record rows that flow: raises `NotRecorded` before the first; count them in what this gives."""
        stream = self.begin(reader, access)
        try:
            yield stream
        except BaseException:
            with suppress(SealstreamError):  # the error under way matters more; the beginning is recorded
                self.end(reader, access, stream, complete=False)
            raise
        self.end(reader, access, stream, complete=True)

    def begin(self, reader: Reader, access: Access) -> Streamed:
        """A stream's beginning, acknowledged. Raises `NotRecorded`: then show nothing."""
        stream = Streamed(new_event_id())
        timestamp = format_timestamp(self._now())
        self._say(
            access, read_statement(reader, access, id=stream.begin_id, timestamp=timestamp, phase="begin", facts={})
        )
        return stream

    def end(
        self,
        reader: Reader,
        access: Access,
        stream: Streamed,
        *,
        complete: bool,
        facts: Mapping[str, object] = _NONE_CLOSED,
    ) -> None:
        """A stream's end with its count, and further facts. May be said twice: it is one."""
        told = {
            "rows": stream.rows,
            "begin_id": stream.begin_id,
            "outcome": "complete" if complete else "cut short",
            **facts,
        }
        timestamp = format_timestamp(self._now())
        statement = read_statement(
            reader, access, id=end_id(stream.begin_id), timestamp=timestamp, phase="end", facts=told
        )
        self._say(access, statement, shown=True)

    def say(self, chain: str, statement: bytes) -> None:
        """Send another control statement to the chain's control topic, acknowledged. Raises what `send` raises.

        While Kafka is away, those who come right after one that waited in vain need not wait, too.
        """
        if time.monotonic() < self._refused_until:
            raise Unavailable(self._refusal)
        try:
            self._producer.send(self._topic(chain), statement)
        except Unavailable as error:
            self._refusal = str(error)
            self._refused_until = time.monotonic() + _REFUSED_FOR_S
            raise

    def close(self) -> None:
        """Ends the connection."""
        self._producer.close()

    def __enter__(self) -> AccessLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _topic(self, chain: str) -> str:
        while chain in self._continued:
            chain = self._continued[chain]
        return ChainTopics.of(chain, self._prefix).control

    def _say(self, access: Access, statement: bytes, *, shown: bool = False) -> None:
        try:
            self.say(access.chain, statement)
        except SealstreamError as error:
            raise NotRecorded(
                "the rows were shown, and their beginning is recorded; how many they were could not be recorded "
                f"({error})"
                if shown
                else "nothing is shown, because each access to the log is recorded in the log first and this one could "
                f"not be ({error}); when Kafka takes records again, ask again (docs/access.md)"
            ) from error
