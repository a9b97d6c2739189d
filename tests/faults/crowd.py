"""Everybody who connects to Postgres at once, so that nobody else can."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self

import asyncpg

__all__ = ["Crowd"]


class Crowd:
    """Takes every connection that an ordinary role can have, and sends the sinks away, for as long as it is entered."""

    def __init__(self, admin_dsn: str, dsn: str, most: int) -> None:
        self._admin_dsn = admin_dsn
        self._dsn = dsn
        self._most = most
        self._runner = asyncio.Runner()
        self._held: list[asyncpg.Connection[Any]] = []

    def __enter__(self) -> Self:
        self._runner.run(self._take_all())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runner.run(self._let_go())
        self._runner.close()

    async def _take_all(self) -> None:
        admin = await asyncpg.connect(self._admin_dsn)
        try:
            for _ in range(self._most):
                await self._take()
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename LIKE '%sink%' AND pid <> "
                "pg_backend_pid()"
            )
            for _ in range(10):
                await self._take()
                await asyncio.sleep(0.1)
        finally:
            await admin.close()

    async def _take(self) -> None:
        try:
            self._held.append(await asyncpg.connect(self._dsn))
        except (asyncpg.TooManyConnectionsError, OSError):
            return

    async def _let_go(self) -> None:
        for connection in self._held:
            await connection.close(timeout=5)
