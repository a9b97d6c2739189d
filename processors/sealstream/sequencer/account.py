"""The account of one input topic: which offsets were passed over since its last entry, and why, in order.

What is noted here becomes the items of `input.passed` entries, which stand before the topic's next entry. The
invariant: the items of `settle()` fill the gap between the entry before and the next one exactly, whatever was noted.

Pure. A crash leaves nothing behind: what was noted and not settled is read again from the topic, since the chain's
tail says from which offset on.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Literal

from sealstream.sealing import MAX_ITEMS, MAX_REASON_BYTES

__all__ = ["Account", "Item", "refusal_reason"]

Item = dict[str, object]
"""As it is sealed: `what`, `first`, `last`, and `sha256`, `reason`, `of` where they belong."""


def refusal_reason(reason: str) -> str:
    """The sentence of a refusal as the account and the dead letters carry it: printable ASCII, at most 120 bytes."""
    shown = reason if reason.isascii() and reason.isprintable() else ascii(reason)[1:-1]
    return shown[:MAX_REASON_BYTES] or "refused"


class _Run:
    """Neighbours of the same `what` and `reason`, one item of the account."""

    __slots__ = ("digests", "first", "last", "of", "reason", "what")

    def __init__(self, what: str, first: int, last: int, reason: str | None = None, of: int | None = None) -> None:
        self.what = what
        self.first = first
        self.last = last
        self.reason = reason
        self.of = of
        self.digests = sha256()

    def item(self) -> Item:
        item: Item = {"what": self.what, "first": self.first, "last": self.last}
        if self.what != "empty":
            item["sha256"] = self.digests.hexdigest()
        if self.reason is not None:
            item["reason"] = self.reason
        if self.of is not None:
            item["of"] = self.of
        return item


class Account:
    """`topic`: `raw` or `control`. `next`: the first offset that is neither an entry nor noted."""

    def __init__(self, topic: Literal["raw", "control"], next: int) -> None:
        self.topic = topic
        self.next = next
        self.records = 0
        """How many records (not empty offsets) are noted and not settled."""
        self._runs: list[_Run] = []

    def __bool__(self) -> bool:
        return bool(self._runs)

    def skip_to(self, offset: int) -> None:
        """Every offset from `next` up to this one, left out, holds no record."""
        if offset > self.next:
            self._note("empty", offset - 1, None, None)

    def refused(self, offset: int, record_sha256: bytes, reason: str) -> None:
        """The record at `offset` is not acceptable; `reason` by `refusal_reason`."""
        self._record("refused", offset, record_sha256, reason, None)

    def repeated(self, offset: int, record_sha256: bytes, of: int | None) -> None:
        """The record at `offset` was sealed before, as entry `of` where that is known."""
        self._record("repeated", offset, record_sha256, None, of)

    def _record(self, what: str, offset: int, record_sha256: bytes, reason: str | None, of: int | None) -> None:
        self.skip_to(offset)
        self._note(what, offset, reason, of).digests.update(record_sha256)
        self.records += 1

    def _note(self, what: str, last: int, reason: str | None, of: int | None) -> _Run:
        run = self._runs[-1] if self._runs else None
        if run is None or of is not None or run.of is not None or run.what != what or run.reason != reason:
            run = _Run(what, self.next, last, reason, of)
            self._runs.append(run)
        run.last = last
        self.next = last + 1
        return run

    def settle(self) -> list[list[Item]]:
        """The items so far, for one `input.passed` each; they are no longer noted.

        100 items have at most 45,000 bytes (a reason of 120 bytes is the longest), so every list fits an entry.
        """
        items = [run.item() for run in self._runs]
        self._runs.clear()
        self.records = 0
        return [items[start : start + MAX_ITEMS] for start in range(0, len(items), MAX_ITEMS)]
