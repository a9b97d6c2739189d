"""Continuity: a chain that holds gives no problem; each fault gives its own, once, at its place."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealstream.errors import ChainBroken
from sealstream.sealing import (
    Checked,
    Problem,
    Sealed,
    Tip,
    Written,
    canonical_json,
    check_entries,
    check_next,
    continuity,
    entry_body,
    entry_hash,
    genesis_hash,
    next_tip,
    seal,
    split_sealed,
    start_tip,
    tip_after,
)

ORIGIN = "audit.example/main"
DIGEST = "ab" * 32


def at(second: int) -> str:
    return f"2026-11-24T03:{second // 60:02}:{second % 60:02}.000000Z"


class Chain:
    """Builds a chain as the sequencer would, or against the rules where a test says so."""

    def __init__(self) -> None:
        self.values: list[bytes] = []
        self.hash = genesis_hash(ORIGIN)
        self.raw = self.control = -1
        self.log("chain.created", {"origin": ORIGIN})

    def add(self, kind: str, event: dict[str, Any], **changed: Any) -> None:
        seq = len(self.values)
        received = None if kind == "log" else at(seq)
        written = Written("main", self.control, kind, self.raw, received, seq, at(seq))._replace(**changed)
        self.raw, self.control = written.raw_offset, written.control_offset
        sealed = seal(canonical_json(event), written, self.hash)
        self.hash = sealed.hash
        self.values.append(sealed.to_bytes())

    def event(self, action: str = "read", **changed: Any) -> None:
        self.raw += 1
        self.add("event", {"action": action, "id": f"{len(self.values)}"}, **changed)

    def control_statement(self, action: str = "store.repaired", **changed: Any) -> None:
        self.control += 1
        self.add("control", {"action": action}, **changed)

    def log(self, action: str, metadata: object = None, timestamp: str | None = None, **changed: Any) -> None:
        event = {"action": action, "timestamp": timestamp or at(len(self.values))}
        self.add("log", event | ({} if metadata is None else {"metadata": metadata}), **changed)

    def passed(self, items: object, topic: str = "raw", **changed: Any) -> None:
        self.log("input.passed", {"topic": topic, "items": items}, **changed)

    def problems(self) -> list[Problem]:
        return check_entries(start_tip(ORIGIN), self.values, "main").problems

    def faults(self) -> list[tuple[str, int | None]]:
        return [(problem.kind, problem.seq) for problem in self.problems()]


def refused(first: int, last: int, reason: str = "timestamp has no offset") -> dict[str, object]:
    return {"what": "refused", "first": first, "last": last, "sha256": DIGEST, "reason": reason}


def repeated(offset: int, of: int | None = None, last: int | None = None) -> dict[str, object]:
    item = {"what": "repeated", "first": offset, "last": offset if last is None else last, "sha256": DIGEST}
    return item if of is None else item | {"of": of}


def empty(first: int, last: int) -> dict[str, object]:
    return {"what": "empty", "first": first, "last": last}


def whole_chain() -> Chain:
    chain = Chain()
    chain.log("sequencer.started", {"host": "a", "version": "1"})
    chain.event()
    chain.control_statement()
    chain.event()
    chain.passed(
        [empty(2, 2), refused(3, 4), repeated(5, of=2), repeated(6, last=8), refused(9, 9, "other")], raw_offset=9
    )
    chain.event()
    chain.passed([empty(1, 4)], topic="control", control_offset=4)
    chain.log("chain.heartbeat")
    chain.control_statement()
    chain.event("input.passed")
    chain.control_statement("input.lost")
    chain.event()
    return chain


def test_a_chain_that_holds_has_no_problem_however_it_is_cut() -> None:
    chain = whole_chain()
    whole = check_entries(start_tip(ORIGIN), chain.values, "main")
    assert whole.problems == []
    assert whole.tip == Tip(len(chain.values), chain.hash, chain.raw, chain.control, at(len(chain.values) - 1))
    assert whole.hashes == [split_sealed(value).hash for value in chain.values]
    tip = start_tip(ORIGIN)
    for value in chain.values:
        tip = next_tip(tip, value, "main")
        assert tip == tip_after(value) == tip_after(split_sealed(value))
    assert tip == whole.tip


@settings(max_examples=150)
@given(st.data())
def test_no_change_of_a_byte_goes_unseen(data: st.DataObject) -> None:
    chain = whole_chain()
    number = data.draw(st.integers(0, len(chain.values) - 1))
    value = bytearray(chain.values[number])
    place = data.draw(st.integers(0, len(value) - 1))
    value[place] ^= data.draw(st.integers(1, 255))
    chain.values[number] = bytes(value)
    problems = chain.problems()
    assert problems[0][:2] == ("edited", number)
    assert [problem for problem in problems if problem.kind not in ("edited", "unaccounted", "invalid")] == []


@given(st.integers(1, 11))
def test_a_removed_entry_is_missing_and_nothing_else(number: int) -> None:
    chain = whole_chain()
    del chain.values[number]
    assert chain.problems()[0]._replace(detail="") == Problem("missing", number, "", number)
    assert len(chain.problems()) == 1


def test_removed_entries_are_one_problem_with_both_ends() -> None:
    chain = whole_chain()
    del chain.values[4:9]
    assert [problem._replace(detail="") for problem in chain.problems()] == [Problem("missing", 4, "", 8)]


def test_a_cut_head_is_missing() -> None:
    chain = whole_chain()
    del chain.values[:3]
    assert [problem._replace(detail="") for problem in chain.problems()] == [Problem("missing", 0, "", 2)]


def test_an_entry_twice_is_duplicated() -> None:
    chain = whole_chain()
    chain.values.insert(5, chain.values[4])
    assert chain.faults() == [("duplicated", 4)]


def test_swapped_entries_are_missing_and_reordered() -> None:
    chain = whole_chain()
    chain.values[4], chain.values[5] = chain.values[5], chain.values[4]
    assert chain.faults() == [("missing", 4), ("reordered", 4)]


def test_another_history_is_forked_where_it_begins() -> None:
    chain, other = whole_chain(), Chain()
    other.log("sequencer.started", {"host": "b", "version": "1"})
    other.event()
    chain.values[:3] = other.values
    assert chain.faults() == [("forked", 3)]


def test_an_edited_entry_that_was_sealed_anew_is_forked_at_the_next() -> None:
    chain = whole_chain()
    body, prev_hash, _ = split_sealed(chain.values[4])
    body = body.replace(b"read", b"Read")
    chain.values[4] = Sealed(body, prev_hash, entry_hash(prev_hash, body)).to_bytes()
    assert chain.faults() == [("forked", 5)]


def test_an_entry_edited_under_its_old_seal_is_told_once() -> None:
    chain = whole_chain()
    chain.values[4] = chain.values[4].replace(b'"read"', b'"Read"')
    assert chain.faults() == [("edited", 4)]
    other = whole_chain()
    other.values[4] = other.values[4].replace(other.values[4][-66:-2], b"0" * 64)
    assert other.faults() == [("edited", 4)]


@pytest.mark.parametrize("value", [b"", b"{}", b"x" * 500, b'{"a":1' + whole_chain().values[4][-154:]])
def test_what_is_no_sealed_entry_is_edited(value: bytes) -> None:
    chain = whole_chain()
    chain.values[4] = value
    assert chain.faults()[0] == ("edited", 4)
    assert {kind for kind, _ in chain.faults()} <= {"edited", "unaccounted"}


def test_an_entry_of_another_origin_does_not_begin_the_chain() -> None:
    problems = check_entries(start_tip("audit.example/other"), whole_chain().values, "main").problems
    assert [(problem.kind, problem.seq) for problem in problems] == [("forked", 0)]


def test_entry_0_that_names_another_origin_than_its_link_is_forked() -> None:
    chain = Chain()
    chain.values, chain.hash = [], genesis_hash(ORIGIN)
    chain.log("chain.created", {"origin": "audit.example/other"})
    assert chain.faults() == [("forked", 0)]


def test_a_chain_begins_with_chain_created_and_has_no_other() -> None:
    chain = Chain()
    chain.values, chain.hash = [], genesis_hash(ORIGIN)
    chain.event()
    assert chain.faults() == [("invalid", 0)]
    second = whole_chain()
    second.log("chain.created", {"origin": ORIGIN})
    assert second.faults() == [("invalid", 13)]


BROKEN_RULES = {
    "of another chain": lambda chain: chain.event(chain="other"),
    "before the entry before": lambda chain: chain.event(sequenced_at=at(5)),
    "number skipped": lambda chain: chain.event(seq=20),
    "number repeated": lambda chain: chain.event(seq=3),
    "a log statement happened at another time": lambda chain: chain.log("chain.heartbeat", timestamp=at(1)),
    "a log entry was received": lambda chain: chain.log("chain.heartbeat", received_at=at(1)),
    "an event was not received": lambda chain: chain.event(received_at=None),
    "a control statement was not received": lambda chain: chain.control_statement(received_at=None),
    "no time": lambda chain: chain.event(sequenced_at="2026-11-31T03:00:00.000000Z"),
    "received at no time": lambda chain: chain.event(received_at="2026-11-31T03:00:00.000000Z"),
    "of an unknown kind": lambda chain: chain.add("note", {"action": "read"}, received_at=None),
    "no statement": lambda chain: chain.add("log", {"id": "1"}),
    "too long": lambda chain: chain.event("a" * 61_440),
}


@pytest.mark.parametrize("rule", BROKEN_RULES)
def test_a_sealed_entry_against_a_rule_is_invalid(rule: str) -> None:
    chain = whole_chain()
    BROKEN_RULES[rule](chain)
    assert chain.faults() == [("invalid", 13)] or (rule.startswith("number") and ("invalid", 13) in chain.faults())


def test_the_longest_event_is_valid() -> None:
    chain = whole_chain()
    overhead = len(canonical_json({"action": "", "id": "13"}))
    chain.event("a" * (61_440 - overhead))
    assert chain.faults() == []
    chain.event("a" * (61_441 - overhead))
    assert chain.faults() == [("invalid", 14)]


def test_an_unknown_version_of_the_seal_is_refused() -> None:
    chain = whole_chain()
    body = entry_body(b'{"action":"read"}', Written("main", chain.control, "event", chain.raw + 1, at(13), 13, at(13)))
    body = body.replace(b'"v":1', b'"v":2')
    chain.values.append(Sealed(body, chain.hash, entry_hash(chain.hash, body)).to_bytes())
    problems = chain.problems()
    assert [(problem.kind, problem.seq) for problem in problems] == [("invalid", 13)]
    assert "written.v" in problems[0].detail


def test_an_unknown_member_of_written_and_an_unknown_statement_hold() -> None:
    chain = whole_chain()
    body = entry_body(b'{"action":"read"}', Written("main", chain.control, "event", chain.raw + 1, at(13), 13, at(13)))
    body = body.replace(b'"v":1}', b'"v":1,"zone":"b"}')
    chain.values.append(Sealed(body, chain.hash, entry_hash(chain.hash, body)).to_bytes())
    chain.hash, chain.raw = entry_hash(chain.hash, body), chain.raw + 1
    chain.log("moon.rose", {"phase": 0.25})
    assert chain.faults() == []


def test_an_entry_whose_leaf_fits_no_entry_bundle_is_invalid() -> None:
    chain = whole_chain()
    written = Written("main", chain.control, "event", chain.raw + 1, at(13), 13, at(13))
    body = entry_body(b'{"action":"read"}', written)
    spare = 65_535 - 32 - len(body) - len(',"zone":""')
    for size, faults in ((spare, []), (spare + 1, [("invalid", 13)])):
        longer = body.replace(b'"v":1}', b'"v":1,"zone":"' + b"a" * size + b'"}')
        value = Sealed(longer, chain.hash, entry_hash(chain.hash, longer)).to_bytes()
        found = check_next(tip_after(chain.values[-1]), value, "main")[1]
        assert [(problem.kind, problem.seq) for problem in found] == faults


BROKEN_ACCOUNTS = {
    "an event skips an offset": lambda chain: chain.event(raw_offset=14),
    "an event repeats an offset": lambda chain: chain.event(raw_offset=12),
    "an event moves the control offset": lambda chain: chain.event(control_offset=7),
    "a control statement skips an offset": lambda chain: chain.control_statement(control_offset=8),
    "a control statement moves the raw offset": lambda chain: chain.control_statement(raw_offset=13),
    "a log statement moves an offset": lambda chain: chain.log("chain.heartbeat", raw_offset=13),
    "an event that calls itself input.passed": lambda chain: chain.add(
        "event", {"action": "input.passed", "metadata": {"topic": "raw", "items": [empty(13, 14)]}}, raw_offset=14
    ),
    "a control statement that calls itself input.passed": lambda chain: chain.add(
        "control",
        {"action": "input.passed", "metadata": {"topic": "raw", "items": [empty(13, 14)]}},
        raw_offset=14,
        control_offset=7,
    ),
    "passed: a gap before": lambda chain: chain.passed([empty(14, 15)], raw_offset=15),
    "passed: a gap within": lambda chain: chain.passed([empty(13, 13), refused(15, 15)], raw_offset=15),
    "passed: an overlap": lambda chain: chain.passed([empty(13, 14), refused(14, 15)], raw_offset=15),
    "passed: backwards": lambda chain: chain.passed([empty(13, 12)], raw_offset=12),
    "passed: the entry moves further": lambda chain: chain.passed([empty(13, 13)], raw_offset=14),
    "passed: the entry does not move": lambda chain: chain.passed([empty(13, 13)]),
    "passed: the other topic": lambda chain: chain.passed([empty(13, 13)], raw_offset=13, control_offset=7),
    "passed: no topic": lambda chain: chain.passed([empty(13, 13)], topic="deadletter", raw_offset=13),
    "passed: no metadata": lambda chain: chain.log("input.passed", raw_offset=13),
    "passed: no items": lambda chain: chain.passed([]),
    "passed: items of another shape": lambda chain: chain.passed({"first": 13}, raw_offset=13),
    "passed: 101 items": lambda chain: chain.passed(
        [refused(13 + i, 13 + i, f"reason {i % 2}") for i in range(101)], raw_offset=113
    ),
    "passed: neighbours alike": lambda chain: chain.passed([refused(13, 13), refused(14, 14)], raw_offset=14),
    "passed: empty neighbours": lambda chain: chain.passed([empty(13, 13), empty(14, 14)], raw_offset=14),
    "passed: repeated neighbours": lambda chain: chain.passed([repeated(13), repeated(14)], raw_offset=14),
    "passed: unknown what": lambda chain: chain.passed([empty(13, 13) | {"what": "lost"}], raw_offset=13),
    "passed: empty with digest": lambda chain: chain.passed([empty(13, 13) | {"sha256": DIGEST}], raw_offset=13),
    "passed: refused without digest": lambda chain: chain.passed(
        [{"what": "refused", "first": 13, "last": 13, "reason": "a"}], raw_offset=13
    ),
    "passed: digest in upper case": lambda chain: chain.passed(
        [repeated(13) | {"sha256": DIGEST.upper()}], raw_offset=13
    ),
    "passed: refused without reason": lambda chain: chain.passed(
        [{"what": "refused", "first": 13, "last": 13, "sha256": DIGEST}], raw_offset=13
    ),
    "passed: empty reason": lambda chain: chain.passed([refused(13, 13, "")], raw_offset=13),
    "passed: reason too long": lambda chain: chain.passed([refused(13, 13, "a" * 121)], raw_offset=13),
    "passed: reason not ASCII": lambda chain: chain.passed([refused(13, 13, "é")], raw_offset=13),
    "passed: reason with newline": lambda chain: chain.passed([refused(13, 13, "a\n")], raw_offset=13),
    "passed: reason of a repeat": lambda chain: chain.passed([repeated(13) | {"reason": "a"}], raw_offset=13),
    "passed: of itself": lambda chain: chain.passed([repeated(13, of=13)], raw_offset=13),
    "passed: of for a run": lambda chain: chain.passed([repeated(13, of=2, last=14)], raw_offset=14),
    "passed: of for a refused": lambda chain: chain.passed([refused(13, 13) | {"of": 2}], raw_offset=13),
    "passed: of below 0": lambda chain: chain.passed([repeated(13, of=-1)], raw_offset=13),
    "passed: true is no offset": lambda chain: chain.passed([empty(13, 13) | {"last": True}], raw_offset=13),
    "lost: another first": lambda chain: chain.log(
        "input.lost", {"topic": "raw", "old_topic_id": "a", "new_topic_id": "b", "first": 12}, raw_offset=-1
    ),
    "lost: trimmed without last": lambda chain: chain.log(
        "input.lost", {"topic": "raw", "old_topic_id": "a", "new_topic_id": "a", "first": 13}, raw_offset=20
    ),
    "lost: trimmed, elsewhere": lambda chain: chain.log(
        "input.lost", {"topic": "raw", "old_topic_id": "a", "new_topic_id": "a", "first": 13, "last": 19}, raw_offset=20
    ),
    "lost: no topic ids": lambda chain: chain.log("input.lost", {"topic": "raw", "first": 13}, raw_offset=-1),
    "lost: moves the other topic": lambda chain: chain.log(
        "input.lost",
        {"topic": "raw", "old_topic_id": "a", "new_topic_id": "b", "first": 13},
        raw_offset=-1,
        control_offset=0,
    ),
    "lost: no metadata": lambda chain: chain.log("input.lost", raw_offset=-1),
}


@pytest.mark.parametrize("fault", BROKEN_ACCOUNTS)
def test_an_account_that_does_not_add_up_is_unaccounted(fault: str) -> None:
    chain = whole_chain()
    assert (chain.raw, chain.control) == (12, 6)
    BROKEN_ACCOUNTS[fault](chain)
    assert {(kind, seq) for kind, seq in chain.faults()} == {("unaccounted", 13)}
    chain.event()
    assert {(kind, seq) for kind, seq in chain.faults()} == {("unaccounted", 13)}, "one fault is told at its place only"


def test_an_account_may_say_all_that_the_rules_allow() -> None:
    chain = whole_chain()
    chain.passed(
        [repeated(13, of=12), repeated(14, of=12), repeated(15), repeated(16, of=0), repeated(17)], raw_offset=17
    )
    chain.passed([refused(18 + i, 18 + i, f"{'~' * 119}{i % 2}") for i in range(100)], raw_offset=117)
    chain.passed([refused(118, 118, f"{'~' * 119}1") | {"later": 1}], raw_offset=118)
    lost = {"topic": "raw", "old_topic_id": "a", "new_topic_id": "a", "first": 119, "last": 130}
    chain.log("input.lost", lost, raw_offset=130)
    chain.event()
    recreated = {"topic": "control", "old_topic_id": "a", "new_topic_id": "b", "first": 7}
    chain.log("input.lost", recreated, control_offset=-1)
    chain.control_statement()
    chain.log("input.lost", recreated | {"first": 1, "last": 9}, control_offset=41)
    chain.control_statement()
    assert chain.problems() == []


def test_a_broken_chain_stops_with_every_problem_in_one_message() -> None:
    chain = whole_chain()
    tip = tip_after(chain.values[-1])
    chain.event(raw_offset=20, chain="other")
    with pytest.raises(ChainBroken, match=r"entry 13: invalid: .*other.*; unaccounted: raw_offset is 20 after 12"):
        next_tip(tip, chain.values[-1], "main")
    after, problems = check_next(tip, chain.values[-1], "main")
    assert after == tip_after(chain.values[-1])
    assert [problem.kind for problem in problems] == ["invalid", "unaccounted"]


def test_the_quick_look_and_the_rules_one_by_one_agree() -> None:
    chain, tip = whole_chain(), start_tip(ORIGIN)
    for value in chain.values:
        assert check_next(tip, value, "main") == continuity._check_thoroughly(tip, value, "main")
        tip = next_tip(tip, value, "main")


def one_by_one(tip: Tip, values: list[bytes]) -> Checked:
    """`check_entries` as it is told: nothing but `check_next`."""
    hashes: list[bytes] = []
    problems: list[Problem] = []
    for value in values:
        tip, found = check_next(tip, value, "main")
        problems += found
        hashes.append(tip.hash)
    return Checked(tip, hashes, problems)


@pytest.mark.parametrize("part", ["written", "seal", "event"])
def test_a_run_gives_what_its_entries_give_one_by_one_whatever_one_byte_is(part: str) -> None:
    chain = Chain()
    for _ in range(5):
        chain.event()
    value = chain.values[3]
    written = value.index(b',"written"')
    places = {"event": range(written), "written": range(written, len(value) - 154), "seal": range(-154, 0)}[part]
    for place in places:
        for other in b'09Zx"}\xc3':
            changed = bytearray(value)
            changed[place] = other
            body = bytes(changed[:-154]) + b"}"
            resealed = Sealed(body, split_sealed(value).prev_hash, entry_hash(split_sealed(value).prev_hash, body))
            for fourth in {bytes(changed), resealed.to_bytes()}:
                values = [*chain.values[:3], fourth, *chain.values[4:]]
                got = check_entries(start_tip(ORIGIN), values, "main")
                assert (got.tip, got.problems) == one_by_one(start_tip(ORIGIN), values)[::2]
                assert bool(got.problems) == (fourth != value)


@pytest.mark.parametrize(
    "changed",
    [
        {"raw_offset": 4},
        {"raw_offset": 2},
        {"control_offset": 0},
        {"seq": 5},
        {"chain": "other"},
        {"received_at": "2026-02-30T00:00:00.000000Z"},
        {"received_at": "2026-11-24T03:00:60.000000Z"},
        {"received_at": None},
        {"sequenced_at": "2026-02-30T00:00:00.000000Z"},
        {"sequenced_at": "2026-11-24T03:00:00.000000Z"},
        {"sequenced_at": "9999-12-31T23:59:59.999999Z"},
    ],
)
def test_a_run_ends_at_an_entry_that_was_sealed_against_a_rule(changed: dict[str, Any]) -> None:
    chain = Chain()
    for _ in range(3):
        chain.event()
    raw = chain.raw
    chain.event(**changed)
    chain.raw = raw + 1
    chain.event()
    got = check_entries(start_tip(ORIGIN), chain.values, "main")
    assert (got.tip, got.problems) == one_by_one(start_tip(ORIGIN), chain.values)[::2]
    assert got.problems


@given(st.binary(max_size=400))
def test_any_bytes_get_an_answer(value: bytes) -> None:
    _, problems = check_next(start_tip(ORIGIN), value, "main")
    assert problems[0].kind == "edited"


@settings(max_examples=200)
@given(
    st.recursive(
        st.one_of(
            st.none(), st.integers(-2, 15), st.text(max_size=3), st.sampled_from(["raw", "control", "empty", DIGEST])
        ),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(
                st.sampled_from(["topic", "items", "what", "first", "last", "of", "reason", "sha256", "old_topic_id"]),
                inner,
            ),
        ),
    ),
    st.sampled_from(["input.passed", "input.lost", "chain.created", "chain.heartbeat"]),
)
def test_any_metadata_gets_an_answer(metadata: object, action: str) -> None:
    chain = whole_chain()
    chain.log(action, metadata)
    tip, _ = check_next(tip_after(chain.values[-2]), chain.values[-1], "main")
    assert tip.size == 14
