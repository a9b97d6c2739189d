"""Events signed by the application itself, with a key that Kafka, the collector and the log never see.

The signature covers the number, so an event is signed once it has one. In mode `best_effort` the client's own thread
does it, some 45 us an event, and not `emit`: events wait for it in order, within the client's bounds. In mode `spool`
an event is on disk when `emit` returns, and signed when it is on disk, so `emit` takes that much longer.

The crash story is the stream's: an event that waits to be signed is lost with the process like one that waits in the
driver's queue; its number is missing.
"""

from __future__ import annotations

import os
import stat
import time
from collections import deque
from pathlib import Path
from threading import Event

from confluent_kafka import KafkaException, Producer

from sealstream.client.delivery import Delivery, hand_to
from sealstream.client.stats import Losses, Stats
from sealstream.client.stream import OnFailure, Statement, Stream
from sealstream.client.tracing import Headers
from sealstream.errors import Misconfigured, NotCanonical
from sealstream.sealing import BadNote, EventSigner, signer

__all__ = ["SignedStream", "event_signer"]

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_MAX_BYTES = 4_096
_POLL_S = 0.1
_WAIT_S = 0.005
_BYTES_BESIDE = 512  # what an event costs in memory beside its bytes


def event_signer(path: str | os.PathLike[str], chain: str) -> EventSigner:
    """The signer whose key is in this file. Raises `Misconfigured`, which never shows the key.

    Refused when others may read, write or execute the file, and when it is a key for another chain.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise Misconfigured(
            f"signing_key: can't read {path}: {error.strerror}; `sealstream producer-keys create` makes a key"
        ) from error
    if mode & _OTHERS:
        raise Misconfigured(
            f"signing_key: {path} has mode {stat.S_IMODE(mode):04o}: expected 0600, others must not read a key; "
            f"run `chmod 600 {path}`, and make a new key if somebody may have read it"
        )
    try:
        found = EventSigner(signer(data.decode("ascii").removesuffix("\n")))
    except ModuleNotFoundError as error:
        raise Misconfigured("signing_key needs the package cryptography: pip install 'sealstream[signing]'") from error
    except (BadNote, UnicodeDecodeError) as error:
        # An error of decoding would show the bytes.
        detail = str(error) if isinstance(error, BadNote) else "it is not ASCII text"
        raise Misconfigured(f"signing_key: {path} holds no producer's key: {detail}") from None
    if found.origin.rpartition("/")[2] != chain:
        raise Misconfigured(
            f"signing_key: {path} is a key for the chain {found.origin}, but the client writes to chain {chain}: a key "
            "counts in one chain; make another with `sealstream producer-keys create`"
        )
    return found


class SignedStream(Stream):
    """`Stream`, whose thread signs each event and then queues it. `max_waiting_bytes` bounds what waits for that."""

    def __init__(
        self,
        topic: str,
        delivery: Delivery,
        producer_id: str,
        losses: Losses,
        statement: Statement,
        signer: EventSigner,
        max_waiting_bytes: int,
    ) -> None:
        super().__init__(topic, delivery, producer_id, losses, statement)
        self._signer = signer
        self._max_waiting_bytes = max_waiting_bytes
        self._waiting: deque[tuple[bytes, Headers, OnFailure | None]] = deque()
        self._waiting_bytes = 0
        self._signed: bytes | None = None  # the first that waits, once it is signed
        self._wake = Event()

    def _carry(
        self, number: int, value: bytes, headers: Headers, on_failure: OnFailure | None, own: bool
    ) -> str | None:
        if self._producer is None:
            return "no producer"
        size = len(value) + _BYTES_BESIDE
        if self._waiting_bytes + size > self._max_waiting_bytes and not own:
            return "queue full"
        # Taken before it is used: an interrupt between these lines loses the event, and the gap then tells the truth.
        self._next = number + 1
        self._waiting_bytes += size
        self._waiting.append((value, headers, on_failure))
        if not self._wake.is_set():
            self._wake.set()
        return None

    def _poll(self, producer: Producer) -> None:
        self._wake.wait(_POLL_S)
        self._wake.clear()
        self._hand_over()
        producer.poll(0)

    def _hand_over(self) -> None:
        """Sign what waits, in order, and queue it; what the driver's queue has no room for waits on."""
        while self._waiting and not (self._fatal or self._stopping.is_set()):
            value = self._waiting[0][0]
            reason = None
            if self._signed is None:
                try:
                    self._signed = self._signer.signed(value)
                except NotCanonical:
                    reason = "invalid"
            with self._lock:
                if not self._waiting:  # given up meanwhile
                    return
                if reason is None and (reason := self._queue_signed()) == "":
                    return
                self._signed = None
                self._waiting.popleft()
                self._waiting_bytes -= len(value) + _BYTES_BESIDE
                self._failed += bool(reason)
            if reason:
                self._losses.add(reason)

    def _queue_signed(self) -> str | None:
        """Under the lock: the first that waits goes into the driver's queue. Why it can't be; "": not yet."""
        producer, signed = self._producer, self._signed
        _value, headers, on_failure = self._waiting[0]
        if producer is None or signed is None:
            return ""
        try:
            hand_to(producer, self._topic, signed, headers, on_failure)
        except BufferError:
            return ""
        except KafkaException as error:
            if error.args[0].fatal():
                self._fatal = True
                return ""
            return self._delivery.word(error.args[0])
        return None

    def flush(self, timeout_s: float) -> int:
        """As `Stream.flush`; what waits to be signed is waited for, too."""
        deadline = time.monotonic() + timeout_s
        while self._waiting and self._thread is not None and time.monotonic() < deadline:
            self._wake.set()
            time.sleep(_WAIT_S)
        return super().flush(deadline - time.monotonic()) + len(self._waiting)

    def close(self, timeout_s: float) -> Stats:
        """As `Stream.close`."""
        super().close(timeout_s)
        with self._lock:
            left = len(self._waiting)
            self._failed += left
            self._waiting.clear()
        if left:
            self._losses.add("not delivered at close", left)
        return self.stats()

    def _pending(self) -> int:
        return super()._pending() + len(self._waiting)
