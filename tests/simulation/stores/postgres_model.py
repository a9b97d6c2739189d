"""A small model of PostgreSQL, spoken to through what `asyncpg.connect` gives: only what the sink says to it.

Kept: transactions (nothing is seen before COMMIT, everything after), READ COMMITTED by the statement and REPEATABLE
READ by the transaction, row locks that a second session waits for, unique keys, CHECKs, triggers that refuse, months
that must exist, sessions that outlive a lost connection, and the settings `command_timeout` and
`idle_in_transaction_session_timeout`. Left out: roles and privileges, other statements (they raise
`UnknownStatement`), deadlock detection (who waits in a circle waits until a timeout), savepoints.

What goes wrong: what `World.effect` does to any effect (the connection breaks before or after the server has done it,
or the process dies there), and the model's own faults (`FAULTS`): the connection breaks for the client alone, and the
session lingers with its locks; a COMMIT is done after the client has given up; the server refuses, is full, out of
connections, restarted, or replaced by a backup. The invariant, as of the real one: what `committed` holds was committed
whole.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Generator, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from struct import Struct
from typing import Any, NamedTuple

import asyncpg
from asyncpg.transaction import Transaction
from tests.simulation.world import EffectFault, Process, Signal, World

from sealstream.layout import HOT_COLUMNS
from sealstream.layout.tables import AUDIT_LOG, LOG_COLUMNS, SCHEMA, migrations
from sealstream.postgres import migrating, stored
from sealstream.postgres.rows import COPY_END, COPY_START

__all__ = ["FAULTS", "Note", "PostgresServer", "Row", "State", "UnknownStatement"]

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_INT2, _INT4, _INT8 = Struct(">h"), Struct(">i"), Struct(">q")
_AT = {name: place for place, name in enumerate(LOG_COLUMNS)}
_SEQ, _TIME, _BODY, _PREV, _HASH = (_AT[each] for each in ("seq", "sequenced_at", "body", "prev_hash", "hash"))
_NULLABLE = {_AT[each] for each in ("ip_address", "session_id", "tenant")}
_ALLOWED = {
    _AT["kind"]: {b"event", b"control", b"log"},
    _AT["actor_type"]: {b"user", b"service", b"admin", b"system", b"anonymous"},
    _AT["result"]: {b"success", b"failure", b"denied"},
}
_IDLE_IN_TRANSACTION_S = 60.0
_LOCK_LOOK_S = 5.0
_MOST_SESSIONS = 20

assert set(HOT_COLUMNS) < set(LOG_COLUMNS)

FAULTS = {
    "postgres.connect": ("refused", "too many", "starting"),
    "postgres.read": ("half open", "cancelled", "timeout"),
    "postgres.write": ("half open", "cancelled", "timeout", "full", "deadlock"),
    "postgres.copy": ("half open", "cancelled", "timeout", "full"),
    "postgres.commit": ("half open", "late"),
}
"""The model's own faults (`EffectFault.how`) by operation, beside those of every effect."""
_OWN = {operation: frozenset(hows) for operation, hows in FAULTS.items()}
_NONE: frozenset[str] = frozenset()


class UnknownStatement(AssertionError):
    """The product says something that this model does not know: teach it, and hold it to the real server."""


class Row(NamedTuple):
    """One row of `audit_log`. `fields`: all columns in their order, as COPY sends them."""

    seq: int
    month: str
    body: bytes
    prev_hash: bytes
    hash: bytes
    fields: tuple[bytes | None, ...]


class Note(NamedTuple):
    """One row of `audit_checkpoint`, without the chain."""

    size: int
    ends_segment: bool
    note: bytes
    compact_range: bytes
    chain_offset: int
    note_offset: int


class State:
    """What is committed, or what one transaction would make of it."""

    def __init__(self) -> None:
        self.positions: dict[str, tuple[int, int]] = {}
        self.rows: dict[str, dict[tuple[int, str], Row]] = {}
        self.notes: dict[str, dict[tuple[int, bool], Note]] = {}
        self.months: set[str] = set()

    def copy(self) -> State:
        """The same, apart."""
        made = State()
        made.positions = dict(self.positions)
        made.rows = {chain: dict(rows) for chain, rows in self.rows.items()}
        made.notes = {chain: dict(notes) for chain, notes in self.notes.items()}
        made.months = set(self.months)
        return made

    def entries(self, chain: str) -> list[Row]:
        """A chain's rows in order of their numbers."""
        rows = self.rows.get(chain, {})
        return [rows[key] for key in sorted(rows)]


class _Work:
    """One open transaction: what it has written (applied to `committed` at COMMIT), and the locks that it holds."""

    def __init__(self, isolation: str, read_only: bool) -> None:
        self.repeatable = "REPEATABLE READ" in isolation
        self.read_only = read_only
        self.failed = False
        self.snapshot: State | None = None
        self.effects: list[Callable[[State], None]] = []
        self.months: set[str] = set()
        self.rows: set[tuple[str, int, str]] = set()
        self.locks: set[tuple[Any, ...]] = set()


class _Session:
    """A backend: it may live on for a while after its client has lost the connection."""

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self.process = server.world.process
        self.gone = False
        self.work: _Work | None = None
        self.active_ns = server.world.now_ns

    def end(self) -> None:
        """Ends it; what was not committed is lost."""
        self.gone = True
        self.roll_back()
        self.server.sessions.discard(self)

    def roll_back(self) -> None:
        work, self.work = self.work, None
        if work is not None:
            self.server.release(work)

    def commit(self) -> None:
        work, self.work = self.work, None
        if work is not None:
            if not work.failed:
                self.server.apply(work.effects)
            self.server.release(work)

    def check_idle(self) -> None:
        """The server ends a session that sits in a transaction for too long."""
        if self.work is not None and self.server.world.now_ns - self.active_ns > _IDLE_IN_TRANSACTION_S * 1e9:
            self.end()


class PostgresServer:
    """One database with the schema of this release."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.committed = State()
        self.sessions: set[_Session] = set()
        self.locks: dict[tuple[Any, ...], _Session] = {}
        self.freed = Signal(world)
        self._journal: list[tuple[int, list[Callable[[State], None]]]] = []
        self.down_until_ns = 0
        self.full_until_ns = 0
        self.no_room_until_ns = 0
        world.on_death(self._died)

    # What the world does to it

    def restart(self, down_s: float = 1.0) -> None:
        """Crashes and comes back: every connection ends, and with it what was not committed."""
        self.world.tell(f"postgres restarts, down for {down_s:.1f} s")
        for session in list(self.sessions):
            session.end()
        self.down_until_ns = max(self.down_until_ns, self._in(down_s))

    def restore(self, age_s: float) -> None:
        """Is replaced by a backup that is so old."""
        self.restart(2.0)
        self._journal = [each for each in self._journal if each[0] <= self._in(-age_s)]
        self.committed = State()
        for _, effects in self._journal:
            for effect in effects:
                effect(self.committed)
        self.world.tell(f"postgres is a backup of {age_s:.1f} s ago: {self.committed.positions}")

    def fill_disk(self, for_s: float) -> None:
        """Every write is refused for a while."""
        self.full_until_ns = self._in(for_s)

    def run_out_of_connections(self, for_s: float) -> None:
        """Nobody new gets in for a while."""
        self.no_room_until_ns = self._in(for_s)

    # Inside

    def _in(self, seconds: float) -> int:
        return self.world.now_ns + int(seconds * 1e9)

    def apply(self, effects: list[Callable[[State], None]]) -> None:
        """Makes a transaction's effects what is committed."""
        for effect in effects:
            effect(self.committed)
        if effects:
            self._journal.append((self.world.now_ns, effects))

    def _died(self, process: Process) -> None:
        for session in [each for each in self.sessions if each.process is process]:
            session.end()

    def release(self, work: _Work) -> None:
        if work.locks:
            for key in work.locks:
                self.locks.pop(key, None)
            self.freed.notify()

    async def connect(self, dsn: str, *, command_timeout: float | None = None, **settings: Any) -> Connection:
        """What `asyncpg.connect` does. `dsn` is not looked at."""
        world = self.world

        def change() -> Connection:
            if world.now_ns < self.down_until_ns:
                raise ConnectionRefusedError(111, "Connect call failed")
            if world.now_ns < self.no_room_until_ns or len(self.sessions) >= _MOST_SESSIONS:
                raise asyncpg.TooManyConnectionsError("sorry, too many clients already")
            session = _Session(self)
            self.sessions.add(session)
            return Connection(self, session, command_timeout)

        def failed(how: str) -> Exception:
            for session in [each for each in self.sessions if each.process is world.process and each.work is None]:
                if session.active_ns == world.now_ns:
                    session.end()
            return ConnectionResetError(104, "Connection reset by peer")

        fault = world.take_fault("postgres.connect", _OWN["postgres.connect"]) if world.armed else None
        if fault is not None:
            world.sleep(0.001)
            if fault.how == "refused":
                raise ConnectionRefusedError(111, "Connect call failed")
            if fault.how == "starting":
                raise asyncpg.CannotConnectNowError("the database system is starting up")
            raise asyncpg.TooManyConnectionsError("sorry, too many clients already")
        return world.effect("postgres.connect", change, failed)


class _Protocol:
    """The one thing that asyncpg's `Transaction` asks of a connection's protocol."""

    def __init__(self, session: _Session) -> None:
        self._session = session

    def is_in_transaction(self) -> bool:
        return self._session.work is not None


_Steps = Generator[None, None, Any]
"""A statement on its way: yields while it waits for a lock, and returns its answer."""
_WAITS = object()
_GONE = object()


class Connection:
    """A client's end, in the shape of `asyncpg.Connection`."""

    def __init__(self, server: PostgresServer, session: _Session, command_timeout_s: float | None) -> None:
        self._server = server
        self._session = session
        self.timeout_s = command_timeout_s or 1e9
        self._closed = False
        self._pool_release_ctr = 0
        self._top_xact: Transaction | None = None
        self._protocol = _Protocol(session)

    def is_closed(self) -> bool:
        return self._closed

    def terminate(self) -> None:
        """The client goes away without a word: the server sees the connection end."""
        self._server.world.check()
        self._closed = True
        self._session.end()

    async def close(self, *, timeout: float | None = None) -> None:
        if not self._closed:
            self.terminate()

    def transaction(
        self, *, isolation: str | None = None, readonly: bool = False, deferrable: bool = False
    ) -> Transaction:
        """asyncpg's own, which says BEGIN, COMMIT and ROLLBACK through `execute`."""
        return Transaction(self, isolation, readonly, deferrable)

    async def execute(self, query: str, *arguments: Any) -> str:
        """The server's command tag."""
        if query in _WRITES:
            tag: str = self._request("postgres.write", self._write(_WRITES[query], arguments))
        elif query.startswith("BEGIN"):
            tag = self._request("postgres.begin", self._begin(query))
        elif query == "COMMIT;":
            tag = self._request("postgres.commit", self._commit())
        elif query == "ROLLBACK;":
            tag = self._request("postgres.rollback", self._roll_back())
        else:
            raise UnknownStatement(query)
        return tag

    async def fetch(self, query: str, *arguments: Any) -> list[dict[str, Any]]:
        """All rows, as mappings."""
        if query not in _READS:
            raise UnknownStatement(query)
        rows: list[dict[str, Any]] = self._request("postgres.read", self._read(_READS[query], arguments))
        return rows

    async def copy_to_table(
        self, table: str, *, source: AsyncIterable[bytes], columns: Sequence[str], schema_name: str, format: str
    ) -> str:
        """COPY ... FROM STDIN in binary form."""
        if (table, tuple(columns), schema_name, format) != (AUDIT_LOG, LOG_COLUMNS, SCHEMA, "binary"):
            raise UnknownStatement(f"COPY {schema_name}.{table} {columns} {format}")
        data = b"".join([chunk async for chunk in source])
        tag: str = self._request("postgres.copy", self._write(_copy, (data,)))
        return tag

    def _request(self, operation: str, statement: _Steps) -> Any:
        """Asks the server: it does all of a statement at once, unless it has to wait for a lock."""
        server, session, world = self._server, self._session, self._server.world
        world.check()
        if self._closed:
            raise asyncpg.InterfaceError("connection is closed")
        fault = world.take_fault(operation, _OWN.get(operation, _NONE)) if world.armed else None
        if fault is not None:
            self._strike(fault)

        def change() -> Any:
            session.check_idle()
            return _GONE if session.gone else self._step(statement)

        answer = world.effect(operation, change, self._failed)
        while answer is _WAITS:
            world.wait(server.freed, _LOCK_LOOK_S)
            answer = _GONE if session.gone else self._step(statement)
        if answer is _GONE or session.gone:
            raise self._lost()
        return answer

    def _step(self, statement: _Steps) -> Any:
        self._session.active_ns = self._server.world.now_ns
        try:
            next(statement)
        except StopIteration as done:
            return done.value
        return _WAITS

    def _failed(self, how: str) -> Exception:
        """The connection breaks for both sides."""
        self._session.end()
        return self._lost()

    def _lost(self) -> Exception:
        self._closed = True
        return asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")

    def _strike(self, fault: EffectFault) -> None:
        """A fault of this model's own, before the server has done anything."""
        session, world = self._session, self._server.world
        world.sleep(0.001)
        if fault.how == "half open":
            world.after(fault.seconds or 30.0, session.end)
            raise self._lost()
        if fault.how == "late":

            def go_through() -> None:
                if not session.gone:
                    session.commit()
                    session.end()

            session.process = None  # what was sent arrives, whatever becomes of who sent it
            world.after(fault.seconds or 10.0, go_through)
            raise self._lost()
        if session.work is not None:
            session.work.failed = True
        if fault.how == "timeout":
            world.sleep(min(self.timeout_s, 600.0))
            raise TimeoutError
        if fault.how == "cancelled":
            raise asyncpg.QueryCanceledError("canceling statement due to user request")
        if fault.how == "deadlock":
            raise asyncpg.DeadlockDetectedError("deadlock detected")
        raise asyncpg.DiskFullError("could not extend file: No space left on device")

    # Statements

    def _begin(self, query: str) -> _Steps:
        self._session.work = _Work(query, "READ ONLY" in query)
        return "BEGIN"
        yield

    def _commit(self) -> _Steps:
        failed = self._session.work is not None and self._session.work.failed
        self._session.commit()
        return "ROLLBACK" if failed else "COMMIT"
        yield

    def _roll_back(self) -> _Steps:
        self._session.roll_back()
        return "ROLLBACK"
        yield

    def _read(self, found: _Read, arguments: tuple[Any, ...]) -> _Steps:
        work = self._session.work
        _check_usable(work)
        state = self._server.committed
        if work is not None:
            if work.repeatable:
                state = work.snapshot = work.snapshot or state.copy()
            elif work.effects:
                state = state.copy()  # and what it has written itself
                for effect in work.effects:
                    effect(state)
        return list(found(state, *arguments))
        yield

    def _write(self, written: _Write, arguments: tuple[Any, ...]) -> _Steps:
        session, server = self._session, self._server
        alone = session.work is None
        if alone:
            session.work = _Work("", False)
        work = session.work
        assert work is not None
        _check_usable(work)
        try:
            if work.read_only:
                raise asyncpg.ReadOnlySQLTransactionError("cannot execute in a read-only transaction")
            if work.repeatable:
                raise UnknownStatement("a repeatable read that writes")
            if server.world.now_ns < server.full_until_ns:
                raise asyncpg.DiskFullError("could not extend file: No space left on device")
            tag = yield from written(_Writing(self, session, work), *arguments)
        except (asyncpg.PostgresError, TimeoutError):
            work.failed = True
            if alone:
                session.roll_back()
            raise
        if alone:
            session.commit()
        return tag


class _Writing:
    """What a writing statement works with: the state as of now, and locks that it may have to wait for."""

    def __init__(self, connection: Connection, session: _Session, work: _Work) -> None:
        self._connection = connection
        self._session = session
        self.server = connection._server
        self.work = work

    @property
    def committed(self) -> State:
        return self.server.committed

    def lock(self, key: tuple[Any, ...]) -> Generator[None, None, None]:
        """Waits until nobody else holds `key`; holds it until the transaction ends."""
        server, session, world = self.server, self._session, self.server.world
        deadline_ns = world.now_ns + int(self._connection.timeout_s * 1e9)
        while (holder := server.locks.get(key)) is not None and holder is not session:
            holder.check_idle()
            if holder.gone:
                continue
            if world.now_ns >= deadline_ns:
                raise TimeoutError
            yield
        server.locks[key] = session
        self.work.locks.add(key)


_Read = Callable[..., Iterator[dict[str, Any]]]
_Write = Callable[..., Generator[None, None, str]]


def _check_usable(work: _Work | None) -> None:
    if work is not None and work.failed:
        raise asyncpg.InFailedSQLTransactionError(
            "current transaction is aborted, commands ignored until end of transaction block"
        )


def _first_position(on: _Writing, chain: str) -> Generator[None, None, str]:
    if chain not in on.committed.positions:
        yield from on.lock(("new position", chain))
        if chain not in on.committed.positions:
            on.work.effects.append(lambda state: state.positions.setdefault(chain, (0, 0)) and None)
            return "INSERT 0 1"
    return "INSERT 0 0"


def _move(on: _Writing, chain: str, expected: int, next_seq: int, chain_offset: int) -> Generator[None, None, str]:
    if on.committed.positions.get(chain, (-1, 0))[0] != expected:
        return "UPDATE 0"
    yield from on.lock(("position", chain))
    if on.committed.positions.get(chain, (-1, 0))[0] != expected:
        return "UPDATE 0"  # READ COMMITTED: looked at again after waiting
    if next_seq < expected:
        raise asyncpg.RestrictViolationError("UPDATE of audit_position is refused: the audit log is append-only")
    if chain_offset < 0:
        raise asyncpg.CheckViolationError('new row violates check constraint "audit_position_chain_offset_check"')

    def move(state: State) -> None:
        state.positions[chain] = (next_seq, chain_offset)

    on.work.effects.append(move)
    return "UPDATE 1"


def _add_month(on: _Writing, month: str) -> Generator[None, None, str]:
    if month not in on.committed.months:
        yield from on.lock(("month",))
        if month not in on.committed.months and month not in on.work.months:
            on.work.months.add(month)
            on.work.effects.append(lambda state: state.months.add(month))
    return "SELECT 1"


def _copy(on: _Writing, data: bytes) -> Generator[None, None, str]:
    there, ours, rows = on.committed, on.work, _rows(data)
    added: dict[str, dict[tuple[int, str], Row]] = {}
    for row in rows:
        chain = (row.fields[0] or b"").decode()
        _check_row(row)
        if row.month not in there.months and row.month not in ours.months:
            raise asyncpg.CheckViolationError('no partition of relation "audit_log" found for row')
        yield from on.lock(("row", chain, row.seq, row.month))
        if (row.seq, row.month) in there.rows.get(chain, ()) or (chain, row.seq, row.month) in ours.rows:
            raise asyncpg.UniqueViolationError(
                f'duplicate key value violates unique constraint "audit_log_{row.month.replace("-", "_")}_chain_seq"'
            )
        ours.rows.add((chain, row.seq, row.month))
        added.setdefault(chain, {})[row.seq, row.month] = row

    def add(state: State) -> None:
        for chain, held in added.items():
            state.rows.setdefault(chain, {}).update(held)

    ours.effects.append(add)
    return f"COPY {len(rows)}"


def _add_segment(on: _Writing, chain: str, *values: Any) -> Generator[None, None, str]:
    note = _checked_note(values)
    key = (note.size, note.ends_segment)
    yield from on.lock(("note", chain, key))
    if key in on.committed.notes.get(chain, ()):
        return "INSERT 0 0"
    on.work.effects.append(lambda state: state.notes.setdefault(chain, {}).setdefault(key, note) and None)
    return "INSERT 0 1"


def _move_newest(on: _Writing, chain: str, *values: Any) -> Generator[None, None, str]:
    note = _checked_note(values)
    if note.ends_segment:
        raise UnknownStatement("a segment's note as the newest checkpoint")
    yield from on.lock(("newest", chain))
    newest = next((each for each in on.committed.notes.get(chain, {}).values() if not each.ends_segment), None)
    if newest is not None and newest.size >= note.size:
        return "INSERT 0 0"

    def move(state: State) -> None:
        notes = state.notes.setdefault(chain, {})
        for key in [key for key in notes if not key[1]]:
            del notes[key]
        notes[note.size, False] = note

    on.work.effects.append(move)
    return "INSERT 0 1"


def _checked_note(values: tuple[Any, ...]) -> Note:
    note = Note(*values)
    if note.size <= 0 or len(note.compact_range) % 32 or note.chain_offset < 0 or note.note_offset < 0:
        raise asyncpg.CheckViolationError('new row for relation "audit_checkpoint" violates check constraint')
    return note


def _position(state: State, chain: str) -> Iterator[dict[str, Any]]:
    if chain in state.positions:
        next_seq, chain_offset = state.positions[chain]
        yield {"next_seq": next_seq, "chain_offset": chain_offset}


def _last(state: State, chain: str) -> Iterator[dict[str, Any]]:
    rows = state.rows.get(chain)
    if rows:
        row = rows[max(rows)]
        yield {"seq": row.seq, "body": row.body, "prev_hash": row.prev_hash, "hash": row.hash}


def _hashes(state: State, chain: str, first_seq: int, end_seq: int) -> Iterator[dict[str, Any]]:
    rows = state.rows.get(chain, {})
    for key in sorted(key for key in rows if first_seq <= key[0] < end_seq):
        yield {"seq": key[0], "hash": rows[key].hash}


def _newest(state: State, chain: str, ends_segment: bool) -> Iterator[dict[str, Any]]:
    sizes = [size for size, ends in state.notes.get(chain, {}) if ends == ends_segment]
    if sizes:
        yield state.notes[chain][max(sizes), ends_segment]._asdict()


def _applied(state: State) -> Iterator[dict[str, Any]]:
    for migration in _migrations():
        yield {"number": migration.number, "name": migration.name, "digest": migration.digest}


_migrations = lru_cache(migrations)

_WRITES: dict[str, _Write] = {
    stored._FIRST_POSITION: _first_position,
    stored._MOVE: _move,
    stored._ADD_MONTH: _add_month,
    stored._ADD_SEGMENT: _add_segment,
    stored._MOVE_NEWEST: _move_newest,
}
_READS: dict[str, _Read] = {
    stored._POSITION: _position,
    stored._LAST: _last,
    stored._HASHES: _hashes,
    stored._NEWEST: _newest,
    migrating._APPLIED: _applied,
}


# COPY's bytes


def _rows(data: bytes) -> list[Row]:
    """The rows in what COPY was given. Raises as the server does for what is no such thing."""
    if not data.startswith(COPY_START) or not data.endswith(COPY_END):
        raise asyncpg.BadCopyFileFormatError("COPY file signature not recognized")
    rows = []
    at, end, width = len(COPY_START), len(data) - len(COPY_END), len(LOG_COLUMNS)
    length_of, many = _INT4.unpack_from, range(width)
    while at < end:
        if _INT2.unpack_from(data, at)[0] != width:
            raise asyncpg.BadCopyFileFormatError("row field count is not as expected")
        at += 2
        fields: list[bytes | None] = []
        for _ in many:
            length = length_of(data, at)[0]
            at += 4
            if length < 0:
                fields.append(None)
            else:
                fields.append(data[at : at + length])
                at += length
        seq, time = fields[_SEQ], fields[_TIME]
        rows.append(
            Row(
                _INT8.unpack(seq or b"")[0],
                _month(_INT8.unpack(time or b"")[0] // 86_400_000_000),
                fields[_BODY] or b"",
                fields[_PREV] or b"",
                fields[_HASH] or b"",
                tuple(fields),
            )
        )
    return rows


@lru_cache(maxsize=4096)
def _month(days: int) -> str:
    return f"{_EPOCH + timedelta(days=days):%Y-%m}"


def _check_row(row: Row) -> None:
    for place, field in enumerate(row.fields):
        if field is None and place not in _NULLABLE:
            raise asyncpg.NotNullViolationError(
                f'null value in column "{LOG_COLUMNS[place]}" violates not-null constraint'
            )
    if row.seq < 0 or len(row.prev_hash) != 32 or len(row.hash) != 32:
        raise asyncpg.CheckViolationError('new row for relation "audit_log" violates check constraint')
    for place, allowed in _ALLOWED.items():
        if row.fields[place] not in allowed:
            raise asyncpg.CheckViolationError('new row for relation "audit_log" violates check constraint')
