"""Ordinary life at a company, seeded: what people and services do when nobody does anything wrong.

People mistype passwords, work from home, travel, work late, go on leave, are denied things, meet a new kind of record,
export a list, break the glass with a reason. Services go on day and night, with a batch at two.
"""

from __future__ import annotations

import random

from tests.anomaly.stories import HOUR, Story, at

__all__ = ["company"]

_TYPES = ("patient_record", "appointment", "invoice", "lab_result")
_RARE_TYPES = ("report", "template", "consent", "referral", "prescription")
_BROWSER = "Mozilla/5.0 (X11; Linux x86_64) Firefox/150.0"


def company(people: int, services: int, days: int, seed: int = 1) -> Story:
    """So many actors' days, from `BEGIN` on."""
    story = Story()
    for number in range(people):
        _person(story, random.Random(seed * 1_000 + number), f"user-{number}", days)
    for number in range(services):
        _service(story, random.Random(seed * 1_000 + 500 + number), f"service-{number}", days)
    return story


def _person(story: Story, chance: random.Random, actor: str, days: int) -> None:
    begins = chance.choice([7.0, 8.0, 8.5, 9.0])
    pace = chance.uniform(25, 70)
    own = [f"p-{chance.randrange(20_000)}" for _ in range(80)]
    office, home = f"10.{chance.randrange(4)}.{chance.randrange(20)}", f"81.2.{chance.randrange(250)}"
    leave = chance.randrange(days)
    for day in range(days):
        is_free = day % 7 >= 5 or leave <= day < leave + 12
        if is_free and chance.random() > 0.004:
            continue
        network = home if chance.random() < 0.2 else office
        if chance.random() < 0.01:
            network = f"{chance.randrange(80, 200)}.{chance.randrange(250)}.{chance.randrange(250)}"
        fields = {
            "actor_id": actor,
            "ip_address": f"{network}.{10 + day // 7 % 3}",
            "user_agent": _BROWSER,
            "tenant": "clinic",
        }
        now = at(day, begins + chance.gauss(0, 0.3))
        for _ in range(chance.choice([0, 0, 0, 0, 0, 0, 1, 2, 4])):
            story.login(now, result="failure", **fields)
            now += chance.uniform(3, 30)
        story.login(now, **fields)
        end = now + chance.gauss(8.5, 0.7) * HOUR
        if chance.random() < 0.03:
            end += chance.uniform(1, 3) * HOUR
        while now < end:
            for _ in range(max(1, int(chance.lognormvariate(1.6, 0.9)))):
                now += chance.expovariate(1 / 20)
                _deed(story, chance, now, own, fields)
            now += chance.expovariate(1 / (pace * 60))


def _deed(story: Story, chance: random.Random, now: float, own: list[str], fields: dict[str, str]) -> None:
    resource, draw = chance.choice(own), chance.random()
    if draw < 0.7:
        story.add(now, resource_id=resource, resource_type=chance.choice(_TYPES), **fields)
    elif draw < 0.95:
        story.add(now, action="write", resource_id=resource, resource_type=chance.choice(_TYPES), **fields)
    elif draw < 0.97:
        story.add(now, action="read", result="denied", resource_id=resource, **fields)
    elif draw < 0.975:
        story.add(now, action="read", resource_type=chance.choice(_RARE_TYPES), resource_id="r-1", **fields)
    elif draw < 0.978:
        story.add(now, action="report.export", resource_type="report", resource_id="r-2", **fields)
    elif draw < 0.98:
        story.add(now, action="break_glass", resource_id=resource, reason="emergency", **fields)
    else:
        story.add(now, action="list", resource_type="appointment", resource_id="today", **fields)


def _service(story: Story, chance: random.Random, actor: str, days: int) -> None:
    fields = {"actor_id": actor, "actor_type": "service", "ip_address": f"10.9.0.{chance.randrange(250)}"}
    now, end = at(0, 0), at(days, 0)
    while now < end:
        now += chance.expovariate(1 / 900)
        story.add(now, action="invoice.create", resource_type="invoice", resource_id=f"i-{now:.0f}", **fields)
    for day in range(days):
        for number in range(chance.randrange(80, 160)):
            story.add(at(day, 2) + number * 3, action="read", resource_id=f"i-{day}-{number}", **fields)
