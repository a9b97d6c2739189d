"""The import itself: records of files become events, in batches; what the log has not is sent, and then noted.

Each batch is read, asked for (`import_known.py`), sent, acknowledged by every in-sync replica, and noted
(`import_progress.py`), in this order. A crash between any two leaves events that Kafka has and nobody noted: the next
run reads their records again and finds them known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Protocol

from sealstream.cli.import_progress import ImportProgress
from sealstream.cli.import_sources import SourceFile
from sealstream.errors import InvalidEvent
from sealstream.importers import BrokenFile, Composer, Event, Importer, LeftOut, Record, Unreadable, records_of

__all__ = ["Import", "Imported", "Refusal", "Target"]

_BATCH = 5_000
_BATCH_BYTES = 16 * 2**20


class Refusal(NamedTuple):
    """What can't be imported, where it stands, and why. `line` 0: the file as a whole."""

    file: str
    line: int
    number: int
    why: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return (
            f"{place}: {self.why}"
            if self.number <= 1 or not self.line
            else f"{place} (record {self.number}): {self.why}"
        )


class Target(Protocol):
    """Where events go."""

    def unsent(self, events: list[Event]) -> list[Event]:
        """Those that are not there yet."""

    def send(self, values: list[bytes]) -> object:
        """Returns when they are there."""


class Imported:
    """What was done, in numbers. `left_out`: by the rule of the importer."""

    def __init__(self) -> None:
        self.files = self.files_done_before = self.records = self.sent = self.known = self.refused = 0
        self.left_out: Counter[str] = Counter()

    def as_dict(self) -> dict[str, object]:
        """The same for JSON."""
        return {
            "files": self.files,
            "files_done_before": self.files_done_before,
            "records": self.records,
            "sent": self.sent,
            "known": self.known,
            "left_out": dict(self.left_out),
            "refused": self.refused,
        }


class Import:
    """One run. `target` None: nothing is asked for or sent. `progress` None: nothing is noted."""

    def __init__(
        self,
        importer: Importer,
        target: Target | None,
        progress: ImportProgress | None,
        *,
        refuse: Callable[[Refusal], object],
        show: Callable[[Imported, int], object] = lambda _done, _bytes: None,
        stopping: Callable[[], bool] = lambda: False,
        content: Callable[[SourceFile], Iterator[bytes]] | None = None,
    ) -> None:
        self.done = Imported()
        self._importer = importer
        self._target = target
        self._progress = progress
        self._refuse = refuse
        self._show = show
        self._stopping = stopping
        self._content = content or (lambda file: file.chunks())
        self._batch: list[Event] = []
        self._batch_bytes = 0
        self._bytes = 0
        self._finished: list[tuple[str, str, int, bool]] = []

    def run(self, files: Iterable[SourceFile]) -> Imported:
        """All files. After Ctrl-C: what was read is sent and noted, then `KeyboardInterrupt`."""
        for file in files:
            if self._progress is not None and self._progress.is_done(file.name, file.version):
                self.done.files_done_before += 1
                self._count(file.size or 0)
                continue
            self._file(file)
        self._flush([])
        self._stop_if_asked([])
        return self.done

    def _file(self, file: SourceFile) -> None:
        self.done.files += 1
        composer = Composer(self._importer, file.modified)
        before = self._progress.records(file.name, file.version) if self._progress is not None else 0
        number = 0
        # From the first refusal on, records are looked at again the next time: a later version may take them.
        noted: int | None = None
        try:
            for found in records_of(self._counted(file), self._importer):
                number = found.number
                if not self._take(file, composer, found, number <= before) and noted is None:
                    noted = number - 1
                if len(self._batch) >= _BATCH or self._batch_bytes >= _BATCH_BYTES or number % 1_000 == 0:
                    so_far = [(file.name, file.version, number if noted is None else noted, False)]
                    if len(self._batch) >= _BATCH or self._batch_bytes >= _BATCH_BYTES:
                        self._flush(so_far)
                    self._stop_if_asked(so_far)
                    self._show(self.done, self._bytes)
        except BrokenFile as error:
            noted = number if noted is None else noted
            self._refused(Refusal(file.name, 0, 0, str(error)))
        self._finished.append((file.name, file.version, number if noted is None else noted, noted is None))
        self._stop_if_asked([])
        self._show(self.done, self._bytes)

    def _take(self, file: SourceFile, composer: Composer, found: Record | Unreadable, is_noted: bool) -> bool:
        """Whether the record is none that was refused."""
        self.done.records += 1
        if isinstance(found, Unreadable):
            self._refused(Refusal(file.name, found.line, found.number, found.why))
            return False
        try:
            event = composer.event(found)
        except InvalidEvent as error:
            self._refused(Refusal(file.name, found.line, found.number, error.reason))
            return False
        if isinstance(event, LeftOut):
            self.done.left_out[event.why] += 1
        elif is_noted:
            self.done.known += 1
        else:
            self._batch.append(event)
            self._batch_bytes += len(event.value)
        return True

    def _refused(self, refusal: Refusal) -> None:
        self.done.refused += 1
        self._refuse(refusal)

    def _flush(self, upto: list[tuple[str, str, int, bool]]) -> None:
        batch, self._batch, self._batch_bytes = self._batch, [], 0
        if batch and self._target is not None:
            new = self._target.unsent(batch)
            if new:
                self._target.send([event.value for event in new])
            self.done.sent += len(new)
            self.done.known += len(batch) - len(new)
        else:
            self.done.sent += len(batch)
        if self._progress is not None:
            self._progress.note([*self._finished, *upto])
        self._finished = []

    def _stop_if_asked(self, upto: list[tuple[str, str, int, bool]]) -> None:
        if self._stopping():
            self._flush(upto)
            raise KeyboardInterrupt

    def _counted(self, file: SourceFile) -> Iterator[bytes]:
        for chunk in self._content(file):
            self._count(len(chunk))
            yield chunk

    def _count(self, size: int) -> None:
        self._bytes += size
