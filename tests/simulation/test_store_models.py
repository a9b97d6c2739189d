"""The models of Postgres and S3 are held to the real servers: the same scenarios, the same observations.

A scenario is a function that does things to a server and notes what it sees; it runs once against the model and once
against the real one. What a model lacks on purpose stands in its docstring.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from botocore.exceptions import ClientError
from tests.simulation import shims
from tests.simulation.stores.installing import BUCKET, Stores
from tests.simulation.stores.light_objects import LightBuilder, LightMaker, check_light_object
from tests.simulation.world import World

from sealstream.archive import ArchiveSettings, Bucket, ColumnMaker, ObjectBuilder, SegmentFold, Start, check_object
from sealstream.errors import SealstreamError
from sealstream.events import format_timestamp, log_statement
from sealstream.layout import SegmentLimits
from sealstream.layout.tables import AUDIT_LOG, LOG_COLUMNS, SCHEMA
from sealstream.postgres import stored as said
from sealstream.postgres.driver import translated
from sealstream.postgres.rows import COPY_END, COPY_START, EncodedRows, encode_rows
from sealstream.postgres.stored import StoredNote
from sealstream.sealing import EMPTY_RANGE, Checkpoint, Sealed, Written, extend, genesis_hash, root, seal

CHAIN = "held"
_NOW = datetime.now(UTC).replace(microsecond=0)


def sealed_entries(count: int, month: int = 11) -> list[Sealed]:
    """A chain of `count` entries, the second half of them a month later."""
    made: list[Sealed] = []
    for seq in range(count):
        at = format_timestamp(datetime(2026, month + (seq >= count / 2), 24, 3, 0, seq % 60, tzinfo=UTC))
        event = log_statement(
            "chain.heartbeat",
            id=f"01939e2c-0000-7000-8000-{seq:012x}",
            timestamp=at,
            process="sequencer",
            resource_type="chain",
            resource_id=CHAIN,
        )
        prev_hash = made[-1].hash if made else genesis_hash(f"audit.example.com/{CHAIN}")
        made.append(seal(event, Written(CHAIN, -1, "log", -1, None, seq, at), prev_hash))
    return made


ENTRIES = sealed_entries(8, month=11)


def rows(first: int, end: int) -> EncodedRows:
    entries = ENTRIES[first:end]
    return encode_rows(
        CHAIN, [each.to_bytes() for each in entries], [each.hash for each in entries], entries[0].prev_hash
    )


NO_ROWS = EncodedRows(b"", [])
NOTE = StoredNote(4, True, b"a note", (b"\1" * 32,), 17, 3)


# --- Postgres


class OnModel:
    """Connections to the model: each statement is a task of a world in which nothing goes wrong."""

    def __init__(self) -> None:
        self.world = World(0)
        self.stores = Stores(self.world)

    @contextmanager
    def running(self) -> Iterator[OnModel]:
        with shims.installed(self.world, self.stores.driver()):
            yield self

    def open(self) -> Any:
        return self.finish(self.stores.postgres.connect("", command_timeout=60.0))

    def finish(self, work: Any) -> Any:
        return self.start(work).result()

    def start(self, work: Any) -> Any:
        return _InWorld(self.world, work)

    def kill(self, connection: Any) -> None:
        connection._session.end()

    def freeze_in_transaction(self, connection: Any) -> None:
        self.world.run(lambda: False, 61.0)


class _InWorld:
    """A statement that may wait for a lock."""

    def __init__(self, world: World, work: Any) -> None:
        self._world = world
        self._done: list[tuple[Any, BaseException | None]] = []

        def main() -> None:
            try:
                self._done.append((shims.Runner().run(work), None))
            except (SealstreamError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                self._done.append((None, error))

        world.start("scenario", main)

    def waits(self) -> bool:
        self._world.run(lambda: bool(self._done), 0.2)
        return not self._done

    def result(self) -> Any:
        assert any(self._world.run(lambda: bool(self._done), 0.2) for _ in range(500)), "no answer"
        answer, error = self._done[0]
        if error is not None:
            raise error
        return answer


class OnServer:
    """Connections to the real server, in one event loop of this test."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._loop = asyncio.new_event_loop()
        self._opened: list[Any] = []

    @contextmanager
    def running(self) -> Iterator[OnServer]:
        try:
            yield self
        finally:
            for connection in self._opened:
                connection.terminate()
            self._loop.run_until_complete(asyncio.sleep(0))
            self._loop.close()

    def open(self) -> Any:
        connection = self._loop.run_until_complete(
            asyncpg.connect(
                self._dsn,
                server_settings={"idle_in_transaction_session_timeout": "700ms", "search_path": "pg_catalog, public"},
            )
        )
        self._opened.append(connection)
        return connection

    def finish(self, work: Any) -> Any:
        return self._loop.run_until_complete(work)

    def start(self, work: Any) -> Any:
        return _Task(self._loop.create_task(work), self._loop)

    def kill(self, connection: Any) -> None:
        async def kill() -> None:
            other = await asyncpg.connect(self._dsn)
            await other.fetch("SELECT pg_terminate_backend($1)", connection.get_server_pid())
            await other.close()
            await asyncio.sleep(0.1)

        self._loop.run_until_complete(kill())

    def freeze_in_transaction(self, connection: Any) -> None:
        time.sleep(1.0)


class _Task:
    def __init__(self, task: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._task, self._loop = task, loop

    def waits(self) -> bool:
        self._loop.run_until_complete(asyncio.wait([self._task], timeout=0.15))
        return not self._task.done()

    def result(self) -> Any:
        return self._loop.run_until_complete(self._task)


Seen = list[Any]


def sees(seen: Seen, what: Callable[[], Any]) -> None:
    """Notes what comes back, or which of our errors the driver's error is, with its SQLSTATE."""
    try:
        with translated("a scenario"):
            answer = what()
    except SealstreamError as error:
        state = getattr(error.__cause__, "sqlstate", None)
        state = None if state == "08003" else state  # lost: the driver may have heard of it before
        seen.append((type(error).__name__, state))
    else:
        seen.append([tuple(dict(row).items()) for row in answer] if isinstance(answer, list) else answer)


def copy(connection: Any, encoded: bytes) -> Any:
    async def source() -> Any:
        yield COPY_START + encoded + COPY_END

    return connection.copy_to_table(
        AUDIT_LOG, source=source(), columns=LOG_COLUMNS, schema_name=SCHEMA, format="binary"
    )


def first_steps(on: Any, seen: Seen) -> None:
    """A position row is made once, moves forward only, and only from where it is."""
    one = on.open()
    for statement, arguments in (
        (said._FIRST_POSITION, (CHAIN,)),
        (said._FIRST_POSITION, (CHAIN,)),
        (said._MOVE, (CHAIN, 0, 3, 11)),
        (said._MOVE, (CHAIN, 0, 4, 12)),
        (said._MOVE, (CHAIN, 3, 2, 12)),
        (said._MOVE, (CHAIN, 3, 4, -1)),
        (said._MOVE, ("nobody", 0, 1, 0)),
    ):
        sees(seen, lambda s=statement, a=arguments: on.finish(one.execute(s, *a)))
    sees(seen, lambda: on.finish(one.fetch(said._POSITION, CHAIN)))
    sees(seen, lambda: on.finish(one.fetch(said._POSITION, "nobody")))


def rows_are_refused(on: Any, seen: Seen) -> None:
    """No month, a number twice, a wrong kind, a short hash, a null: nothing of the batch is stored."""
    one = on.open()
    good = rows(0, 2).data
    sees(seen, lambda: on.finish(copy(one, good)))
    sees(seen, lambda: on.finish(one.execute(said._ADD_MONTH, "2026-11")))
    sees(seen, lambda: on.finish(one.execute(said._ADD_MONTH, "2026-11")))
    sees(seen, lambda: on.finish(copy(one, good)))
    sees(seen, lambda: on.finish(copy(one, rows(1, 3).data)))
    sees(seen, lambda: on.finish(copy(one, rows(3, 8).data)))
    sees(seen, lambda: on.finish(copy(one, rows(2, 3).data.replace(b"\0\0\0\3log", b"\0\0\0\3lug", 1))))
    sees(seen, lambda: on.finish(copy(one, rows(2, 3).data + rows(2, 3).data)))
    sees(seen, lambda: on.finish(copy(one, rows(2, 3).data)))
    sees(seen, lambda: on.finish(one.fetch(said._HASHES, CHAIN, 0, 9)))
    sees(seen, lambda: on.finish(one.fetch(said._HASHES, CHAIN, 1, 2)))
    sees(seen, lambda: on.finish(one.fetch(said._LAST, CHAIN)))
    sees(seen, lambda: on.finish(one.fetch(said._LAST, "nobody")))


def a_number_twice_in_two_months(on: Any, seen: Seen) -> None:
    """Uniqueness is by month: only the sink's own check and the position keep a number single over all."""
    one = on.open()
    for month in ("2026-11", "2026-12"):
        sees(seen, lambda m=month: on.finish(one.execute(said._ADD_MONTH, m)))
    other = sealed_entries(2, month=11)[1:]
    again = encode_rows(CHAIN, [each.to_bytes() for each in other], [each.hash for each in other], other[0].prev_hash)
    sees(seen, lambda: on.finish(copy(one, rows(0, 2).data)))
    sees(seen, lambda: on.finish(copy(one, again.data)))
    sees(seen, lambda: len(on.finish(one.fetch(said._HASHES, CHAIN, 1, 2))))


def notes_stay(on: Any, seen: Seen) -> None:
    """A segment's note is kept as it was first written, the newest checkpoint moves forward."""
    one = on.open()
    for statement, arguments in (
        (said._ADD_SEGMENT, (CHAIN, 4, True, b"first", b"\1" * 32, 7, 0)),
        (said._ADD_SEGMENT, (CHAIN, 4, True, b"second", b"\2" * 32, 8, 1)),
        (said._ADD_SEGMENT, (CHAIN, 8, True, b"later", b"\3" * 64, 9, 2)),
        (said._ADD_SEGMENT, (CHAIN, 9, True, b"bad", b"\3" * 33, 9, 2)),
        (said._ADD_SEGMENT, (CHAIN, 0, True, b"bad", b"", 9, 2)),
        (said._MOVE_NEWEST, (CHAIN, 5, False, b"five", b"\4" * 32, 7, 0)),
        (said._MOVE_NEWEST, (CHAIN, 4, False, b"four", b"\4" * 32, 7, 0)),
        (said._MOVE_NEWEST, (CHAIN, 8, False, b"eight", b"\5" * 32, 9, 5)),
    ):
        sees(seen, lambda s=statement, a=arguments: on.finish(one.execute(s, *a)))
    for ends_segment in (True, False):
        sees(seen, lambda e=ends_segment: on.finish(one.fetch(said._NEWEST, CHAIN, e)))


def two_sinks_move_one_position(on: Any, seen: Seen) -> None:
    """The second waits for the first to end its transaction, and then sees where the position is."""
    one, other = on.open(), on.open()
    on.finish(one.execute(said._FIRST_POSITION, CHAIN))
    for ending in ("ROLLBACK;", "COMMIT;"):
        on.finish(one.execute("BEGIN;"))
        sees(seen, lambda: on.finish(one.execute(said._MOVE, CHAIN, 0, 3, 1)))
        on.finish(other.execute("BEGIN;"))
        second = on.start(other.execute(said._MOVE, CHAIN, 0, 5, 2))
        seen.append(second.waits())
        sees(seen, lambda: on.finish(one.fetch(said._LAST, CHAIN)))
        on.finish(one.execute(ending))
        sees(seen, second.result)
        on.finish(other.execute("ROLLBACK;"))
        sees(seen, lambda: on.finish(other.fetch(said._POSITION, CHAIN)))


def nothing_is_seen_before_commit(on: Any, seen: Seen) -> None:
    """Rows, months, notes and the position come together, for everybody at once."""
    one, other = on.open(), on.open()
    on.finish(one.execute(said._FIRST_POSITION, CHAIN))
    on.finish(one.execute("BEGIN;"))
    on.finish(one.execute(said._MOVE, CHAIN, 0, 3, 1))
    on.finish(one.execute(said._ADD_MONTH, "2026-11"))
    on.finish(copy(one, rows(0, 3).data))
    on.finish(one.execute(said._ADD_SEGMENT, CHAIN, 3, True, b"n", b"\1" * 32, 3, 0))

    def look() -> None:
        sees(seen, lambda: on.finish(other.fetch(said._POSITION, CHAIN)))
        sees(seen, lambda: on.finish(other.fetch(said._HASHES, CHAIN, 0, 9)))
        sees(seen, lambda: on.finish(other.fetch(said._NEWEST, CHAIN, True)))

    look()
    sees(seen, lambda: on.finish(one.execute("COMMIT;")))
    look()


def a_view_does_not_move(on: Any, seen: Seen) -> None:
    """REPEATABLE READ sees what was committed at its first question, and writes nothing when it is read-only."""
    one, other = on.open(), on.open()
    on.finish(one.execute(said._FIRST_POSITION, CHAIN))
    on.finish(other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;"))
    sees(seen, lambda: on.finish(other.fetch(said._POSITION, CHAIN)))
    on.finish(one.execute(said._ADD_MONTH, "2026-11"))
    on.finish(copy(one, rows(0, 3).data))
    on.finish(one.execute(said._MOVE, CHAIN, 0, 3, 1))
    sees(seen, lambda: on.finish(other.fetch(said._POSITION, CHAIN)))
    sees(seen, lambda: on.finish(other.fetch(said._LAST, CHAIN)))
    sees(seen, lambda: on.finish(other.execute(said._MOVE, CHAIN, 3, 4, 1)))
    sees(seen, lambda: on.finish(other.fetch(said._POSITION, CHAIN)))
    sees(seen, lambda: on.finish(other.execute("COMMIT;")))
    sees(seen, lambda: on.finish(other.fetch(said._POSITION, CHAIN)))


def a_failed_transaction_is_over(on: Any, seen: Seen) -> None:
    """After an error nothing more is done, and COMMIT rolls back."""
    one = on.open()
    on.finish(one.execute(said._FIRST_POSITION, CHAIN))
    on.finish(one.execute("BEGIN;"))
    sees(seen, lambda: on.finish(one.execute(said._MOVE, CHAIN, 0, 3, 1)))
    sees(seen, lambda: on.finish(copy(one, rows(0, 3).data)))
    sees(seen, lambda: on.finish(one.execute(said._ADD_MONTH, "2026-11")))
    sees(seen, lambda: on.finish(one.execute("COMMIT;")))
    sees(seen, lambda: on.finish(one.fetch(said._POSITION, CHAIN)))


def a_killed_session_leaves_nothing(on: Any, seen: Seen) -> None:
    """Its transaction is undone, its lock is free, and its client hears of it at the next word."""
    one, other = on.open(), on.open()
    on.finish(one.execute(said._FIRST_POSITION, CHAIN))
    on.finish(one.execute("BEGIN;"))
    on.finish(one.execute(said._MOVE, CHAIN, 0, 3, 1))
    second = on.start(other.execute(said._MOVE, CHAIN, 0, 5, 2))
    seen.append(second.waits())
    on.kill(one)
    sees(seen, second.result)
    sees(seen, lambda: on.finish(one.execute(said._MOVE, CHAIN, 0, 3, 1)))
    sees(seen, lambda: on.finish(one.execute(said._MOVE, CHAIN, 0, 3, 1)))
    sees(seen, lambda: on.finish(other.fetch(said._POSITION, CHAIN)))


def a_frozen_session_is_ended(on: Any, seen: Seen) -> None:
    """Who sits in a transaction for too long loses it, and the lock with it."""
    one, other = on.open(), on.open()
    on.finish(one.execute(said._FIRST_POSITION, CHAIN))
    on.finish(one.execute("BEGIN;"))
    on.finish(one.execute(said._MOVE, CHAIN, 0, 3, 1))
    on.freeze_in_transaction(one)
    sees(seen, lambda: on.finish(other.execute(said._MOVE, CHAIN, 0, 5, 2)))
    sees(seen, lambda: on.finish(one.execute("COMMIT;")))
    sees(seen, lambda: on.finish(other.fetch(said._POSITION, CHAIN)))


def transactions_of_the_driver(on: Any, seen: Seen) -> None:
    """asyncpg's own `async with`: a connection that dies inside, an error that leaves it."""
    one, other = on.open(), on.open()
    on.finish(one.execute(said._FIRST_POSITION, CHAIN))

    async def fails() -> None:
        async with one.transaction():
            await one.execute(said._MOVE, CHAIN, 0, 3, 1)
            raise asyncpg.InterfaceError("on purpose")

    sees(seen, lambda: on.finish(fails()))
    sees(seen, lambda: on.finish(one.fetch(said._POSITION, CHAIN)))

    async def reads() -> Any:
        async with one.transaction(isolation="repeatable_read", readonly=True):
            return await one.fetch(said._POSITION, CHAIN)

    sees(seen, lambda: on.finish(reads()))

    on.kill(one)
    sees(seen, lambda: on.finish(fails()))
    sees(seen, lambda: on.finish(fails()))
    sees(seen, lambda: on.finish(other.fetch(said._POSITION, CHAIN)))


def a_new_month_is_made_by_one(on: Any, seen: Seen) -> None:
    """The second waits for the first; both have it afterwards."""
    one, other = on.open(), on.open()
    on.finish(one.execute("BEGIN;"))
    on.finish(other.execute("BEGIN;"))
    on.finish(one.execute(said._ADD_MONTH, "2026-11"))
    second = on.start(other.execute(said._ADD_MONTH, "2026-11"))
    seen.append(second.waits())
    on.finish(one.execute("COMMIT;"))
    sees(seen, second.result)
    sees(seen, lambda: on.finish(copy(other, rows(0, 1).data)))
    on.finish(other.execute("COMMIT;"))
    sees(seen, lambda: on.finish(one.fetch(said._HASHES, CHAIN, 0, 9)))


POSTGRES = [
    first_steps,
    rows_are_refused,
    a_number_twice_in_two_months,
    notes_stay,
    two_sinks_move_one_position,
    nothing_is_seen_before_commit,
    a_view_does_not_move,
    a_failed_transaction_is_over,
    a_killed_session_leaves_nothing,
    a_frozen_session_is_ended,
    transactions_of_the_driver,
    a_new_month_is_made_by_one,
]


@pytest.mark.parametrize("scenario", POSTGRES, ids=lambda scenario: scenario.__name__)
def test_the_model_of_postgres_does_what_the_server_does(scenario: Callable[[Any, Seen], None], database: str) -> None:
    modelled: Seen = []
    with OnModel().running() as model:
        scenario(model, modelled)
    real: Seen = []
    with OnServer(database).running() as server:
        scenario(server, real)
    assert modelled == real
    assert modelled


# --- S3


class OnBucket:
    """One bucket, through the product's own `Bucket`; version ids are told by the order in which they were seen."""

    def __init__(self, settings: ArchiveSettings, now: datetime) -> None:
        self.bucket = Bucket(settings)
        self.client: Any = self.bucket.client
        self.name = settings.bucket
        self.now = now
        self.known: dict[str, int] = {}

    def until(self, **after: float) -> datetime:
        return self.now + timedelta(**after)

    def listed(self, prefix: str = "", after: str = "") -> list[Any]:
        found = []
        for stored in self.bucket.list_stored(prefix, after):
            versions = [(self.number(each.version_id), each.size, each.is_latest) for each in stored.versions]
            markers = [(self.number(each.version_id), each.is_latest) for each in stored.delete_markers]
            found.append((stored.key, versions, markers))
        return found

    def number(self, version_id: Any) -> int:
        return self.known.setdefault(version_id, len(self.known))

    def versions(self, key: str) -> list[str]:
        return [each.version_id or "" for each in self.bucket.stored(key).versions]


def sees_s3(seen: Seen, what: Callable[[], Any]) -> None:
    """Notes what comes back, or which of our errors it is and the HTTP status."""
    try:
        answer = what()
    except SealstreamError as error:
        cause = error.__cause__
        status = cause.response["ResponseMetadata"]["HTTPStatusCode"] if isinstance(cause, ClientError) else None
        seen.append((type(error).__name__, status))
    except ClientError as error:
        seen.append(error.response["ResponseMetadata"]["HTTPStatusCode"])
    else:
        seen.append(answer)


def nothing(answer: Any) -> None:
    """An answer whose members are this server's own business."""


def put_once_means_once(on: OnBucket, seen: Seen) -> None:
    """The second put is answered 412, whatever it holds, and the first one's bytes stay."""
    sees_s3(seen, on.bucket.check)
    sees_s3(seen, lambda: on.bucket.put_once("a/1", b"one", on.until(days=1)))
    sees_s3(seen, lambda: on.bucket.put_once("a/1", b"one", on.until(days=1)))
    sees_s3(seen, lambda: on.bucket.put_once("a/1", b"two", on.until(days=2)))
    sees_s3(seen, on.listed)
    sees_s3(seen, lambda: on.bucket.read("a/1", on.versions("a/1")[0], 100))
    sees_s3(seen, lambda: on.bucket.read("a/1", on.versions("a/1")[0], 2))
    sees_s3(seen, lambda: on.bucket.stored("a"))
    sees_s3(seen, lambda: on.bucket.stored("b").versions)


def a_delete_marker_does_not_stop_a_put(on: OnBucket, seen: Seen) -> None:
    """What a delete marker hides is still listed and read, and a put over it makes a second version (0071)."""
    on.bucket.put_once("a/1", b"one", on.until(days=1))
    sees_s3(seen, on.listed)
    sees_s3(seen, lambda: nothing(on.client.delete_object(Bucket=on.name, Key="a/1")))
    sees_s3(seen, on.listed)
    sees_s3(seen, lambda: on.bucket.read("a/1", on.versions("a/1")[0], 100))
    sees_s3(seen, lambda: on.bucket.put_once("a/1", b"two", on.until(days=1)))
    sees_s3(seen, lambda: on.bucket.put_once("a/1", b"three", on.until(days=1)))
    sees_s3(seen, on.listed)
    sees_s3(seen, lambda: [on.bucket.read("a/1", each, 100) for each in on.versions("a/1")])


def a_lock_only_grows(on: OnBucket, seen: Seen) -> None:
    """Nobody shortens a COMPLIANCE lock or deletes what it holds; anybody lengthens it."""
    on.bucket.put_once("a/1", b"one", on.until(days=2))
    (version,) = on.versions("a/1")
    sees_s3(seen, lambda: on.bucket.lock("a/1", version) is not None)
    sees_s3(seen, lambda: on.bucket.lock("a/1", version).holds(on.until(days=2)))
    sees_s3(seen, lambda: nothing(on.client.delete_object(Bucket=on.name, Key="a/1", VersionId=version)))
    sees_s3(seen, lambda: on.bucket.lengthen("a/1", version, on.until(days=1)))
    sees_s3(seen, lambda: on.bucket.lock("a/1", version).until == on.until(days=2))
    sees_s3(seen, lambda: on.bucket.lengthen("a/1", version, on.until(days=3)))
    sees_s3(seen, lambda: on.bucket.lock("a/1", version).until == on.until(days=3))
    sees_s3(seen, on.listed)


def a_version_without_a_lock(on: OnBucket, seen: Seen) -> None:
    """It is told apart, can be locked later, and can be deleted until then."""
    for key in ("a/1", "a/2"):
        on.client.put_object(Bucket=on.name, Key=key, Body=b"free")
    (first,), (second,) = on.versions("a/1"), on.versions("a/2")
    sees_s3(seen, lambda: on.bucket.lock("a/1", first))
    sees_s3(seen, lambda: on.bucket.lengthen("a/1", first, on.until(days=1)))
    sees_s3(seen, lambda: on.bucket.lock("a/1", first).mode)
    sees_s3(seen, lambda: nothing(on.client.delete_object(Bucket=on.name, Key="a/1", VersionId=first)))
    sees_s3(seen, lambda: nothing(on.client.delete_object(Bucket=on.name, Key="a/2", VersionId=second)))
    sees_s3(seen, on.listed)


def overwriting_makes_versions(on: OnBucket, seen: Seen) -> None:
    """A put without a condition hides the one before; the oldest stays the oldest."""
    for body in (b"one", b"three", b"fives"):
        on.client.put_object(Bucket=on.name, Key="a/1", Body=body)
    sees_s3(seen, on.listed)
    sees_s3(seen, lambda: [on.bucket.read("a/1", each, 100) for each in on.versions("a/1")])


def listings_in_pages(on: OnBucket, seen: Seen) -> None:
    """In order of their keys, over pages, after a key, and by folder."""
    keys = [f"m/date=2026-11-{day:02}/{number:03}" for day in (2, 10, 9) for number in range(3)]
    for key in keys:
        on.client.put_object(Bucket=on.name, Key=key, Body=key.encode())
    on.client.put_object(Bucket=on.name, Key="m/date=2026-11-09/001", Body=b"again")
    on.client.delete_object(Bucket=on.name, Key="m/date=2026-11-10/000")
    on.client.put_object(Bucket=on.name, Key="n", Body=b"elsewhere")
    ask = on.client.list_object_versions
    on.bucket.client = type("Paged", (), {"list_object_versions": lambda _, **asked: ask(**asked, MaxKeys=2)})()
    sees_s3(seen, lambda: on.listed("m/"))
    sees_s3(seen, lambda: on.listed("m/date=2026-11-09/"))
    sees_s3(seen, lambda: on.listed("m/", "m/date=2026-11-09/001"))
    sees_s3(seen, lambda: on.listed("m/", "m/date=2026-11-09"))
    sees_s3(seen, lambda: on.bucket.list_folders("m/"))
    sees_s3(seen, lambda: on.listed("q/"))
    sees_s3(seen, lambda: on.bucket.list_folders("q/"))


def what_is_refused(on: OnBucket, seen: Seen) -> None:
    """Damaged bytes, a version or a bucket that is not there."""
    put = on.client.put_object
    wrong = "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA="
    sees_s3(seen, lambda: nothing(put(Bucket=on.name, Key="a/1", Body=b"one", ChecksumSHA256=wrong)))
    sees_s3(seen, on.listed)
    on.bucket.put_once("a/1", b"one", on.until(days=1))
    sees_s3(seen, lambda: nothing(on.client.get_object(Bucket=on.name, Key="a/2", VersionId=on.versions("a/1")[0])))
    sees_s3(seen, lambda: nothing(on.client.put_object(Bucket=f"{on.name}-not", Key="a/1", Body=b"")))


S3_SCENARIOS = [
    put_once_means_once,
    a_delete_marker_does_not_stop_a_put,
    a_lock_only_grows,
    a_version_without_a_lock,
    overwriting_makes_versions,
    listings_in_pages,
    what_is_refused,
]


@pytest.mark.parametrize("scenario", S3_SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_the_model_of_s3_does_what_the_server_does(
    scenario: Callable[[OnBucket, Seen], None], bucket: ArchiveSettings
) -> None:
    world = World(0)
    stores = Stores(world)
    modelled: Seen = []
    with shims.installed(world, stores.driver()):
        scenario(OnBucket(ArchiveSettings(BUCKET), stores.s3.now().replace(microsecond=0)), modelled)
    real: Seen = []
    on = OnBucket(bucket, datetime.now(UTC).replace(microsecond=0))
    scenario(on, real)
    on.client.close()
    assert modelled == real
    assert modelled


# --- the archive's objects


def built(builder: Any, values: list[bytes]) -> bytes:
    try:
        builder.add(values)
        return bytes(builder.finish())
    finally:
        builder.close()


def seen_of_fold(fold: SegmentFold, signed: Checkpoint) -> tuple[Any, ...]:
    """Everything that anybody asks of a fold."""
    seen: Seen = [
        fold.first_seq, fold.rows, fold.first_hash, fold.last_hash, fold.first_us, fold.last_us, fold.date, fold.end
    ]  # fmt: skip
    sees(seen, fold.ends_by_limits)
    sees(seen, lambda: fold.check_root(signed))
    return tuple(seen)


@pytest.mark.parametrize("limits", [SegmentLimits(4), SegmentLimits(3), SegmentLimits(9, bytes=1100)])
def test_light_objects_are_judged_as_parquet_is(limits: SegmentLimits) -> None:
    entries = ENTRIES[:4]  # of one day; those after them are of another
    start = Start(EMPTY_RANGE, entries[0].prev_hash)
    signed = [
        Checkpoint("o", size, root(extend(EMPTY_RANGE, [each.hash for each in ENTRIES[:size]]))) for size in range(6)
    ]
    maker, light = ColumnMaker(), LightMaker()
    values = [each.to_bytes() for each in ENTRIES]
    broken = values[1].replace(b'"action":"chain', b'"action":"chaim')
    for given in (values[:4], values[:3], values[:6], values[1:4], [*values[:1], broken, *values[2:4]], []):
        seen: list[Seen] = []
        for builder, check in (
            (ObjectBuilder(start, limits, maker), lambda data, s, r: check_object(data, s, r, limits, maker)),
            (LightBuilder(start, limits, light), lambda data, s, r: check_light_object(data, s, r, limits, light)),
        ):
            mine: Seen = []
            try:
                data = built(builder, given)
            except SealstreamError as error:
                seen.append([type(error).__name__])
                continue
            mine += seen_of_fold(builder.fold, signed[4])
            for other in (start, Start(EMPTY_RANGE, b""), Start(EMPTY_RANGE, b"\1" * 32)):
                for size in (3, 4, 5):
                    sees(mine, lambda c=check, d=data, s=other, z=size: seen_of_fold(c(d, s, signed[z]), signed[z]))
            sees(mine, lambda c=check, d=data: c(d[: len(d) // 2], start, signed[4]))
            seen.append(mine)
        assert seen[0] == seen[1]
    maker.close()
