"""Judges a history: was everything that was emitted sealed once, in order, and is every store the chain?

The judge shares nothing with the product but the written format (docs/format.md): it recomputes with `hashlib` and
`json` alone, so a fault of the product's own hashing, accounting or deduplication can't hide in it. Pure.

    faults = check_history(origin=..., chain=[value, ...], emitted=[...], raw={offset: value}, control={...}, ...)

An empty list means that all holds. A fault is a sentence for a person. What a history may contain: events sent in their
canonical form, of which those that a harness knows to be valid are in `emitted` (the same bytes twice are a repeat on
purpose); anything else in the topics is garbage that must be refused.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

__all__ = ["Emitted", "StoredEntry", "check_history", "roots_of", "stored_entry"]

_SEAL_BYTES = 154
_MOST = 200
_CREATED = "chain.created"


class Emitted(NamedTuple):
    """An event that somebody sent. `canonical`: its bytes as sent. `acknowledged`: the sender was told that it arrived.
    `order`: rises with each event that one producer hands over.
    """

    id: str
    producer_id: str | None
    producer_seq: int | None
    canonical: bytes
    acknowledged: bool
    order: int


class StoredEntry(NamedTuple):
    """An entry as a store holds it; hashes are 32 bytes."""

    seq: int
    body: bytes
    prev_hash: bytes
    hash: bytes


class _Entry(NamedTuple):
    seq: int
    body: bytes
    prev_hash: bytes
    hash: bytes
    event: bytes
    fields: dict[str, Any]

    @property
    def kind(self) -> str:
        return str(self.fields["written"]["kind"])


def stored_entry(value: bytes) -> StoredEntry:
    """A sealed entry (a record of the chain's topic) as a store would hold it."""
    seal = json.loads(b"{" + value[-_SEAL_BYTES + 1 :])
    body = value[:-_SEAL_BYTES] + b"}"
    seq = json.loads(body)["written"]["seq"]
    return StoredEntry(seq, body, bytes.fromhex(seal["prev_hash"]), bytes.fromhex(seal["hash"]))


def check_history(
    *,
    origin: str,
    chain: Sequence[bytes],
    emitted: Iterable[Emitted],
    raw: Mapping[int, bytes | None] | Sequence[Mapping[int, bytes | None]],
    control: Mapping[int, bytes | None] | Sequence[Mapping[int, bytes | None]] = (),
    dead_letters: Mapping[int, bytes | None] | None = None,
    notes: Iterable[tuple[int, bytes]] = (),
    stores: Mapping[str, Sequence[StoredEntry]] | None = None,
    complete: bool = True,
) -> list[str]:
    """Everything that is wrong with a history, in words.

    `chain`: the committed records of the chain's topic, in order. `raw`, `control`: every committed record that the
    topic ever held, by offset; for a topic that was recreated, one mapping for each, in order. `dead_letters`: None:
    not looked at. `notes`: size and root (32 bytes) of every note that was ever written, committed or not. `stores`:
    by name, the entries as each store holds them, in its order. `complete`: the pipeline has come to rest, so that
    everything acknowledged must be sealed and every record accounted for.
    """
    faults: list[str] = []
    sent = list(emitted)
    valid = {one.canonical for one in sent}
    entries = _read_chain(origin, chain, faults)
    _check_events(entries, sent, complete, faults)
    _check_gaps(entries, faults)
    for topic, kind, held in (("raw", "event", raw), ("control", "control", control)):
        _Account(topic, kind, held, valid).check(entries, complete, dead_letters, faults)
    _check_notes(entries, notes, faults)
    for name, stored in (stores or {}).items():
        _check_store(name, stored, entries, faults)
    return faults[:_MOST]


# --- the chain itself


def _read_chain(origin: str, chain: Sequence[bytes], faults: list[str]) -> list[_Entry]:
    entries: list[_Entry] = []
    previous, time = sha256(origin.encode()).digest(), ""
    for index, value in enumerate(chain):
        try:
            entry = _read_entry(value)
            written = entry.fields["written"]
            if entry.seq != index:
                faults.append(f"chain: entry {index} has the number {entry.seq}")
            if entry.prev_hash != previous:
                faults.append(f"chain: entry {index} does not link to the entry before it")
            if sha256(b"\0" + entry.prev_hash + entry.body).digest() != entry.hash:
                faults.append(f"chain: entry {index} has a hash that is not its own")
            if written["sequenced_at"] < time:
                faults.append(f"chain: entry {index} is sealed at {written['sequenced_at']}, before the one before it")
            if (entry.fields["action"] == _CREATED and entry.kind == "log") != (index == 0):
                faults.append(f"chain: entry {index} is {entry.fields['action']}: only entry 0 is {_CREATED}")
        except (ValueError, KeyError, TypeError) as error:
            faults.append(f"chain: record {index} is no sealed entry: {error!r}: {value[:80]!r}")
            break
        previous, time = entry.hash, written["sequenced_at"]
        entries.append(entry)
    return entries


def _read_entry(value: bytes) -> _Entry:
    stored = stored_entry(value)
    fields = json.loads(stored.body)
    if json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() != stored.body:
        raise ValueError("its body is not canonical")
    event = stored.body[: stored.body.rindex(b',"written":{')] + b"}"
    return _Entry(*stored, event, fields)


# --- what was emitted


def _check_events(entries: list[_Entry], emitted: list[Emitted], complete: bool, faults: list[str]) -> None:
    """Acknowledged exactly once, others at most once, nothing that nobody sent, each producer's order kept."""
    sent: dict[bytes, Emitted] = {}
    orders: dict[bytes, list[int]] = defaultdict(list)
    for one in emitted:
        known = sent.get(one.canonical)
        sent[one.canonical] = one if known is None else known._replace(acknowledged=known[4] or one.acknowledged)
        orders[one.canonical].append(one.order)
    sealed: dict[bytes, int] = {}
    last: dict[str, tuple[int, int]] = {}
    for entry in entries:
        if entry.kind != "event":
            continue
        one = sent.get(entry.event)
        if one is None:
            faults.append(f"entry {entry.seq} holds an event that nobody sent: {entry.event[:120]!r}")
            continue
        if entry.event in sealed:
            faults.append(f"event {one.id} is sealed twice: as entry {sealed[entry.event]} and {entry.seq}")
            continue
        sealed[entry.event] = entry.seq
        if one.producer_id is not None:
            before, seq = last.get(one.producer_id, (-1, -1))
            # Of an event that was sent again, any copy may be the one that arrived.
            order = min((order for order in orders[entry.event] if order > before), default=None)
            if order is None:
                faults.append(
                    f"producer {one.producer_id}: entries {seq} and {entry.seq} stand in another order than sent"
                )
            else:
                last[one.producer_id] = (order, entry.seq)
    if complete:
        for one in sent.values():
            if one.acknowledged and one.canonical not in sealed:
                faults.append(
                    f"event {one.id} ({one.producer_seq} of {one.producer_id}) was acknowledged and is not sealed"
                )


def _check_gaps(entries: list[_Entry], faults: list[str]) -> None:
    """Each number that a producer skipped is stated by a `producer.gap` right behind the entry that shows it."""
    for kind in ("event", "control"):
        numbers: dict[str, set[int]] = defaultdict(set)
        stated: dict[str, set[int]] = defaultdict(set)
        top: dict[str, int] = defaultdict(lambda: -1)
        owed: dict[str, set[int]] = {}
        for entry in entries:
            fields = entry.fields
            if entry.kind == "log":
                _hear_statement(entry, numbers, stated, top, owed, faults)
                continue
            if owed:
                _not_stated(owed, entry.seq, faults)
            producer, number = fields.get("producer_id"), fields.get("producer_seq")
            if entry.kind != kind or producer is None:
                continue
            skipped = set(range(top[producer] + 1, number))
            top[producer] = max(top[producer], number)
            numbers[producer].add(number)
            claimed = (fields.get("metadata") or {}).get("next") if fields["action"] == "producer.closed" else None
            if kind == "event" and isinstance(claimed, int) and claimed > top[producer] + 1:
                skipped |= set(range(top[producer] + 1, claimed))
                top[producer] = claimed - 1
            skipped -= stated[producer]
            if skipped:
                owed[producer] = skipped
        if owed:
            _not_stated(owed, len(entries), faults)


def _hear_statement(
    entry: _Entry,
    numbers: dict[str, set[int]],
    stated: dict[str, set[int]],
    top: dict[str, int],
    owed: dict[str, set[int]],
    faults: list[str],
) -> None:
    facts = entry.fields.get("metadata") or {}
    if entry.fields["action"] == "producer.dropped":
        for listed in facts["producers"]:
            for memory in (numbers, stated, top):
                memory.pop(listed["producer_id"], None)  # type: ignore[attr-defined]
    if entry.fields["action"] != "producer.gap":
        return
    producer = facts["producer_id"]
    if producer not in top:
        return  # of a producer of the other kind, which is judged in its own round
    told = {number for first, last in facts["ranges"] for number in range(first, last + 1)}
    wrong = told & numbers[producer]
    if wrong:
        faults.append(f"entry {entry.seq}: producer.gap of {producer} names {sorted(wrong)}, which are sealed")
    beyond = told - owed.get(producer, set())
    if beyond - wrong:
        faults.append(
            f"entry {entry.seq}: producer.gap of {producer} names {sorted(beyond)[:9]}, which are not missing"
        )
    stated[producer] |= told
    left = owed.pop(producer, set()) - told
    if left:
        owed[producer] = left


def _not_stated(owed: dict[str, set[int]], seq: int, faults: list[str]) -> None:
    for producer, missing in owed.items():
        faults.append(f"before entry {seq}: no producer.gap says that {producer} misses {sorted(missing)[:9]}")
    owed.clear()


# --- every offset of the inputs


class _Account:
    """One input topic against what the chain says of it."""

    def __init__(
        self,
        topic: str,
        kind: str,
        held: Mapping[int, bytes | None] | Sequence[Mapping[int, bytes | None]],
        valid: set[bytes],
    ) -> None:
        self.topic, self.kind, self.valid = topic, kind, valid
        self.lives = [held] if isinstance(held, Mapping) else list(held) or [{}]
        self.life = 0
        self.at = -1
        self.refused: list[bytes] = []

    def check(
        self, entries: list[_Entry], complete: bool, dead: Mapping[int, bytes | None] | None, faults: list[str]
    ) -> None:
        field = f"{self.topic}_offset"
        for entry in entries:
            facts = entry.fields.get("metadata") or {}
            action = entry.fields["action"] if entry.kind == "log" else ""
            claimed = entry.fields["written"][field]
            if entry.kind == self.kind:
                self._entry(entry, faults)
            elif action == "input.passed" and facts.get("topic") == self.topic:
                for item in facts["items"]:
                    self._item(item, entry, entries, faults)
            elif action == "input.lost" and facts.get("topic") == self.topic:
                if facts["old_topic_id"] != facts["new_topic_id"]:
                    self.life += 1
                self.at = claimed
            if claimed != self.at:
                faults.append(f"entry {entry.seq}: {field} is {claimed}, but the account stands at {self.at}")
                self.at = claimed
        held = self._held()
        left = [offset for offset in held if offset > self.at]
        if complete and left:
            faults.append(f"{self.topic}: offsets {sorted(left)[:9]} hold records that the chain does not account for")
        if dead is not None:
            buried = set(dead.values())
            lost = [value for value in self.refused if value[:65_536] not in buried]
            if lost:
                faults.append(f"{self.topic}: {len(lost)} refused records are in no dead letter: {lost[0][:80]!r}")

    def _held(self) -> Mapping[int, bytes | None]:
        return self.lives[self.life] if self.life < len(self.lives) else {}

    def _entry(self, entry: _Entry, faults: list[str]) -> None:
        self.at += 1
        held = self._held()
        if self.at not in held:
            faults.append(f"entry {entry.seq} is of {self.topic} offset {self.at}, which holds no record")
        elif held[self.at] != entry.event and not _same(held[self.at], entry.event):
            faults.append(f"entry {entry.seq} is not the record at {self.topic} offset {self.at}")

    def _item(self, item: dict[str, Any], entry: _Entry, entries: list[_Entry], faults: list[str]) -> None:
        first, last, what, held = item["first"], item["last"], item["what"], self._held()
        where = f"entry {entry.seq}: {self.topic} offsets {first} to {last} are passed as {what}"
        if first != self.at + 1 or last < first:
            faults.append(f"{where}, but {self.at + 1} comes next")
        self.at = max(self.at, last)
        records = [held[offset] or b"" for offset in range(first, last + 1) if offset in held]
        if what == "empty":
            if records:
                faults.append(f"{where}, but hold {len(records)} records: {records[0][:80]!r}")
            return
        digest = sha256(b"".join(sha256(record).digest() for record in records)).hexdigest()
        if len(records) != last - first + 1 or digest != item["sha256"]:
            faults.append(f"{where}, but the digest is not that of their records")
            return
        if what == "refused":
            self.refused += records
            wronged = [record for record in records if record in self.valid]
            if wronged:
                faults.append(f"{where} ({item['reason']}), but a valid event is among them: {wronged[0][:120]!r}")
        else:
            self._repeats(item, records, entry.seq, entries, where, faults)

    def _repeats(
        self, item: dict[str, Any], records: list[bytes], seq: int, entries: list[_Entry], where: str, faults: list[str]
    ) -> None:
        of = item.get("of")
        before = entries[:seq] if of is None else [one for one in entries[of : of + 1] if one.seq < seq]
        for record in records:
            wanted = json.loads(record)
            if of is not None:
                found = any(one.kind == self.kind and _same(record, one.event) for one in before)
            else:
                number = (wanted.get("producer_id"), wanted.get("producer_seq"))
                found = any(
                    one.kind == self.kind and (one.fields.get("producer_id"), one.fields.get("producer_seq")) == number
                    for one in before
                )
            if not found:
                faults.append(f"{where}, but no such event was sealed before: {record[:120]!r}")


def _same(record: bytes | None, event: bytes) -> bool:
    try:
        return bool(json.loads(record or b"") == json.loads(event))
    except ValueError:
        return False


# --- what was signed, and what is stored


def roots_of(hashes: Sequence[bytes], sizes: Iterable[int]) -> dict[int, bytes]:
    """The RFC 6962 roots of the trees over the first `size` leaf hashes, for each size."""
    wanted = set(sizes)
    roots = {0: sha256(b"").digest()}
    peaks: list[tuple[int, bytes]] = []
    for size, leaf in enumerate(hashes, 1):
        peaks.append((1, leaf))
        while len(peaks) > 1 and peaks[-1][0] == peaks[-2][0]:
            (width, right), (_, left) = peaks.pop(), peaks.pop()
            peaks.append((2 * width, sha256(b"\1" + left + right).digest()))
        if size in wanted:
            root = peaks[-1][1]
            for _, left in reversed(peaks[:-1]):
                root = sha256(b"\1" + left + root).digest()
            roots[size] = root
    return roots


def _check_notes(entries: list[_Entry], notes: Iterable[tuple[int, bytes]], faults: list[str]) -> None:
    signed: dict[int, bytes] = {}
    for size, root in notes:
        if signed.setdefault(size, root) != root:
            faults.append(f"size {size} is signed with two roots: {signed[size].hex()} and {root.hex()}")
    right = roots_of([entry.hash for entry in entries], signed)
    for size, root in signed.items():
        if size > len(entries):
            faults.append(f"size {size} is signed, but the chain has {len(entries)} entries")
        elif right[size] != root:
            faults.append(f"size {size} is signed with the root {root.hex()}: it has {right[size].hex()}")


def _check_store(name: str, stored: Sequence[StoredEntry], entries: list[_Entry], faults: list[str]) -> None:
    for index, row in enumerate(stored):
        if index >= len(entries):
            faults.append(f"{name} holds {len(stored)} entries, the chain {len(entries)}")
            return
        if StoredEntry(*row) != StoredEntry(*entries[index][:4]):
            faults.append(f"{name}: entry {index} is not the chain's: it has the number {row.seq}")
            return
