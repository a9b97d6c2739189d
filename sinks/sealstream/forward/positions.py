"""Where a target stands, and where a new one begins: kept in a compacted topic, one record for each target.

A position is written after the receiver has taken what lies before it, or a letter of it was written; a crash in
between gives the receiver the same messages again, with the same ids. The first position is written before anything is
sent, so that "now" is one moment however often the process starts. Offsets are of one topic: where a topic was made
anew (its id differs), a chain's place is found by its entries' numbers, and of alerts all are sent that are there.
"""

from __future__ import annotations

from collections.abc import Sequence

from sealstream.errors import Misconfigured, NotCanonical
from sealstream.forward.targets import Target
from sealstream.kafka import KafkaSettings, Record, StandingProducer, offset_reaching, read_until_end
from sealstream.kafka.admin import describe
from sealstream.kafka.offsets import bounds
from sealstream.layout import decode_entry
from sealstream.layout.forwarding import Place, Position, Positions, decode_positions, encode_positions

__all__ = ["kept_positions", "starting_positions", "write_positions"]


def kept_positions(kafka: KafkaSettings, topic: str) -> dict[str, Positions]:
    """The last record of each target, by its name. Raises `NotCanonical` for one that can't be read."""
    kept: dict[str, Positions] = {}
    for records in read_until_end(kafka, topic):
        for record in records:
            name = (record.key or b"").decode(errors="replace")
            if record.value is None:
                kept.pop(name, None)
            else:
                kept[name] = decode_positions(record.value)
    return kept


def write_positions(producer: StandingProducer, topic: str, target: str, positions: dict[Place, Position]) -> None:
    """Returns when Kafka has them. Raises `Unavailable` or `Misconfigured`."""
    value = encode_positions(Positions({str(place): position for place, position in positions.items()}))
    producer.send(topic, value, key=target.encode())


def starting_positions(
    kafka: KafkaSettings, target: Target, alerts: str | None, chains: Sequence[str], kept: Positions | None
) -> dict[Place, Position]:
    """Where each partition of these topics is gone on with. `alerts`: the alerts' topic, if it is followed; `chains`:
    chains' topics. `kept`: None where the target has never run.
    """
    topics = [*([alerts] if alerts else []), *chains]
    described = describe(kafka, topics)
    ids = {topic: str(described[topic].topic_id) for topic in topics}
    places = [Place(topic, number) for topic in topics for number in range(len(described[topic].partitions))]
    found: dict[Place, Position] = {}
    new: list[Place] = []
    grown = kept is not None and any(name.rpartition("/")[0] == alerts for name in kept.places)
    for place in places:
        known = kept.places.get(str(place)) if kept is not None else None
        if known is not None and known.topic_id == ids[place.topic]:
            found[place] = known
        elif known is not None and known.seq is not None:
            found[place] = Position(_offset_behind(kafka, place.topic, known.seq), ids[place.topic], known.seq)
        elif known is not None or (place.topic == alerts and grown):  # made anew, or given more partitions
            found[place] = Position(0, ids[place.topic])
        else:
            new.append(place)
    if new:
        found_bounds = bounds(kafka, new)
        for place in new:
            found[place] = Position(found_bounds[place][target.start == "now"], ids[place.topic])
    return found


def _offset_behind(kafka: KafkaSettings, topic: str, seq: int) -> int:
    """The offset of the first entry above `seq` in a chain's topic."""

    def above(record: Record) -> bool:
        try:
            return decode_entry(record.value or b"").written.seq > seq
        except NotCanonical as error:
            raise Misconfigured(f"{topic}, offset {record.offset}: {error}") from error

    return offset_reaching(kafka, topic, above)
