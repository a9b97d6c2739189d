"""One connection to the application's database, with the settings that the relay relies on, and errors in our words.

The invariant: no exception of asyncpg crosses this module. What another attempt may mend is `Unavailable`, what a
person must mend is `Misconfigured`. A connection that is lost leaves the outcome of its last COMMIT unknown: whoever
gets `Unavailable` starts anew from what is stored.

A commit here is durable, whatever the database's default: since a relay's commit follows in the write-ahead log on all
that it has seen, no event that it sends can be forgotten by a Postgres that crashes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import asyncpg

from sealstream.errors import Misconfigured, SealstreamError, Unavailable

__all__ = ["Session"]

_CONNECT_S = 10.0
_COMMAND_S = 60.0
_NOT_DURABLE = ("off", "local")

_Result = TypeVar("_Result")

# By SQLSTATE's class (Postgres, Appendix A); others are faults of ours.
_OURS: dict[str, type[SealstreamError]] = {
    "08": Unavailable,  # connection
    "25": Unavailable,  # read-only: a standby, or a primary that became one
    "28": Misconfigured,  # who are you
    "3D": Misconfigured,  # no such database
    "3F": Misconfigured,  # no such schema
    "40": Unavailable,  # deadlock, serialization
    "42": Misconfigured,  # privileges, missing tables
    "53": Unavailable,  # connections, memory, disk
    "55": Unavailable,  # locks
    "57": Unavailable,  # shut down, crashed, starting up, cancelled
    "58": Unavailable,  # the server's own input and output
}


class Session:
    """Used by one thread at a time, and never inside a running loop."""

    def __init__(self, dsn: str) -> None:
        # Not an asyncio.Runner: it writes out, for the sake of a signal handler, the whole result of each call.
        self._loop = asyncio.new_event_loop()
        self._connection: asyncpg.Connection[Any] | None = None
        try:
            self._connection = self._translated("connecting to the application's database", _connect(dsn))
        except BaseException:
            self._loop.close()
            raise

    def run(self, doing: str, work: Callable[[asyncpg.Connection[Any]], Awaitable[_Result]]) -> _Result:
        """What `work`, given the connection, returns."""
        connection = self._connection
        assert connection is not None
        return self._translated(doing, work(connection))

    def transaction(self, doing: str, work: Callable[[asyncpg.Connection[Any]], Awaitable[_Result]]) -> _Result:
        """The same in one transaction, committed when it returns."""

        async def within(connection: asyncpg.Connection[Any]) -> _Result:
            async with connection.transaction():
                return await work(connection)

        return self.run(doing, within)

    def close(self) -> None:
        """Ends the connection, and with it what it has locked; quick also when the server is gone."""
        connection, self._connection = self._connection, None
        if connection is not None and not connection.is_closed():
            try:
                self._loop.run_until_complete(connection.close(timeout=2))
            except (TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                connection.terminate()
        for task in (left := asyncio.all_tasks(self._loop)):  # Ctrl-C came in the middle
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True) if left else asyncio.sleep(0))
        self._loop.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_raised: object) -> None:
        self.close()

    def _translated(self, doing: str, asked: Awaitable[_Result]) -> _Result:
        async def awaited() -> _Result:
            return await asked

        try:
            return self._loop.run_until_complete(awaited())
        except asyncpg.PostgresError as error:
            state = getattr(error, "sqlstate", None) or ""
            hint = " (are the tables made? `sealstream outbox init` makes them)" if state == "42P01" else ""
            raise _OURS.get(state[:2], SealstreamError)(f"{doing}: Postgres says {error} [{state}]{hint}") from error
        except (TimeoutError, asyncpg.InterfaceError, OSError, asyncio.IncompleteReadError) as error:
            raise Unavailable(f"{doing}: no answer from Postgres: {error or type(error).__name__}") from error
        except asyncpg.InternalClientError as error:
            raise Unavailable(f"{doing}: the connection to Postgres is out of step: {error}") from error


async def _connect(dsn: str) -> asyncpg.Connection[Any]:
    try:
        connection: asyncpg.Connection[Any] = await asyncpg.connect(
            dsn,
            timeout=_CONNECT_S,
            command_timeout=_COMMAND_S,
            server_settings={
                "application_name": "sealstream outbox relay",
                "timezone": "UTC",
                "jit": "off",
                "default_transaction_isolation": "read committed",
                "statement_timeout": "0",
                # A relay that was frozen in a transaction, or cut off, must not hold its row and its lock for ever.
                "idle_in_transaction_session_timeout": "60s",
                "tcp_keepalives_idle": "20",
                "tcp_keepalives_interval": "5",
                "tcp_keepalives_count": "4",
            },
        )
    except PermissionError as error:
        if error.filename is None and "ssl" not in dsn:  # a socket's folder
            raise
        raise Misconfigured(
            f"connecting to Postgres: {error.filename or 'a file that the DSN names'} can't be read: {error.strerror}; "
            "the driver looks for certificates and passwords in the home of this process's user, too (HOME)"
        ) from error
    except (ValueError, asyncpg.exceptions.ClientConfigurationError) as error:
        raise Misconfigured(
            f"connecting to Postgres: expected a DSN like postgresql://user@host/database: {error}"
        ) from error
    try:
        if await connection.fetchval("SHOW synchronous_commit") in _NOT_DURABLE:
            await connection.execute("SET synchronous_commit = on")
    except BaseException:
        connection.terminate()
        raise
    return connection
