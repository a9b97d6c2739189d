"""A record of somebody else's log, and the event that is made of it.

The invariant: an event's bytes follow from the record (and the mapping) alone, never from the file it stood in, the
time of the import or the machine, so the same record imported twice is the same event. Its id is the record's own where
it has one, else it is made of what the record says. `metadata.source` holds the record, `metadata.source_sha256` is
what two copies of it are compared by.

Pure; nothing to lose in a crash.
"""

from __future__ import annotations

import json
import re
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any, Literal, NamedTuple

import msgspec

from sealstream.errors import InvalidEvent
from sealstream.events import FIELDS, MAX_EVENT_BYTES, MAX_INTEGER, SOURCE_FIELDS, canonical_event

__all__ = ["Composer", "Event", "Fields", "Importer", "LeftOut", "Record", "Unreadable"]

Fields = dict[str, Any]
"""Fields of an event by name, of which the composer makes texts and cuts what is too long. `id`: the record's own."""

_UUID = re.compile(r"[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}").fullmatch
_SURROGATE = re.compile("[\ud800-\udfff]")
_REPEATS_REMEMBERED = 100_000
_NESTING_KEPT = 16


class Record(NamedTuple):
    """One record. `line` and `number` count from 1 in its file; `value`: what it says, an object or a line of text.

    `raw`: its bytes. `canonical`: its RFC 8785 form, where it has one that says all that `raw` says.
    """

    line: int
    number: int
    value: Any
    raw: bytes
    canonical: bytes | None = None


class Unreadable(NamedTuple):
    """What stands in a file where a record should be, and why it is none."""

    line: int
    number: int
    why: str


class LeftOut(NamedTuple):
    """A record that is no event by the rules of its importer, and which rule that is."""

    why: str


class Event(NamedTuple):
    """A canonical event and by what it is found again: its id, and the SHA-256 (hex) of the record it was made of."""

    id: str
    source_sha256: str
    value: bytes


class Importer(NamedTuple):
    """One kind of log. `name` stands in `metadata.importer`; `form`: how records stand in a file.

    `fields`: of one record; raises `InvalidEvent` for a record that lacks what an event needs. `lists`: members of a
    document that hold records. `within`: where a record may stand as text, in another's member or in a column of CSV;
    what stands around it depends on who asked, and is no part of it. `from_`: what each field is made of, in words, for
    who asks. `of_file`: gives `fields` for a file that was changed at that time, where that matters.
    """

    name: str
    form: Literal["json", "lines", "csv"]
    fields: Callable[[Any], Fields | LeftOut]
    lists: tuple[str, ...] = ()
    within: str | None = None
    from_: Mapping[str, str] = {}
    delimiter: str = ","
    of_file: Callable[[datetime | None], Callable[[Any], Fields | LeftOut]] | None = None


class Composer:
    """Makes the events of one file's records, which must be given in their order, from the first one on."""

    def __init__(self, importer: Importer, modified: datetime | None = None) -> None:
        self._importer = importer
        self._fields = importer.of_file(modified) if importer.of_file is not None else importer.fields
        self._namespace = uuid.uuid5(uuid.NAMESPACE_URL, f"sealstream:import:{importer.name}")
        self._seen: OrderedDict[str, int] = OrderedDict()

    def event(self, record: Record) -> Event | LeftOut:
        """The record as an event. Raises `InvalidEvent` with a sentence that names the field."""
        kept, digest = _source_of(record)
        try:
            found = self._fields(record.value)
        except InvalidEvent:
            raise
        except Exception as error:  # whatever a stranger's record holds, the next one is imported
            raise InvalidEvent(f"record is none of {self._importer.name}: {type(error).__name__}: {error}") from error
        if isinstance(found, LeftOut):
            return found
        fields = dict(found)
        event_id = self._id(fields.pop("id", None), str(fields.get("timestamp")), digest)
        event = _fitted(fields)
        metadata = {key: value for key, value in event.pop("metadata", {}).items() if value is not None}
        metadata |= {"importer": self._importer.name, "source_sha256": digest}
        event |= {"id": event_id}
        refusal: InvalidEvent | None = None
        for attempt in range(2):
            for source in kept:
                try:
                    return Event(event_id, digest, canonical_event(event | {"metadata": metadata | source}))
                except InvalidEvent as error:
                    refusal = error
            if attempt == 0:  # what was picked out of the record may itself be what no event can hold
                event = {name: _holdable(value) for name, value in event.items()}
                metadata = {name: _holdable(value) for name, value in metadata.items()}
        assert refusal is not None
        raise refusal

    def _id(self, own: object, timestamp: str, digest: str) -> str:
        """The record's own id, or one made of it. Without one, of what the record says, and how often it has said so:

        two equal lines of one second are two events, two copies of a file are the same events.
        """
        if own is not None and own != "":
            text = str(own)
            return text.lower() if _UUID(text) else str(uuid.uuid5(self._namespace, _clean(text)))
        what = f"{timestamp} {digest}"
        before = self._seen.pop(what, 0)
        self._seen[what] = before + 1
        if len(self._seen) > _REPEATS_REMEMBERED:
            self._seen.popitem(last=False)
        return str(uuid.uuid5(self._namespace, f"{what} {before}"))


def _source_of(record: Record) -> tuple[list[dict[str, Any]], str]:
    """How the record can be kept, the best first, and its SHA-256: of its RFC 8785 form if it has one, else of its
    bytes.
    """
    size = {"source_bytes": len(record.raw)}
    if record.canonical is None:
        return [*_as_text(record), size], sha256(record.raw).hexdigest()
    ways: list[dict[str, Any]] = [{"source": record.value}] if len(record.canonical) < MAX_EVENT_BYTES else []
    # Nested too deep for an event, or with a number that none may hold: its text is kept.
    return [*ways, *_as_text(record), size], sha256(record.canonical).hexdigest()


def _as_text(record: Record) -> list[dict[str, Any]]:
    if len(record.raw) >= MAX_EVENT_BYTES:
        return []
    return [{"source": record.raw.decode("utf-8", "backslashreplace").replace("\0", "\\u0000")}]


def _fitted(fields: Fields) -> Fields:
    """Fields as an event may hold them: texts of other values, no NUL, no more bytes than allowed; no empty ones."""
    event: Fields = {}
    for name, value in fields.items():
        rule = FIELDS.get(name)
        if value is None or value in ("", {}, []):
            continue
        if name == "source":
            event[name] = {
                key: _fitting(_text(each), SOURCE_FIELDS[key].limit if key in SOURCE_FIELDS else None)
                for key, each in value.items()
                if each is not None and each != ""
            }
        elif rule is None or rule.kind in ("object", "texts", "number"):
            event[name] = value
        else:
            event[name] = _fitting(_text(value), rule.limit)
    return event


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return msgspec.json.encode(value, order="sorted").decode()
    return str(value)


def _holdable(value: Any, depth: int = 0) -> Any:
    """A value as an event can hold it: no NUL, no number beyond 2^53, not nested without end."""
    if isinstance(value, str):
        return _clean(value)
    if isinstance(value, dict | list) and depth == _NESTING_KEPT:
        return _clean(json.dumps(value))
    if isinstance(value, dict):
        return {_clean(str(name)): _holdable(each, depth + 1) for name, each in value.items()}
    if isinstance(value, list):
        return [_holdable(each, depth + 1) for each in value]
    if isinstance(value, int | float) and not isinstance(value, bool) and not abs(value) <= MAX_INTEGER:
        return str(value)
    return value


def _clean(text: str) -> str:
    return text if text.isascii() and "\0" not in text else _SURROGATE.sub("\ufffd", text.replace("\0", "\ufffd"))


def _fitting(text: str, limit: int | None) -> str:
    """The text, or so much of it as fits and 16 digits of its SHA-256, so that two long ones stay two."""
    cleaned = _clean(text)
    if limit is None or len(cleaned) * 4 <= limit:
        return cleaned
    whole = cleaned.encode()
    if len(whole) <= limit:
        return cleaned
    return f"{whole[: limit - 17].decode(errors='ignore')}~{sha256(whole).hexdigest()[:16]}"
