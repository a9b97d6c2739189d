"""Periods of the calendar in UTC: a day, a week (ISO 8601, Monday to Sunday), a month; and any span of time. Pure.

Written `2026-11-29`, `2026-W48`, `2026-11`, `2026-11-29T20:10:00Z..2026-11-29T21:00:00Z`: the ways never mean each
other. The periods of one kind of the calendar follow each other without a gap or an overlap, so an entry lies in
exactly one of each kind. A span is what somebody names, such as the hours of an incident.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal, NamedTuple, get_args

from sealstream.errors import Misconfigured

__all__ = ["PERIOD_KINDS", "Period", "PeriodKind"]

PeriodKind = Literal["day", "week", "month"]
PERIOD_KINDS: tuple[PeriodKind, ...] = get_args(PeriodKind)

_WRITTEN = re.compile(r"([0-9]{4})-(?:W([0-9]{2})|([0-9]{2})(?:-([0-9]{2}))?)")
_LAST_YEAR = 9998
_MOMENT = "%Y-%m-%dT%H:%M:%SZ"
_EXAMPLES = (
    "expected a month, a week, a day or a span of time, as in 2026-11, 2026-W48, 2026-11-29, "
    "2026-11-29T20:10:00Z..2026-11-29T21:00:00Z"
)


class Period(NamedTuple):
    """`first`: its first day; `after`: the first day that is not of it. `moments`: a span's first moment, and the
    first after it.
    """

    kind: PeriodKind | Literal["span"]
    first: date
    after: date
    moments: tuple[datetime, datetime] | None = None

    @classmethod
    def parse(cls, text: str) -> Period:
        """A period as it is written. Raises `Misconfigured` for anything else."""
        if ".." in text:
            return cls._span(text)
        found = _WRITTEN.fullmatch(text) if text.isascii() else None
        if found is None:
            raise Misconfigured(f"period {text!r}: {_EXAMPLES}")
        year, week, month, day = (None if part is None else int(part) for part in found.groups())
        assert year is not None
        try:
            if not 1 <= year <= _LAST_YEAR:
                raise ValueError(f"expected a year from 0001 to {_LAST_YEAR}")
            if week is not None:
                return cls.holding("week", date.fromisocalendar(year, week, 1))
            assert month is not None
            return cls.holding("month" if day is None else "day", date(year, month, 1 if day is None else day))
        except ValueError as error:
            raise Misconfigured(f"period {text!r} is none: {error}; {_EXAMPLES}") from error

    @classmethod
    def parse_month(cls, text: str) -> Period:
        """`2026-11`. Raises `Misconfigured` for anything else."""
        year, _, number = text.partition("-")
        if not (len(year) == 4 and year.isascii() and year.isdigit() and number.isascii() and number.isdigit()):
            raise Misconfigured(f"month {text!r}: expected a year and a month, as in 2026-11")
        if len(number) != 2 or not 1 <= int(number) <= 12 or not 1 <= int(year) <= _LAST_YEAR:
            raise Misconfigured(f"month {text!r}: expected a month from 01 to 12, as in 2026-11")
        return cls.holding("month", date(int(year), int(number), 1))

    @classmethod
    def holding(cls, kind: PeriodKind, day: date) -> Period:
        """The period of this kind that has this day."""
        if kind == "day":
            return cls(kind, day, day + timedelta(days=1))
        if kind == "week":
            monday = day - timedelta(days=day.weekday())
            return cls(kind, monday, monday + timedelta(days=7))
        return cls(kind, day.replace(day=1), date(day.year + day.month // 12, day.month % 12 + 1, 1))

    @classmethod
    def _span(cls, text: str) -> Period:
        try:
            begins, ends = (datetime.strptime(each, _MOMENT).replace(tzinfo=UTC) for each in text.split(".."))
        except ValueError as error:
            raise Misconfigured(f"period {text!r}: {_EXAMPLES}") from error
        if begins >= ends:
            raise Misconfigured(f"period {text!r} has no length: expected its end behind its beginning")
        last = (ends - timedelta(seconds=1)).date()
        if last.year > _LAST_YEAR:
            raise Misconfigured(f"period {text!r} is none: expected a year up to {_LAST_YEAR}; {_EXAMPLES}")
        return cls("span", begins.date(), last + timedelta(days=1), (begins, ends))

    @property
    def days(self) -> list[date]:
        """All its days, in order."""
        return [self.first + timedelta(days=day) for day in range((self.after - self.first).days)]

    @property
    def begins(self) -> datetime:
        """Its first moment, UTC."""
        if self.moments is not None:
            return self.moments[0]
        return datetime.combine(self.first, time(), UTC)

    @property
    def ends(self) -> datetime:
        """The first moment after it, UTC."""
        if self.moments is not None:
            return self.moments[1]
        return datetime.combine(self.after, time(), UTC)

    @property
    def since(self) -> str:
        """Its beginning as queries and options write it: a day, or a span's moment."""
        return str(self.first) if self.moments is None else self.begins.strftime(_MOMENT)

    @property
    def until(self) -> str:
        """The same of its end, which is not of it."""
        return str(self.after) if self.moments is None else self.ends.strftime(_MOMENT)

    @property
    def file_name(self) -> str:
        """As it stands in the names of files, which no system lets have colons everywhere."""
        return str(self).replace(":", "")

    @property
    def previous(self) -> Period:
        """The one of its kind before it; a span has none."""
        if self.kind == "span":
            raise ValueError(f"nothing says which span is the one before {self}")
        return Period.holding(self.kind, self.first - timedelta(days=1))

    def __str__(self) -> str:
        if self.moments is not None:
            return f"{self.since}..{self.until}"
        if self.kind == "day":
            return self.first.isoformat()
        if self.kind == "week":
            year, week, _ = self.first.isocalendar()
            return f"{year:04d}-W{week:02d}"
        return f"{self.first.year:04d}-{self.first.month:02d}"
