"""Connections to Postgres: opened with the settings that every part relies on, and errors in our own words.

The invariant: no exception of asyncpg crosses this package. What another attempt may mend is `Unavailable`, what a
person must mend is `Misconfigured`, and data that the tables refuse is `ChainBroken`. A connection that is lost leaves
the outcome of its last COMMIT unknown: whoever gets `Unavailable` starts anew from what is stored.

asyncpg needs an event loop; `Session` holds one, so that callers stay synchronous.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TypeVar

import asyncpg

from sealstream.errors import ChainBroken, DiskFull, Misconfigured, SealstreamError, Unavailable

__all__ = ["Session", "translated"]

CONNECT_TIMEOUT_S = 10.0
COMMAND_TIMEOUT_S = 60.0

Result = TypeVar("Result")

# By SQLSTATE, the longest match first (Postgres, Appendix A).
_OURS: dict[str, type[SealstreamError]] = {
    "08": Unavailable,  # connection
    "22": ChainBroken,  # data that no column can hold
    "23": ChainBroken,  # constraints
    "25006": Unavailable,  # read-only: a standby, or a primary that became one
    "28": Misconfigured,  # who are you
    "3D": Misconfigured,  # no such database
    "40": Unavailable,  # deadlock, serialization
    "42": Misconfigured,  # privileges, missing tables
    "53": Unavailable,  # connections, memory
    "53100": DiskFull,
    "55P03": Unavailable,  # a lock was not to be had
    "57": Unavailable,  # shut down, crashed, starting up, cancelled
    "58": Unavailable,  # the server's own input and output
}


def _ours(error: asyncpg.PostgresError) -> type[SealstreamError]:
    state = getattr(error, "sqlstate", None) or ""
    return _OURS.get(state) or _OURS.get(state[:2]) or SealstreamError


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Errors of the driver as ours; `doing` begins the sentence ("storing entries 7 to 9 of chain main")."""
    try:
        yield
    except asyncpg.PostgresError as error:
        detail = f" ({error.detail})" if getattr(error, "detail", None) else ""
        raise _ours(error)(f"{doing}: Postgres says {error}{detail} [{getattr(error, 'sqlstate', '')}]") from error
    except (TimeoutError, asyncpg.InterfaceError, OSError, asyncio.IncompleteReadError) as error:
        raise Unavailable(f"{doing}: no answer from Postgres: {str(error) or type(error).__name__}") from error
    except asyncpg.InternalClientError as error:
        raise Unavailable(f"{doing}: the connection to Postgres is out of step: {error}") from error


class Session:
    """One connection with its event loop. Used by one thread at a time, and never inside a running loop."""

    def __init__(
        self,
        dsn: str,
        application: str,
        command_timeout_s: float | None = COMMAND_TIMEOUT_S,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
    ) -> None:
        self._runner = asyncio.Runner()
        try:
            with translated("connecting to Postgres"):
                self.connection: asyncpg.Connection[Any] = self._runner.run(
                    _connect(dsn, application, command_timeout_s, connect_timeout_s)
                )
        except BaseException:
            self._runner.close()
            raise

    def run(self, doing: str, work: Callable[[asyncpg.Connection[Any]], Awaitable[Result]]) -> Result:
        """What `work`, given the connection, returns; the driver's errors come as ours."""

        async def with_connection() -> Result:
            return await work(self.connection)

        with translated(doing):
            return self._runner.run(with_connection())

    def fetch(self, doing: str, query: str, *arguments: object) -> list[asyncpg.Record]:
        """All rows of a query."""
        return self.run(doing, lambda connection: connection.fetch(query, *arguments))

    def close(self) -> None:
        """Ends the connection; quick also when the server is gone. May be called twice."""
        if not self.connection.is_closed():
            try:
                self._runner.run(self.connection.close(timeout=2))
            except (TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                self.connection.terminate()
        self._runner.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


async def _connect(
    dsn: str, application: str, command_timeout_s: float | None, connect_timeout_s: float
) -> asyncpg.Connection[Any]:
    try:
        return await asyncpg.connect(
            dsn,
            timeout=connect_timeout_s,
            command_timeout=command_timeout_s,
            server_settings={
                "application_name": application,
                "timezone": "UTC",
                "search_path": "pg_catalog, public",
                "jit": "off",
                # A process that was frozen in a transaction must not hold its locks for ever.
                "idle_in_transaction_session_timeout": "60s" if command_timeout_s else "0",
                # Amid a COPY no timeout of the server counts: a machine that is gone would hold its locks for hours.
                "tcp_keepalives_idle": "20",
                "tcp_keepalives_interval": "5",
                "tcp_keepalives_count": "4",
            },
        )
    except ssl.SSLCertVerificationError as error:  # also when trying again: a person gives us another authority or name
        raise Misconfigured(
            f"connecting to Postgres: the server's certificate is refused: {error.verify_message}; expected one that "
            "sslrootcert's authority has signed, for the host in the DSN"
        ) from error
    except FileNotFoundError as error:
        if "sslrootcert" not in dsn and "sslcert" not in dsn:  # a socket's folder
            raise
        raise Misconfigured(
            "connecting to Postgres: a file that the DSN's sslrootcert, sslcert or sslkey names does not exist"
        ) from error
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
