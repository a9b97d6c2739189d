"""Timestamps: RFC 3339 as people send it, and the one form that is sealed, `YYYY-MM-DDTHH:MM:SS.ffffffZ`.

The invariant: canonical text sorts as the times do, and `parse_timestamp(format_timestamp(t)) == t` for every aware
datetime. Pure; nothing to lose in a crash.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from sealstream.errors import InvalidEvent
from sealstream.events.wording import got

__all__ = ["canonical_timestamp", "format_timestamp", "parse_timestamp"]

# RFC 3339 section 5.6, and a little more, so that a refusal can say what exactly is amiss.
_SENT = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(\.[0-9]*)?"
    r"(?:([Zz])|([+-])([0-9]{2}):([0-9]{2}))?"
)


def canonical_timestamp(text: str, field: str = "timestamp") -> str:
    """The sealed form of an RFC 3339 timestamp; raises `InvalidEvent`.

    Accepted: `T` and `Z` in either case (RFC 3339 section 5.6), any offset up to 23:59, `-00:00` (a UTC time whose
    local offset is unknown, section 4.3), 1 to 6 fraction digits or none. The year counts after conversion to UTC.
    """

    def refuse(fault: str, expected: str) -> InvalidEvent:
        return InvalidEvent(f"{field} {fault}: expected {expected}, got {got(text)}", field)

    match = _SENT.fullmatch(text)
    if match is None:
        raise refuse("is not a timestamp", "RFC 3339 such as 2026-11-24T03:00:00.123456Z")
    fraction = (match[7] or ".000000")[1:]
    if not 1 <= len(fraction) <= 6:
        raise refuse(f"has {len(fraction)} fraction digits", "1 to 6 after the dot")
    if match[8] is None and match[9] is None:
        raise refuse("has no offset", "RFC 3339 with Z or +hh:mm")
    year, month, day, hour, minute, second = (int(match[i]) for i in range(1, 7))
    if second == 60:
        raise refuse("is a leap second", "seconds from 00 to 59")
    if hour > 23 or minute > 59 or second > 59:
        raise refuse("is no time of day", "00:00:00 to 23:59:59")
    offset_hours, offset_minutes = int(match[10] or 0), int(match[11] or 0)
    if offset_hours > 23 or offset_minutes > 59:
        raise refuse("has an impossible offset", "-23:59 to +23:59")
    # datetime knows no year 0, but a local time in it may be one of year 1 in UTC; year 400 has the same calendar.
    shift = 400 if year == 0 else 0
    try:
        local = datetime(year + shift, month, day, hour, minute, second, int(fraction.ljust(6, "0")))
    except ValueError:
        raise refuse("is no date of the calendar", "an existing day") from None
    offset = timedelta(hours=offset_hours, minutes=offset_minutes)
    try:
        utc = local + offset if match[9] == "-" else local - offset
        utc = utc.replace(year=utc.year - shift)
    except (OverflowError, ValueError):
        raise refuse("is outside the calendar in UTC", "years 0001 to 9999 in UTC") from None
    return utc.isoformat(timespec="microseconds") + "Z"


def format_timestamp(moment: datetime) -> str:
    """An aware datetime in the sealed form. Raises `InvalidEvent` for a naive one, which could mean any zone."""
    if moment.tzinfo is UTC:
        return moment.isoformat(timespec="microseconds")[:-6] + "Z"  # in place of +00:00
    if moment.utcoffset() is None:
        raise InvalidEvent(f"timestamp has no offset: expected an aware datetime, got {moment!r}", "timestamp")
    try:
        utc = moment.astimezone(UTC)
    except OverflowError:
        raise InvalidEvent(f"timestamp is outside years 0001 to 9999 in UTC: got {moment!r}", "timestamp") from None
    return utc.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def parse_timestamp(text: str) -> datetime:
    """An RFC 3339 timestamp as an aware datetime in UTC; raises `InvalidEvent` for what an event may not carry."""
    return datetime.fromisoformat(canonical_timestamp(text)[:-1]).replace(tzinfo=UTC)
