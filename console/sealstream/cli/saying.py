"""Says something in a chain once: records for its input topics, sent and then seen sealed, however often one tries.

The bytes are written down beside the settings (`pending/`, by rename) before anything is sent, and removed by the
caller when all of them are sealed. A crash between any two lines leaves that file: the same command finds it, says
those very bytes and no others, and sends only what is neither sealed nor waiting for the sequencer. So nothing is said
twice, and nothing that was begun is lost; a record that arrives twice all the same is a repeat to the sequencer, since
its bytes are the same.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from sealstream.access import person_at_this_machine
from sealstream.cli.sealed import sealed_with_ids
from sealstream.cli.settings import Settings
from sealstream.cli.whole_file import write_whole
from sealstream.errors import Misconfigured, Unavailable
from sealstream.events import control_statement, format_timestamp
from sealstream.kafka import CommittedReader, KafkaSettings, last_record, produce, read_until_end, start_offset
from sealstream.layout import ChainTopics, decode_entry

__all__ = ["Message", "Pending", "person_says", "say_until_sealed", "waits_in_raw", "was_said"]

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
        document = {"messages": [each._asdict() | {"value": each.value.decode()} for each in messages]}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self.path, json.dumps(document).encode())
        except OSError as error:
            raise Misconfigured(
                f"{self.path} can't be written ({error.strerror}): what is said in a chain is written down there "
                "first, so that it is said once; let this user write there, or keep a copy of the settings where it may"
            ) from error

    def remove(self) -> None:
        """It is said."""
        self.path.unlink(missing_ok=True)


def say_until_sealed(
    settings: Settings,
    chain: str,
    messages: Sequence[Message],
    *,
    wait_s: float,
) -> dict[str, int]:
    """Send what is written down and not yet sent; returns, when all of it is sealed, each id's seq.

    Raises `Unavailable` when they are not sealed in `wait_s`: the file stays, and calling again goes on.
    """
    kafka, topics = settings.kafka_settings(), ChainTopics.of(chain, settings.kafka.prefix)
    tail = last_record(kafka, topics.chain)
    behind = -1 if tail is None else tail.offset
    read_upto = _read_upto(kafka, topics)
    sealed: dict[str, int] = {}
    for entry, value in sealed_with_ids(settings, chain, [message.id for message in messages]):
        _note(sealed, messages, value, entry.written.kind, entry.written.seq)
    unsent = [message for message in messages if message.id not in sealed]
    for topic in ("control", "raw"):
        own = [message for message in unsent if message.topic == topic]
        waiting = _waiting(kafka, getattr(topics, topic), read_upto[topic] + 1, own)
        new = [message for message in own if message.id not in waiting]
        if new:
            produce(kafka, getattr(topics, topic), [message.value for message in new], repeatable=True)
    _watch(kafka, topics.chain, behind + 1, messages, sealed, chain, wait_s)
    return sealed


def was_said(settings: Settings, chain: str, message: Message) -> str | None:
    """Where this very message is by now: `entry 7`, or that it waits to be sealed. None: it was never sent."""
    sealed: dict[str, int] = {}
    for entry, value in sealed_with_ids(settings, chain, [message.id]):
        _note(sealed, [message], value, entry.written.kind, entry.written.seq)
    if sealed:
        return f"entry {sealed[message.id]}"
    kafka, topics = settings.kafka_settings(), ChainTopics.of(chain, settings.kafka.prefix)
    behind = _read_upto(kafka, topics)[message.topic] + 1
    return "waiting to be sealed" if _waiting(kafka, getattr(topics, message.topic), behind, [message]) else None


def waits_in_raw(settings: Settings, chain: str, event_id: str) -> bool:
    """Whether an event with this id, whatever it says, was sent and waits for the sequencer."""
    kafka, topics = settings.kafka_settings(), ChainTopics.of(chain, settings.kafka.prefix)
    needle = f'"id":"{event_id}"'.encode()
    begin = max(_read_upto(kafka, topics)["raw"] + 1, start_offset(kafka, topics.raw))
    return any(
        needle in (record.value or b"") for records in read_until_end(kafka, topics.raw, begin) for record in records
    )


def _read_upto(kafka: KafkaSettings, topics: ChainTopics) -> dict[str, int]:
    """The offset of each input topic that the sequencer has come to."""
    tail = last_record(kafka, topics.chain)
    if tail is None:
        return {"raw": -1, "control": -1}
    written = decode_entry(tail.value or b"").written
    return {"raw": written.raw_offset, "control": written.control_offset}


def person_says(
    action: str,
    *,
    id: str,
    resource_type: str,
    resource_id: str,
    metadata: Mapping[str, object],
    by: str | None,
) -> bytes:
    """The statement of who gives this command, as the kernel knows them. `by`: whom they name, a claim of theirs."""
    person = person_at_this_machine()
    return control_statement(
        action,
        id=id,
        timestamp=format_timestamp(datetime.now(UTC)),
        actor_id=person.id,
        actor_type="admin",
        resource_type=resource_type,
        resource_id=resource_id,
        metadata=dict(metadata) | ({"by": by} if by else {}),
        context={"source": dict(person.source)},
    )


def _note(sealed: dict[str, int], messages: Sequence[Message], value: bytes, kind: str, seq: int) -> None:
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
    messages: Sequence[Message],
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
