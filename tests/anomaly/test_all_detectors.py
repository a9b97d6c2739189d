"""What holds of every detector: small state, words for people, settings with units, the same from a stored state."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from functools import cache
from typing import Any, get_type_hints
from zlib import crc32

import msgspec
import pytest
from tests.anomaly.ordinary import company
from tests.anomaly.stories import BEGIN, DAY, Story, at, watched
from tests.long_runs import long_run

from sealstream.anomaly.actions import traits_of
from sealstream.anomaly.detecting import Thresholds, epoch_of, second_at
from sealstream.anomaly.detectors import DETECTORS, PIPELINE_DETECTORS
from sealstream.anomaly.watching import chosen
from sealstream.layout.activity import Activity, AddressActivity, AddressCell, Cell, Received

EVERY = {**DETECTORS, **PIPELINE_DETECTORS}
_LARGEST_BYTES = 8_192
_ACTIONS = ("login", "read", "report.export", "role.grant", "user.delete", "break_glass", "write")
_NO_UNIT = re.compile(
    r"^(failures|slow_failures|actors|slow_actors|resources|slow_resources|types|slow_types|denials|slow_denials|entries"
    r"|uses|actions|grants|powers|networks|addresses|missing|high_missing|refused|quantile|deviations|fading|factor"
    r"|likelihood|usual_from|export_counts_as|zone|zones|lags|min_buckets|least_short|least_long|least_hour|least_day|least_week|least_new_week"
    r"|fresh_hour|fresh_day|older_periods|\w+_factor)$"
)
_UNIT = re.compile(r"(_s|_days|_weeks|_periods|_hours|bits|hours_away)$")


def hostile(records: int) -> Iterator[Activity]:
    """One actor's records by somebody who wants the state to grow: everything new all the time, over years."""
    chance, second, seq = random.Random(11), BEGIN, 0
    resources = [f"{chance.randrange(2**32):08x}" for _ in range(20_000)]
    for number in range(records):
        second += chance.choice((1, 1, 1, 2, 5, 30, 600, 3_000, 90_000 if number % 400 == 0 else 60))
        cells = []
        for _ in range(chance.choice((1, 1, 2))):
            seq += chance.choice((1, 2, 50))
            name = chance.choice(_ACTIONS)
            if chance.random() < 0.5:
                name += f".{chance.randrange(50_000)}" + "x" * chance.choice((0, 90))
            cells.append(
                Cell(
                    name,
                    "user" if name.startswith("role") else f"type-{chance.randrange(50_000)}" + "y" * 90,
                    chance.choice(("success", "success", "failure", "denied")),
                    chance.choice(("user", "user", "service")),
                    1,
                    [[seq, seq]],
                    f"2001:db8:{chance.randrange(60_000):x}:{chance.randrange(60_000):x}::{chance.randrange(60_000):x}",
                    second_at(second - chance.randrange(10 * 86_400))[:13] if chance.random() < 0.1 else None,
                    resources[(first := chance.randrange(19_000)) : first + chance.choice((1, 1, 60))],
                    chance.choice((0, 5_000)),
                    0,
                    chance.randrange(2),
                )
            )
        received = (
            [Received("r" * 200, f"role.grant.{number}", "user", "success", 1, [[seq, seq]])] if number % 7 == 0 else []
        )
        yield Activity(f"chain-{chance.randrange(6)}", second_at(second), "user-1", cells, received, "clinic")


def from_one_address(record: Activity) -> AddressActivity:
    cells = [
        AddressCell(f"user-{crc32(cell.action.encode()) % 90_000}", cell.action, cell.result, cell.count, cell.seqs)
        for cell in record.cells
    ]
    return AddressActivity(record.chain, record.second, "2001:db8::1", cells)


@pytest.mark.parametrize("records", [3_000, pytest.param(100_000, marks=long_run)])
def test_the_state_stays_small_through_hostile_records(records: int) -> None:
    detectors: dict[str, Any] = {each.name: each for each in chosen(DETECTORS, {})}
    states: dict[str, Any] = {name: each.state() for name, each in detectors.items()}
    largest, found = dict.fromkeys(states, 0), dict.fromkeys(states, 0)
    for number, record in enumerate(hostile(records)):
        second = epoch_of(record.second)
        for name, detector in detectors.items():
            seen = record if detector.subject == "actor" else from_one_address(record)
            states[name], findings = detector.detect(states[name], seen, second)
            found[name] += len(findings)
        if number % 100 == 0:
            for name, state in states.items():
                encoded = msgspec.json.encode(state)
                largest[name] = max(largest[name], len(encoded))
                states[name] = msgspec.json.decode(encoded, type=detectors[name].state)
    assert {name: size for name, size in largest.items() if size > _LARGEST_BYTES} == {}
    assert sum(found.values()) > 0


def test_an_actor_of_a_whole_season_is_small_too() -> None:
    detectors = [each for each in chosen(DETECTORS, {}) if each.subject == "actor"]
    states = [each.state() for each in detectors]
    for record in company(people=1, services=0, days=90, seed=3).records():
        if isinstance(record, Activity):
            for place, detector in enumerate(detectors):
                states[place], _ = detector.detect(states[place], record, epoch_of(record.second))
    assert sum(len(msgspec.json.encode(state)) for state in states) < 8_192


@pytest.mark.parametrize("name", EVERY)
def test_it_says_what_it_is(name: str) -> None:
    kind = EVERY[name]
    assert re.fullmatch(r"[a-z][a-z_]+[a-z]", kind.name)
    assert kind.name == name
    assert kind.says
    assert not kind.says.endswith(".")
    assert isinstance(kind.thresholds, Thresholds)
    assert kind.state() == msgspec.json.decode(msgspec.json.encode(kind.state()), type=kind.state)


@pytest.mark.parametrize("name", EVERY)
def test_each_threshold_is_documented_and_says_its_unit(name: str) -> None:
    kind = type(EVERY[name].thresholds)
    for field in msgspec.structs.fields(kind):
        assert f"`{field.name}`" in (kind.__doc__ or ""), field.name
        assert _UNIT.search(field.name) or _NO_UNIT.match(field.name), field.name
    assert get_type_hints(kind)


@pytest.mark.parametrize("name", EVERY)
def test_thresholds_come_from_settings_as_json_and_unknown_ones_are_named(name: str) -> None:
    whole = json.loads(msgspec.json.encode(EVERY[name].thresholds))
    (detector,) = chosen({name: EVERY[name]}, {name: whole})
    assert detector.thresholds == EVERY[name].thresholds
    with pytest.raises(msgspec.ValidationError, match="thresold"):
        chosen({name: EVERY[name]}, {name: {"thresold": 1}})


def test_ordinary_life_gives_the_same_whether_states_are_stored_or_records_come_twice() -> None:
    records = company(people=1, services=1, days=20, seed=5).records()[:4_000]
    again = [each for record in records for each in (record, record)]
    assert watched(again, stored=True) == watched(records)


@cache
def habits() -> list[Activity | AddressActivity]:
    return company(people=1, services=1, days=40, seed=9).records()


def attack(name: str, chains: tuple[str, str] = ("main", "phi")) -> list[Activity | AddressActivity]:
    """Habits of some weeks, and then what this detector is for, in two chains in turn."""
    story = Story()
    who = {"actor_id": "user-0", "ip_address": "198.51.100.9", "tenant": "clinic"}
    for number in range(400):
        moment, chain = at(40, 3) + number, chains[number % 2]
        if name == "failed_login_burst":
            story.login(moment, result="failure", chain=chain, **who)
        elif name == "password_spray":
            story.login(moment, result="failure", chain=chain, **(who | {"actor_id": f"user-{number}"}))
        elif name == "denied_scan":
            story.add(moment, result="denied", resource_id=f"x-{number}", chain=chain, **who)
        elif name == "break_glass_without_reason":
            story.add(moment, action="break_glass", resource_id=f"x-{number}", chain=chain, **who)
        elif name == "dormant_actor":
            story.add(moment + 50 * DAY, chain=chain, **who)
        elif name == "service_as_person":
            story.add(moment, chain=chain, **(who | {"actor_id": "service-0"}))
        elif name == "privilege_change_then_use":
            grant = {"actor_id": "root", "action": "role.grant", "resource_type": "user", "resource_id": "user-0"}
            story.add(moment, **(grant if number < 5 else who | {"action": "patient.delete", "chain": chain}))
        else:
            exports = name in ("first_seen", "mass_export")
            what = {"action": "payroll.export" if exports else "payroll.read", "resource_type": "payroll"}
            story.add(moment, resource_id=f"x-{number}", chain=chain, **what, **who)
    return habits() + story.records()


@pytest.mark.parametrize("name", DETECTORS)
def test_an_attack_is_one_alert_in_whatever_order_two_chains_come(name: str) -> None:
    records = attack(name)
    (alert,) = watched(records, [name])
    swapped, place = list(records), len(records) - 400
    while place < len(records) - 1:
        swapped[place : place + 2] = reversed(swapped[place : place + 2])
        place += 2
    (other,) = watched(swapped, [name])
    assert (other.subject, other.severity) == (alert.subject, alert.severity)
    again = [each for record in records[-800:] for each in (record, record)]
    assert watched(records[:-800] + again, [name]) == [alert]


@pytest.mark.parametrize("name", DETECTORS)
def test_a_state_that_knows_less_mostly_gives_the_same_alert(name: str) -> None:
    """Without the first days, and without the attack's first seconds, the id is the same."""
    records = attack(name, ("main", "main"))
    noticing = {"first_seen": {"bits": 6.0}} if name == "first_seen" else {}  # this person has met new things before
    (alert,) = watched(records, [name], noticing)
    begin = alert.window[0]
    without = [
        each for each in records if each.second >= "2026-09-09" and not begin <= each.second < begin[:17] + "02Z"
    ]
    assert [each.id for each in watched(without, [name], noticing)][-1:] == [alert.id]


@pytest.mark.parametrize("name", [name for name, kind in DETECTORS.items() if hasattr(kind, "concerns")])
def test_what_does_not_concern_it_changes_nothing(name: str) -> None:
    (detector,) = chosen({name: DETECTORS[name]}, {})
    state, passed_over = detector.state(), 0
    records = [each for each in (*hostile(2_000), *habits()) if isinstance(each, Activity)]
    for record in records:
        before = msgspec.json.encode(state)
        state, findings = detector.detect(state, record, epoch_of(record.second))
        if not traits_of(record) & detector.concerns:
            passed_over += 1
            assert not findings
            assert msgspec.json.encode(state) == before
    assert 100 < passed_over < len(records)
