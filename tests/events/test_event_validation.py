"""What becomes of an event's bytes: accepted as they are, made canonical, or refused with a sentence."""

from __future__ import annotations

import json
import random
import sys
import time
from datetime import datetime
from decimal import Decimal
from uuid import UUID

import pytest
import rfc8785
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sealstream.errors import InvalidEvent
from sealstream.events import (
    FIELDS,
    MAX_EVENT_BYTES,
    SOURCE_FIELDS,
    ValidEvent,
    canonical_event,
    digest,
    validate_control,
    validate_event,
)
from sealstream.events.canonical_events import accept_canonical
from sealstream.events.validation import examine_event
from sealstream.sealing import is_canonical


def outcome(data: bytes) -> ValidEvent | InvalidEvent:
    try:
        return validate_event(data)
    except InvalidEvent as refused:
        return refused


def test_a_hostile_event_is_refused_with_a_sentence_or_comes_out_canonical(hostile, base):
    result = outcome(hostile.data)
    if hasattr(hostile.outcome, "words"):
        assert isinstance(result, InvalidEvent), result
        assert hostile.outcome.words in result.reason
        assert result.field == hostile.outcome.field
        assert result.reason.isascii()
        assert result.reason.isprintable()
        assert len(result.reason) < 400
    else:
        assert isinstance(result, ValidEvent), result
        event = json.loads(result.canonical)
        for name, value in hostile.outcome.fields.items():
            assert event.get(name) == value
            assert repr(event.get(name)) == repr(value) or isinstance(value, dict)
        for name, value in base.items():
            assert name in hostile.outcome.fields or event[name] == value
        assert is_canonical(result.canonical)
        assert rfc8785.dumps(event) == result.canonical
        assert validate_event(result.canonical) == result
        assert len(result.canonical) <= MAX_EVENT_BYTES


def test_canonical_spelling_does_not_get_a_refused_event_in(hostile):
    """The quick way sees the same faults: the corpus again, each refused event in canonical form where it has one."""
    if not hasattr(hostile.outcome, "words"):
        return
    try:
        value = json.loads(hostile.data.decode())
        data = rfc8785.dumps(value)
    except (ValueError, RecursionError, rfc8785.CanonicalizationError):
        return  # no canonical form at all
    if hostile.beyond in ("names", "size") and len(data) <= MAX_EVENT_BYTES:
        return  # the fault was in the spelling
    assert len(data) > MAX_EVENT_BYTES or accept_canonical(data) is None
    assert isinstance(outcome(data), InvalidEvent)


def test_python_values_get_the_same_verdict_as_bytes(hostile):
    try:
        value = json.loads(hostile.data.decode())
    except (ValueError, RecursionError):
        return
    if hostile.beyond in ("names", "size"):
        return
    try:
        made = canonical_event(value)
    except InvalidEvent:
        assert hasattr(hostile.outcome, "words")
    else:
        assert made == validate_event(hostile.data).canonical


def test_the_corpus_reaches_the_size_limit_exactly(corpus):
    accepted = {case.name: len(validate_event(case.data).canonical) for case in corpus if "61,440" in case.name}
    assert accepted == {"61,440 bytes": 61_440, "grows to 61,440 by its time": 61_440}


def test_what_is_canonical_is_sealed_as_it_came(full):
    data = rfc8785.dumps(full)
    valid = validate_event(data)
    assert valid.canonical is data or valid.canonical == data
    assert valid == ValidEvent(data, full["id"], "p-1", 0, "read", None)
    assert digest(data).hex() == __import__("hashlib").sha256(data).hexdigest()


@pytest.mark.parametrize(
    ("metadata", "quick"),
    [
        ({"text": "\U0001f600\uff5e", "list": ["\ue000", {"é": "\uffff"}]}, True),
        ({"\U0001f600": 1}, False),
        ({"a": [{"\ue000": 1}]}, False),
        ({"a": {"b": {"x\uff5ey": 1}}}, False),
        ({"\ud7ff": 1, "z": 2}, True),
    ],
)
def test_only_names_with_characters_from_u_e000_on_need_the_long_way(base, metadata, quick):
    data = rfc8785.dumps(base | {"metadata": metadata})
    assert (accept_canonical(data) is not None) == quick
    assert validate_event(data).canonical == data


def test_an_event_with_plain_texts_and_numbers_takes_the_quick_way(base):
    event = base | {"ip_address": "10.0.0.1", "metadata": {"duration_ms": 12.25, "tags": ["a", {"b": None}]}}
    assert accept_canonical(rfc8785.dumps(event)) is not None


def test_a_canonical_event_is_a_verbatim_prefix_of_its_entry():
    assert all(name < "written" for name in FIELDS)
    assert {"service", "version", "host", "environment", "authenticated_as"} == set(SOURCE_FIELDS)


@pytest.mark.parametrize(
    ("metadata", "closes_at"),
    [
        ({"next": 7}, 7),
        ({"next": 7.0}, 7),
        ({"next": 0}, 0),
        ({"next": -1}, None),
        ({"next": True}, None),
        ({"next": "7"}, None),
        ({"next": 1.5}, None),
        ({}, None),
        (None, None),
    ],
)
@pytest.mark.parametrize("indent", [None, 1])
def test_a_closing_event_states_where_its_stream_ends(base, metadata, closes_at, indent):
    event = base | {"action": "producer.closed", "metadata": metadata}
    assert validate_event(json.dumps(event, indent=indent).encode()).closes_at == closes_at
    assert validate_event(canonical_event(event)).closes_at == closes_at
    assert validate_event(json.dumps(event | {"action": "read"}).encode()).closes_at is None


def test_a_record_without_a_value_is_refused():
    for validate in (validate_event, validate_control):
        with pytest.raises(InvalidEvent, match="event is empty"):
            validate(None)


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ({"reason": "\ud800"}, "surrogate"),
        ({"actor_id": "\ud800" * 200}, "lone surrogate"),
        ({"metadata": {"\udfff": 1}}, "surrogate"),
        ({"metadata": {1: 2}}, "name that is not text: got int"),
        ({"metadata": {"x": object()}}, "is no JSON value: got object"),
        ({"metadata": {"x": float("nan")}}, "out of range"),
        ({"metadata": {"x": [float("-inf")]}}, "out of range"),
        ({"metadata": {"x": datetime(2026, 1, 1)}}, "is no JSON value: got datetime"),
        ({"metadata": {"x": {1}}}, "is no JSON value: got set"),
        ({"metadata": {"x": Decimal(1)}}, "is no JSON value: got Decimal"),
        ({"metadata": {"x": {None: 1}}}, "name that is not text: got NoneType"),
        ({"id": UUID(int=1)}, "is not a UUID"),
        ({"metadata": {"x": 10**5000}}, "out of range"),
        ({"timestamp": 5}, "is a number"),
        ({"reason": b"x"}, "is a Python bytes"),
        ({1: 2}, "is not a known field"),
        ({None: 2}, "is not a known field"),
    ],
)
def test_python_values_that_are_no_event_are_refused_like_bytes(base, event, words):
    with pytest.raises(InvalidEvent, match=words):
        canonical_event(base | event)


def test_a_cycle_in_python_values_is_refused(base):
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(InvalidEvent, match="nested too deep"):
        canonical_event(base | {"metadata": {"a": loop}})


def test_tuples_from_python_are_lists(base):
    assert b'"metadata":{"a":[1,2]}' in canonical_event(base | {"metadata": {"a": (1, 2)}})


# Values as JSON has them, with the awkward ones often.
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**54), 2**54)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([0.0, -0.0, 1e-7, 1e-6, 1e15, 1e16, 1e20, 2.0**53, 123456789.125, 1e-5])
    | st.text(max_size=20)
    | st.sampled_from(["\0", "\ue000", "\U0001f600", "\uffff", "\\u0000", '"\\/\b'])
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(st.text(max_size=6) | st.sampled_from(["\uff5e", "\U0001f600", "a"]), values, max_size=5)


def same_value(one: object, other: object) -> bool:
    """Equality of JSON values that tells true from 1, but not 1 from 1.0."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same_value(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same_value, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and one == other


@given(objects, st.booleans(), st.sampled_from([None, 1]))
def test_what_is_accepted_means_what_was_sent_and_is_a_fixed_point(metadata, sorted_keys, indent):
    event = {
        "id": "0193a8f2-7c1e-7000-8000-0123456789ab",
        "timestamp": "2026-11-24T03:00:00.123456Z",
        "actor_id": "user-1",
        "actor_type": "user",
        "action": "read",
        "resource_type": "patient_record",
        "resource_id": "patient-456",
        "result": "success",
        "metadata": metadata,
    }
    data = json.dumps(event, sort_keys=sorted_keys, indent=indent, ensure_ascii=not sorted_keys).encode()
    result = outcome(data)
    if isinstance(result, ValidEvent):
        assert same_value(json.loads(result.canonical), event)
        assert rfc8785.dumps(json.loads(result.canonical)) == result.canonical
        assert validate_event(result.canonical) == result
        assert canonical_event(event) == result.canonical
        quick = accept_canonical(result.canonical)
        assert quick is None or quick == examine_event(result.canonical)


def _random_event(rng: random.Random) -> bytes:
    event = {
        "id": "0193a8f2-7c1e-7000-8000-0123456789ab",
        "timestamp": "2026-11-24T03:00:00.123456Z",
        "actor_id": "üser-1",
        "actor_type": "user",
        "action": "producer.closed",
        "resource_type": "patient_record",
        "resource_id": "patient-456",
        "result": "success",
        "ip_address": "2001:db8::1",
        "producer_id": "p",
        "producer_seq": 5,
        "source": {"host": "h"},
        "changed_fields": ["a"],
        "metadata": {"next": 6, "f": 1.5, "deep": [[{"a": None}]], "n": -0.0},
    }
    for name in rng.sample(sorted(event), rng.randrange(3)):
        del event[name]
    return rfc8785.dumps(event)


TOKENS = [
    b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"0", b"-", b".", b"e9", b"null", b"true", b"\\u0000",
    b"\\ud800", b"\xff", b"\xc3", b"\xed\xa0\x80", b" ", b"\n", b"\0", b'"a":1,', b'"action":"x",', b"1" * 400,
    b"\xef\xbb\xbf",
]  # fmt: skip


def test_no_mutation_of_an_event_raises_anything_but_a_refusal_or_fools_the_quick_way():
    rng = random.Random(20261124)
    accepted = 0
    for _ in range(20_000):
        data = bytearray(_random_event(rng))
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(data))
            match rng.randrange(4):
                case 0:
                    data[at] = rng.randrange(256)
                case 1:
                    data[at:at] = rng.choice(TOKENS)
                case 2:
                    del data[at : at + rng.randrange(1, 12)]
                case _:
                    other = rng.randrange(len(data))
                    data[at:at] = data[other : other + rng.randrange(30)]
        mutated = bytes(data)
        result = outcome(mutated)
        if isinstance(result, ValidEvent):
            accepted += 1
            assert examine_event(mutated) == result
            assert validate_event(result.canonical) == result
        else:
            assert result.reason.isascii()
            assert result.reason.isprintable()
    assert 200 < accepted < 19_000  # neither all nor none: the mutations bite, and not too hard


@given(st.binary(max_size=200))
@example(b"\xff" * 100)
@example(b"{" * 50_000)
@example(b'{"":' * 15_000)
@example(b'{"a":[' * 10_000)
def test_random_bytes_are_refused(data):
    assert isinstance(outcome(data), InvalidEvent)


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":' + b"1" * 61_000 + b"}",
        b'{"a":0.' + b"1" * 61_000 + b"}",
        b'{"a":1' + b"0" * 61_000 + b"e-61000}",
        b'{"a":1e' + b"9" * 61_000 + b"}",
        b'{"a":-' + b"9" * 30_000 + b"." + b"9" * 30_000 + b"}",
        b"[" * 61_000,
        b'{"a":' * 12_000,
        b'{"metadata":{' + b",".join(b'"%d":0' % i for i in range(6000)) + b"}}",
        b'{"timestamp":"' + b"0" * 61_000 + b'"}',
        b'{"ip_address":"' + b":" * 61_000 + b'"}',
        b'"' + b"\\ud800" * 10_000 + b'"',
        b" " * 61_000,
    ],
    ids=lambda data: data[:16].decode(),
)
def test_no_bytes_of_the_largest_size_take_long(data):
    started = time.perf_counter()
    assert isinstance(outcome(data), InvalidEvent)
    assert time.perf_counter() - started < 0.5  # measured: below 0.005


def test_the_verdict_does_not_hang_on_how_deep_the_caller_stands(base):
    """An event of 32 levels passes, and one of thousands is refused, also close to Python's recursion limit."""
    deep = json.dumps(base).encode()[:-1] + b',"metadata":{"a":' + b"[" * 30 + b"]" * 30 + b"}}"

    def descend(levels: int) -> None:
        if levels:
            descend(levels - 1)
        else:
            assert isinstance(outcome(deep), ValidEvent)
            assert isinstance(outcome(b"[" * 60_000), InvalidEvent)

    descend(sys.getrecursionlimit() - 300)


@settings(max_examples=300)
@given(objects)
def test_the_quick_way_and_the_long_way_agree(metadata):
    event = {
        "id": "0193a8f2-7c1e-7000-8000-0123456789ab",
        "timestamp": "2026-11-24T03:00:00.123456Z",
        "actor_id": "user-1",
        "actor_type": "user",
        "action": "read",
        "resource_type": "patient_record",
        "resource_id": "patient-456",
        "result": "success",
        "new_values": metadata,
    }
    try:
        data = rfc8785.dumps(event)
    except rfc8785.CanonicalizationError:
        return
    quick = accept_canonical(data)
    try:
        slow = examine_event(data)
    except InvalidEvent:
        assert quick is None
    else:
        assert quick is None or quick == slow
