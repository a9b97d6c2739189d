"""The small parts: bitmaps that count what is different, windows that slide, episodes, words of actions."""

from __future__ import annotations

import random
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealstream.anomaly.actions import ENABLE, EXPORT, GRANT, POWER, READ, is_named, traits, words_of
from sealstream.anomaly.episodes import Episode
from sealstream.anomaly.sketching import Distinct, digest_of, mark, marked
from sealstream.anomaly.windows import Window, add_ranges
from sealstream.anomaly.wording import counted, listed, rate, span


@pytest.mark.parametrize(("things", "within"), [(0, 0), (1, 0), (20, 1), (100, 4), (1_000, 30), (4_000, 200)])
def test_a_bitmap_counts_what_is_different(things: int, within: int) -> None:
    distinct = Distinct()
    for number in range(things):
        for _ in range(3):
            distinct.add(digest_of(f"thing-{number}"), 512)
    assert abs(distinct.count - things) <= within
    assert distinct.least <= distinct.count
    assert msgspec.json.decode(msgspec.json.encode(distinct), type=Distinct) == distinct
    distinct.clear()
    assert distinct.count == 0


def test_a_full_bitmap_still_answers() -> None:
    distinct = Distinct()
    for number in range(200_000):
        distinct.add(number * 2_654_435_761 % 2**32, 64)
    assert distinct.count > 2_000
    assert len(msgspec.json.encode(distinct)) < 200


def test_bitmaps_together_count_each_thing_once() -> None:
    one, other = bytearray(), bytearray()
    for number in range(60):
        mark(one, digest_of(f"a-{number}"), 128)
        mark(other, digest_of(f"a-{number + 30}"), 128)
    assert abs(marked(one, other, bytearray()) - 90) <= 5
    assert marked() == marked(bytearray()) == 0


@given(st.lists(st.tuples(st.integers(0, 5_000), st.integers(1, 5)), max_size=200))
def test_a_window_holds_what_it_covers_and_gives_back_the_rest(events: list[tuple[int, int]]) -> None:
    window, gone, seq = Window(), 0, 0
    for second, count in sorted(events):
        gone += sum(bucket.count for bucket in window.slide(second, 50, 12))
        window.bucket(second, 50).add(count, "main", [[seq, seq + count - 1]])
        seq += count
        oldest = second - second % 50 - 550
        assert (
            window.count
            == sum(each for at, each in sorted(events) if oldest <= at < second)
            + sum(each for at, each in sorted(events)[: sorted(events).index((second, count)) + 1] if at == second)
            or len([each for each in events if each == (second, count)]) > 1
        )
        assert len(window.buckets) <= 12
    assert window.count + gone == sum(count for _, count in events)
    if events:
        assert window.seqs("main")[-1][1] == seq - 1


def test_a_late_second_falls_into_the_newest_bucket() -> None:
    window = Window()
    window.slide(100, 10, 3)
    window.bucket(100, 10).add(1, "main", [[5, 5]])
    window.slide(97, 10, 3)
    window.bucket(97, 10).add(1, "phi", [[1, 1]])
    assert (window.count, window.start, window.end, window.chains) == (2, 100, 100, ["main", "phi"])


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 5)), max_size=60))
def test_ranges_stay_few_and_cover_everything(pairs: list[tuple[int, int]]) -> None:
    known: dict[str, list[list[int]]] = {}
    for first, length in pairs:
        add_ranges(known, "main", [[first, first + length]], 6)
    ranges = known.get("main", [])
    assert len(ranges) <= 6
    assert all(one[1] < other[0] for one, other in pairwise(ranges))
    for first, length in pairs:
        assert any(one[0] <= first and first + length <= one[1] for one in ranges)


def test_ranges_of_a_few_chains_are_kept() -> None:
    known: dict[str, list[list[int]]] = {}
    for number in range(50):
        add_ranges(known, f"chain-{number}", [[number, number]])
    assert len(known) == 3


@given(st.lists(st.integers(1, 400_000), min_size=1, max_size=300), st.sampled_from([60, 1_800, 86_400]))
def test_no_two_alerts_of_an_episode_and_no_two_with_one_name(gaps: list[int], quiet_s: int) -> None:
    chance, episode, second, keys, told = random.Random(1), Episode(), 1_000_000, [], []
    for gap in gaps:
        second += gap if chance.random() < 0.5 else gap % 100
        before = episode.last_s
        if episode.tells(second, quiet_s):
            keys.append(Episode.key_s(second, quiet_s))
            if told:
                assert second - before > quiet_s or second - told[-1] >= 86_400
            told.append(second)
    assert len(set(keys)) == len(keys) > 0


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("read", READ),
        ("patient.read", READ),
        ("get:/patients/{patient_id}", READ),
        ("GetObject", READ),
        ("record.access", READ),
        ("post:/patients/{patient_id}/export", EXPORT | POWER),
        ("report.download", EXPORT | POWER),
        ("role.grant", GRANT | POWER),
        ("AttachUserPolicy", GRANT | POWER),
        ("DetachUserPolicy", POWER),
        ("ListAccessKeys", READ),
        ("permission.revoke", POWER),
        ("user.delete", POWER),
        ("account.enable", ENABLE),
        ("ReactivateUser", ENABLE),
        ("account.disable", POWER),
        ("write", 0),
        ("invoice.create", 0),
        ("keyboard.press", 0),
        ("", 0),
    ],
)
def test_what_the_words_of_an_action_say(action: str, expected: int) -> None:
    assert traits(action) == expected


def test_words_and_names() -> None:
    assert words_of("iam:CreateAPIKey.v2") == {"iam", "create", "api", "key", "v"}
    assert is_named("vault.open", ["vault.*"])
    assert is_named("vault", ["vault"])
    assert not is_named("vaults", ["vault"])


def test_numbers_in_words() -> None:
    assert [span(each) for each in (0, 45, 600, 3_600, 5_000, 21_600, 40 * 86_400)] == [
        *("1 s", "45 s", "10 min", "1 h", "83 min", "6 h", "40 days"),
    ]
    assert [rate(each) for each in (3.44, 0.1, 0.01, 0.001)] == ["3.4 an hour", "0.1 an hour", "0.2 a day", "none"]
    assert counted(1, "address", "addresses") == "1 address"
    assert counted(2, "address", "addresses") == "2 addresses"
    assert listed(["a", "b", "c", "d"]) == "a, b, c and 1 more"
