"""How a relay begins: it brings together what the database knows and what the topic holds, and ends what must end.

Taking an outbox for the first time, going on after a crash, after a failover and after a restore are the same lines:

1. read the topic from where the outbox last knew everything, for what this outbox sent;
2. send of the batch that is on its way what the topic does not hold, under the same numbers, and settle it;
3. numbers in the topic that the database never gave are the proof that it was set back (or has a twin). Then rows that
   wait and are in the topic already are deleted, the stream ends, and `outbox.behind` says so in the log. A stream also
   ends when this is another database (a copy may live on elsewhere), or another topic: its `producer.closed` states
   where its numbers ended, so that the log shows whether some are missing.

So no number is ever used for two events, and no event is sealed twice, also when the database is a backup's. A crash
at any line leaves what the next beginning reads again.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import structlog

from sealstream.client.composing import Composer
from sealstream.errors import Misconfigured
from sealstream.kafka import KafkaSettings, topic_ids
from sealstream.layout import OUTBOX_PRODUCER, ChainSettings, ChainTopics
from sealstream.relaying import recovery
from sealstream.relaying.holding import Held, State
from sealstream.relaying.numbering import Numbers
from sealstream.relaying.recovery import Bound, StreamState
from sealstream.relaying.seen import Seen, look
from sealstream.relaying.sending import BatchSender

__all__ = ["FORGOTTEN_AFTER_DAYS", "Statements", "begin"]

FORGOTTEN_AFTER_DAYS = 20.0
"""The log forgets a producer after 30 days of silence; a number of one that it has forgotten would look like a gap."""


class Statements:
    """What a relay itself says in its outbox's stream."""

    def __init__(self, composer: Composer, outbox_id: str) -> None:
        self._composer = composer
        self._outbox_id = outbox_id

    def loss(self, count: int) -> bytes:
        """So many rows were no events."""
        return self._made("audit.loss", {"reason": "invalid", "count": count})

    def closed(self, number: int, reason: str, producer_id: str) -> bytes:
        """The last event of a stream, with this number."""
        return self._made("producer.closed", {"next": number + 1, "reason": reason}, about=("producer", producer_id))

    def behind(self, producer_id: str | None, known: int, seen: int, already: int) -> bytes:
        """The log holds numbers that this database never gave: it knows `known` of the stream, the log has `seen`."""
        metadata = {"producer_id": producer_id, "known": known, "seen": seen, "already_sent": already}
        return self._made("outbox.behind", metadata)

    def _made(self, action: str, metadata: dict[str, Any], about: tuple[str, str] | None = None) -> bytes:
        return self._composer.statement(
            OUTBOX_PRODUCER,
            action,
            metadata,
            actor_id="sealstream/outbox",
            about=about or ("outbox", self._outbox_id),
        )


class _Findings(NamedTuple):
    """Why the current stream must end; "": it goes on. `behind`: the log knows more than the database."""

    reason: str
    behind: bool


def begin(
    kafka: KafkaSettings,
    chain: ChainSettings,
    held: Held,
    state: State,
    sender: BatchSender,
    statements: Statements,
    log: structlog.stdlib.BoundLogger,
    *,
    accept_unseen: bool = False,
) -> None:
    """Afterwards at most a stream's last event is on its way. Raises `Misconfigured` when a person must decide."""
    topic = ChainTopics.of(chain.name, chain.prefix).raw
    topic_id = topic_ids(kafka, [topic])[topic]
    here = recovery.database(held)
    if state.origin is not None and (state.origin, state.topic) != (chain.origin, topic):
        raise Misconfigured(
            f"{held.tables.table} belongs to the log {state.origin} ({state.topic}): expected that, got {chain.origin} "
            f"({topic}). If this database is a copy that shall have its own log, `sealstream outbox renew` begins anew"
        )
    if state.origin is None:  # nothing was sent, unless this is a backup from before: then the topic knows
        state = state._replace(topic_id=topic_id, database=here)
        offset = None
    else:
        offset = state.raw_offset if state.topic_id == topic_id else None
    log.info("looking for what this outbox has sent", topic=topic, from_offset=offset)
    seen = look(kafka, topic, state.outbox_id, offset, accept_unseen=accept_unseen)
    _finish_batch(held, seen, sender, log)
    streams = recovery.streams(held)
    findings = _findings(
        *(state, streams, seen), same_topic=state.topic_id == topic_id, same_database=state.database == here
    )
    already = 0
    if findings.behind:
        already = recovery.forget(held, frozenset(record.digest for record in seen.records))
        log.critical(
            "the log holds numbers that this database never gave: it was set back to an older state, or a copy of it "
            "also relays",
            already_sent=already,
            numbers=seen.highest,
        )
    bound = Bound(chain.origin, topic, topic_id, here, seen.end)
    if findings.reason == "":
        recovery.bind(held, bound)
        return
    producer_id = state.producer_id
    stream = StreamState(0, 0.0) if producer_id is None else streams[producer_id]
    last_seen = seen.highest.get(producer_id or "", -1)
    number = max(stream.next, last_seen + 1)
    closed = None
    if producer_id is not None and stream.unused_days < FORGOTTEN_AFTER_DAYS:
        closed = statements.closed(number, findings.reason, producer_id)
    more = [statements.behind(producer_id, stream.next, last_seen + 1, already)] if findings.behind else []
    recovery.end_stream(held, number, closed, more=more, bound=bound)
    log.warning("a new stream of numbers begins", reason=findings.reason, ended=producer_id, at=number)


def _finish_batch(held: Held, seen: Seen, sender: BatchSender, log: structlog.stdlib.BoundLogger) -> None:
    batch = recovery.batch_on_its_way(held)
    if batch is None:
        return
    if not batch.complete:
        log.critical("rows that were taken are gone or changed: their numbers will be missing", first=batch.first)
    read = Numbers(batch.producer_id.partition("/")[0]).read
    missing = [event for event in batch.events if read(event) not in seen.records]
    log.info(
        "going on with what was on its way", events=len(batch.events), already_sent=len(batch.events) - len(missing)
    )
    if missing:
        sender.send(missing)
    recovery.settle(held)


def _findings(
    state: State, streams: dict[str, StreamState], seen: Seen, *, same_topic: bool, same_database: bool
) -> _Findings:
    ahead = any(
        producer_id not in streams or number >= streams[producer_id].next
        for producer_id, number in seen.highest.items()
    )
    if ahead:
        return _Findings("the log holds numbers that this database never gave", behind=True)
    if not same_topic or seen.cut:
        return _Findings("the topic was made anew or cut off", behind=False)
    if not same_database:
        return _Findings("the database was restored, moved or promoted", behind=False)
    if state.producer_id is not None and streams[state.producer_id].unused_days >= FORGOTTEN_AFTER_DAYS:
        return _Findings("the stream was silent for too long", behind=False)
    return _Findings("", behind=False)
