"""Says something in a chain once: records for its input topics, sent and then seen sealed, however often one tries.

The bytes are written down beside the settings (`pending/`, by rename) before anything is sent, and removed when all of
them are sealed. A crash between any two lines leaves that file: the same command finds it, says those very bytes and no
others, and sends only what is neither sealed nor waiting for the sequencer. So nothing is said twice, and nothing that
was begun is lost; a record that arrives twice all the same is a repeat to the sequencer, since its bytes are the same.
"""

from __future__ import annotations

import getpass
import json
import os
import time
from pathlib import Path
from typing import NamedTuple

from sealstream.cli.sealed import sealed_with_ids
from sealstream.cli.settings import Settings
from sealstream.cli.whole_file import write_whole
from sealstream.errors import Misconfigured, Unavailable
from sealstream.kafka import CommittedReader, KafkaSettings, last_record, produce, read_until_end, start_offset
from sealstream.layout import ChainTopics, decode_entry

__all__ = ["Message", "Pending", "say_until_sealed", "this_person"]

_POLL_S = 0.2
_KINDS = {"raw": "event", "control": "control"}


class Message(NamedTuple):
    """One record to be sealed. `topic`: `raw` or `control`; `value`: a canonical event with this id."""

    topic: str
    id: str
    value: bytes


class Pending:
    """What was begun to be said under a name, in a file beside the settings."""

    def __init__(self, config: Path, name: str) -> None:
        self.path = config.parent / "pending" / f"{name}.json"

    def read(self) -> list[Message] | None:
        """The messages; None: nothing was begun."""
        try:
            found = json.loads(self.path.read_text())
            return [Message(each["topic"], each["id"], each["value"].encode()) for each in found["messages"]]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Misconfigured(
                f"{self.path} can't be read ({error}): it holds what was begun to be said in a chain; look whether the "
                "chain has sealed it, and remove the file"
            ) from error

    def write(self, messages: list[Message]) -> None:
        """Written beside and renamed, on disk when this returns."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        document = {"messages": [each._asdict() | {"value": each.value.decode()} for each in messages]}
        write_whole(self.path, json.dumps(document).encode())

    def remove(self) -> None:
        """It is said."""
        self.path.unlink(missing_ok=True)


def say_until_sealed(
    settings: Settings,
    chain: str,
    pending: Pending,
    *,
    wait_s: float,
) -> dict[str, int]:
    """Send what is pending and not yet sent; returns, when all of it is sealed, each id's seq.

    Raises `Unavailable` when they are not sealed in `wait_s`: the file stays,
    and calling again goes on.
    """
    messages = pending.read() or []
    kafka, topics = settings.kafka_settings(), ChainTopics.of(chain, settings.kafka.prefix)
    tail = last_record(kafka, topics.chain)
    behind = -1 if tail is None else tail.offset
    written = None if tail is None else decode_entry(tail.value or b"").written
    sealed: dict[str, int] = {}
    for entry, value in sealed_with_ids(settings, chain, [message.id for message in messages]):
        _note(sealed, messages, value, entry.written.kind, entry.written.seq)
    unsent = [message for message in messages if message.id not in sealed]
    for topic, read_upto in (
        ("raw", -1 if written is None else written.raw_offset),
        ("control", -1 if written is None else written.control_offset),
    ):
        own = [message for message in unsent if message.topic == topic]
        waiting = _waiting(kafka, getattr(topics, topic), read_upto + 1, own)
        new = [message for message in own if message.id not in waiting]
        if new:
            produce(kafka, getattr(topics, topic), [message.value for message in new], repeatable=True)
    _watch(kafka, topics.chain, behind + 1, messages, sealed, chain, wait_s)
    pending.remove()
    return sealed


def this_person() -> str:
    """Who gives a command, as the system knows them."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container without a name for its user
        return f"uid-{os.getuid()}"


def _note(sealed: dict[str, int], messages: list[Message], value: bytes, kind: str, seq: int) -> None:
    """Whether this entry is one of the messages: by its bytes, since anybody may send another event with its id."""
    for message in messages:
        if kind == _KINDS[message.topic] and value.startswith(message.value[:-1] + b',"written":'):
            sealed.setdefault(message.id, seq)


def _waiting(kafka: KafkaSettings, topic: str, first: int, messages: list[Message]) -> set[str]:
    """Which of these are in the topic and not yet sealed."""
    if not messages:
        return set()
    ids = {message.value: message.id for message in messages}
    found: set[str] = set()
    for records in read_until_end(kafka, topic, max(first, start_offset(kafka, topic))):
        found |= {ids[record.value] for record in records if record.value in ids}
    return found


def _watch(
    kafka: KafkaSettings,
    topic: str,
    offset: int,
    messages: list[Message],
    sealed: dict[str, int],
    chain: str,
    wait_s: float,
) -> None:
    missing = {message.id for message in messages} - sealed.keys()
    if not missing:
        return
    deadline = time.monotonic() + wait_s
    with CommittedReader(kafka, topic, max(offset, start_offset(kafka, topic))) as reader:
        while missing:
            for record in reader.read(10_000, _POLL_S):
                if (record.key or b"").decode(errors="replace") in missing:
                    entry = decode_entry(record.value or b"")
                    _note(sealed, messages, record.value or b"", entry.written.kind, entry.written.seq)
            missing -= sealed.keys()
            if missing and time.monotonic() > deadline:
                raise Unavailable(
                    f"chain {chain}: sent, but {len(missing)} of {len(messages)} records are not sealed after "
                    f"{wait_s:.0f} s: is its sequencer running? Run the same command again to go on waiting; nothing "
                    "is said twice"
                )
