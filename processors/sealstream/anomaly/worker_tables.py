"""Faust's tables of actors and addresses: each subject's newest state, in memory, recovered from its state topic.

The invariant: of two states of a subject the one that counts more is kept, in whatever order they come. A worker that
was taken for dead, and writes a state once more after another has gone on, changes nothing. Who stores a state has it
written and acknowledged first (`State` to Kafka, then `keep`); a crash between leaves what recovery reads anyway.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import faust

from sealstream.layout.workers import parse_counted

__all__ = ["SubjectTable"]


class _Mark(NamedTuple):
    partition: int
    counted: int


class SubjectTable(faust.Table):  # type: ignore[misc]
    """Bytes by key. `recovered`: how many records of the state topic were read, which only rises."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.recovered = 0
        self._marks: dict[bytes, _Mark] = {}

    def stored(self, key: bytes) -> bytes | None:
        """The state, None for a subject never seen."""
        value: bytes | None = self.data.data.get(key)
        return value

    def keep(self, partition: int, key: bytes, value: bytes, counted: int) -> None:
        """It is in the topic: from now on it is the state, unless a newer one is known."""
        mark = self._marks.get(key)
        if mark is None or counted >= mark.counted:
            self._marks[key] = _Mark(partition, counted)
            self.data.data[key] = value

    def apply_changelog_batch(self, batch: Iterable[Any]) -> None:
        """What recovery has read."""
        for event in batch:
            message = event.message
            self.recovered += 1
            if message.key is None:
                continue
            if message.value is None:
                self._drop(message.key)
            else:
                self.keep(message.partition, message.key, message.value, parse_counted(message.headers or ()))

    async def on_recovery_completed(self, active_tps: set[Any], standby_tps: set[Any]) -> None:
        """Forget what other workers look after now, and say that recovery is done."""
        ours = {tp.partition for tp in active_tps}
        for key in [key for key, mark in self._marks.items() if mark.partition not in ours]:
            self._drop(key)
        await super().on_recovery_completed(active_tps, standby_tps)

    def _drop(self, key: bytes) -> None:
        self._marks.pop(key, None)
        self.data.data.pop(key, None)
