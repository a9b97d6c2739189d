"""What a topic already holds of one outbox: read once, whenever a relay takes the outbox over.

A relay that was killed after sending, and a database that was set back to an older state, look the same from inside
the database: it does not know what was sent. The topic knows. Reads only; a crash leaves nothing behind.
"""

from __future__ import annotations

from typing import NamedTuple

from sealstream.errors import Misconfigured
from sealstream.kafka import KafkaSettings, end_offset, read_until_end, start_offset
from sealstream.relaying.numbering import Numbered, Numbers

__all__ = ["Seen", "look"]


class Seen(NamedTuple):
    """`records`: what this outbox sent; `highest`: its streams' last numbers; `end`: up to where it was looked.

    `cut`: the topic ends below the offset that was asked for, so records that were acknowledged are gone.
    """

    records: frozenset[Numbered]
    highest: dict[str, int]
    end: int
    cut: bool = False


def look(kafka: KafkaSettings, topic: str, outbox_id: str, offset: int | None, *, accept_unseen: bool = False) -> Seen:
    """What stands in the topic from `offset` on (None: all that it has).

    `accept_unseen`: a person vouches for what was trimmed before it could be looked at. Raises `Misconfigured`.
    """
    first, end = start_offset(kafka, topic), end_offset(kafka, topic, committed=False)
    cut = offset is not None and end < offset
    if offset is not None and first > offset and not accept_unseen:
        raise Misconfigured(
            f"{topic} begins at offset {first}, but this outbox last looked at it at {offset}: whether the database "
            "was set back to an older state since can't be told. If it was not restored from a backup, say so with "
            "`sealstream outbox relay --accept-unseen`. If it was, events that still wait may be in the log already: "
            "compare them with the log before you say the same"
        )
    numbers = Numbers(outbox_id)
    records: set[Numbered] = set()
    highest: dict[str, int] = {}
    end = first
    for batch in read_until_end(kafka, topic, first if offset is None or cut else max(first, offset)):
        end = batch[-1].offset + 1
        for record in batch:
            found = numbers.read(record.value or b"")
            if found is not None:
                records.add(found)
                highest[found.producer_id] = max(found.number, highest.get(found.producer_id, -1))
    return Seen(frozenset(records), highest, max(end, offset or 0) if not cut else end, cut)
