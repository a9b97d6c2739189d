"""How far a search has come, on standard error and only for people: shown when it takes more than two seconds."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

__all__ = ["SearchProgress"]

_PATIENCE_S = 2.0


class SearchProgress:
    """Called from whichever thread reads. Shows nothing where standard error is no terminal."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._shown: Progress | None = None
        self._lock = threading.Lock()
        self._closed = not sys.stderr.isatty()

    def objects(self, opened: int, total: int) -> None:
        """So many of the archive's objects were opened."""
        self._show(f"reading the archive: {opened:,} of {total:,} objects", opened, total)

    def entries(self, written: int) -> None:
        """So many entries were written."""
        self._show(f"{written:,} entries written", written, None)

    def close(self) -> None:
        """The line goes away. May be called twice."""
        with self._lock:
            self._closed = True
            if self._shown is not None:
                self._shown.stop()
                self._shown = None

    def _show(self, said: str, done: int, total: int | None) -> None:
        with self._lock:
            if self._closed or time.monotonic() - self._begun < _PATIENCE_S:
                return
            if self._shown is None:
                self._shown = Progress(
                    SpinnerColumn(),
                    TextColumn("{task.description}"),
                    BarColumn(),
                    TimeElapsedColumn(),
                    console=Console(stderr=True),
                    transient=True,
                )
                self._shown.add_task(said, total=total)
                self._shown.start()
            self._shown.update(self._shown.task_ids[0], description=said, completed=done, total=total)

    def __enter__(self) -> SearchProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
