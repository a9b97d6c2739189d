"""A DuckDB for one search of the archive: it sees the objects that it is given and nothing else, and may be limited.

The invariant: its memory is bounded, what does not fit goes to a temporary folder; when its time is over, what computes
is interrupted, and nothing more is read. Gone when it is left; a crash leaves nothing behind but that folder.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Timer
from typing import Any, NamedTuple

from sealstream.errors import Unavailable
from sealstream.search.archive_files import ObjectFiles, OneVersion
from sealstream.search.errors import SearchTooBroad

__all__ = ["Limit", "Progress", "Run", "reading"]

Progress = Callable[[int, int], object]
"""Called with how many objects were opened, and of how many."""

Run = Callable[[str], Iterator[list[tuple[Any, ...]]]]
"""Gives the rows of a query, in batches."""

_AT_ONCE = 1_000
_MEMORY = "384MB"


class Limit(NamedTuple):
    """How long it may take, and when that is over, by the clock that only rises."""

    seconds: float
    until: float

    @classmethod
    def of(cls, seconds: float | None) -> Limit | None:
        """From now on."""
        return None if seconds is None else cls(seconds, time.monotonic() + seconds)


@contextmanager
def reading(objects: dict[str, OneVersion], progress: Progress, limit: Limit | None = None) -> Iterator[Run]:
    """Gives a function that runs a query over these objects, by path. Raises `SearchTooBroad` beyond the limit."""
    import duckdb

    files = ObjectFiles(objects, lambda opened: progress(opened, len(objects)))
    with tempfile.TemporaryDirectory(prefix="sealstream-search-") as folder:
        connection = duckdb.connect(
            ":memory:",
            config={
                "threads": max(os.cpu_count() or 1, 2),
                "memory_limit": _MEMORY,
                "temp_directory": folder,
                "parquet_metadata_cache": True,
                "autoinstall_known_extensions": False,
            },
        )
        try:
            connection.register_filesystem(files)
            with _limited(connection, files, limit):
                yield lambda sql: _run(connection, files, sql)
        finally:
            connection.close()


@contextmanager
def _limited(connection: Any, files: ObjectFiles, limit: Limit | None) -> Iterator[None]:
    """Ends what runs when its time is over, from another thread, which has ended when this is left."""
    if limit is None:
        yield
        return

    def end() -> None:
        files.fail(
            SearchTooBroad(
                f"searching the archive took longer than {limit.seconds:g} s: narrow it, by sealed_after: and "
                "sealed_before: first, which leave whole segments out, by seq:, or by actor: or resource:"
            )
        )
        connection.interrupt()

    timer = Timer(max(limit.until - time.monotonic(), 0.0), end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def _run(connection: Any, files: ObjectFiles, sql: str) -> Iterator[list[tuple[Any, ...]]]:
    """Texts of bodies come as bytes, all else as Python has it."""
    import duckdb
    import pyarrow as pa

    if files.failure is not None:
        raise files.failure
    try:
        reader = connection.sql(sql).to_arrow_reader(_AT_ONCE)
        for batch in reader:
            columns = [
                (column.cast(pa.binary()) if name == "body" else column).to_pylist()
                for name, column in zip(batch.schema.names, batch.columns, strict=True)
            ]
            yield list(zip(*columns, strict=True))
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        if files.failure is not None:
            raise files.failure from error
        if isinstance(error, duckdb.OutOfMemoryException):
            raise SearchTooBroad(
                f"the archive's answer does not fit in memory ({_MEMORY}): narrow the search, or sort it by seq"
            ) from error
        raise Unavailable(f"searching the archive: DuckDB says {error}") from error
