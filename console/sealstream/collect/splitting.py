"""Takes a body apart into the JSON documents that it holds: one, an array's members, or lines. Pure.

The invariant: a body with too many members costs no more than the first ones, and each member keeps the bytes that were
sent, so that the strict rules of events are held to these.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import NamedTuple

from sealstream.web.problems import Problem

__all__ = ["Member", "array_members", "line_members"]

_decoder = json.JSONDecoder(parse_int=len)  # members are measured, not read: no number is too long for that
_SPACE = " \t\n\r"


class Member(NamedTuple):
    """`line`: where it stands, from 1: a line of the body, or a place in the array."""

    line: int
    data: bytes


def array_members(body: bytes, most: int) -> list[Member]:
    """The members of a JSON array, or the one document that the body is. Raises a `Problem` (400, 413)."""
    head = body.lstrip(_SPACE.encode())[:1]
    if head != b"[":
        return [Member(1, body)] if head else []
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise Problem(400, "not-json", f"the body is not UTF-8: {error.reason} at byte {error.start}") from error
    members: list[Member] = []
    try:
        for start, end in _spans(text):
            if len(members) == most:
                raise _too_many(most)
            members.append(Member(len(members) + 1, text[start:end].encode()))
    except json.JSONDecodeError as error:
        raise Problem(400, "not-json", f"the body is no JSON array: {error.msg} at character {error.pos}") from error
    except RecursionError as error:
        raise Problem(400, "not-json", "the body is nested too deep") from error
    except UnicodeEncodeError as error:
        raise Problem(400, "not-json", "the body has a lone surrogate") from error
    return members


def _spans(text: str) -> Iterator[tuple[int, int]]:
    """Where each member of the array begins and ends."""
    at = _after_space(text, text.index("[") + 1)
    if text[at : at + 1] == "]":
        at += 1
    else:
        while True:
            _, end = _decoder.raw_decode(text, at)
            yield at, end
            at = _after_space(text, end)
            mark = text[at : at + 1]
            at += 1
            if mark == "]":
                break
            if mark != ",":
                raise json.JSONDecodeError("expected ',' or ']'", text, at - 1)
            at = _after_space(text, at)
    if text[at:].strip(_SPACE):
        raise json.JSONDecodeError("expected nothing after the array", text, at)


def _after_space(text: str, at: int) -> int:
    while at < len(text) and text[at] in _SPACE:
        at += 1
    return at


def line_members(body: bytes, most: int) -> list[Member]:
    """The lines of NDJSON; empty ones are passed over. Raises a `Problem` (413)."""
    members: list[Member] = []
    start, line = 0, 0
    while start < len(body):
        end = body.find(b"\n", start)
        end = len(body) if end < 0 else end
        line += 1
        data = body[start:end].strip()
        if data:
            if len(members) == most:
                raise _too_many(most)
            members.append(Member(line, data))
        start = end + 1
    return members


def _too_many(most: int) -> Problem:
    return Problem(413, "too-many-events", f"the body holds too many events: expected at most {most:,}")
