"""A chain's activity, rolled up again under another prefix, from Kafka or the archive, each entry checked before.

The same chain gives the same bytes: every second is written once, whole, but for the last, which is written as far as
the chain goes and stands for itself until there is more. The position lies beside the records, as the live roll-up
keeps it, so a replay that was killed goes on, and one that is run again adds what came since.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing

from sealstream.anomaly.beginning import take_over
from sealstream.anomaly.following import Following
from sealstream.archive import ArchiveSettings
from sealstream.errors import Misconfigured
from sealstream.kafka import KafkaSettings, Record, create_topics
from sealstream.layout import ChainSettings
from sealstream.layout.activity import PARTITIONS, ActivityTopics
from sealstream.rebuild.own_sink import SinkEntry
from sealstream.rebuild.sink_replay import SinkReplay

__all__ = ["replay_activity"]

_ENTRIES = 50_000


def replay_activity(
    chain: ChainSettings,
    kafka: KafkaSettings,
    archive: ArchiveSettings | None,
    prefix: str,
    *,
    partitions: int = PARTITIONS,
    replication: int = 1,
    progress: Callable[[int, int | None], None] = lambda _done, _total: None,
) -> int:
    """Roll the chain up under `prefix`, from the archive or, where that is None, from Kafka; how many entries.

    Topics are made where they are missing. Raises `Forked` before a forged entry is counted.
    """
    if prefix == chain.prefix:
        raise Misconfigured(f"prefix {prefix} is the chain's own, which `run activity` writes to: name another")
    create_topics(kafka, ActivityTopics.of(prefix).configs(partitions), replication)
    with closing(_ActivitySink(kafka, chain, prefix, partitions)) as sink:
        source = kafka if archive is None else None
        with closing(SinkReplay(chain, lambda _: sink, prefix, archive, source)) as replay:
            handed = replay.fill(progress)
            sink.write_rest()
    return handed


class _ActivitySink:
    """What replay fills (`OwnSink`)."""

    def __init__(self, kafka: KafkaSettings, chain: ChainSettings, prefix: str, partitions: int) -> None:
        self._chain = chain.name
        with ExitStack() as held:
            self._writer, positions = take_over(kafka, prefix, partitions, held)
            self._held = held.pop_all()
        position = positions.get(chain.name)
        self._following = Following(chain.name, f"chain {chain.name}", position)
        self._next = position.seq if position is not None else 0
        self._unwritten = 0

    def position(self) -> int:
        """The entry that comes next; at first that with which the last second that was written begins."""
        return self._next

    def store(self, entries: Sequence[SinkEntry]) -> None:
        """Count them; what is over is written now and then."""
        self._following.take([Record(entry.seq, 0, None, entry.body) for entry in entries])
        self._next = entries[-1].seq + 1
        self._unwritten += len(entries)
        if self._unwritten >= _ENTRIES:
            self._write()

    def write_rest(self) -> None:
        """Everything, and the second that is not over as far as it goes."""
        self._following.tell()
        self._write()

    def _write(self) -> None:
        self._unwritten = 0
        outcome = self._following.handed_out()
        if outcome is not None:
            self._writer.write({self._chain: outcome})

    def close(self) -> None:
        """Give everything back. May be called twice."""
        self._held.close()
