"""Before a worker starts: its topics are as they must be, and the group's offsets say where to go on.

The group's committed offsets alone say how far the watch is. On the first start there are none: history is put into the
state topics, and then the offsets are set to the beginning, in one request; so a crash before it has the first start
again. An offset below which records may be gone is an alarm, never a silent jump; where only the marker of a
transaction is gone, the group goes on at the partition's beginning.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog

from sealstream.anomaly.warming import WarmUp, write_states
from sealstream.anomaly.watching import Watch
from sealstream.anomaly.worker_handling import Kind
from sealstream.errors import InputLost, Misconfigured, Unavailable
from sealstream.kafka import (
    KafkaSettings,
    Place,
    check_topics,
    committed_offsets,
    end_offsets,
    first_offsets,
    partition_counts,
    set_offsets,
)
from sealstream.layout.activity import ActivityTopics
from sealstream.layout.workers import WorkerTopics, worker_group

__all__ = ["begin", "input_lost", "input_places", "lost_places"]


def begin(
    kafka: KafkaSettings,
    prefix: str,
    watches: Mapping[Kind, Watch[Any]],
    *,
    warm_up: WarmUp | None = None,
    accept_input_lost: bool = False,
) -> list[Place]:
    """The partitions that all workers share, ready to be read.

    Raises `Misconfigured`, `Unavailable`, and `InputLost` for an offset that does not exist (any more): with
    `accept_input_lost` the watch goes on at what is left.
    """
    log = structlog.get_logger().bind(process="anomaly")
    places = input_places(kafka, prefix)
    group = worker_group(prefix)
    committed = committed_offsets(kafka, group, places)
    firsts, ends = first_offsets(kafka, places), end_offsets(kafka, places)
    wanted = {place: firsts[place] for place in places if committed.get(place, -1) < firsts[place]}
    lost = lost_places(committed, firsts, ends)
    if lost and not accept_input_lost:
        raise input_lost(lost, committed, firsts, ends)
    wanted |= {place: firsts[place] for place in lost}
    if lost:
        log.warning("input was lost: the watch goes on at what is left", partitions=[f"{p.topic}/{p[1]}" for p in lost])
    if not committed and warm_up is not None:
        log.info("first start: reading history")
        log.info("history is read", subjects=write_states(kafka, prefix, watches, warm_up))
    if wanted and not set_offsets(kafka, group, wanted) and len(committed_offsets(kafka, group, places)) < len(places):
        raise Unavailable(f"group {group} is being set up by another worker")
    return places


def input_places(kafka: KafkaSettings, prefix: str) -> list[Place]:
    """Every partition of activity. Raises `Misconfigured` when a topic of the watch is not as it must be."""
    topics = ActivityTopics.of(prefix)
    counts = partition_counts(kafka, topics[:2])
    partitions = counts[topics.activity]
    if partitions != counts[topics.addresses]:
        raise Misconfigured(
            f"{topics.activity} has {partitions} partitions and {topics.addresses} {counts[topics.addresses]}: "
            "expected equally many, so that workers can share them out"
        )
    used = [each for each in topics.configs(partitions) if each.name != topics.positions]
    check_topics(kafka, used + WorkerTopics.of(prefix).configs(partitions))
    return [Place(topic, number) for topic in topics[:2] for number in range(partitions)]


def lost_places(committed: Mapping[Place, int], firsts: Mapping[Place, int], ends: Mapping[Place, int]) -> list[Place]:
    """Where what comes next does not exist: trimmed, by time too, or of a topic that was made anew and is shorter.

    What stands last below an end is never a record, but its transaction's marker, without which the end would be lower.
    So a partition that is empty, and begins one offset further on, has lost none.
    """
    return [place for place, first in firsts.items() if _is_lost(committed.get(place, first), first, ends[place])]


def _is_lost(next_offset: int, first: int, end: int) -> bool:
    if next_offset + 1 == first == end:
        return False
    return not first <= next_offset <= end


def input_lost(
    lost: list[Place], committed: Mapping[Place, int], firsts: Mapping[Place, int], ends: Mapping[Place, int]
) -> InputLost:
    """What to say of them."""
    place = lost[0]
    more = f" (and {len(lost) - 1} more partitions)" if len(lost) > 1 else ""
    return InputLost(
        f"{place.topic}, partition {place.partition}, no longer has the offset {committed[place]}, which the watch "
        f"comes to next: it begins at {firsts[place]} and ends at {ends[place]}{more}. "
        "`sealstream run anomaly --accept-input-lost` goes on with what is left"
    )
