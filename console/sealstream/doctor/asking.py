"""What checks ask the system: each question once a run, whoever needs its answer, from any thread.

Reads only, but for one record: that the doctor looks is a `log.read` of each chain (`begin` before the first entry is
read, `end` with the verdict), as of everybody who reads the log. A crash leaves a beginning without an end.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from datetime import datetime
from typing import Any, NamedTuple, TypeVar, cast

import msgspec

from sealstream.access import Access, AccessLog, Streamed
from sealstream.archive import ArchiveSettings
from sealstream.doctor.system import System
from sealstream.errors import Misconfigured, NotCanonical, SealstreamError, Unavailable
from sealstream.events import parse_timestamp
from sealstream.health.asking import (
    Archived,
    RolledUp,
    Sealed,
    Signed,
    Stored,
    archived,
    check_listens,
    rolled_up,
    sealed,
    signed,
    stored,
)
from sealstream.kafka import CommittedReader, end_offset, offset_reaching, read_until_end, start_offset
from sealstream.layout import ChainSettings, ChainTopics, Entry, decode_entry
from sealstream.postgres import PostgresStore
from sealstream.postgres.driver import Session
from sealstream.sealing import read_written, split_sealed

__all__ = ["Asking", "OwnRead", "Sampled"]

T = TypeVar("T")

_NEWEST = 1_000
_RUNS, _RUN = 20, 50
_ONE_LOOK_S = 0.2
_KAFKA_SPAN = 3_000
_KAFKA_READ = 200_000


class OwnRead(NamedTuple):
    """The doctor's own `log.read`, as it was sealed. `received_at` is the broker's time, `sequenced_at` the
    sequencer's, the others this machine's: said, acknowledged, and seen in the chain.
    """

    seq: int
    said_at: datetime
    acknowledged_at: datetime
    seen_at: datetime
    received_at: datetime
    sequenced_at: datetime


class _Said(NamedTuple):
    access: Access
    stream: Streamed
    chain_end: int
    at: datetime
    acknowledged_at: datetime


class Sampled(NamedTuple):
    """Entries of a chain, in order of seq. `says`: how they were chosen, and from where."""

    entries: Sequence[Mapping[str, Any]]
    says: str

    def events(self) -> list[Mapping[str, Any]]:
        """Those that applications sent, without what the client says of its own streams."""
        return [
            each
            for each in self.entries
            if each["written"]["kind"] == "event" and each["actor_id"] != "sealstream/client"
        ]


class Asking:
    """One run's questions. `close` it."""

    def __init__(self, system: System) -> None:
        self.system = system
        self._lock = threading.Lock()
        self._answers: dict[str, Future[Any]] = {}
        self._log = AccessLog(system.kafka, system.prefix)
        self._said: dict[str, _Said] = {}

    def close(self) -> None:
        """Gives the connection back."""
        self._log.close()

    def __enter__(self) -> Asking:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def once(self, name: str, question: Callable[[], T]) -> T:
        """The answer to the question of this name, asked by the first who wants it. Raises what the question raised."""
        with self._lock:
            answer = self._answers.get(name)
            first = answer is None
            if answer is None:
                answer = self._answers[name] = Future()
        if first:
            try:
                answer.set_result(question())
            except BaseException as error:
                answer.set_exception(error)
                raise
        return cast(T, answer.result())

    # --- that the doctor looks is in the log ------------------------------------------------------------------------

    def begin(self, query: str) -> str:
        """Record in each chain that the doctor begins; why that could not be done, empty where it was."""
        for chain in self.system.chains:
            access = Access(chain.name, "doctor", self._stores(), query)
            topic = ChainTopics.of(chain.name, chain.prefix).chain
            try:
                end = end_offset(self._listening(), topic, committed=True)  # what is said is sealed behind that
                said_at = self.system.clock()
                stream = self._log.begin(self.system.reader, access)
            except SealstreamError as error:
                return str(error.__cause__ or error)
            self._said[chain.name] = _Said(access, stream, end, said_at, self.system.clock())
        return ""

    def end(self, verdict: str) -> str:
        """Record the end, with how many entries were read and what came of it; why that could not be done."""
        for chain, said in self._said.items():
            said.stream.rows = self._rows(chain)
            try:
                self._log.end(self.system.reader, said.access, said.stream, complete=True, facts={"verdict": verdict})
            except SealstreamError as error:
                return str(error.__cause__ or error)
        return ""

    def own_read(self, chain: ChainSettings) -> OwnRead:
        """Wait until the record of this run is sealed. Raises `Unavailable` when it is not."""
        return self.once(f"own read {chain.name}", lambda: self._own_read(chain))

    def _own_read(self, chain: ChainSettings) -> OwnRead:
        if chain.name not in self._said:
            raise Unavailable("that the doctor looks could not be recorded: Kafka did not take the record")
        said = self._said[chain.name]
        topic = ChainTopics.of(chain.name, chain.prefix).chain
        needle = b'"id":"' + said.stream.begin_id.encode() + b'"'
        within_s = self.system.sealed_within_s
        deadline = time.monotonic() + within_s
        with CommittedReader(self.system.kafka, topic, said.chain_end, fetch_wait_s=0.05) as reader:
            while time.monotonic() < deadline:
                for record in reader.read(10_000, _ONE_LOOK_S):
                    if record.value is not None and needle in record.value:
                        written = decode_entry(record.value).written
                        received = parse_timestamp(written.received_at or written.sequenced_at)
                        sequenced = parse_timestamp(written.sequenced_at)
                        seen_at = self.system.clock()
                        return OwnRead(written.seq, said.at, said.acknowledged_at, seen_at, received, sequenced)
        raise Unavailable(f"not sealed within {within_s:.0f} s: does the sequencer of {chain.name} run?")

    def _stores(self) -> str:
        stores = ["kafka"]
        stores += ["postgres"] if "reader" in self.system.dsns else []
        stores += ["archive"] if self.system.archive is not None else []
        return ", ".join(stores)

    def _rows(self, chain: str) -> int:
        rows = 0
        for name in (f"sample {chain}", *(f"verified {store} {chain}" for store in ("kafka", "postgres", "archive"))):
            answer = self._answers.get(name)
            if answer is not None and answer.done() and answer.exception() is None:
                found = answer.result()
                rows += len(found.entries) if isinstance(found, Sampled) else int(found.entries)
        return rows

    # --- Kafka ------------------------------------------------------------------------------------------------------

    def sealed(self, chain: ChainSettings) -> Sealed:
        """How far the chain is."""
        return self.once(f"sealed {chain.name}", lambda: sealed(self._listening(), chain))

    def signed(self, chain: ChainSettings) -> Signed:
        """Its newest checkpoint. Raises `BadNote` when the chain's key has not signed it."""
        return self.once(f"signed {chain.name}", lambda: signed(self._listening(), chain))

    def rolled_up(self, chain: ChainSettings) -> RolledUp | None:
        """How far its activity is."""
        return self.once(f"rolled up {chain.name}", lambda: rolled_up(self._listening(), chain))

    def _listening(self) -> Any:
        check_listens(self.system.kafka.bootstrap.split(","))
        return self.system.kafka

    # --- Postgres ---------------------------------------------------------------------------------------------------

    def dsn(self, role: str) -> str:
        """The DSN of a role. Raises `Misconfigured` where it is not set."""
        if role not in self.system.dsns:
            raise Misconfigured(f"postgres.{role}_dsn is not set: nothing can be asked of Postgres as its {role}")
        return self.system.dsns[role]

    def fetch(self, role: str, query: str, *arguments: object) -> list[Any]:
        """All rows of a query of the catalogue, as this role."""
        with Session(self.dsn(role), "sealstream doctor", command_timeout_s=20) as session:
            return session.fetch("asking the catalogue", query, *arguments)

    def stored(self, chain: ChainSettings) -> Stored:
        """How far Postgres is."""
        return self.once(f"stored {chain.name}", lambda: stored(self.dsn("reader"), chain))

    def statements(self, chain: ChainSettings, actions: Sequence[str]) -> list[Entry]:
        """The control statements with these actions that are online: of Postgres, and of Kafka what it lacks yet.

        Raises `Unavailable` where Postgres has too little for that to be an answer.
        """

        def ask() -> list[Entry]:
            with PostgresStore(self.dsn("reader")) as store:
                if store.seq_bounds(chain.name) is None:
                    raise Unavailable(f"Postgres holds no entry of {chain.name}: what it has said can't be asked")
                bodies, behind = store.statements(chain.name, actions), store.next_seq(chain.name)
            return _with_actions([*bodies, *self._newer_statements(chain, actions, behind)], actions)

        return self.once(f"statements {chain.name} {' '.join(actions)}", ask)

    def archived_statements(self, chain: ChainSettings, actions: Sequence[str]) -> list[Entry]:
        """Those that have left Postgres. Reads through all that is archived of that: for the rare case."""
        return self.once(
            f"archived statements {chain.name} {' '.join(actions)}",
            lambda: _with_actions(self._archived_statements(chain, actions), actions),
        )

    def _newer_statements(self, chain: ChainSettings, actions: Sequence[str], behind: int) -> Iterator[bytes]:
        """The sealed values of those from entry `behind` on."""
        lacking = self.sealed(chain).size - behind
        if lacking > _KAFKA_READ:
            raise Unavailable(f"Postgres is {lacking:,} entries behind: what they say would take too long to read")
        kafka, topic = self._listening(), ChainTopics.of(chain.name, chain.prefix).chain
        needles = [b'"action":"' + action.encode() + b'"' for action in actions]
        begin = offset_reaching(
            kafka, topic, lambda record: read_written(split_sealed(record.value or b"").body).seq >= behind
        )
        for records in read_until_end(kafka, topic, begin):
            for record in records:
                if record.value is not None and any(needle in record.value for needle in needles):
                    yield record.value

    def _archived_statements(self, chain: ChainSettings, actions: Sequence[str]) -> list[bytes]:
        below = self.stored(chain).first_seq
        if below == 0:
            return []
        from sealstream.search import ArchiveSource, parse  # DuckDB is loaded only where it is needed

        query = parse(" ".join(["kind:control", *(f"action:{action}" for action in actions)]), now=self.system.clock())
        source = ArchiveSource(self.archive(), [chain.name], below={chain.name: below})
        try:
            return [found.body for batch in source.stream(query, sort="seq") for found in batch]
        finally:
            source.close()

    # --- the archive ------------------------------------------------------------------------------------------------

    def archive(self) -> ArchiveSettings:
        """Where it is. Raises `Misconfigured` where there is none."""
        if self.system.archive is None:
            raise Misconfigured("archive.bucket is empty: there is no archive")
        return self.system.archive._replace(timeout_s=10.0)

    def archived(self, chain: ChainSettings) -> Archived:
        """How far it is."""
        return self.once(f"archived {chain.name}", lambda: archived(self.archive(), chain))

    # --- entries ----------------------------------------------------------------------------------------------------

    def sample(self, chain: ChainSettings) -> Sampled:
        """The newest entries, and runs of entries from anywhere in the chain. Of Kafka alone, where no Postgres is."""
        return self.once(f"sample {chain.name}", lambda: self._sample(chain))

    def entry_0(self, chain: ChainSettings) -> Entry:
        """The chain's first entry. Raises `Unavailable` where neither Postgres nor Kafka has it."""
        return self.once(f"entry 0 {chain.name}", lambda: self._entry_0(chain))

    def _entry_0(self, chain: ChainSettings) -> Entry:
        if "reader" in self.system.dsns:
            with suppress(SealstreamError), PostgresStore(self.dsn("reader")) as store:
                for rows in store.rows(chain.name, 0, 1):
                    return decode_entry(rows[0].body)
        topic = ChainTopics.of(chain.name, chain.prefix).chain
        kafka = self._listening()
        if start_offset(kafka, topic) == 0:
            for records in read_until_end(kafka, topic):
                return decode_entry(records[0].value or b"")
        raise Unavailable(f"entry 0 of chain {chain.name} is neither in Postgres nor in Kafka any more")

    def _sample(self, chain: ChainSettings) -> Sampled:
        if "reader" not in self.system.dsns:
            return self._sample_of_kafka(chain)
        with PostgresStore(self.dsn("reader")) as store:
            bounds = store.seq_bounds(chain.name)
            if bounds is None:
                return Sampled((), "Postgres holds no entry")
            bodies = {
                row.seq: row.body
                for first, stop in _spans(*bounds)
                for rows in store.rows(chain.name, first, stop)
                for row in rows
            }
        says = f"{len(bodies):,} of {bounds[1] + 1:,} entries in Postgres: the newest, and runs from anywhere"
        return Sampled([_decoded(bodies[seq]) for seq in sorted(bodies)], says)

    def _sample_of_kafka(self, chain: ChainSettings) -> Sampled:
        topic, kafka = ChainTopics.of(chain.name, chain.prefix).chain, self._listening()
        first = max(start_offset(kafka, topic), end_offset(kafka, topic, committed=True) - _KAFKA_SPAN)
        values = [record.value or b"" for records in read_until_end(kafka, topic, first) for record in records]
        newest = [_decoded(split_sealed(value).body) for value in values[-_NEWEST:]]
        return Sampled(newest, f"the newest {len(newest):,} entries in Kafka")


def _with_actions(values: Iterable[bytes], actions: Sequence[str]) -> list[Entry]:
    found = [decode_entry(value) for value in values]
    return [entry for entry in found if entry.action in actions and entry.written.kind == "control"]


def _spans(low: int, high: int) -> Iterator[tuple[int, int]]:
    """Runs of seqs that do not overlap, the newest last."""
    newest = max(low, high + 1 - _NEWEST)
    if newest - low <= _RUNS * _RUN:
        yield low, newest
    else:
        part = (newest - low) / _RUNS
        for number in range(_RUNS):
            begin = low + int(part * number)
            first = begin + random.randrange(max(1, int(part) - _RUN))
            yield first, first + _RUN
    yield newest, high + 1


def _decoded(body: bytes) -> Mapping[str, Any]:
    try:
        return cast(Mapping[str, Any], msgspec.json.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NotCanonical(f"not an entry: {error}: {body[:80]!r}") from error
