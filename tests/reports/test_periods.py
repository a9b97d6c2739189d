"""Days, weeks and months: as they are written, where they begin and end, across the ends of years."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealstream.errors import Misconfigured
from sealstream.layout import Retention
from sealstream.reports import PERIOD_KINDS, Asker, Period, PeriodKind, period_sections

DAYS = st.dates(date(1, 2, 1), date(9998, 11, 30))


@pytest.mark.parametrize(
    ("written", "kind", "first", "after"),
    [
        ("2026-11", "month", date(2026, 11, 1), date(2026, 12, 1)),
        ("2026-12", "month", date(2026, 12, 1), date(2027, 1, 1)),
        ("2028-02", "month", date(2028, 2, 1), date(2028, 3, 1)),
        ("2026-11-29", "day", date(2026, 11, 29), date(2026, 11, 30)),
        ("2026-12-31", "day", date(2026, 12, 31), date(2027, 1, 1)),
        ("2026-W48", "week", date(2026, 11, 23), date(2026, 11, 30)),
        ("2026-W01", "week", date(2025, 12, 29), date(2026, 1, 5)),
        ("2026-W53", "week", date(2026, 12, 28), date(2027, 1, 4)),
    ],
)
def test_a_period_is_what_is_written(written: str, kind: PeriodKind, first: date, after: date) -> None:
    period = Period.parse(written)
    assert period == (kind, first, after, None)
    assert str(period) == written
    assert period.begins == datetime(first.year, first.month, first.day, tzinfo=UTC)
    assert period.ends - period.begins == after - first


def test_a_span_is_the_moments_that_are_written_and_has_their_days() -> None:
    span = Period.parse("2026-11-29T20:10:00Z..2026-11-30T00:00:00Z")
    assert (span.kind, span.days) == ("span", [date(2026, 11, 29)])
    assert (span.begins, span.ends) == (datetime(2026, 11, 29, 20, 10, tzinfo=UTC), datetime(2026, 11, 30, tzinfo=UTC))
    assert (span.since, span.until) == ("2026-11-29T20:10:00Z", "2026-11-30T00:00:00Z")
    assert str(span) == "2026-11-29T20:10:00Z..2026-11-30T00:00:00Z"
    assert ":" not in span.file_name
    assert Period.parse("2026-11-29T23:59:59Z..2026-11-30T00:00:01Z").days == [date(2026, 11, 29), date(2026, 11, 30)]


@pytest.mark.parametrize(
    "written", ["2026-11-29T20:10:00Z..2026-11-29T20:10:00Z", "2026-11-30T00:00:00Z..2026-11-29T00:00:00Z"]
)
def test_a_span_without_length_is_refused(written: str) -> None:
    with pytest.raises(Misconfigured, match="no length"):
        Period.parse(written)


@pytest.mark.parametrize(
    "written",
    [
        "..", "2026-11-29..2026-11-30", "2026-11-29T20:10:00Z..", "2026-11-29T20:10:00..2026-11-29T21:10:00",
        "2026-11-29T20:10:00Z..2026-11-29T21:00:00Z..2026-11-29T22:00:00Z",
        "9999-12-31T00:00:00Z..9999-12-31T01:00:00Z",
        "2025-W53", "2026-W00", "2026-W1", "2026-w48", "2026-13", "2026-00", "2026-1", "2026-02-29", "2026-11-31",
        "0000-01", "9999-12", "26-11", "2026", "2026-11-29T00:00", " 2026-11", "２０２６-11", "november", "",
    ],
)  # fmt: skip
def test_what_is_no_period_is_refused_with_an_example(written: str) -> None:
    with pytest.raises(Misconfigured, match="2026-W48"):
        Period.parse(written)


@given(DAYS, st.sampled_from(PERIOD_KINDS))
def test_each_day_lies_in_one_period_of_each_kind_and_they_follow_each_other(day: date, kind: PeriodKind) -> None:
    period = Period.holding(kind, day)
    assert day in period.days
    assert {Period.holding(kind, each) for each in period.days} == {period}
    assert Period.parse(str(period)) == period
    assert period.previous.after == period.first
    assert Period.holding(kind, period.after).previous == period
    assert period.days[-1] + timedelta(days=1) == period.after


class Quiet:
    """A log in which two events were sealed, on the first day of December."""

    def count_by(self, text: str, field: str) -> list[tuple[str, int]]:
        assert "sealed_after:2026-11-30 sealed_before:2026-12-07" in text
        return [("2026-12-01", 2)] if field == "sealed_day" and "success" in text else []

    def entries(self, text: str) -> list[dict[str, object]]:
        return []


def test_a_week_of_two_months_says_which_day_is_of_which() -> None:
    week = Period.parse("2026-W49")
    ask = Asker(Quiet(), "main", week, datetime(2026, 12, 20, tzinfo=UTC))  # type: ignore[arg-type]
    sections = period_sections(ask, week, verified={}, retention=Retention("soc2", 366))
    volume = next(section for section in sections if section.title == "Volume by day")
    assert volume.notes == ["Days that passed without an event: 11-30, 12-02 to 12-06 (6 of 7)."]
    assert [row[0][:10] for row in volume.tables[0].rows if isinstance(row[0], str)] == [str(day) for day in week.days]
    assert "within the week" in sections[0].says
