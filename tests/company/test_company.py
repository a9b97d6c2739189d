"""The generated company: valid events in order, the same for the same seed, with attacks where their labels say."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise

import pytest
from examples.company import STRENGTHS, Company, Happened, Label, Story
from examples.company.company import ATTACKS
from examples.company.scoring import Alarm, score
from examples.company.tables import BEGIN, END, tables, written_into

from sealstream.events import canonical_event, parse_timestamp


def small(seed: int) -> Company:
    return Company(seed, 200, days=6, warm_up=2, times=1)


@pytest.fixture(scope="module")
def happened() -> list[Happened]:
    return list(small(3))


def test_events_are_valid_in_order_and_each_its_own(happened: list[Happened]) -> None:
    for each in happened[::7]:
        canonical_event(each.event)
    assert len({each.event["id"] for each in happened}) == len(happened)
    assert all(one.at <= other.at for one, other in pairwise(happened))
    late = [each for each in happened if each.at - parse_timestamp(each.event["timestamp"]).timestamp() > 600]
    assert 0 < len(late) < len(happened) / 20


def test_the_same_seed_gives_the_same_events_and_another_gives_others(happened: list[Happened]) -> None:
    assert list(small(3)) == happened
    assert next(iter(small(4))).event != happened[0].event


def test_each_attack_has_its_events_within_its_window_by_whom_it_says(happened: list[Happened]) -> None:
    company = small(3)
    assert Counter(story.label[:2] for story in company.stories) == {
        (name, strength): 1 for name in ATTACKS for strength in STRENGTHS
    }
    of_label: dict[Label, list[Happened]] = defaultdict(list)
    for each in happened:
        if each.label is not None:
            of_label[each.label].append(each)
    for story in company.stories:
        if story.last_s > company.ends:
            continue
        events = of_label[story.label]
        assert events, story.label
        assert company.scored_from - 86_400 <= story.first_s <= story.last_s
        assert (int(events[0].at), int(events[-1].at)) == (story.first_s, story.last_s)
        about = {each.event["actor_id"] for each in events} | {each.event["ip_address"] for each in events}
        assert (story.actors | story.addresses) & about


def test_people_work_by_day_services_by_night(happened: list[Happened]) -> None:
    hours: dict[str, Counter[int]] = defaultdict(Counter)
    for each in happened:
        if each.label is None:
            who = each.event["actor_id"] if each.event["actor_type"] == "service" else each.event["source"]["service"]
            hours[who][int(each.at) // 3_600 % 24] += 1
    assert hours["billing-hamburg"].keys() == {0}  # at two in summer
    assert hours["clinic"][9] > 3 * hours["clinic"][1] > 0
    assert hours["audit-desk"][14] > 0 == hours["audit-desk"][3]


def alarm(detector: str, subject: str, first_s: int, last_s: int, kind: str = "actor") -> Alarm:
    return Alarm(detector, kind, subject, first_s, last_s, "high", f"{subject}/{first_s // 3_600}", "")


def test_a_score_counts_what_was_found_and_what_was_not() -> None:
    def story(number: int, strength: str, actor: str, by: tuple[str, ...]) -> Story:
        label = Label("snooping", strength, number)  # type: ignore[arg-type]
        return Story(label, frozenset([actor]), frozenset(["10.0.0.1"]), 10_000, 20_000, by)

    stories = [story(0, "weak", "ann", ("reads",)), story(0, "strong", "bob", ("reads", "spikes"))]
    alarms = [
        alarm("reads", "bob", 12_000, 15_000),
        alarm("other", "bob", 23_000, 23_600),  # behind it, and right, though it is meant for something else
        alarm("other", "ann", 12_000, 13_000),
        alarm("spikes", "bob", 24_000, 25_000),  # too late
        alarm("spikes", "cid", 12_000, 15_000),
        alarm("spikes", "10.0.0.1", 12_000, 15_000, "address"),
        alarm("spikes", "10.0.0.1", 12_000, 15_000),
    ]
    scored = score(stories, alarms, ["reads", "spikes", "other"], actors=500, days=2)
    assert [(each.name, each.right, each.false, each.meant, each.found) for each in scored.detectors] == [
        ("reads", 1, 0, 2, 1),
        ("spikes", 1, 3, 1, 1),
        ("other", 2, 0, 0, 0),
    ]
    assert (scored.recall, scored.false_rate, len(scored.false)) == (0.5, 3.0, 3)
    assert [story.actors for story in scored.misses] == [frozenset(["ann"])]
    assert [(each.strength, each.told, each.found, each.delay_s) for each in scored.stories] == [
        ("weak", 1, 0, None),
        ("medium", 0, 0, None),
        ("strong", 1, 1, 5_000),
    ]
    assert scored.detectors[2].recall is None
    page = f"before\n{BEGIN}\nold\n{END}\nafter"
    written = written_into(page, tables(scored, "score", events=9))
    assert written.startswith("before\n" + BEGIN)
    assert "| `reads` | 1 | 0 | 1.00 | 2 | 1 | 0.50 | 0.000 |" in written
    assert "old" not in written
    assert written_into(written, tables(scored, "score", events=9)) == written
    with pytest.raises(ValueError, match="no place for figures"):
        written_into("no marks", "x")
