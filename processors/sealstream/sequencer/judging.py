"""One record of an input: whether it is an event, why it is refused if not, and what is kept of its bytes.

The invariant: whatever a record holds, judging it ends in an event or in a sentence. Pure; nothing to lose in a crash:
a dead letter is written in the same transaction as the account of its record.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from sealstream.errors import InvalidEvent
from sealstream.events import ValidEvent
from sealstream.sequencer.account import refusal_reason

__all__ = ["MAX_DEAD_LETTER_BYTES", "REPEATED", "DeadLetter", "Validate", "dead_letter", "judge_record"]

MAX_DEAD_LETTER_BYTES = 65_536
REPEATED = "repeated: its producer's number was sealed before the recent entries"

Validate = Callable[[bytes | None], ValidEvent]


class DeadLetter(NamedTuple):
    """A refused or repeated record: its first bytes, and what there is to know of it."""

    value: bytes
    headers: list[tuple[str, bytes]]


def judge_record(validate: Validate, value: bytes | None) -> ValidEvent | str:
    """The event in a record, or the reason why it is refused, as the account carries it.

    Whatever validation raises refuses this record and no other: a fault in it must not stop the log for everybody.
    """
    try:
        return validate(value)
    except InvalidEvent as error:
        return refusal_reason(error.reason)
    except Exception as error:  # noqa: BLE001 - see above; the refusal is sealed and the bytes are kept
        return refusal_reason(f"validation failed: {type(error).__name__}")


def dead_letter(topic: str, offset: int, value: bytes | None, record_sha256: bytes, reason: str) -> DeadLetter:
    """What is kept of the record at `offset` of `topic` (its whole name)."""
    value = value or b""
    headers = [
        ("reason", reason.encode()),
        ("topic", topic.encode()),
        ("offset", str(offset).encode()),
        ("length", str(len(value)).encode()),
        ("sha256", record_sha256.hex().encode()),
    ]
    return DeadLetter(value[:MAX_DEAD_LETTER_BYTES], headers)
