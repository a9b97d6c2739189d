"""`AuditClient`: from a call in an application to a numbered event in the queue for Kafka, in some twenty microseconds.

`emit` fills in what is bound, makes the event canonical (what is sent is exactly what will be sealed), numbers and
queues it. It never waits for Kafka and, unless `strict`, never raises for what an event holds or for the state of
anything: what can't be sent is counted by reason, logged once, and reported in the log itself as `audit.loss`.

The crash story is the stream's. Mode `best_effort`: what is still in memory is lost, and the missing `producer.closed`
and numbers show that something was. Mode `spool`: what `emit` has returned an id for is on disk, and is sent later.
Clients survive a fork: each process's first event opens a stream of its own.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import RLock
from typing import Any, Literal, ParamSpec, Self, TypeVar, Unpack, cast

from confluent_kafka import Producer

from sealstream.client import lifetimes
from sealstream.client.actions import Action, ActionFields, audited
from sealstream.client.composing import NUMBER_DIGITS, Composer
from sealstream.client.delivery import Delivery, warn
from sealstream.client.environment import settings_from
from sealstream.client.recorded_stream import RecordedStream
from sealstream.client.redaction import Redaction
from sealstream.client.resources import check_resource
from sealstream.client.signing import SignedStream, event_signer
from sealstream.client.spool_drain import drains
from sealstream.client.spool_journal import Fsync, SpoolSettings
from sealstream.client.spool_stream import SpooledStream
from sealstream.client.stats import Losses, Stats
from sealstream.client.stream import Stream
from sealstream.client.tracing import EmitSpans
from sealstream.errors import InvalidEvent, Misconfigured, SealstreamError, Unavailable
from sealstream.events import new_event_id
from sealstream.layout import DEFAULT_PREFIX, ChainTopics, check_chain_name

__all__ = ["AuditClient", "diverted"]

P = ParamSpec("P")
R = TypeVar("R")
Record = Callable[[dict[str, Any]], None]

_MAX_COMPLAINTS = 256


def _now() -> datetime:
    return datetime.now(UTC)


class AuditClient:
    """Sends audit events to one chain. One for a process; for all its threads and tasks.

    `source`: of `service`, `version`, `host` (this one's name by default), `environment`. `kafka_options`: more options
    of librdkafka, such as `security.protocol`. `exit_timeout_s`: how long the end of the interpreter may take for a
    client that nobody closed. `strict`: raise `InvalidEvent` for a refused event and `Unavailable` for a dropped one.
    `redaction`: what must not leave the process; None: the defaults of `sealstream.client.redaction`. `denials`:
    exceptions by which the application denies, beside `PermissionError`, for `action` and `audited`. `signing_key`: a
    file with the application's own key, of mode 0600, by which each event is signed (docs/signed-at-source.md); half of
    `max_pending_bytes` is then for those that wait to be signed.

    `mode` says what becomes of events that Kafka does not take at once:

    - `best_effort`: they wait in memory, up to `max_pending_bytes`; beyond, they are dropped. One that was not
      acknowledged in `delivery_timeout_s` is given up, and the end of the process loses what waits.
    - `spool`: each event is written to `spool_directory`, on a local disk, before Kafka gets it; it is never given up,
      and the end of the process, `kill -9` included, loses nothing: the next client on this directory, or
      `sealstream spool drain`, sends it. `spool_max_bytes` bounds the directory, for all processes together; when that
      or the disk is full, and the driver's memory too, new events are dropped. `spool_fsync` says what a loss of power
      may take: nothing (`always`; `emit` then waits for the disk), what the last `spool_fsync_interval_s` wrote
      (`interval`), or what the kernel had yet to write, some 30 s (`never`). One directory for one Kafka cluster.

    What is dropped or given up is counted, and sealed as `audit.loss` with reason and count. For events that must stand
    or fall with a database transaction, see `sealstream.client.Outbox`. Raises `Misconfigured`.
    """

    def __init__(
        self,
        chain: str = "main",
        bootstrap: str = "127.0.0.1:19092",
        *,
        prefix: str = DEFAULT_PREFIX,
        source: Mapping[str, str] | None = None,
        kafka_options: Mapping[str, Any] | None = None,
        max_pending_bytes: int = 64 * 1024 * 1024,
        delivery_timeout_s: float = 120.0,
        exit_timeout_s: float = 5.0,
        strict: bool = False,
        redaction: Redaction | None = None,
        denials: Collection[type[BaseException]] = (),
        signing_key: str | os.PathLike[str] | None = None,
        mode: Literal["best_effort", "spool"] = "best_effort",
        spool_directory: str | os.PathLike[str] | None = None,
        spool_max_bytes: int = 1024 * 1024 * 1024,
        spool_fsync: Fsync = "interval",
        spool_fsync_interval_s: float = 1.0,
        clock: Callable[[], datetime] = _now,
        new_id: Callable[[], str] = new_event_id,
        producer_factory: Callable[..., Producer] = Producer,
    ) -> None:
        check_chain_name(re.sub("-r[0-9]+$", "", chain))  # a lost chain's successor is written to like any other
        self.chain = chain
        if not 0 <= exit_timeout_s <= 86_400:
            raise Misconfigured(f"exit_timeout_s is out of range: expected 0 to 86400, got {exit_timeout_s}")
        self.exit_timeout_s = exit_timeout_s
        self._topic = ChainTopics.of(chain, prefix).raw
        self._spool: SpoolSettings | None = None
        if mode == "spool":
            if spool_directory is None:
                raise Misconfigured("mode spool needs spool_directory: a directory on a local disk")
            self._spool = SpoolSettings(Path(spool_directory), spool_max_bytes, spool_fsync, spool_fsync_interval_s)
            self._drains = drains(bootstrap, kafka_options or {}, producer_factory)
        elif mode != "best_effort" or spool_directory is not None:
            what = f"mode {mode!r} is unknown" if spool_directory is None else "spool_directory has no effect"
            raise Misconfigured(f"{what}: expected mode best_effort, or mode spool with spool_directory")
        self._signer = None if signing_key is None else event_signer(signing_key, chain)
        if self._signer is not None and self._spool is None:
            max_pending_bytes //= 2
        self._max_waiting_bytes = max_pending_bytes
        self._delivery = Delivery(
            bootstrap,
            kafka_options or {},
            max_pending_bytes=max_pending_bytes,
            delivery_timeout_s=None if self._spool else delivery_timeout_s,
            factory=producer_factory,
        )
        self.redaction = redaction or Redaction()
        spare_bytes = NUMBER_DIGITS + (0 if self._signer is None else self._signer.added_bytes)
        self._composer = Composer(source, clock, new_id, spare_bytes, self.redaction)
        self._denials = tuple(denials)
        self._strict = strict
        self._spans = EmitSpans(chain)
        self._new_id = new_id
        self._complaints: set[tuple[str, str]] = set()
        self._lock = RLock()
        self._closed = False
        self._losses = _diversion[1]() if _diversion is not None else Losses()
        self._stream = self._new_stream()
        try:
            self._composer.statement(self._stream.producer_id, "producer.closed", {"next": 1})
        except InvalidEvent as error:
            raise Misconfigured(f"source of the audit client: {error.reason}") from error
        self._delivery.check()
        if self._spool:
            self._spool.check()
        lifetimes.register(self)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **settings: Any) -> Self:
        """A client by variables of the environment (`sealstream.client.environment`); `settings` go before them.

        Raises `Misconfigured`, naming the variable.
        """
        return cls(**{**settings_from(os.environ if environ is None else environ), **settings})

    # --- events

    def emit(
        self,
        action: str,
        *,
        resource_type: str,
        resource_id: object,
        result: Literal["success", "failure", "denied"] = "success",
        actor_id: object = None,
        actor_type: Literal["user", "service", "admin", "system", "anonymous"] | None = None,
        on_behalf_of: object = None,
        reason: str | None = None,
        changed_fields: Sequence[str] | None = None,
        old_values: Mapping[str, Any] | None = None,
        new_values: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        tenant: object = None,
        session_id: object = None,
        trace_id: object = None,
        ip_address: object = None,
        user_agent: str | None = None,
        subject_id: object = None,
        timestamp: datetime | str | None = None,
        id: object = None,
    ) -> str | None:
        """Report that somebody did something: the event's id, or None when it was dropped (see `stats()`).

        What is not given comes from what is bound (`sealstream.client.bind`); an actor comes from one or the other, as
        a whole. Without any, the actor is `anonymous`; with an id and no type, a `user`. Values beyond JSON's are
        converted as `sealstream.client.values` says.
        """
        span = self._spans.begin()
        dropped: str | None = "not made"
        try:
            stream = self._stream
            given: dict[str, Any] = {
                "action": action,
                "actor_id": actor_id,
                "actor_type": actor_type,
                "changed_fields": changed_fields,
                "id": id,
                "ip_address": ip_address,
                "metadata": metadata,
                "new_values": new_values,
                "old_values": old_values,
                "on_behalf_of": on_behalf_of,
                "reason": reason,
                "resource_id": resource_id,
                "resource_type": resource_type,
                "result": result,
                "session_id": session_id,
                "subject_id": subject_id,
                "tenant": tenant,
                "timestamp": timestamp,
                "trace_id": trace_id,
                "user_agent": user_agent,
            }
            event_id, event = self._composer.event(stream.producer_id, given)
            dropped = stream.send(event, None if span is None else span.headers(event_id, given["trace_id"]))
        except InvalidEvent as error:
            self._drop("invalid", error, f"{error.field} of {action}" if isinstance(action, str) else error.field)
        except SealstreamError as error:  # this process can have no producer
            self._drop("no producer", error)
        except Exception as error:  # noqa: BLE001 - whatever objects an application hands over, it must not suffer
            kind = type(error).__name__
            self._drop("unreadable", InvalidEvent(f"event can't be read: its values raise {kind}"), kind)
        else:
            if dropped is None:
                return event_id
            self._drop(dropped, Unavailable(f"the audit event {action} was dropped: {dropped}"))
        finally:
            if span is not None:
                span.end(dropped)
        return None

    def action(
        self,
        action: str,
        resource: object = None,
        *,
        denials: Collection[type[BaseException]] = (),
        **fields: Unpack[ActionFields],
    ) -> Action:
        """For `with` or `async with`: the block as one event, with how it ended (`sealstream.client.actions`).

        `resource`: a pair of type and id, or an object with an id (`sealstream.client.resources`); its id may come into
        being within the block. `denials`: more exceptions by which it is denied. `fields`: as `emit`'s. Raises
        `TypeError` at once for a resource that is a text or a number.
        """
        check_resource(resource)
        given = cast(dict[str, Any], fields)
        return Action(self.emit, action, resource, denials=(*self._denials, *denials), fields=given)

    def audited(
        self,
        action: str | None = None,
        *,
        resource: str | Callable[..., object] | None = None,
        denials: Collection[type[BaseException]] = (),
        **fields: Unpack[ActionFields],
    ) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Decorates a function or coroutine function: each call is an `action`, called as the function by default.

        `resource`: the name of the parameter that it acts on (`invoice_id`: the value is an invoice's id), or a
        function that is given the same arguments and tells what `action` takes.
        """
        given = cast(dict[str, Any], fields)
        listed = (*self._denials, *denials)
        return audited(lambda name, on: Action(self.emit, name, on, denials=listed, fields=given), action, resource)

    def refuse(self, error: Exception, place: str) -> None:
        """Count an event that an integration could not make, as `invalid`; `place` says where, for a person.

        Raises `InvalidEvent` when `strict`.
        """
        self._drop("invalid", InvalidEvent(f"{place}: it can't be made into an event: {type(error).__name__}"), place)

    def _drop(self, reason: str, error: SealstreamError, place: str = "") -> None:
        """Count an event that will not be sent, and say so once for each reason and place."""
        self._losses.add(reason)
        self._stream.report_soon()
        if (reason, place) not in self._complaints and len(self._complaints) < _MAX_COMPLAINTS:
            self._complaints.add((reason, place))
            warn("audit event dropped (%s): %s; more of these are counted", reason, error)
        if self._strict:
            raise error

    # --- the end of it, and what became of everything

    def flush(self, timeout_s: float = 10.0) -> int:
        """Wait until everything is acknowledged or given up, or the time is over: how many events are still pending.

        In mode `spool` these are on disk, and nothing is given up.
        """
        return self._stream.flush(timeout_s)

    def close(self, timeout_s: float = 10.0) -> Stats:
        """Send what is pending and `producer.closed`, which states the next number; give up what the time is too short
        for, or leave it in the spool. The result says what was not delivered; later events are dropped, and a second
        call only counts again.
        """
        with self._lock:
            already, self._closed = self._closed, True
            stats = self._stream.close(timeout_s)
        lifetimes.forget(self)
        if already:
            return stats
        if stats.failed or stats.unreported:
            warn("audit client closed: %d events not delivered, losses: %s", stats.failed, dict(stats.dropped))
        if stats.pending:
            warn(
                "audit client closed: %d events wait in the spool %s; the next start sends them, or `sealstream spool "
                "drain`",
                stats.pending,
                self._spool.directory if self._spool else "",
            )
        return stats

    def stats(self) -> Stats:
        """What became of all events so far."""
        return self._stream.stats()

    async def aflush(self, timeout_s: float = 10.0) -> int:
        """`flush`, for a coroutine."""
        return await asyncio.to_thread(self.flush, timeout_s)

    async def aclose(self, timeout_s: float = 10.0) -> Stats:
        """`close`, for a coroutine."""
        return await asyncio.to_thread(self.close, timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_raised: object) -> None:
        await self.aclose()

    # --- this process's stream

    def divert(self, losses: Losses) -> Callable[[], None]:
        """Go on with a new stream, as `_new_stream` makes it now; how to go back."""
        stream, own = self._stream, self._losses

        def go_back() -> None:
            self._stream, self._losses = stream, own
            if self._closed:
                stream.close(self.exit_timeout_s)

        self._losses = losses
        self._stream = self._new_stream()
        return go_back

    def after_fork(self) -> None:
        """In a forked child: the parent's events, numbers, locks and threads stay the parent's."""
        parents = self._stream
        self._lock = RLock()
        self._losses = Losses()
        self._complaints = set()
        self._stream = self._new_stream()
        parents.abandon()

    def _new_stream(self) -> Stream:
        producer_id = self._new_id()
        if _diversion is not None:
            return RecordedStream(producer_id, self._losses, _diversion[0])
        statement = partial(self._composer.statement, producer_id)
        if self._spool is None:
            common = (self._topic, self._delivery, producer_id, self._losses, statement)
            if self._signer is None:
                return Stream(*common)
            return SignedStream(*common, self._signer, self._max_waiting_bytes)
        return SpooledStream(
            self._topic,
            self._delivery,
            producer_id,
            self._losses,
            statement,
            self._spool,
            self._drains,
            self._composer,
            self._signer,
        )


_diversion: tuple[Record, Callable[[], Losses]] | None = None


@contextmanager
def diverted(record: Record, losses: Callable[[], Losses]) -> Iterator[None]:
    """All clients of this process hand their events, decoded, to `record`, and count losses in `losses()`."""
    global _diversion  # noqa: PLW0603 - clients are made where the application makes them
    outer, _diversion = _diversion, (record, losses)
    before = set(lifetimes.open_clients())
    ways_back = [client.divert(losses()) for client in before if isinstance(client, AuditClient)]
    try:
        yield
    finally:
        _diversion = outer
        for go_back in ways_back:
            go_back()
        for client in set(lifetimes.open_clients()) - before:
            if isinstance(client, AuditClient):
                client.divert(Losses())
