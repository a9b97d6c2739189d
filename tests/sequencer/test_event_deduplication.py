"""Deduplication against a model that remembers every entry."""

from __future__ import annotations

from hashlib import sha256

from hypothesis import given, settings
from hypothesis import strategies as st

from sealstream.events import ValidEvent
from sealstream.sequencer.deduplication import Deduplication
from sealstream.sequencer.producers import MAX_MISSING_RANGES, ProducerState, Source

WINDOW = 6


def at(hour: int) -> str:
    return f"2026-11-{1 + hour // 24:02}T{hour % 24:02}:00:00.000000Z"


def event(id: str, producer_id: str | None, number: int | None, says: int = 0) -> ValidEvent:
    return ValidEvent(f"{id}/{producer_id}/{number}/{says}".encode(), id, producer_id, number, "read", None)


def digest(one: ValidEvent) -> bytes:
    return sha256(one.canonical).digest()


events = st.builds(
    lambda id, numbered, says: event(id, *numbered, says),
    st.sampled_from("abcdefgh"),
    st.just((None, None)) | st.tuples(st.sampled_from("pq"), st.integers(0, 12)),
    st.integers(0, 1),
)


@settings(max_examples=300)
@given(st.lists(events, max_size=60))
def test_every_verdict_is_what_the_whole_history_says(incoming: list[ValidEvent]) -> None:
    memory = Deduplication(recent_entries=WINDOW)
    history: list[ValidEvent] = []
    for one in incoming:
        recent = history[-WINDOW:]
        verdict = memory.judge(one, digest(one))
        what = verdict.what if verdict else None
        of = verdict.of if verdict else None
        same_number = [e for e in recent if one.producer_id and (e.producer_id, e.producer_seq) == one[2:4]]
        if one in recent:
            assert what == "repeat"
            assert of is not None
            assert history[of.seq] == one
            assert of.seq >= len(history) - WINDOW
        elif not same_number and one.producer_id and any((e.producer_id, e.producer_seq) == one[2:4] for e in history):
            assert (what, of) == ("repeat", None)
        elif any(e.id == one.id for e in recent) or same_number:
            assert what == "conflict"
            assert of is not None
            earlier = history[of.seq]
            assert earlier in recent
            assert earlier != one
            assert earlier.id == one.id or (earlier.producer_id, earlier.producer_seq) == one[2:4]
        else:
            assert verdict is None
        if what != "repeat":
            memory.sealed(one, digest(one), len(history), at(0))
            history.append(one)


def test_an_old_event_that_comes_again_is_a_repeat_though_a_recent_one_has_its_id() -> None:
    memory = Deduplication(recent_entries=1)
    old, same_id = event("a", "p", 0, 1), event("a", "p", 1, 2)
    for seq, one in enumerate((old, same_id)):
        memory.sealed(one, digest(one), seq, at(0))
    verdict = memory.judge(old, digest(old))
    assert verdict == ("repeat", None)


def test_of_several_entries_with_one_id_each_is_known_again() -> None:
    memory = Deduplication()
    first, second = event("a", None, None, 1), event("a", None, None, 2)
    memory.sealed(first, digest(first), 0, at(0))
    memory.sealed(second, digest(second), 1, at(0))
    for one, seq in ((first, 0), (second, 1)):
        verdict = memory.judge(one, digest(one))
        assert verdict is not None
        assert verdict.what == "repeat"
        assert verdict.of is not None
        assert verdict.of.seq == seq


def test_a_number_below_the_floor_is_unsure() -> None:
    memory = Deduplication()
    for index in range(MAX_MISSING_RANGES + 1):
        one = event(f"{index}", "p", 2 * index + 1)
        memory.sealed(one, digest(one), index, at(0))
    late = event("late", "p", 0)
    verdict = memory.judge(late, digest(late))
    assert verdict is not None
    assert verdict.what == "unsure"


def test_ranges_of_all_producers_together_are_bounded() -> None:
    memory = Deduplication(max_ranges=10)
    for index in range(100):
        one = event(f"{index}", f"p{index % 7}", 2 * index + 1)
        memory.sealed(one, digest(one), index, at(0))
        assert sum(len(state.missing) for state in memory.producers.values()) <= 10


def test_the_silent_are_named_once_and_dropped_after_a_month_the_closed_after_a_day() -> None:
    memory = Deduplication()
    for index, (name, hour) in enumerate((("early", 0), ("closed", 1), ("late", 30))):
        one = event(name, name, 0)._replace(closes_at=1 if name == "closed" else None)
        memory.sealed(one, digest(one), index, at(hour))
    assert memory.newly_silent(at(0)) == ["early"]
    assert memory.newly_silent(at(2)) == ["early"], "the closed are not silent"
    memory.silenced(["early"])
    assert memory.newly_silent(at(2)) == []
    assert memory.to_drop(at(2), "") == ["closed"]
    assert memory.to_drop(at(40), at(20)) == ["early", "closed"]
    again = event("again", "early", 1)
    memory.sealed(again, digest(again), 3, at(50))
    assert memory.newly_silent(at(51)) == ["late", "early"], "who spoke again can fall silent again"
    memory.drop(["closed"])
    assert "closed" not in memory.producers
    assert memory.changed() == {
        "early": memory.producers["early"],
        "closed": None,
        "late": memory.producers["late"],
    }


def test_of_too_many_producers_the_longest_silent_are_dropped() -> None:
    memory = Deduplication(max_producers=3)
    for index, name in enumerate("abcde"):
        one = event(name, name, 0)
        memory.sealed(one, digest(one), index, at(index))
    spoke_again = event("a2", "a", 1)
    memory.sealed(spoke_again, digest(spoke_again), 5, at(6))
    assert memory.overfull
    assert memory.to_drop("", "") == ["b", "c"]


def test_a_dropped_producer_keeps_its_recent_numbers() -> None:
    memory = Deduplication()
    one, other = event("a", "p", 0), event("b", "p", 0)
    memory.sealed(one, digest(one), 0, at(0))
    memory.drop(["p"])
    verdict = memory.judge(other, digest(other))
    assert verdict is not None
    assert verdict.what == "conflict"


def test_states_are_kept_in_order_of_last_seen_however_they_were_loaded() -> None:
    loaded = {name: ProducerState(next=1, last_seen=at(hour)) for name, hour in (("b", 5), ("a", 1), ("c", 3))}
    memory = Deduplication(loaded)
    assert memory.newly_silent(at(4)) == ["a", "c"]


def test_whose_a_producer_is_says_the_first_event_that_says_it_whichever_way_it_takes() -> None:
    said = [b'{"a":0}', b'{"a":1}', b'{"a":2,"source":{"service":"billing"}}', b'{"a":3,"source":{"service":"x"}}']
    events = [ValidEvent(canonical, str(n), "p", n, "read", None) for n, canonical in enumerate(said)]
    short, long = Deduplication(), Deduplication()
    ways = []
    for seq, one in enumerate(events):
        ways.append(short.sealed_in_turn(one, digest(one), seq, at(0)))
        if not ways[-1]:
            short.sealed(one, digest(one), seq, at(0))
        long.sealed(one, digest(one), seq, at(0))
    assert ways == [False, True, False, True]
    assert short.producers["p"].source == long.producers["p"].source == Source("billing", "")
