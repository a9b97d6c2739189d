"""What the watch knows of somebody: from the workers' state in Kafka, or from history rolled up anew. Reads only."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal
from zlib import crc32

from sealstream.anomalies.history import decoded
from sealstream.anomaly.detectors import DETECTORS
from sealstream.anomaly.rolling import Counted, RollUp
from sealstream.anomaly.sharing import ShareWatch
from sealstream.anomaly.watching import Subject, chosen
from sealstream.errors import Misconfigured, NotCanonical, Unavailable
from sealstream.kafka import KafkaSettings, Place, end_offsets, first_offsets, partition_counts, read_partition
from sealstream.layout.activity import ACCOUNT_TYPES
from sealstream.layout.workers import WorkerTopics, parse_counted
from sealstream.search import Query, SearchSource, parse

__all__ = ["from_history", "from_workers", "nearest_actor"]

_MOST_ACTORS = 5_000

Kind = Literal["actor", "address"]
Thresholds = Mapping[str, Mapping[str, Any]]


def from_workers(
    kafka: KafkaSettings, prefix: str, kind: Kind, name: str, thresholds: Thresholds
) -> Subject[Any] | None:
    """The newest state of a subject in the workers' topic; None where there is none, or no such topic, or no broker."""
    topics = WorkerTopics.of(prefix)
    topic, key = topics.actors if kind == "actor" else topics.addresses, name.encode()
    value, best = None, -2
    try:
        partitions = partition_counts(kafka, [topic]).get(topic, 0)
        if not partitions:
            return None
        place = Place(topic, crc32(key) % partitions)  # where the driver puts a key
        first, end = first_offsets(kafka, [place])[place], end_offsets(kafka, [place])[place]
        for records in read_partition(kafka, topic, place.partition, first, end):
            for record in records:
                if record.key == key and (counted := parse_counted(record.headers)) >= best:
                    value, best = record.value, counted
    except (Misconfigured, Unavailable):
        return None
    if value is None:
        return None
    watching = ShareWatch(chosen(DETECTORS, thresholds))
    try:
        return watching.of_actors.decode(value) if kind == "actor" else watching.of_addresses.decode(value)
    except NotCanonical:
        return None


def from_history(
    source: SearchSource, kind: Kind, name: str, within: str, thresholds: Thresholds, now: datetime
) -> tuple[Subject[Any], dict[str, int]]:
    """The state that the entries `within` a time (as the search language writes it) give, and how many they were, by
    chain. What others did to an actor's account counts, too.
    """
    span = f"kind:event {within}"
    quoted = '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if kind == "actor":
        types = " ".join(f"resource_type:{each}" for each in sorted(ACCOUNT_TYPES))
        texts = [f"actor:{quoted} {span}", f"-actor:{quoted} resource_id:{quoted} {types} {span}"]
    else:
        texts = [f"ip:{quoted} {span}"]
    entries: dict[str, list[Counted]] = {}
    for query in (parse(text, now=now, chains=list(source.chains)) for text in texts):
        _collect(source, query, entries)
    watching = ShareWatch(chosen(DETECTORS, thresholds))
    seconds = []
    for chain, found in entries.items():
        roll_up = RollUp(chain)
        for entry in sorted(found, key=lambda each: each.written.seq):
            if (second := roll_up.take(entry)) is not None:
                seconds.append(second)
        if (second := roll_up.so_far()) is not None:
            seconds.append(second)
    for second in sorted(seconds, key=lambda each: (each.second, each.first_seq)):
        watching.see(second)
    known: Subject[Any] = (watching.actors if kind == "actor" else watching.addresses).get(name) or Subject()
    return known, {chain: len(found) for chain, found in entries.items()}


def nearest_actor(source: SearchSource, name: str, within: str, now: datetime) -> str:
    """The actor of the most active ones `within` a time whose id is most like this name; "": it is like none."""
    query = parse(f"kind:event {within}", now=now, chains=list(source.chains))
    known = [each.value for each in source.count_by(query, "actor", limit=_MOST_ACTORS) if each.value]
    return next(iter(difflib.get_close_matches(name, known, n=1, cutoff=0.7)), "")


def _collect(source: SearchSource, query: Query, entries: dict[str, list[Counted]]) -> None:
    for batch in source.stream(query, sort="seq"):
        for each, entry in zip(batch, decoded([found.body for found in batch]), strict=True):
            entries.setdefault(each.chain, []).append(entry)
