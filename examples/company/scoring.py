"""Alerts held against what really happened: precision and recall, by detector and by attack. Pure.

An alert is right when it is about somebody of an attack (an actor or an address) and its window touches that attack's,
or begins at most an hour behind it; all others are false. An attack is found when one of the detectors that are meant
for it is right about it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from examples.company.stories import STRENGTHS, Story, Strength

__all__ = ["Alarm", "DetectorScore", "Score", "StoryScore", "score"]

_BEHIND_S = 3_600


class Alarm(NamedTuple):
    """What counts of an alert. `kind`: `actor` or `address`; first and last second of its window."""

    detector: str
    kind: str
    subject: str
    first_s: int
    last_s: int
    severity: str
    incident: str
    summary: str


class DetectorScore(NamedTuple):
    """`meant`: attacks that it should find; `found`: those of them that it did. `false_rate`: see `Score`."""

    name: str
    right: int
    false: int
    meant: int
    found: int
    false_rate: float

    @property
    def precision(self) -> float | None:
        """The share of its alerts that are right; None without an alert."""
        return self.right / (self.right + self.false) if self.right + self.false else None

    @property
    def recall(self) -> float | None:
        """The share of its attacks that it found; None where none is meant for it."""
        return self.found / self.meant if self.meant else None


class StoryScore(NamedTuple):
    """Attacks of one name and strength. `delay_s`: from an attack's beginning to its first right alert, the median."""

    name: str
    strength: Strength
    told: int
    found: int
    delay_s: int | None


class Score(NamedTuple):
    """`false_rate`: false alarms for each 1,000 actors and day; `false_incidents`: the same, an incident being one.

    `misses`: attacks that nobody found; `false`: the false alarms themselves.
    """

    detectors: Sequence[DetectorScore]
    stories: Sequence[StoryScore]
    actors: int
    days: int
    false_rate: float
    false_incidents: float
    misses: Sequence[Story]
    false: Sequence[Alarm]

    @property
    def recall(self) -> float:
        """Over all attacks; 1 where there were none."""
        told = sum(each.told for each in self.stories)
        return sum(each.found for each in self.stories) / told if told else 1.0


def score(
    stories: Sequence[Story], alarms: Iterable[Alarm], detectors: Sequence[str], *, actors: int, days: int
) -> Score:
    """`alarms`: of the scored days alone. `detectors`: all that looked. `actors`: how many did anything."""
    about: dict[tuple[str, str], list[Story]] = defaultdict(list)
    for story in stories:
        for actor in story.actors:
            about["actor", actor].append(story)
        for address in story.addresses:
            about["address", address].append(story)
    right: dict[str, int] = defaultdict(int)
    finds: dict[str, set[int]] = defaultdict(set)
    first_found: dict[int, int] = {}
    places = {id(story): place for place, story in enumerate(stories)}
    false = []
    for alarm in alarms:
        touched = [story for story in about[alarm.kind, alarm.subject] if _touches(alarm, story)]
        if not touched:
            false.append(alarm)
            continue
        right[alarm.detector] += 1
        for story in touched:
            if alarm.detector in story.found_by:
                place = places[id(story)]
                finds[alarm.detector].add(place)
                first_found[place] = min(alarm.last_s, first_found.get(place, alarm.last_s))
    per = 1_000 / max(actors * days, 1)
    return Score(
        [_detector(name, right[name], false, finds[name], stories, per) for name in detectors],
        _by_strength(stories, first_found),
        actors,
        days,
        len(false) * per,
        len({alarm.incident for alarm in false}) * per,
        [story for place, story in enumerate(stories) if place not in first_found],
        false,
    )


def _touches(alarm: Alarm, story: Story) -> bool:
    return alarm.last_s >= story.first_s and alarm.first_s <= story.last_s + _BEHIND_S


def _detector(
    name: str, right: int, false: Sequence[Alarm], found: set[int], stories: Sequence[Story], per: float
) -> DetectorScore:
    wrong = sum(alarm.detector == name for alarm in false)
    meant = sum(name in story.found_by for story in stories)
    return DetectorScore(name, right, wrong, meant, len(found), wrong * per)


def _by_strength(stories: Sequence[Story], first_found: dict[int, int]) -> list[StoryScore]:
    scores = []
    for name in dict.fromkeys(story.label.story for story in stories):
        for strength in STRENGTHS:
            places = [n for n, story in enumerate(stories) if story.label[:2] == (name, strength)]
            delays = sorted(max(0, first_found[n] - stories[n].first_s) for n in places if n in first_found)
            median = delays[len(delays) // 2] if delays else None
            scores.append(StoryScore(name, strength, len(places), len(delays), median))
    return scores
