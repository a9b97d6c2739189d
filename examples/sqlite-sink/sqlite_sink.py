"""A sink of one's own in SQLite: every entry as a row, and the position in the same transaction."""

import os
import sqlite3
from collections.abc import Iterator, Sequence

from sealstream.rebuild import SinkEntry


class SqliteSink:
    def __init__(self, target: str) -> None:
        self._db = sqlite3.connect(target)
        self._db.execute("CREATE TABLE IF NOT EXISTS entry (seq INTEGER PRIMARY KEY, actor, action, body, hash BLOB)")

    def position(self) -> int:
        return int(self._db.execute("SELECT coalesce(max(seq) + 1, 0) FROM entry").fetchone()[0])

    def store(self, entries: Sequence[SinkEntry]) -> None:
        rows = [(e.seq, e.fields["actor_id"], e.fields["action"], e.body.decode(), e.hash) for e in entries]
        with self._db:
            self._db.executemany("INSERT INTO entry VALUES (?, ?, ?, ?, ?)", rows)

    def close(self) -> None:
        self._db.close()

    # These two are optional: the first lets replay prove what is stored, the second lets it replace a live file.

    def hashes(self, first: int, stop: int) -> Iterator[bytes]:
        query = "SELECT hash FROM entry WHERE seq >= ? AND seq < ? ORDER BY seq"
        return (row[0] for row in self._db.execute(query, (first, stop)))

    @staticmethod
    def swap(beside: str, live: str) -> None:
        os.replace(beside, live)
