"""The judge of histories: a good history has no fault, and each way of spoiling it is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest
from tests.histories.checker import Emitted, check_history, roots_of, stored_entry

from sealstream.events import canonical_event, control_statement
from sealstream.kafka import Record
from sealstream.layout import ChainSettings, ChainTopics, Retention
from sealstream.sealing import EMPTY_RANGE, extend, root, start_tip
from sealstream.sequencer import statements
from sealstream.sequencer.batch import Scribe
from sealstream.sequencer.deduplication import Deduplication

ORIGIN = "log.example/judged"
CHAIN = ChainSettings("judged", "log.example", "vkey", Retention("soc2", 366))


def event(n: int, producer: str | None = "p", number: int | None = None, text: str = "") -> bytes:
    """A valid event."""
    fields: dict[str, Any] = {
        "id": f"00000000-0000-4000-8000-{n:012d}",
        "timestamp": "2026-11-24T03:00:00.000000Z",
        "actor_id": "alice",
        "actor_type": "user",
        "action": "read",
        "resource_type": "record",
        "resource_id": f"{n}{text}",
        "result": "success",
    }
    if producer is not None:
        fields |= {"producer_id": producer, "producer_seq": n if number is None else number}
    return canonical_event(fields)


def emitted(canonical: bytes, order: int, *, acknowledged: bool = True) -> Emitted:
    fields = json.loads(canonical)
    return Emitted(fields["id"], fields.get("producer_id"), fields.get("producer_seq"), canonical, acknowledged, order)


def seal(batches: list[tuple[str, list[tuple[int, bytes]]]]) -> tuple[list[bytes], list[bytes]]:
    """The sealed entries, and the dead letters, of records in this order."""
    topics = ChainTopics.of(CHAIN.name)
    randomness = iter(range(1, 1000))
    scribe = Scribe(
        CHAIN.name,
        topics,
        start_tip(ORIGIN),
        Deduplication(),
        Deduplication(),
        randomness=lambda size: next(randomness).to_bytes(size, "big"),
    )
    scribe.begin(1_795_500_000_000_000_000)
    scribe.say(
        statements.chain_created(
            CHAIN._replace(vkey="log.example/judged+c74f20a3+AdQ4bvW/gP2sLxKkX4Ws0gV1r5jLLH6C0mXZRRzF5hBt"), b"n" * 32
        )
    )
    for kind, records in batches:
        scribe.take(kind, [Record(offset, 1_795_500_000_000, None, value) for offset, value in records])
    batch = scribe.finish()
    return [value for _, value in batch.entries], [letter.value for letter in batch.dead_letters]


def good() -> dict[str, Any]:
    """A history with everything in it."""
    garbage = b'{"id":"no event"}'
    raw = {
        0: event(0),
        1: event(1),
        2: event(1),  # sent again
        3: garbage,
        4: event(4),  # 2 and 3 are missing
        6: event(2),  # late; 5 is a marker
        7: event(7, "q", 0),
        8: event(8, None),
    }
    control = {
        0: control_statement(
            "store.expired",
            id="00000000-0000-4000-8000-0000000000ff",
            timestamp="2026-11-24T03:00:00.000000Z",
            actor_id="sealstream/test",
            resource_type="store",
            resource_id="postgres",
            metadata={"store": "postgres", "first_seq": 0, "last_seq": 1, "reason": "time is over"},
        )
    }
    chain, letters = seal(
        [("event", list(raw.items())[:3]), ("control", [(0, control[0])]), ("event", list(raw.items())[3:])]
    )
    hashes = [stored_entry(value).hash for value in chain]
    notes = [(size, root(extend(EMPTY_RANGE, hashes[:size]))) for size in range(1, len(hashes) + 1)]
    sent = [raw[0], raw[1], raw[1], raw[4], raw[6], raw[7], raw[8]]
    return {
        "origin": ORIGIN,
        "chain": chain,
        "emitted": [emitted(value, order) for order, value in enumerate(sent)],
        "raw": raw,
        "control": control,
        "dead_letters": dict(enumerate(letters)),
        "notes": notes,
        "stores": {"postgres": [stored_entry(value) for value in chain[:5]], "archive": []},
    }


def test_a_good_history_has_no_fault() -> None:
    assert check_history(**good()) == []


def test_roots_are_those_of_rfc_6962() -> None:
    leaves = [sha256(bytes([n])).digest() for n in range(9)]
    mine = roots_of(leaves, range(10))
    assert mine == {size: root(extend(EMPTY_RANGE, leaves[:size])) for size in range(10)}


def _entry_of(history: dict[str, Any], action: str) -> int:
    return next(i for i, value in enumerate(history["chain"]) if f'"action":"{action}"'.encode() in value)


def _reseal(history: dict[str, Any], values: list[bytes]) -> None:
    """A chain of these bodies, whose hashes and links are right: only what it says is wrong."""
    previous = sha256(ORIGIN.encode()).digest()
    chain = []
    for seq, value in enumerate(values):
        fields = json.loads(value)
        fields.pop("hash"), fields.pop("prev_hash")
        fields["written"]["seq"] = seq
        body = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        own = sha256(b"\0" + previous + body).digest()
        chain.append(body[:-1] + f',"prev_hash":"{previous.hex()}","hash":"{own.hex()}"}}'.encode())
        previous = own
    history["chain"] = chain
    history["notes"] = []
    history["stores"] = {}


def _lose(history: dict[str, Any]) -> None:
    _reseal(history, [value for value in history["chain"] if b'"resource_id":"8"' not in value])


def _double(history: dict[str, Any]) -> None:
    twice = next(value for value in history["chain"] if b'"resource_id":"8"' in value)
    _reseal(history, [*history["chain"], twice.replace(b'"raw_offset":8', b'"raw_offset":9')])
    history["raw"][9] = history["raw"][8]


def _swap(history: dict[str, Any]) -> None:
    sent = history["emitted"]
    sent[0], sent[3] = sent[0]._replace(order=sent[3].order), sent[3]._replace(order=sent[0].order)


def _invent(history: dict[str, Any]) -> None:
    history["emitted"] = [one for one in history["emitted"] if b'"resource_id":"8"' not in one.canonical]


def _unsay(action: str) -> Callable[[dict[str, Any]], None]:
    def spoil(history: dict[str, Any]) -> None:
        at = _entry_of(history, action)
        _reseal(history, [value for index, value in enumerate(history["chain"]) if index != at])

    return spoil


def _say_otherwise(action: str, old: bytes, new: bytes) -> Callable[[dict[str, Any]], None]:
    def spoil(history: dict[str, Any]) -> None:
        at = _entry_of(history, action)
        assert old in history["chain"][at], history["chain"][at]
        _reseal(history, [v.replace(old, new) if i == at else v for i, v in enumerate(history["chain"])])

    return spoil


def _edit_chain(at: int, old: bytes, new: bytes) -> Callable[[dict[str, Any]], None]:
    def spoil(history: dict[str, Any]) -> None:
        assert old in history["chain"][at]
        history["chain"][at] = history["chain"][at].replace(old, new)

    return spoil


def _set(name: str, change: Callable[[Any], Any]) -> Callable[[dict[str, Any]], None]:
    def spoil(history: dict[str, Any]) -> None:
        history[name] = change(history[name])

    return spoil


def _store(change: Callable[[list[Any]], list[Any]]) -> Callable[[dict[str, Any]], None]:
    def spoil(history: dict[str, Any]) -> None:
        history["stores"]["postgres"] = change(history["stores"]["postgres"])

    return spoil


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (_lose, "acknowledged and is not sealed"),
        (_double, "sealed twice"),
        (_swap, "in another order"),
        (_invent, "nobody sent"),
        (_unsay("producer.gap"), "no producer.gap says"),
        (_say_otherwise("producer.gap", b"[[2,3]]", b"[[2,4]]"), "which are sealed"),
        (_say_otherwise("producer.gap", b"[[2,3]]", b"[[2,2]]"), "no producer.gap says"),
        (_say_otherwise("producer.gap", b"[[2,3]]", b"[[2,3],[9,9]]"), "not missing"),
        (_unsay("input.passed"), "the account stands at"),
        (
            _say_otherwise("input.passed", b'"what":"repeated"', b'"reason":"r","what":"refused"'),
            "a valid event is among",
        ),
        (_say_otherwise("input.passed", b'"of":2', b'"of":1'), "no such event was sealed before"),
        (_say_otherwise("input.passed", b'"sha256":"', b'"sha256":"0'), "the digest is not"),
        (_say_otherwise("input.passed", b'"first":2', b'"first":1'), "comes next"),
        (_edit_chain(2, b"alice", b"mallo"), "a hash that is not its own"),
        (_set("chain", lambda chain: [*chain[:3], *chain[4:]]), "does not link"),
        (_set("chain", lambda chain: [chain[0], chain[0], *chain[1:]]), "has the number 0"),
        (_set("chain", lambda chain: [*chain, b"{}"]), "is no sealed entry"),
        (_set("notes", lambda notes: [*notes, (3, b"x" * 32)]), "two roots"),
        (_set("notes", lambda notes: [(3, b"x" * 32)]), "is signed with the root"),
        (_set("notes", lambda notes: [(99, b"x" * 32)]), "but the chain has"),
        (_set("raw", lambda raw: {**raw, 9: b"late"}), "does not account for"),
        (_set("raw", lambda raw: {k: v for k, v in raw.items() if k != 0}), "holds no record"),
        (_set("raw", lambda raw: {**raw, 0: event(77)}), "is not the record"),
        (_set("raw", lambda raw: {**raw, 5: b"x"}), "are passed as empty"),
        (_set("control", lambda control: {}), "holds no record"),
        (_set("dead_letters", lambda letters: {}), "in no dead letter"),
        (_store(lambda rows: [*rows[:2], *rows[3:]]), "is not the chain's"),
        (_store(lambda rows: [rows[0]._replace(hash=b"x" * 32)]), "is not the chain's"),
        (_store(lambda rows: [rows[0]._replace(body=b"{}")]), "is not the chain's"),
        (_set("stores", lambda s: {"archive": [stored_entry(v) for v in good()["chain"]] * 2}), "the chain"),
    ],
)
def test_each_way_of_spoiling_a_history_is_told(spoil: Callable[[dict[str, Any]], None], told: str) -> None:
    history = good()
    spoil(history)
    faults = check_history(**history)
    assert any(told in fault for fault in faults), faults


def test_what_nobody_was_told_may_be_missing_but_not_doubled() -> None:
    history = good()
    history["emitted"] = [one._replace(acknowledged=False) for one in history["emitted"]]
    history["emitted"].append(emitted(event(99, "lost", 0), 99, acknowledged=False))
    assert check_history(**history) == []
    _double(history)
    assert any("sealed twice" in fault for fault in check_history(**history))
