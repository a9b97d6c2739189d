"""Many different resources read, against the actor's own hours and days."""

from __future__ import annotations

import random

import pytest
from tests.anomaly.stories import Story, at, watched

from sealstream.layout.alerts import Alert

NAME = "mass_read"


def habits(story: Story | None = None, days: int = 12, **fields: str) -> Story:
    """Five patients an hour, some of them again and again."""
    story, chance = story or Story(), random.Random(2)
    for day in range(days):
        for hour in range(9, 17):
            for _ in range(12):
                moment = at(day, hour) + chance.uniform(0, 3_000)
                story.add(moment, resource_id=f"p-{chance.randrange(5) + 5 * hour}", **fields)
    return story


def mass(story: Story, resources: int, *, moment: float = at(12), apart_s: float = 3, **fields: str) -> Story:
    for number in range(resources):
        story.add(moment + number * apart_s, **({"resource_id": f"m-{number}"} | fields))
    return story


@pytest.mark.parametrize(("resources", "alerts"), [(58, 0), (64, 1), (1_000, 1)])
def test_more_than_sixty_in_an_hour_are_a_mass_for_someone_who_reads_five(resources: int, alerts: int) -> None:
    assert len(mass(habits(), resources).alerts(NAME)) == alerts


def test_it_says_how_many_and_what_is_usual() -> None:
    (alert,) = mass(habits(), 300).alerts(NAME)
    assert alert.severity == "high"
    assert alert.summary == (
        "user-123 read about 61 different resources in 3 min; usual is 5 in 1 h, and 99 of 100 have at most 5"
    )
    assert alert.query.startswith("chain:main actor:user-123 result:success sealed_after:2026-09-19T09:00:00Z")


def test_the_same_few_records_again_and_again_are_no_mass() -> None:
    story = habits()
    for number in range(3_000):
        story.add(at(12) + number, resource_id=f"m-{number % 20}")
    assert story.alerts(NAME) == []


def test_who_takes_all_day_is_found_by_the_day() -> None:
    (alert,) = mass(habits(), 400, moment=at(12, 0), apart_s=200).alerts(NAME)
    assert alert.usual["limit"] == 60
    assert alert.summary.split(";")[0].endswith("3 h")


def test_an_export_is_one_thing_here() -> None:
    assert mass(habits(), 40, action="report.export", resource_type="report").alerts(NAME) == []


def test_half_as_many_again_as_the_greatest_day_is_too_much_for_who_always_reads_a_hundred() -> None:
    def day(resources: int) -> Story:
        story, chance = Story(), random.Random(4)
        for number in range(15):
            mass(story, chance.randrange(90, 101), moment=at(number, 8), apart_s=300)
        return mass(story, resources, moment=at(15, 8), apart_s=100)

    assert day(140).alerts(NAME) == []
    (alert,) = day(250).alerts(NAME)
    assert (alert.usual["most"], alert.severity) == (107, "high")


def test_a_second_in_which_thousands_are_read_counts_them_all() -> None:
    story = habits()
    mass(story, 3_000, apart_s=0.0001)
    (alert,) = story.alerts(NAME)
    assert alert.severity == "critical"
    assert 2_900 <= int(alert.seen["resources"]) <= 3_100


def test_a_newcomer_may_read_four_hundred_an_hour_and_a_new_service_anything() -> None:
    assert mass(Story(), 380).alerts(NAME) == []
    (alert,) = mass(Story(), 450).alerts(NAME)
    assert (alert.confidence, alert.usual["limit"]) == (0.5, 400)
    assert "what is usual is not known yet" in alert.summary
    assert mass(Story(), 5_000, apart_s=0.1, actor_type="service").alerts(NAME) == []


def test_denied_reads_and_writes_carry_nothing_off() -> None:
    assert mass(mass(habits(), 500, result="denied"), 500, action="write").alerts(NAME) == []


def test_a_limit_beyond_half_of_the_bitmap_is_kept_exactly() -> None:
    thresholds = {NAME: {"fresh_hour": 5_000, "fresh_day": 100_000}}
    story = mass(Story(), 6_500, apart_s=0.4)
    (alert,) = story.alerts(NAME, thresholds=thresholds)
    assert 5_000 < int(alert.seen["resources"]) < 5_050
    read = float(alert.window[1][14:16]) * 60 + float(alert.window[1][17:19])
    assert 4_600 < read / 0.4 < 5_400


def test_a_mass_is_told_once_while_it_goes_on() -> None:
    assert len(mass(habits(), 20_000, apart_s=0.5).alerts(NAME)) == 1


def test_repeats_and_a_stored_state_change_nothing() -> None:
    records = mass(habits(days=7), 200, moment=at(7)).records()
    again = [each for number, record in enumerate(records) for each in (*records[max(0, number - 2) : number], record)]
    alerts = watched(records, [NAME])
    assert watched(again, [NAME], stored=True) == alerts != []


def test_it_is_silent_in_ordinary_life(ordinary_alerts: list[Alert]) -> None:
    assert [alert for alert in ordinary_alerts if alert.detector == NAME] == []
