"""What a chain has promised to keep, and what legal holds keep: by its own sealed statements. Reads only.

Statements that have left Postgres are looked for where they still are; an answer that lacks some is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from sealstream.doctor.asking import Asking
from sealstream.errors import NotCanonical, Unavailable
from sealstream.events import parse_timestamp
from sealstream.layout import ChainSettings, Entry, Retention, longest_retention, read_retention
from sealstream.layout.archive import DESTROYED_ACTION, parse_archive_key
from sealstream.layout.chains import RETENTION_EXTENDED, STORE_EXPIRED
from sealstream.layout.holds import HOLD_LIFTED, HOLD_SET, Hold, after_statement
from sealstream.layout.leaving import why_not_expired
from sealstream.retention import archived_holds

__all__ = ["LET_GO", "in_force", "judged_let_go", "let_go", "promised_at", "sealed_promise", "standing_holds"]

LET_GO = (STORE_EXPIRED, DESTROYED_ACTION)
_EXTENDED = (RETENTION_EXTENDED,)


def sealed_promise(asking: Asking, chain: ChainSettings) -> Retention:
    """Entry 0's promise, and what extensions have made of it; what has left Postgres went by all that stood before."""
    gone = _said(asking.statements(chain, LET_GO), "retention")
    try:
        first = _entry_0(asking, chain)
    except Unavailable:
        if not gone:
            raise
        first = []  # the newest of what let it go says which policy was in force then
    return _longest([*first, *gone, *_said(asking.statements(chain, _EXTENDED), "to")])


def in_force(asking: Asking, chain: ChainSettings) -> Retention:
    """What commands go by: the longest of what is sealed and of the settings."""
    return longest_retention(sealed_promise(asking, chain), chain.retention)


def promised_at(asking: Asking, chain: ChainSettings, seq: int, *, whole: bool) -> Retention:
    """What was promised of entry `seq`: by entry 0, and by what was extended before it. Raises `Unavailable`.

    Of entries that have left Postgres only `whole` asks for statements that have left it, too, for which the archive is
    read through. Else it may be more than was promised, never less: the first extension that is there says what was in
    force before it, and so does what let entries go.
    """
    extended, left = asking.statements(chain, _EXTENDED), asking.stored(chain).first_seq
    first: list[Retention] = []
    if whole and seq < left:
        extended = [*asking.archived_statements(chain, _EXTENDED), *extended]
    if left == 0 or (whole and seq < left):
        with suppress(Unavailable):
            first = _entry_0(asking, chain)
    first = first or _said(extended[:1], "from") or _said(asking.statements(chain, LET_GO), "retention")
    if not first:
        raise Unavailable(f"what was promised of entry {seq:,} of chain {chain.name} is in no store any more")
    return _longest([*first, *_said([entry for entry in extended if entry.written.seq < seq], "to")])


def standing_holds(asking: Asking, chain: ChainSettings) -> tuple[Hold, ...]:
    """The legal holds that stand. Where statements may have left Postgres, the newest manifest carries their holds."""
    holds: tuple[Hold, ...] = ()
    if asking.stored(chain).first_seq > 0:
        holds = archived_holds(asking.archive(), chain.name)
    for entry in asking.statements(chain, (HOLD_SET, HOLD_LIFTED)):
        holds = after_statement(holds, entry.action, entry.metadata or {})
    return holds


def let_go(asking: Asking, chain: ChainSettings, entries: Iterable[Entry]) -> list[Mapping[str, Any]]:
    """What these `LET_GO` statements say that counts, by what was promised before each, as far as that is known."""
    extended = asking.statements(chain, _EXTENDED)
    first: list[Retention] = []
    with suppress(Unavailable):
        first = _entry_0(asking, chain)

    def promised(entry: Entry) -> Retention:
        before = [each for each in extended if each.written.seq < entry.written.seq]
        said = [*first, *_said([entry], "retention"), *_said(before, "to")]
        return _longest(said) if said else chain.retention

    return judged_let_go(entries, chain.name, promised)


def judged_let_go(
    entries: Iterable[Entry], chain: str, promised: Callable[[Entry], Retention]
) -> list[Mapping[str, Any]]:
    """What counts of them, since anybody who may write to the control topic can have one sealed.

    Of a list of what was destroyed only the segments of this chain whose time was over, named as they are.
    """
    found: list[Mapping[str, Any]] = []
    for entry in entries:
        said, written, promise = entry.metadata or {}, entry.written, promised(entry)
        if entry.action == DESTROYED_ACTION:
            over = parse_timestamp(written.sequenced_at) - timedelta(days=promise.archive_days)
            found.append({**said, "segments": [item for item in said["segments"] if _was_over(item, chain, over)]})
        elif not any(why_not_expired(said, written.seq, written.sequenced_at, each) for each in (promise, None)):
            found.append(said)
    return found


def _was_over(item: Mapping[str, Any], chain: str, over: datetime) -> bool:
    parsed = parse_archive_key(str(item["object"]))
    if parsed is None or (parsed[1].chain, parsed[1].last_seq) != (chain, item["last_seq"]):
        return False
    return parsed[1].date < f"{over:%Y-%m-%d}"


def _entry_0(asking: Asking, chain: ChainSettings) -> list[Retention]:
    return _said([asking.entry_0(chain)], "retention")


def _said(entries: list[Entry], member: str) -> list[Retention]:
    """What these statements name there; what is against the rules names nothing."""
    found = []
    for entry in entries:
        with suppress(NotCanonical):
            found.append(read_retention((entry.metadata or {}).get(member) or {}))
    return found


def _longest(promises: list[Retention]) -> Retention:
    if not promises:
        raise Unavailable("what the chain says that it promises is against the rules, and promises nothing")
    (promise, *more) = promises
    for each in more:
        promise = longest_retention(promise, each)
    return promise
