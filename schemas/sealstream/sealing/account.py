"""The account: every offset of a chain's inputs is an entry, or an item of an `input.passed` in that very place.

`raw_offset` rises by exactly one with each `event`, `control_offset` with each `control`; all other entries repeat the
values before. Only `input.passed` moves them otherwise, by items that fill the gap exactly, and `input.lost`, with
which an operator has owned up to a loss. So nobody can drop a record between input and chain unseen, and any prefix of
the chain is accounted for. Pure functions: a crash leaves nothing behind.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from sealstream.sealing.canonical import MAX_SAFE_INTEGER

__all__ = ["MAX_ITEMS", "MAX_REASON_BYTES", "Offsets", "after_input_lost", "after_input_passed"]

MAX_ITEMS = 100
MAX_REASON_BYTES = 120
_reason = re.compile(r"[ -~]{1,120}").fullmatch
_digest = re.compile(r"[0-9a-f]{64}").fullmatch


class Offsets(NamedTuple):
    """As of which record of the raw and of the control topic the chain accounts; -1: none yet."""

    raw: int
    control: int


def after_input_passed(before: Offsets, seq: int, metadata: object) -> tuple[Offsets, list[str]]:
    """Where an `input.passed` with this seq and `metadata` leads from `before`, and what is wrong with it.

    Where something is wrong, the offsets are those that its readable items claim, so that a reader can go on.
    """
    topic, current, wrong = _topic_of(before, metadata)
    if topic is None or not isinstance(metadata, dict):
        return before, wrong
    items = metadata.get("items")
    if not isinstance(items, list) or not 1 <= len(items) <= MAX_ITEMS:
        got = f"{len(items)}" if isinstance(items, list) else repr(items)[:80]
        return before, [f"input.passed: expected 1 to {MAX_ITEMS} items, got {got}"]
    neighbour: tuple[object, object] | None = None
    for number, item in enumerate(items):
        at = f"input.passed, item {number}"
        if not isinstance(item, dict) or not _is_offset(item.get("first"), 0) or not _is_offset(item.get("last"), 0):
            wrong.append(f"{at}: expected an object with offsets first and last, got {item!r}"[:300])
            neighbour = None
            continue
        wrong += [f"{at}: {reason}" for reason in _item_faults(item, seq)]
        first, last = item["first"], item["last"]
        if first != current + 1:
            how = "a gap" if first > current + 1 else "an overlap"
            wrong.append(f"{at}: {how}: the {topic} offset before it is {current}, it begins at {first}")
        kind = (item.get("what"), item.get("reason"))
        if kind == neighbour and "of" not in item:
            wrong.append(f"{at}: of the same kind and reason as the item before: expected one item")
        neighbour = None if "of" in item else kind
        current = max(current, last)
    return before._replace(**{topic: current}), wrong


def after_input_lost(before: Offsets, metadata: object, claimed: Offsets) -> tuple[Offsets, list[str]]:
    """Where an `input.lost` leads from `before`, and what is wrong with it; `claimed` are its entry's own offsets.

    A trimmed topic (its id is the same) goes on right after `last`. A recreated one counts anew: the entry's own
    offset says where, one before the next that will be read.
    """
    topic, current, wrong = _topic_of(before, metadata)
    if topic is None or not isinstance(metadata, dict):
        return before, wrong
    old, new = metadata.get("old_topic_id"), metadata.get("new_topic_id")
    first, last = metadata.get("first"), metadata.get("last")
    if not (isinstance(old, str) and old and isinstance(new, str) and new):
        wrong.append(f"input.lost: expected topic ids, got {old!r} and {new!r}"[:300])
    if type(first) is not int or first != current + 1:
        wrong.append(
            f"input.lost: first: expected {current + 1}, one after the {topic} offset before it, got {first!r}"
        )
    if last is not None and not _is_offset(last, current + 1 if old == new else current):
        wrong.append(f"input.lost: last: expected an offset from first on, got {last!r}")
    if old != new:
        return before._replace(**{topic: getattr(claimed, topic)}), wrong
    if type(last) is not int or not _is_offset(last, current + 1):
        wrong.append("input.lost: the topic is the same, so `last` is known: expected the last offset that was lost")
        return before, wrong
    return before._replace(**{topic: last}), wrong


def _topic_of(before: Offsets, metadata: object) -> tuple[str | None, int, list[str]]:
    """`metadata.topic` as a field of `Offsets` and its offset so far, or None and what is wrong."""
    topic = metadata.get("topic") if isinstance(metadata, dict) else None
    if topic == "raw":
        return "raw", before.raw, []
    if topic == "control":
        return "control", before.control, []
    return None, -1, [f"metadata.topic: expected raw or control, got {topic!r}"]


def _item_faults(item: dict[str, Any], seq: int) -> list[str]:
    what, first, last = item.get("what"), item["first"], item["last"]
    wrong = []
    if last < first:
        wrong.append(f"ends at {last}, before it begins at {first}")
    if what not in ("refused", "repeated", "empty"):
        wrong.append(f"what: expected refused, repeated or empty, got {what!r}"[:120])
        return wrong
    digest = item.get("sha256")
    if what == "empty":
        if "sha256" in item:
            wrong.append("sha256: an empty offset holds no record to have a digest")
    elif not isinstance(digest, str) or _digest(digest) is None:
        wrong.append(f"sha256: expected 64 hex digits in lower case, got {digest!r}"[:160])
    reason = item.get("reason")
    if what == "refused":
        if not isinstance(reason, str) or _reason(reason) is None:
            wrong.append(f"reason: expected 1 to {MAX_REASON_BYTES} printable ASCII characters, got {reason!r}"[:300])
    elif "reason" in item:
        wrong.append(f"reason: only a refused record has one, this is {what}")
    if "of" in item:
        of = item["of"]
        if what != "repeated" or first != last:
            wrong.append("of: only a single repeated record has one")
        if type(of) is not int or not 0 <= of < seq:
            wrong.append(f"of: expected a seq below this entry's {seq}, got {of!r}")
    return wrong


def _is_offset(value: object, least: int) -> bool:
    return type(value) is int and least <= value <= MAX_SAFE_INTEGER
