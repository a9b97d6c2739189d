"""What the log wrote beside an event, read back from an entry's bytes: the member `written`, its last.

The invariant: for canonical bytes, `read_written(entry_body(event, written)) == written`. A comma followed by a bare
quote and `written` can't stand inside a JSON string, and two closing braces end the body, so for JSON the last
occurrence is the member itself. Pure functions.
"""

from __future__ import annotations

import re
from datetime import date
from functools import lru_cache
from typing import Any, Final

from sealstream.errors import NotCanonical
from sealstream.sealing.canonical import MAX_SAFE_INTEGER, parse_json
from sealstream.sealing.seal import SEAL_VERSION, Written

__all__ = ["TIME_BYTES", "WRITTEN_START", "is_time", "is_time_bytes", "match_written", "read_written"]

TIME_BYTES: Final = 27
WRITTEN_START: Final = b',"written":{"chain":"'
_TIME = r"([0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\.[0-9]{6}Z)"
_OFFSET = r"(-1|0|[1-9][0-9]{0,15})"
_time = re.compile(_TIME).fullmatch

# The form that version 1 of the seal writes; what it does not match is read member by member.
match_written = re.compile(
    (
        rf',"written":{{"chain":"([^"\\]*)","control_offset":{_OFFSET},"kind":"(event|control|log)",'
        rf'"raw_offset":{_OFFSET},(?:"received_at":"{_TIME}",)?"seq":(0|[1-9][0-9]{{0,15}}),'
        rf'"sequenced_at":"{_TIME}","v":1}}'
    ).encode()
).fullmatch


@lru_cache(maxsize=1024)
def is_date(text: bytes) -> bool:
    """Whether `YYYY-MM-DD` is a day of the calendar, years 0001 to 9999."""
    try:
        date.fromisoformat(text.decode())
    except ValueError:
        return False
    return True


def is_time_bytes(text: bytes) -> bool:
    """`is_time` for bytes that come by the thousand within a second."""
    return len(text) == TIME_BYTES and text[20:26].isdigit() and _is_second(text[:20] + text[26:])


@lru_cache(maxsize=1024)
def _is_second(text: bytes) -> bool:
    return is_time((text[:20] + b"000000" + text[20:]).decode("latin-1"))


def is_time(text: object) -> bool:
    """Whether `text` is a time in its one canonical form `YYYY-MM-DDTHH:MM:SS.ffffffZ`."""
    return isinstance(text, str) and _time(text) is not None and _is_day(text[:10])


@lru_cache(maxsize=1024)
def _is_day(text: str) -> bool:
    return is_date(text.encode("ascii"))


def read_written(body: bytes) -> Written:
    """The member `written` of a canonical entry. Raises `NotCanonical` naming the member that is not as it must be.

    Members that a later log may write are passed over; a `v` that is not 1 is refused.
    """
    start = body.rfind(WRITTEN_START)
    found = match_written(body, start, len(body) - 1) if start >= 0 and body.endswith(b"}}") else None
    if found is None:
        return _read_members(body)
    chain, control_offset, kind, raw_offset, received_at, seq, sequenced_at = found.groups()
    return _checked(
        {
            "chain": chain.decode("utf-8", "replace"),
            "control_offset": int(control_offset),
            "kind": kind.decode(),
            "raw_offset": int(raw_offset),
            "seq": int(seq),
            "sequenced_at": sequenced_at.decode(),
            "v": SEAL_VERSION,
        }
        | ({} if received_at is None else {"received_at": received_at.decode()})
    )


def _read_members(body: bytes) -> Written:
    entry = parse_json(body)
    if not isinstance(entry, dict) or not isinstance(entry.get("written"), dict):
        raise NotCanonical("not an entry: expected an object with a member `written`")
    return _checked(entry["written"])


def _checked(written: dict[str, Any]) -> Written:
    version = written.get("v")
    if type(version) is not int or version != SEAL_VERSION:
        raise NotCanonical(f"written.v: expected {SEAL_VERSION}, the version that this reader knows, got {version!r}")
    chain, kind, received_at = written.get("chain"), written.get("kind"), written.get("received_at")
    if not isinstance(chain, str):
        raise NotCanonical(f"written.chain: expected a chain's name, got {chain!r}")
    if kind not in ("event", "control", "log"):
        raise NotCanonical(f"written.kind: expected event, control or log, got {kind!r}")
    for name, least in (("control_offset", -1), ("raw_offset", -1), ("seq", 0)):
        number = written.get(name)
        if type(number) is not int or not least <= number <= MAX_SAFE_INTEGER:
            raise NotCanonical(f"written.{name}: expected an integer of at least {least}, got {number!r}")
    if not is_time(written.get("sequenced_at")):
        raise NotCanonical(
            f"written.sequenced_at: expected YYYY-MM-DDTHH:MM:SS.ffffffZ, got {written.get('sequenced_at')!r}"
        )
    if kind == "log" and "received_at" in written:
        raise NotCanonical("written.received_at: a `log` entry was received from nobody and has none")
    if kind != "log" and not is_time(received_at):
        raise NotCanonical(f"written.received_at: expected YYYY-MM-DDTHH:MM:SS.ffffffZ, got {received_at!r}")
    return Written(
        chain,
        written["control_offset"],
        kind,
        written["raw_offset"],
        received_at,
        written["seq"],
        written["sequenced_at"],
    )
