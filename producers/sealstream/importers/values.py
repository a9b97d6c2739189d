"""What every importer reads in records: a member by its path, a time, an address. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from sealstream.errors import InvalidEvent
from sealstream.events import canonical_ip, canonical_timestamp, format_timestamp

__all__ = ["address", "at", "first", "milliseconds", "needed", "rfc3339", "shown"]

_FRACTION = re.compile(r"(\.[0-9]{6})[0-9]+")
_BARE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9:.]+")
_IPV4_PORT = re.compile(r"([0-9.]+):[0-9]+")
_IPV6_PORT = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::[0-9]+)?")


def at(value: Any, *path: str) -> Any:
    """The member at the path; None where there is none."""
    for name in path:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def first(*values: Any) -> Any:
    """The first that says something."""
    return next((each for each in values if each is not None and each not in ("", [], {})), None)


def needed(record: Any, name: str) -> Any:
    """A member that the record must have. Raises `InvalidEvent`."""
    if not isinstance(record, dict):
        raise InvalidEvent(f"record is no object: expected a JSON object, got {shown(record)}")
    found = record.get(name)
    if found is None or found == "":
        raise InvalidEvent(f"{name} is missing: expected a record of this kind of log", name)
    return found


def rfc3339(value: object, field: str) -> str:
    """A time as an event holds it; without an offset UTC, cut behind microseconds. Raises `InvalidEvent`."""
    if not isinstance(value, str):
        raise InvalidEvent(f"{field} is no time: expected text such as 2026-11-24T03:00:00Z, got {shown(value)}", field)
    return _rfc3339(value, field)


@lru_cache(maxsize=1_024)  # many records share a second
def _rfc3339(value: str, field: str) -> str:
    text = _FRACTION.sub(r"\1", value.strip())
    if _BARE.fullmatch(text):
        text += "Z"
    return canonical_timestamp(text[:10] + "T" + text[11:] if text[10:11] == " " else text, field)


def milliseconds(value: object, field: str, per_second: int = 1_000) -> str:
    """A time in milliseconds since 1970 (or other parts of a second). Raises `InvalidEvent`."""
    try:
        number = int(value) if isinstance(value, str) else value
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise ValueError
        seconds, parts = divmod(number, per_second)
        moment = datetime.fromtimestamp(int(seconds), UTC).replace(microsecond=int(parts * 1_000_000 // per_second))
    except (ValueError, OverflowError, OSError):
        raise InvalidEvent(f"{field} is no time: expected a number since 1970, got {shown(value)}", field) from None
    return format_timestamp(moment)


def address(value: object) -> dict[str, Any]:
    """`ip_address`, where the text is one (a port and a zone are cut off), else it is kept in the metadata."""
    if not isinstance(value, str) or not value.strip():
        return {}
    text = value.strip()
    host = _IPV6_PORT.fullmatch(text) or _IPV4_PORT.fullmatch(text)
    try:
        return {"ip_address": canonical_ip((host[1] if host else text).partition("%")[0])}
    except InvalidEvent:
        return {"metadata": {"source_address": text}}


def shown(value: object) -> str:
    """A value in a sentence, cut short."""
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
