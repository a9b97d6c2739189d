"""Continuity: what one entry must satisfy after the one before. Whoever reads a chain checks it with these functions.

A `Tip` is all that must be remembered of the entries so far. `check_next` compares one sealed entry with it: its hash,
its link, its number, chain, version and times, and the account of the input offsets. What it can't see from two
neighbours is the caller's: that the body is canonical JSON (`is_canonical`), and that a signed root holds.

The invariant: an entry without problems moves the tip by exactly one. Pure functions: a crash leaves nothing behind, a
reader starts again from a tip that it trusts (`start_tip`, or `tip_after` a trusted entry).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from itertools import islice
from typing import Any, NamedTuple

import msgspec

from sealstream.errors import ChainBroken, NotCanonical
from sealstream.sealing.account import Offsets, after_input_lost, after_input_passed
from sealstream.sealing.canonical import MAX_SAFE_INTEGER
from sealstream.sealing.seal import (
    MAX_ENTRY_BYTES,
    MAX_EVENT_BYTES,
    SEAL_BYTES,
    Sealed,
    Written,
    genesis_hash,
    split_sealed,
)
from sealstream.sealing.written import (
    TIME_BYTES,
    WRITTEN_START,
    is_date,
    is_time_bytes,
    match_written,
    read_written,
)

__all__ = ["Checked", "Problem", "Tip", "check_entries", "check_next", "next_tip", "start_tip", "tip_after"]


class Tip(NamedTuple):
    """The chain after `size` entries: the last one's hash as its seal claims it, its offsets and time.

    Behind a fault, so that one fault is told once: `hash` is empty when it could not be read, and `recomputed` is what
    the bytes of an edited entry give instead, to either of which the next entry may link.
    """

    size: int
    hash: bytes
    raw_offset: int
    control_offset: int
    sequenced_at: str
    recomputed: bytes = b""


class Problem(NamedTuple):
    """What does not hold, and where. `last_seq` for a run of entries (`missing`), from `seq` on.

    `kind`: `edited` the bytes do not have the hash that their seal claims; `missing` entries are not there;
    `duplicated` the entry before, once more; `reordered` an entry behind its place; `forked` sealed upon another
    history than the one before it; `unaccounted` input offsets are passed over or counted twice; `invalid` sealed, but
    against the rules.
    """

    kind: str
    seq: int | None
    detail: str
    last_seq: int | None = None


class Checked(NamedTuple):
    """What a run of entries gave: the tip after them, each entry's hash as claimed, and every problem."""

    tip: Tip
    hashes: list[bytes]
    problems: list[Problem]


class _Statement(msgspec.Struct):
    action: str
    timestamp: str
    metadata: dict[str, Any] | None = None


_CHAIN = WRITTEN_START.decode()
_END = '","v":1},'
# Where `sequenced_at` stands in a sealed entry, from its end; the seal begins with the comma.
_TIME_FROM = -(SEAL_BYTES + len(_END) - 1 + TIME_BYTES)
_TIME_TO = _TIME_FROM + TIME_BYTES

_decode_statement = msgspec.json.Decoder(_Statement).decode


def start_tip(origin: str) -> Tip:
    """Before the first entry of the chain with this origin."""
    return Tip(0, genesis_hash(origin), -1, -1, "")


def tip_after(sealed: Sealed | bytes) -> Tip:
    """The tip that a trusted entry leaves behind. Raises `NotCanonical` when it is none."""
    if isinstance(sealed, bytes):
        sealed = split_sealed(sealed)
    written = read_written(sealed.body)
    return Tip(written.seq + 1, sealed.hash, written.raw_offset, written.control_offset, written.sequenced_at)


def next_tip(tip: Tip, sealed_value: bytes, chain: str) -> Tip:
    """The tip after an entry that holds in every respect. Raises `ChainBroken` with all that does not."""
    after, problems = check_next(tip, sealed_value, chain)
    if problems:
        raise ChainBroken(
            f"chain {chain}, entry {tip.size}: " + "; ".join(f"{kind}: {detail}" for kind, _, detail, _ in problems)
        )
    return after


def check_entries(tip: Tip, sealed_values: Iterable[bytes], chain: str) -> Checked:
    """`check_next` for a run of entries.

    `hashes` are what the Merkle tree grows by when there is no problem. With one they are claims, and empty for an
    entry without a readable seal.
    """
    values = sealed_values if isinstance(sealed_values, Sequence) else list(sealed_values)
    hashes: list[bytes] = []
    problems: list[Problem] = []
    while True:
        tip = _follow_events(tip, values, hashes, chain)
        if len(hashes) == len(values):
            return Checked(tip, hashes, problems)
        value = values[len(hashes)]
        tip, found = check_next(tip, value, chain)
        problems += found
        hashes.append(_claimed_hash(value) if found else tip.hash)


def _follow_events(tip: Tip, values: Sequence[bytes], hashes: list[bytes], chain: str) -> Tip:
    """Add the hashes of events, from `values[len(hashes)]` on, as long as each is just what must come next.

    Nearly all of a chain is events, each of which says nothing new about its place: so what the log must have written
    is written here, and compared. The first value that is anything else ends the run, and is looked at by the rules.
    """
    size, prev_hash, last_raw, control, last_time, _ = tip
    prev_hex = prev_hash.hex()
    left = len(values) - len(hashes)
    if size == 0 or max(size, last_raw) + left > MAX_SAFE_INTEGER:
        return tip
    for value in islice(values, len(hashes), None):
        own_hash = sha256(b"\0" + prev_hash + value[:-SEAL_BYTES] + b"}").digest()
        own_hex = own_hash.hex()
        between = f'","seq":{size},"sequenced_at":"'
        sequenced_at = value[_TIME_FROM:_TIME_TO]
        received_end = _TIME_FROM - len(between)
        received_at = value[received_end - TIME_BYTES : received_end]
        time = sequenced_at.decode("latin-1")
        tail = (
            f'{_CHAIN}{chain}","control_offset":{control},"kind":"event","raw_offset":{last_raw + 1},"received_at":"'
            f'{received_at.decode("latin-1")}{between}{time}{_END}"prev_hash":"{prev_hex}","hash":"{own_hex}"}}'
        ).encode()
        if not (
            value.endswith(tail)
            and 0 < len(value) - len(tail) < MAX_EVENT_BYTES
            and time >= last_time
            and is_time_bytes(sequenced_at)
            and is_time_bytes(received_at)
        ):
            break
        size, last_raw, last_time, prev_hash, prev_hex = size + 1, last_raw + 1, time, own_hash, own_hex
        hashes.append(own_hash)
    return tip if size == tip.size else Tip(size, prev_hash, last_raw, control, last_time)


def check_next(tip: Tip, sealed_value: bytes, chain: str) -> tuple[Tip, list[Problem]]:
    """The tip after `sealed_value` as it claims, and what does not hold (nothing, when all holds).

    An entry behind its place (`duplicated`, `reordered`) leaves the tip where it was.
    """
    size, prev_hash, last_raw, last_control, last_time, _ = tip
    own_hash = sha256(b"\0" + prev_hash + sealed_value[:-SEAL_BYTES] + b"}").digest()
    # Nearly every entry is an event or a control statement in whose bytes all is as expected. Whatever is not is looked
    # at rule by rule; so this may be in doubt, but never too kind.
    if sealed_value.endswith(f',"prev_hash":"{prev_hash.hex()}","hash":"{own_hash.hex()}"}}'.encode()):
        end = len(sealed_value) - SEAL_BYTES
        start = sealed_value.rfind(WRITTEN_START, 0, end)
        found = match_written(sealed_value, start, end) if 0 < start < MAX_EVENT_BYTES else None
        if found is not None:
            own_chain, control_text, kind, raw_text, received, seq_text, time = found.groups()
            raw, control, sequenced_at = int(raw_text), int(control_text), time.decode()
            if (
                (
                    (kind == b"event" and raw == last_raw + 1 and control == last_control)
                    or (kind == b"control" and control == last_control + 1 and raw == last_raw)
                )
                and int(seq_text) == size
                and size
                and own_chain == chain.encode()
                and sequenced_at >= last_time
                and received
                and is_date(time[:10])
                and is_date(received[:10])
            ):
                return Tip(size + 1, own_hash, raw, control, sequenced_at), []
    return _check_thoroughly(tip, sealed_value, chain)


def _check_thoroughly(tip: Tip, value: bytes, chain: str) -> tuple[Tip, list[Problem]]:
    """Every rule by itself, with a sentence for each that does not hold."""
    try:
        body, prev_hash, own_hash = split_sealed(value)
    except NotCanonical as error:
        return tip._replace(size=tip.size + 1, hash=b""), [Problem("edited", tip.size, str(error))]
    recomputed = sha256(b"\0" + prev_hash + body).digest()
    holds = recomputed == own_hash
    try:
        written = read_written(body)
    except NotCanonical as error:
        kind = "invalid" if holds else "edited"
        after = tip._replace(size=tip.size + 1, hash=own_hash, recomputed=recomputed)
        return after, [Problem(kind, tip.size, str(error))]
    linked = not tip.hash or prev_hash in (tip.hash, tip.recomputed)
    if not holds:
        edited = Problem("edited", tip.size if linked else written.seq, "the bytes do not have the hash of their seal")
        if linked or written.seq == tip.size:
            return _claimed_tip(tip.size + 1, own_hash, written, recomputed), [edited]
        if written.seq < tip.size:
            return tip, [edited]
        return _claimed_tip(written.seq + 1, own_hash, written, recomputed), [edited, _missing(tip.size, written.seq)]
    if written.seq < tip.size and not (linked and tip.hash):
        if own_hash == tip.hash:
            return tip, [Problem("duplicated", written.seq, "the entry before, once more")]
        return tip, [Problem("reordered", written.seq, f"stands where entry {tip.size} was expected")]
    problems = []
    if written.seq > tip.size and not (linked and tip.hash):
        problems.append(_missing(tip.size, written.seq))
        neighbour = False
    else:
        neighbour = True
        if written.seq != tip.size:
            problems.append(Problem("invalid", tip.size, f"its number is {written.seq}: expected {tip.size}"))
        if not linked:
            problems.append(
                Problem(
                    "forked",
                    written.seq,
                    f"its prev_hash is {prev_hash.hex()}, but the entry before it has the hash {tip.hash.hex()}",
                )
            )
    after = _claimed_tip((tip.size if neighbour else written.seq) + 1, own_hash, written)
    problems += _rules(tip, body, prev_hash, written, chain, neighbour=neighbour)
    return after, problems


def _rules(tip: Tip, body: bytes, prev_hash: bytes, written: Written, chain: str, *, neighbour: bool) -> list[Problem]:
    """What an authentic entry must satisfy; the account only when the entry before it is known (`neighbour`)."""
    seq = written.seq

    def invalid(detail: str) -> Problem:
        return Problem("invalid", seq, detail)

    problems = []
    if written.chain != chain:
        problems.append(invalid(f"an entry of the chain {written.chain!r}: expected {chain!r}"))
    if written.sequenced_at < tip.sequenced_at:
        problems.append(invalid(f"sequenced_at {written.sequenced_at} is before {tip.sequenced_at}, the entry before"))
    if len(body) > MAX_ENTRY_BYTES:
        problems.append(invalid(f"an entry of {len(body)} bytes: expected at most {MAX_ENTRY_BYTES}"))
    event_bytes = body.rfind(b',"written":{') + 1
    if event_bytes > MAX_EVENT_BYTES:
        problems.append(invalid(f"an event of {event_bytes} bytes: expected at most {MAX_EVENT_BYTES}"))
    before, claimed = Offsets(tip.raw_offset, tip.control_offset), Offsets(written.raw_offset, written.control_offset)
    expected = before
    wrong: list[str] = []
    if written.kind == "event":
        expected = before._replace(raw=before.raw + 1)
    elif written.kind == "control":
        expected = before._replace(control=before.control + 1)
    action = ""
    if written.kind == "log":
        try:
            statement = _decode_statement(body)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            return [*problems, invalid(f"not a statement of the log: {error}")]
        action, metadata = statement.action, statement.metadata
        if statement.timestamp != written.sequenced_at:
            problems.append(invalid(f"timestamp {statement.timestamp}: expected sequenced_at {written.sequenced_at}"))
        if action == "input.passed":
            expected, wrong = after_input_passed(before, seq, metadata)
        elif action == "input.lost":
            expected, wrong = after_input_lost(before, metadata, claimed)
        elif action == "chain.created" and seq == 0:
            origin = (metadata or {}).get("origin")
            if not isinstance(origin, str) or genesis_hash(origin) != prev_hash:
                problems.append(Problem("forked", 0, f"created with the origin {origin!r}, which its link denies"))
    if (seq == 0) != (action == "chain.created"):
        problems.append(invalid("expected `chain.created` as entry 0 and nowhere else"))
    if neighbour:
        problems += [Problem("unaccounted", seq, reason) for reason in wrong]
        if claimed != expected:
            problems.append(Problem("unaccounted", seq, _offsets_detail(written.kind, before, expected, claimed)))
    return problems


def _offsets_detail(kind: str, before: Offsets, expected: Offsets, claimed: Offsets) -> str:
    return "; ".join(
        f"{name}_offset is {got} after {was}: expected {wanted} for this {kind} entry"
        for name, was, wanted, got in zip(Offsets._fields, before, expected, claimed, strict=True)
        if wanted != got
    )


def _missing(first: int, found: int) -> Problem:
    return Problem("missing", first, f"entries {first} to {found - 1} are not here: {found} comes next", found - 1)


def _claimed_tip(size: int, own_hash: bytes, written: Written, recomputed: bytes = b"") -> Tip:
    return Tip(size, own_hash, written.raw_offset, written.control_offset, written.sequenced_at, recomputed)


def _claimed_hash(value: bytes) -> bytes:
    try:
        return split_sealed(value).hash
    except NotCanonical:
        return b""
