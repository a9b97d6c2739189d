"""Timestamps: one sealed form, and a way there and back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealstream.errors import InvalidEvent
from sealstream.events import canonical_timestamp, format_timestamp, parse_timestamp
from sealstream.sealing import is_time

offsets = st.integers(-23 * 60 - 59, 23 * 60 + 59).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=offsets)


@given(moments)
def test_a_time_survives_the_way_there_and_back(moment):
    text = format_timestamp(moment)
    assert len(text) == 27
    assert is_time(text)
    assert canonical_timestamp(text) == text
    assert parse_timestamp(text) == moment
    assert parse_timestamp(text).tzinfo is UTC


@given(moments)
def test_python_reads_and_writes_the_same_times(moment):
    """Another implementation of RFC 3339's common forms: datetime's own."""
    text = moment.isoformat(timespec="microseconds")
    assert canonical_timestamp(text) == format_timestamp(moment)
    assert datetime.fromisoformat(canonical_timestamp(text)) == moment


@given(moments, moments)
def test_texts_sort_as_the_times_do(one, other):
    assert (format_timestamp(one) < format_timestamp(other)) == (one < other)


@pytest.mark.parametrize("moment", [datetime(2026, 11, 24), datetime(2026, 11, 24, 3, 0, 0, 1)])
def test_a_time_without_zone_is_refused(moment):
    with pytest.raises(InvalidEvent, match="no offset"):
        format_timestamp(moment)


@pytest.mark.parametrize(
    "moment",
    [
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))),
        datetime(9999, 12, 31, 23, 59, tzinfo=timezone(timedelta(hours=-1))),
    ],
)
def test_a_time_outside_the_calendar_in_utc_is_refused(moment):
    with pytest.raises(InvalidEvent, match="0001 to 9999"):
        format_timestamp(moment)


@given(st.text(max_size=40) | st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,15}Z", fullmatch=True))
def test_only_the_sealed_form_is_canonical(text):
    if is_time(text):
        assert canonical_timestamp(text) == text
        assert format_timestamp(parse_timestamp(text)) == text
