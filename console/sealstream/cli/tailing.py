"""A chain's newest entries from Kafka, and those that come: as committed, filtered by what a query means.

The topic is read by a partition that is assigned: no group is joined and no offset kept, so nobody else notices. While
no broker answers it waits and goes on behind the last entry that it gave; each entry is given once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from sealstream.cli.settings import Settings
from sealstream.errors import Unavailable
from sealstream.events import parse_timestamp
from sealstream.kafka import CommittedReader, KafkaSettings, Record, end_offset, start_offset
from sealstream.layout import ChainTopics
from sealstream.sealing import split_sealed
from sealstream.search import Found, Query, matches

__all__ = ["follow", "last_found"]

_FIRST_LOOK = 1_000
_MOST_LOOKED = 100_000
_AT_ONCE = 1_000
_WAIT_S = 0.5
_AGAIN_S = 1.0


def last_found(settings: Settings, chain: str, query: Query, number: int) -> tuple[int, int | None, list[Found]]:
    """The last `number` entries that are found, the end of the topic, and how many offsets were looked through.

    That is None when it was the whole topic: it looks further back until there are enough, but not for ever.
    """
    kafka, topic = settings.kafka_settings(), ChainTopics.of(chain, settings.kafka.prefix).chain
    end, start = end_offset(kafka, topic, committed=True), start_offset(kafka, topic)
    found: list[Found] = []
    stop, look = end, max(_FIRST_LOOK, number)
    while number and len(found) < number and stop > start and end - stop < _MOST_LOOKED:
        begin = max(start, stop - look)
        found = [*_between(kafka, topic, chain, query, begin, stop), *found]
        stop, look = begin, look * 4
    return end, None if stop <= start else end - stop, found[-number:] if number else []


def follow(
    settings: Settings, chain: str, query: Query, offset: int, say: Callable[[str], object]
) -> Iterator[list[Found]]:
    """What is found from an offset on, as it comes, for ever."""
    kafka, topic = settings.kafka_settings(), ChainTopics.of(chain, settings.kafka.prefix).chain
    told = False
    while True:
        try:
            with CommittedReader(kafka, topic, offset) as reader:
                while True:
                    records = reader.read(_AT_ONCE, _WAIT_S)
                    told = told and not records
                    found = _found(chain, query, records)
                    offset = reader.position()
                    if found:
                        yield found
        except Unavailable as error:
            if not told:
                say(f"waiting: {error}")
            told = True
            time.sleep(_AGAIN_S)


def _between(kafka: KafkaSettings, topic: str, chain: str, query: Query, begin: int, stop: int) -> list[Found]:
    found: list[Found] = []
    with CommittedReader(kafka, topic, begin) as reader:
        while reader.position() < stop:
            records = reader.read(_AT_ONCE, _WAIT_S)
            found += _found(chain, query, [record for record in records if record.offset < stop])
    return found


def _found(chain: str, query: Query, records: list[Record]) -> list[Found]:
    found = []
    for record in records:
        sealed = split_sealed(record.value or b"")
        entry = Found(chain, 0, 0, sealed.body, sealed.prev_hash, sealed.hash)
        if matches(query, entry.entry):
            time_us = int(parse_timestamp(entry.entry["timestamp"]).timestamp() * 1e6)
            found.append(entry._replace(seq=entry.entry["written"]["seq"], time_us=time_us))
    return found
