"""Event ids are UUIDv7: in order of time, and valid."""

from __future__ import annotations

import json
import uuid

from hypothesis import given
from hypothesis import strategies as st

from sealstream.events import new_event_id, uuid7, validate_event


def test_the_example_of_rfc_9562():
    """Appendix A.6: 2022-02-22 19:22:22.000 UTC; our fraction of the millisecond stands in its rand_a."""
    text = uuid7(1645557742000 * 1_000_000, bytes.fromhex("18C4DC0C0C07398F"))
    assert text == "017f22e2-79b0-7000-98c4-dc0c0c07398f"


@given(st.integers(0, 2**48 * 1_000_000 - 1), st.binary(min_size=8, max_size=8))
def test_an_id_is_a_version_7_uuid_of_its_time(unix_ns, randomness):
    id = uuid.UUID(uuid7(unix_ns, randomness))
    assert id.version == 7
    assert id.variant == uuid.RFC_4122
    assert id.int >> 80 == unix_ns // 1_000_000


@given(st.lists(st.integers(0, 10**19), min_size=2, max_size=2, unique=True))
def test_ids_sort_as_their_times_do(times):
    earlier, later = sorted(times)
    if later - earlier >= 245:  # the fraction of a millisecond has 12 bits
        assert uuid7(earlier, b"\xff" * 8) < uuid7(later, b"\0" * 8)


def test_ids_made_now_differ_and_are_valid(base):
    ids = {new_event_id() for _ in range(2000)}
    assert len(ids) == 2000
    for id in sorted(ids)[:5]:
        assert validate_event(json.dumps(base | {"id": id}).encode()).id == id


def test_clock_and_randomness_can_be_given():
    assert new_event_id(lambda: 10**18, lambda size: b"\x01" * size) == uuid7(10**18, b"\x01" * 8)
