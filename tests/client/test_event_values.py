"""Whatever a web request can put into an event, the event is sent; only an application's own mistakes are refused."""

from __future__ import annotations

import json
from collections import OrderedDict
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from ipaddress import ip_address
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealstream.client.values import acceptable_event
from sealstream.errors import InvalidEvent
from sealstream.events import MAX_EVENT_BYTES, validate_event

EVENT: dict[str, Any] = {
    "id": "0193a8f2-7c1e-7000-8000-0123456789ab",
    "timestamp": "2026-11-24T03:00:00Z",
    "actor_id": "user-123",
    "actor_type": "user",
    "action": "write",
    "resource_type": "patient_record",
    "resource_id": "patient-456",
    "result": "success",
    "producer_id": "p",
    "producer_seq": 0,
}


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class Word(StrEnum):
    YES = "yes"


def sent(**fields: Any) -> dict[str, Any]:
    _, canonical = acceptable_event({**EVENT, **fields})
    assert validate_event(canonical).canonical == canonical
    return json.loads(canonical)


@pytest.mark.parametrize(
    ("given_value", "expected"),
    [
        (Colour.RED, "red"),
        (Level.HIGH, 3),
        (Word.YES, "yes"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Decimal("12.30"), "12.30"),
        (ip_address("2001:db8::1"), "2001:db8::1"),
        (datetime(2026, 1, 2, 3, tzinfo=timezone(timedelta(hours=1))), "2026-01-02T02:00:00.000000Z"),
        (datetime(2026, 1, 2, 3), "2026-01-02T03:00:00"),
        (date(2026, 1, 2), "2026-01-02"),
        (time(3, 4), "03:04:00"),
        (OrderedDict(b=1, a=(2, 3)), {"a": [2, 3], "b": 1}),
        ({"z", "a"}, ["a", "z"]),
        (frozenset({3, 1}), [1, 3]),
        ({1: "a", Colour.RED: "b"}, {"1": "a", "red": "b"}),
        ({1: "a", "1": "b"}, {"1": "a", "1'": "b"}),
        (2**53, "9007199254740992"),
        pytest.param(10**5000, hex(10**5000), id="huge"),
        (1e300, "1e+300"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        ("a\0b", "a\ufffdb"),
        ("\ud800x", "\ufffdx"),
        ("\ud83d\ude00", "\U0001f600"),
        (-0.0, 0),
        (True, True),
        (None, None),
    ],
)
def test_each_kind_of_value_has_one_way_into_an_event(given_value: Any, expected: Any) -> None:
    assert sent(metadata={"v": given_value})["metadata"] == {"v": expected}


def test_ids_that_are_numbers_or_uuids_are_text() -> None:
    event = sent(actor_id=42, resource_id=UUID(int=7), tenant=Level.HIGH, ip_address=ip_address("::ffff:1.2.3.4"))
    assert (event["actor_id"], event["resource_id"], event["tenant"], event["ip_address"]) == (
        "42",
        "00000000-0000-0000-0000-000000000007",
        "3",
        "1.2.3.4",
    )
    assert sent(timestamp=datetime(2026, 1, 1, tzinfo=UTC))["timestamp"] == "2026-01-01T00:00:00.000000Z"


def test_an_address_that_is_none_is_kept_where_it_claims_nothing() -> None:
    event = sent(ip_address="unknown\0" + "x" * 200, metadata={"http_status": 200})
    assert "ip_address" not in event
    assert event["metadata"]["http_status"] == 200
    assert event["metadata"]["ip_address"].startswith("unknown\ufffdxxx")
    assert len(event["metadata"]["ip_address"].encode()) <= 100
    assert sent(ip_address="localhost")["metadata"] == {"ip_address": "localhost"}


def test_a_text_too_long_for_its_field_is_cut_and_told_from_others_that_begin_alike() -> None:
    one, other = (sent(resource_id="ü" * 600 + last)["resource_id"] for last in "ab")
    assert len(one.encode()) <= 512
    assert one.startswith("ü" * 240)
    assert one != other


def test_an_event_too_large_says_what_it_left_out() -> None:
    event = sent(new_values={"text": "x" * 70_000}, old_values={"text": "y"}, reason="r" * 2_000)
    assert event["new_values"]["left_out_bytes"] == 70_012
    assert len(event["new_values"]["sha256"]) == 64
    assert event["old_values"] == {"text": "y"}
    assert event["reason"].startswith("r" * 1_000)
    event = sent(changed_fields=["f" * 100] * 1_000)
    assert event["changed_fields"] == ["(1000 left out)"]


def test_a_structure_that_contains_itself_ends() -> None:
    endless: dict[str, Any] = {}
    endless["again"] = endless
    assert "(nested too deep)" in json.dumps(sent(metadata=endless))


@pytest.mark.parametrize(
    "fields",
    [
        {"metadata": {"x": b"bytes"}},
        {"metadata": {"x": object()}},
        {"metadata": [1]},
        {"result": "perhaps"},
        {"actor_type": "robot"},
        {"timestamp": datetime(2026, 1, 1)},
        {"ip_address": True},
        {"action": ""},
        {"resource_id": ""},
        {"resource_id": True},
        {"changed_fields": "name"},
        {"seq": 1},
    ],
)
def test_an_applications_mistake_is_refused_by_name(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidEvent) as refused:
        sent(**fields)
    assert refused.value.field.partition(".")[0] == next(iter(fields))


TEXTS = st.text(st.characters(exclude_categories=[]), max_size=700)  # NUL and lone surrogates among them
NUMBERS = st.integers() | st.floats() | st.integers(2**52, 2**70) | st.just(10**400)
PARSED = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS, inner, max_size=5),
    max_leaves=30,
)
OBJECTS = st.dictionaries(TEXTS, PARSED, max_size=5)


def _deep(levels: int) -> Any:
    value: Any = "bottom"
    for level in range(levels):
        value = [value] if level % 2 else {"in": value}
    return value


@settings(deadline=None, max_examples=60)
@given(
    OBJECTS,
    OBJECTS,
    st.lists(TEXTS, max_size=5),
    st.tuples(*[TEXTS] * 6),
    st.integers(0, 80),
    st.sampled_from(["", "\x01" * 30_000, "\U0001f600" * 20_000, "x" * 61_440]),
)
def test_whatever_a_request_can_carry_is_sent(
    old: dict[str, Any], new: dict[str, Any], changed: list[str], texts: tuple[str, ...], depth: int, padding: str
) -> None:
    identifier, session, agent, reason, tenant, address = texts
    _, canonical = acceptable_event(
        {
            **EVENT,
            "resource_id": identifier or "-",
            "session_id": session,
            "user_agent": agent + padding,
            "reason": reason + padding,
            "tenant": tenant,
            "ip_address": address,
            "old_values": old,
            "new_values": {**new, "deep": _deep(depth), "padding": padding},
            "metadata": {"padding": [padding] * 3},
            "changed_fields": changed,
        },
        MAX_EVENT_BYTES - 16,
    )
    assert len(canonical) <= MAX_EVENT_BYTES - 16
    assert validate_event(canonical).canonical == canonical
