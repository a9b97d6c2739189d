"""What a chain is: its name, origin, public key, retention and segment limits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from sealstream.errors import Misconfigured, NotCanonical

__all__ = [
    "MAX_RETENTION_DAYS",
    "RETENTION_EXTENDED",
    "RETENTION_HELP",
    "STORE_EXPIRED",
    "ChainSettings",
    "Continued",
    "Retention",
    "SegmentLimits",
    "check_chain_name",
    "check_log_name",
    "longest_retention",
    "month_leaves",
    "named_retention",
    "original_name",
    "read_retention",
    "retention_members",
    "shortens",
    "successor_name",
]

RETENTION_EXTENDED = "retention.extended"
"""The action of the control statement that a chain's retention was extended."""

STORE_EXPIRED = "store.expired"
"""The action of the control statement that entries leave a store, their time there being over."""

MAX_RETENTION_DAYS = 36_500
"""100 years: nothing is promised for longer, so that each end of a promise is a date."""

RETENTION_HELP = (
    "hipaa (6 years), pci (12 months online, 12 more in the archive), soc2 (1 year), gdpr:<duration> for a purpose of "
    "your own (often 1 to 3 years), or a <duration>: a number and d, m or y, such as 90d, 18m, 6y."
)

_CHAIN_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,38}")
_SUCCESSOR = re.compile(r"-r([0-9]+)$")
_LOG_NAME = re.compile(r"[a-z0-9.-]+(/[a-z0-9._-]+)*")


class Retention(NamedTuple):
    """How long a chain is kept. `online_days` None: never trimmed from Kafka and Postgres."""

    policy: str
    archive_days: int
    online_days: int | None = None


class SegmentLimits(NamedTuple):
    """Where segments end; sealed in entry 0."""

    entries: int = 100_000
    bytes: int = 67_108_864
    seconds: int = 300


class Continued(NamedTuple):
    """What a successor's entry 1 says of the chain before it: `checkpoint` is its last known signed note, as text;
    entries `first_lost` to `last_lost` are those of which no store holds a copy that a signature covers (none:
    `last_lost` is one less).
    """

    origin: str
    checkpoint: str
    first_lost: int
    last_lost: int


class ChainSettings(NamedTuple):
    """What every process of a chain is told. `vkey` is the chain's public key as a C2SP verifier key; `continued` is
    there for a lost chain's successor.
    """

    name: str
    log: str
    vkey: str
    retention: Retention
    limits: SegmentLimits = SegmentLimits()
    prefix: str = "audit"
    continued: Continued | None = None

    @property
    def origin(self) -> str:
        """The name that the chain's key and checkpoints carry: `<log>/<chain>`."""
        return f"{self.log}/{self.name}"


def check_chain_name(name: str) -> str:
    """`name` itself, or `Misconfigured`: [a-z0-9][a-z0-9-]{0,38} and not ending in -r<digits> (successors)."""
    if not _CHAIN_NAME.fullmatch(name):
        raise Misconfigured(
            f"chain name {name!r}: expected 1 to 39 of a-z, 0-9 and '-', beginning with a letter or digit"
        )
    if _SUCCESSOR.search(name):
        raise Misconfigured(f"chain name {name!r}: names that end in -r<digits> are kept for a lost chain's successor")
    return name


def original_name(name: str) -> str:
    """Of a successor the name of the chain that was first: `main` for `main-r2`; of any other name itself."""
    return _SUCCESSOR.sub("", name)


def successor_name(name: str) -> str:
    """The name of a chain's successor: `main-r2` for `main`, `main-r3` for that. Raises `Misconfigured`: too long."""
    found = _SUCCESSOR.search(name)
    successor = f"{original_name(name)}-r{int(found[1]) + 1 if found else 2}"
    if not _CHAIN_NAME.fullmatch(successor):
        raise Misconfigured(f"chain name {successor!r}: a successor's name has at most 39 characters, too")
    return successor


def check_log_name(log: str) -> str:
    """`log` itself, or `Misconfigured`: a schema-less URL such as `audit.example.com/clinic`."""
    if not _LOG_NAME.fullmatch(log):
        raise Misconfigured(f"log name {log!r}: expected a URL without scheme, such as audit.example.com/clinic")
    return log


def named_retention(policy: str) -> Retention:
    """The retention of a named policy: `hipaa`, `pci`, `soc2`, `gdpr:<duration>` or an own `<duration>`.

    A duration is a number of days, months (31 days) or years (366 days): `90d`, `18m`, `6y`. Rounded up, since an
    audit log that is deleted a day early has failed. Raises `Misconfigured` for any other, and for more than 100 years.
    """
    named = {
        "hipaa": Retention("hipaa", archive_days=6 * 366),
        "pci": Retention("pci", online_days=366, archive_days=2 * 366),
        "soc2": Retention("soc2", archive_days=366),
    }
    if policy in named:
        return named[policy]
    duration = policy.removeprefix("gdpr:")
    days_each = {"d": 1, "m": 31, "y": 366}
    match = re.fullmatch(r"([1-9][0-9]{0,4})([dmy])", duration)
    if policy == "gdpr":
        raise Misconfigured(
            "retention policy 'gdpr': GDPR names no time, your purpose does: gdpr:<duration>, as gdpr:2y"
        )
    if match is None:
        raise Misconfigured(
            f"retention policy {policy!r}: expected hipaa, pci, soc2, gdpr:<duration> or <duration>, "
            "a duration being a number and d, m or y (90d, 18m, 6y)"
        )
    days = int(match[1]) * days_each[match[2]]
    if days > MAX_RETENTION_DAYS:
        raise Misconfigured(
            f"retention policy {policy!r} is {days:,} days: expected at most {MAX_RETENTION_DAYS:,} (100 years)"
        )
    return Retention(policy, archive_days=days)


def retention_members(retention: Retention) -> dict[str, object]:
    """As statements carry it: `policy`, `archive_days`, and `online_days` unless it is never trimmed."""
    members: dict[str, object] = {"policy": retention.policy, "archive_days": retention.archive_days}
    return members if retention.online_days is None else members | {"online_days": retention.online_days}


def read_retention(members: Mapping[str, object]) -> Retention:
    """The reverse, of a statement that fits its schema. Raises `NotCanonical` for one that does not, or that promises
    more than `MAX_RETENTION_DAYS`.
    """
    policy, archive_days, online_days = members.get("policy"), members.get("archive_days"), members.get("online_days")
    if not isinstance(policy, str) or not isinstance(archive_days, int):
        raise NotCanonical(f"no retention: expected policy and archive_days, got {dict(members)!r}")
    online = online_days if isinstance(online_days, int) else None
    if max(archive_days, online or 0) > MAX_RETENTION_DAYS:
        raise NotCanonical(f"no retention: expected at most {MAX_RETENTION_DAYS:,} days, got {dict(members)!r}")
    return Retention(policy, archive_days, online)


def shortens(before: Retention, after: Retention) -> str:
    """Why `after` would keep something for less long than `before` promises; empty: it does not."""
    if after.archive_days < before.archive_days:
        return (
            f"the archive would be locked for {after.archive_days:,} days after an entry, "
            f"{before.policy} promises {before.archive_days:,}"
        )
    if after.online_days is not None and (before.online_days is None or after.online_days < before.online_days):
        promised = "that they are never trimmed" if before.online_days is None else f"{before.online_days:,} days"
        return (
            f"Kafka and Postgres could be trimmed after {after.online_days:,} days, {before.policy} promises {promised}"
        )
    return ""


def month_leaves(month: str, online_days: int) -> datetime:
    """From when on a month (`YYYY-MM`, by `sequenced_at`) need not be online: so many days after its end.

    So every entry of it was online for at least that long. Raises `NotCanonical` for what is no month.
    """
    try:
        first_day = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
        return (first_day + timedelta(days=32)).replace(day=1) + timedelta(days=online_days)
    except (ValueError, OverflowError) as error:
        raise NotCanonical(f"no month: expected YYYY-MM, got {month[:20]!r}") from error


def longest_retention(one: Retention, other: Retention) -> Retention:
    """What keeps both promises; `other` itself where it shortens nothing."""
    if not shortens(one, other):
        return other
    online = None if None in (one.online_days, other.online_days) else max(one.online_days or 0, other.online_days or 0)
    return Retention(one.policy, max(one.archive_days, other.archive_days), online)
