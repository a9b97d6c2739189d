"""How far an import has come, in a file beside the settings: `imports/<chain>-<what>.jsonl`.

A line is appended and synced when Kafka has acknowledged what it says, so what stands here is in the log's input; a
crash before the line costs asking the log for these events once more, and nothing else. A line torn by a crash counts
for nothing. One import of a chain works at a time.
"""

from __future__ import annotations

import fcntl
import json
import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from sealstream.errors import Misconfigured, Unavailable

__all__ = ["ImportProgress"]


class ImportProgress:
    """Of one kind of import into one chain. `what`: by which one kind is told from another. Raises `Unavailable` when
    another import of the chain works.
    """

    def __init__(self, config: Path, chain: str, what: Sequence[str]) -> None:
        folder = config.parent / "imports"
        name = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(list(what)))
        self.path = folder / f"{chain}-{what[0]}-{name}.jsonl"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = (folder / f"{chain}.lock").open("w")
        except OSError as error:
            raise Misconfigured(f"{folder} can't be written: {error.strerror}; progress is kept there") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise Unavailable(
                f"another import into chain {chain} works with these settings: wait for its end"
            ) from error
        self._known: dict[str, dict[str, Any]] = {}
        whole = 0
        if self.path.exists():
            data = self.path.read_bytes()
            whole = data.rfind(b"\n") + 1
            for line in data[:whole].splitlines():
                try:
                    found = json.loads(line)
                    self._known[found["file"]] = found
                except (ValueError, KeyError, TypeError):
                    continue
        self._file = self.path.open("ab")
        self._file.truncate(whole)

    def is_done(self, file: str, version: str) -> bool:
        """Whether Kafka has acknowledged all of this version of the file."""
        found = self._known.get(file)
        return bool(version and found and found.get("version") == version and found.get("done"))

    def records(self, file: str, version: str) -> int:
        """How many records of this version of the file need not be looked at again."""
        found = self._known.get(file)
        return int(found["records"]) if version and found and found.get("version") == version else 0

    def note(self, lines: Sequence[tuple[str, str, int, bool]]) -> None:
        """File, version, records, and whether that is all of it; on disk when this returns."""
        told = [each for each in lines if each[1]]
        if not told:
            return
        for file, version, records, done in told:
            known = {"file": file, "version": version, "records": records, "done": done}
            self._known[file] = known
            self._file.write(json.dumps(known).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Another import may begin."""
        self._file.close()
        self._lock.close()

    def __enter__(self) -> ImportProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
