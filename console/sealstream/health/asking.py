"""What one chain's stores say of themselves: one question for each, each with its own connection, closed when answered.

Kafka says how far the chain is and what waits, Postgres and the archive how far they hold it. Reading only; every
question answers or raises a `SealstreamError`. How long it may take is for `at_once` to say, which asks many at the
same time and gives up on those that do not answer.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, TypeVar
from urllib.parse import urlsplit

from sealstream.anomaly.beginning import read_positions
from sealstream.archive import ArchiveSettings, ArchiveStore
from sealstream.errors import ChainStopped, InputLost, NotCanonical, SealstreamError, Unavailable
from sealstream.forward import open_letters
from sealstream.kafka import (
    CommittedReader,
    KafkaSettings,
    Record,
    end_offset,
    last_record,
    read_until_end,
    start_offset,
)
from sealstream.kafka.settings import TopicMissing
from sealstream.layout import ChainSettings, ChainTopics, decode_entry
from sealstream.layout.activity import ActivityTopics
from sealstream.layout.forwarding import ForwardTopics
from sealstream.layout.manifests import MAX_MANIFEST_BYTES, parse_manifest
from sealstream.layout.tables import AUDIT_LOG, AUDIT_POSITION, SCHEMA
from sealstream.postgres.driver import Session
from sealstream.sealing import BadNote, open_checkpoint
from sealstream.sequencer.producers import decode_state, holds_state

__all__ = [
    "CONNECT_S",
    "Archived",
    "Producers",
    "RolledUp",
    "Sealed",
    "Signed",
    "Stored",
    "Trouble",
    "archived",
    "at_once",
    "check_listens",
    "newest_note",
    "producers",
    "refused_letters",
    "rolled_up",
    "sealed",
    "signed",
    "stored",
    "waiting_since",
]

_Answer = TypeVar("_Answer")

_STATES_READ = 500_000
_RECORD_S = 3.0
CONNECT_S = 1.0  # of a question that must not keep the others waiting
_LOOK_BACK_DAYS = (0, 1, 7, 35)


class Trouble(NamedTuple):
    """A question that was not answered, and why. `is_wrong`: the answer was there and is not as it must be."""

    reason: str
    runbook: str = ""
    is_wrong: bool = False


class Sealed(NamedTuple):
    """How far the chain is. `waiting`: records in the raw topic that it does not account for, the oldest of which came
    at `waiting_since` (times in seconds since 1970).
    """

    size: int
    sequenced_at: float | None
    waiting: int
    waiting_since: float | None


class Signed(NamedTuple):
    """The newest checkpoint, and the newest end of a segment."""

    size: int
    at: float | None
    segment_size: int
    segment_at: float | None


class Producers(NamedTuple):
    """Those that are remembered. `missing`: numbers that never came, of `with_gaps` producers."""

    known: int
    silent: int
    with_gaps: int
    missing: int


class Stored(NamedTuple):
    """How far Postgres is; `next_offset`: where the entry after it stands in the chain's topic, or will stand.

    `first_seq`, `first_at`: the first entry that is there, and when it was sealed: months before it may have left.
    """

    size: int
    sequenced_at: float | None
    next_offset: int
    first_seq: int = 0
    first_at: float | None = None


class Archived(NamedTuple):
    """How far the archive is, by its newest manifest."""

    size: int
    sequenced_at: float | None


class RolledUp(NamedTuple):
    """How far the activity is. `next_offset`: where the first entry stands that is not behind it for good."""

    size: int
    sequenced_at: float
    next_offset: int


def sealed(kafka: KafkaSettings, chain: ChainSettings) -> Sealed:
    """From the chain's last entry and the raw topic's end."""
    topics = ChainTopics.of(chain.name, chain.prefix)
    last = last_record(kafka, topics.chain)
    size, next_offset, sequenced_at = 0, 0, None
    if last is not None:
        written = decode_entry(last.value or b"").written
        size, next_offset = written.seq + 1, written.raw_offset + 1
        sequenced_at = datetime.fromisoformat(written.sequenced_at).timestamp()
    waiting = max(end_offset(kafka, topics.raw, committed=True) - next_offset, 0)
    since = waiting_since(kafka, topics.raw, next_offset) if waiting else None
    return Sealed(size, sequenced_at, waiting if since is not None else 0, since)


def waiting_since(kafka: KafkaSettings, topic: str, offset: int) -> float | None:
    """When the record at `offset`, or the first behind it, came, by the broker; None: there are only markers.

    The topic goes on behind `offset`. Raises `Unavailable` when neither a record nor the end comes.
    """
    offset = max(offset, start_offset(kafka, topic))
    deadline = time.monotonic() + _RECORD_S
    try:
        with CommittedReader(kafka, topic, offset, fetch_wait_s=0.05) as reader:
            while time.monotonic() < deadline:
                if records := reader.read(1, 0.1):
                    return records[0].timestamp_ms / 1000
                if reader.position() > offset:
                    return None
    except InputLost:  # trimmed or cut off while we looked: whoever reads it says so
        return None
    raise Unavailable(f"{topic}: nothing came from offset {offset} in {_RECORD_S:.0f} s")


def newest_note(kafka: KafkaSettings, topics: ChainTopics, vkey: str) -> Record | None:
    """The newest signed note: checkpoints are kept for a week, ends of segments for ever. None: nothing was signed.

    Raises `BadNote` when the chain's key has not signed it.
    """
    (size, newest), (segment_size, segment_end) = _last_notes(kafka, topics, vkey)
    return segment_end if segment_size > size else newest


def signed(kafka: KafkaSettings, chain: ChainSettings) -> Signed:
    """From the last note of each topic. Raises `BadNote` when the chain's key has not signed it."""
    topics = ChainTopics.of(chain.name, chain.prefix)
    notes = _last_notes(kafka, topics, chain.vkey)
    (size, at), (segment_size, segment_at) = (
        (size, None if record is None else record.timestamp_ms / 1000) for size, record in notes
    )
    if segment_size > size:
        size, at = segment_size, segment_at
    return Signed(size, at, segment_size, segment_at)


def _last_notes(
    kafka: KafkaSettings, topics: ChainTopics, vkey: str
) -> tuple[tuple[int, Record | None], tuple[int, Record | None]]:
    """The last checkpoint and the last end of a segment, each with the size that it signs; 0 and None: none."""

    def last(topic: str) -> tuple[int, Record | None]:
        record = last_record(kafka, topic)
        if record is None:
            return 0, None
        try:
            return open_checkpoint(record.value or b"", vkey).size, record
        except BadNote as error:
            raise BadNote(f"the newest checkpoint in {topic} does not hold: {error}") from error

    return last(topics.checkpoints), last(topics.segments)


def refused_letters(kafka: KafkaSettings, prefix: str) -> Counter[str]:
    """How many messages each target of the forward sink refused, and nobody has worked off."""
    return Counter(letter.told.target for letter in open_letters(kafka, ForwardTopics.of(prefix).deadletter))


def producers(kafka: KafkaSettings, chain: ChainSettings) -> Producers:
    """From the topic of their states."""
    topic = ChainTopics.of(chain.name, chain.prefix).producers
    states: dict[bytes, bytes] = {}
    read = 0
    for records in read_until_end(kafka, topic):
        read += len(records)
        if read > _STATES_READ:
            raise Unavailable(f"{topic} holds too many records to count: the sequencer's own figures tell")
        for record in records:
            key = record.key or b""
            if not holds_state(key):
                continue
            if record.value:
                states[key] = record.value
            else:
                states.pop(key, None)
    decoded = [decode_state(value) for value in states.values()]
    gaps = [sum(last - first + 1 for first, last in state.missing) for state in decoded if state.missing]
    return Producers(len(decoded), sum(state.silent for state in decoded), len(gaps), sum(gaps))


def stored(dsn: str, chain: ChainSettings) -> Stored:
    """From the position row and the last row. `dsn`: of the reader's role."""
    query = (
        "SELECT next_seq, chain_offset, (SELECT extract(epoch FROM sequenced_at)::float8 "
        f"FROM {SCHEMA}.{AUDIT_LOG} l WHERE l.chain = $1 AND l.seq = p.next_seq - 1 LIMIT 1) AS sequenced_at "
        f"FROM {SCHEMA}.{AUDIT_POSITION} p WHERE p.chain = $1"
    )
    begins = (
        f"SELECT seq, extract(epoch FROM sequenced_at)::float8 AS at FROM {SCHEMA}.{AUDIT_LOG} WHERE chain = $1 "
        "ORDER BY seq LIMIT 1"
    )
    with Session(dsn, "sealstream status", command_timeout_s=5) as session:
        rows = session.fetch("reading the position", query, chain.name)
        first = session.fetch("reading the first entry", begins, chain.name)
    if not rows:
        return Stored(0, None, 0)
    begin = (first[0]["seq"], first[0]["at"]) if first else (0, None)
    return Stored(rows[0]["next_seq"], rows[0]["sequenced_at"], rows[0]["chain_offset"], *begin)


def archived(settings: ArchiveSettings, chain: ChainSettings) -> Archived:
    """From the newest manifest: today's, else those of days ago, else of all."""
    store = ArchiveStore(settings, chain.name)
    today = datetime.now(UTC)
    try:
        for since in (*((today - timedelta(days=days)).strftime("%Y-%m-%d") for days in _LOOK_BACK_DAYS), ""):
            last = None
            for segment in store.segments(since):
                last = segment if segment.manifest.versions else last
            if last is not None:
                data = store.read(last.name.manifest_key, last.manifest.versions[0], MAX_MANIFEST_BYTES)
                newest = datetime.fromisoformat(parse_manifest(data).last_sequenced_at)
                return Archived(last.name.last_seq + 1, newest.timestamp())
    finally:
        store.close()
    return Archived(0, None)


def rolled_up(kafka: KafkaSettings, chain: ChainSettings) -> RolledUp | None:
    """From the roll-up's position. None: there is none, so nobody rolls this chain up yet."""
    try:
        position = read_positions(kafka, ActivityTopics.of(chain.prefix).positions).get(chain.name)
    except TopicMissing:
        return None
    if position is None:
        return None
    size = max(position.seq, position.told + 1)
    return RolledUp(size, datetime.fromisoformat(position.second).timestamp(), position.offset)


def check_listens(addresses: list[str]) -> None:
    """Raises `Unavailable` unless somebody listens at one of these host:port: said at once, where drivers try long."""
    reasons = []
    for address in addresses:
        parts = urlsplit(address if "//" in address else f"//{address}")
        try:
            port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
            socket.create_connection((parts.hostname or "", port), CONNECT_S).close()
        except (OSError, ValueError) as error:
            reasons.append(f"{parts.netloc.rpartition('@')[2]}: {getattr(error, 'strerror', None) or error}")
        else:
            return
    raise Unavailable(f"nobody answers at {'; '.join(reasons) or 'no address'}")


def at_once(questions: Mapping[str, Callable[[], _Answer]], timeout_s: float) -> dict[str, _Answer | Trouble]:
    """Every question's answer, or why there is none; all within the time, whatever a driver does."""
    found: dict[str, _Answer | Trouble] = {}

    def ask(name: str, question: Callable[[], _Answer]) -> None:
        try:
            found[name] = question()
        except SealstreamError as error:
            wrong = isinstance(error, ChainStopped | BadNote | NotCanonical) or (
                bool(error.runbook) and not isinstance(error, Unavailable)
            )
            found[name] = Trouble(str(error), error.runbook, wrong)
        except Exception as error:  # noqa: BLE001 - one part that fails must not hide the others
            found[name] = Trouble(f"{type(error).__name__}: {error}")

    deadline = time.monotonic() + timeout_s
    threads = [
        threading.Thread(target=ask, args=each, name=f"ask-{each[0]}", daemon=True) for each in questions.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    answered = found.copy()
    return {name: answered.get(name, Trouble(f"no answer within {timeout_s:g} s")) for name in questions}
