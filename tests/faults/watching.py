"""What the bench knows: which events were emitted and acknowledged (journals), and which a reader saw sealed.

The watcher reads the chain as committed, over a connection that no fault touches, in a thread of its own. It keeps a
digest of each event, so an hour fits into memory; the bytes are read again when the history is judged.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tests.faults.application import digest_of

from sealstream.errors import SealstreamError
from sealstream.kafka import CommittedReader, KafkaSettings

__all__ = ["Journals", "Sent", "Watcher"]

_WRITTEN = b',"written":{'


class Sent(NamedTuple):
    """One line of a journal: an event as it was handed over."""

    digest: str
    event: bytes


class Journals:
    """All journals of one folder, read on from where the last look ended."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[Path, int] = {}
        self.emitted: dict[str, dict[str, None]] = {}
        self.acknowledged: dict[str, float] = {}
        self.failed: set[str] = set()

    def look(self) -> None:
        """Read what was added."""
        for path in sorted(self._folder.glob("*.journal")):
            at = self._read.get(path, 0)
            with path.open("rb") as file:
                file.seek(at)
                data = file.read()
            whole = data[: data.rfind(b"\n") + 1]
            self._read[path] = at + len(whole)
            own = self.emitted.setdefault(path.stem, {})
            for line in whole.splitlines():
                kind, what = line[:1], line[2:]
                if kind == b"E":
                    own[digest_of(what)] = None
                elif kind == b"A":
                    self.acknowledged.setdefault(what.decode(), time.monotonic())
                else:
                    self.failed.add(what.decode())

    def owed(self, living: Iterable[str]) -> set[str]:
        """What must be sealed some time: all that was acknowledged, and what the living applications still hold."""
        owed = set(self.acknowledged)
        for name in living:
            owed |= set(self.emitted.get(name, {})) - self.failed
        return owed

    def events(self) -> Iterable[tuple[str, list[Sent]]]:
        """By journal, the events in the order in which they were handed over."""
        for path in sorted(self._folder.glob("*.journal")):
            lines = path.read_bytes().splitlines()
            yield path.stem, [Sent(digest_of(line[2:]), line[2:]) for line in lines if line[:1] == b"E"]


class Watcher(threading.Thread):
    """`sealed`: by digest, when it was seen. `repeated`: how many events came a second time."""

    def __init__(self, kafka: KafkaSettings, topic: str) -> None:
        super().__init__(name="watcher", daemon=True)
        self._kafka = kafka
        self._topic = topic
        self._ending = threading.Event()
        self.sealed: dict[str, float] = {}
        self.repeated: list[str] = []
        self.size = 0

    def run(self) -> None:
        offset = 0
        while not self._ending.is_set():
            with suppress(SealstreamError), CommittedReader(self._kafka, self._topic, offset) as reader:
                while not self._ending.is_set():
                    for record in reader.read(1_000, 0.2):
                        self._take(record.value or b"")
                        offset = record.offset + 1
            self._ending.wait(0.5)

    def end(self) -> None:
        """Return when it has ended."""
        self._ending.set()
        self.join(30)

    def _take(self, value: bytes) -> None:
        self.size += 1
        if b'"kind":"event"' not in value[value.rindex(_WRITTEN) :]:
            return
        digest = digest_of(value[: value.rindex(_WRITTEN)] + b"}")
        if digest in self.sealed:
            self.repeated.append(digest)
        self.sealed.setdefault(digest, time.monotonic())
