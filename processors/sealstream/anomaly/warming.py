"""What the watch knows on its first day: states made from history, so that what is usual is not new to it.

The first start puts them into the state topics, from where every worker recovers them as if they were its own. They
count through the last record of history, so activity that history has seen already is no news. Alerts of history are
not raised. A crash in the middle leaves some of them written; the next start writes all of them again, and a state that
counts more than one of history is never replaced by it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from sealstream.anomaly.watching import Subject, Watch
from sealstream.anomaly.worker_handling import Kind, counted_by
from sealstream.kafka import AcknowledgedProducer, KafkaSettings, Outgoing
from sealstream.layout.activity import Activity, AddressActivity
from sealstream.layout.workers import WorkerTopics, counted_header

__all__ = ["WarmUp", "warm_up_from", "write_states"]

WarmUp = Callable[[Kind], Iterable[tuple[str, Subject[Any]]]]
"""Every subject of this kind that history knows, by name, each once; nothing where there is no history."""

_AT_ONCE = 2_000


def warm_up_from(
    watches: Mapping[Kind, Watch[Any]], history: Callable[[Kind], Iterable[Activity | AddressActivity]]
) -> WarmUp:
    """From records of activity, each subject's in their order: what the detectors know then. All in memory at once."""

    def subjects(kind: Kind) -> Iterator[tuple[str, Subject[Any]]]:
        known: dict[str, Subject[Any]] = {}
        for record in history(kind):
            name = record.actor_id if isinstance(record, Activity) else record.ip_address
            watches[kind].see(known.setdefault(name, Subject()), record)
        yield from known.items()

    return subjects


def write_states(kafka: KafkaSettings, prefix: str, watches: Mapping[Kind, Watch[Any]], warm_up: WarmUp) -> int:
    """Write the states of history; how many. Each goes where the roll-up puts its subject's records: the partition that
    the driver finds from the key. Raises `Unavailable` and `Misconfigured`.
    """
    producer = AcknowledgedProducer(kafka, timeout_s=30)
    written = 0
    try:
        for kind, topic in zip(watches, WorkerTopics.of(prefix), strict=True):
            subjects = iter(warm_up(kind))
            while batch := list(islice(subjects, _AT_ONCE)):
                producer.send(
                    [
                        Outgoing(
                            topic,
                            watches[kind].encode(subject),
                            name.encode(),
                            headers=counted_header(counted_by(subject)),
                        )
                        for name, subject in batch
                    ]
                )
                written += len(batch)
    finally:
        producer.close()
    return written
