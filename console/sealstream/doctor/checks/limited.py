"""Whether entries leave every store when their time is over: the policy says so, and Postgres and the archive show it.

Months and segments go only when a person lets them, so they have a grace. `judged_stored` and `judged_archived` are
pure. Kafka is not asked: the archive sink trims it by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile

from sealstream.archive import ArchiveStore, StoredSegment
from sealstream.doctor.asking import Asking
from sealstream.doctor.checks.retained import kept_months, policy_words
from sealstream.doctor.outcomes import Check, Outcome, failed, folded, passed, unknown
from sealstream.doctor.promised import in_force, standing_holds
from sealstream.errors import SealstreamError
from sealstream.layout import ChainSettings, month_leaves
from sealstream.layout.archive import SegmentName
from sealstream.layout.holds import Hold, covering
from sealstream.retention import StoredMonth, policy_ends

__all__ = ["CHECKS", "judged_archived", "judged_stored"]

_GRACE_DAYS = 60
_GRACE = timedelta(days=_GRACE_DAYS)
_PAGE = "docs/retention.md"
_NEVER = datetime.min.replace(tzinfo=UTC)
HELD = datetime.max.replace(tzinfo=UTC)
"""In the place of an end: a legal hold in the bucket has none."""


def _limited(asking: Asking) -> Outcome:
    return folded((f"chain {chain.name}", _limited_of(asking, chain)) for chain in asking.system.chains)


def _limited_of(asking: Asking, chain: ChainSettings) -> Outcome:
    to_do = f"decide after how long entries leave Kafka and Postgres (a policy with a time online): {_PAGE}"
    if chain.retention.online_days is None:
        return failed(f"{policy_words(chain.retention)}: nothing ever leaves Kafka and Postgres", to_do=to_do)
    retention = in_force(asking, chain)
    if retention.online_days is None:
        return failed(
            f"the settings say {policy_words(chain.retention)}; the chain promises {policy_words(retention)}: nothing "
            "ever leaves Kafka and Postgres",
            to_do=to_do,
        )
    chain, now = chain._replace(retention=retention), asking.system.clock()
    months, holds = kept_months(asking, chain), standing_holds(asking, chain)
    stored = judged_stored(chain, months, holds, now)
    try:
        first, locked = _beginning(asking, chain, now)
    except SealstreamError as error:
        archived = unknown(str(error), to_do="`sealstream config check` tries the archive")
    else:
        archived = judged_archived(chain, first, locked, months, holds, now)
    return folded([(policy_words(retention), stored), ("", archived)])


def judged_stored(chain: ChainSettings, months: Sequence[StoredMonth], holds: Sequence[Hold], now: datetime) -> Outcome:
    """Whether no month is in Postgres for long after its time, but what a hold covers, and what is behind that: months
    leave in order. `chain.retention`: what is in force, with an online time.
    """
    online = chain.retention.online_days or 0
    over = [month for month in months if month_leaves(month.month, online) + _GRACE <= now]
    late = list(takewhile(lambda month: not _touching(holds, month), over))
    if late:
        last = f" to {late[-1].month}" if len(late) > 1 else ""
        left = month_leaves(late[0].month, online)
        return failed(
            f"Postgres still has {late[0].month}{last}, more than {_GRACE_DAYS} days after it might have left "
            f"({left:%Y-%m-%d})",
            to_do=f"`sealstream retention run {chain.name}`, each month at least: {_PAGE}",
        )
    if over:
        held = _touching(holds, over[0])[0]
        return passed(f"Postgres still has {over[0].month}, whose time is over: the legal hold {held.id} keeps it")
    begins = f"begins with {months[0].month}" if months else "holds no month"
    return passed(f"Postgres {begins}: nothing is there for more than {_GRACE_DAYS} days after its time")


def judged_archived(
    chain: ChainSettings,
    first: SegmentName | None,
    locked: datetime,
    months: Sequence[StoredMonth],
    holds: Sequence[Hold],
    now: datetime,
) -> Outcome:
    """Whether the archive does not begin with what might have gone long ago, by policy and lock. `first`: its first
    segment, None where that is its newest, which stays; `locked`: until when it is, `HELD` where the bucket holds it;
    `months`: what Postgres has, where a segment must have left first.
    """
    if first is None:
        return passed("the archive holds no more than its newest segment")
    over = max(policy_ends(first, chain), locked if locked != HELD else _NEVER)
    if over + _GRACE > now:
        return passed(f"the archive begins with {first.date}, which may go on {over:%Y-%m-%d}")
    held = covering(holds, first.date)
    if not held and months and first.last_seq >= months[0].first:
        held = _touching(holds, months[0])
    if held:
        return passed(f"the archive begins with {first.date}, whose time is over: the legal hold {held[0].id} keeps it")
    if locked == HELD:
        return passed(f"the archive begins with {first.date}, whose time is over: a legal hold in the bucket keeps it")
    return failed(
        f"the archive begins with {first.object_key}, more than {_GRACE_DAYS} days after it might have gone "
        f"({over:%Y-%m-%d})",
        to_do=f"`sealstream retention destroy {chain.name}` shows what may go, and what stops it: {_PAGE}",
    )


def _touching(holds: Sequence[Hold], month: StoredMonth) -> tuple[Hold, ...]:
    return tuple(hold for hold in holds if hold.covers_any(f"{month.month}-01", f"{month.month}-31"))


def _beginning(asking: Asking, chain: ChainSettings, now: datetime) -> tuple[SegmentName | None, datetime]:
    """The archive's first segment, and until when it is kept there, which is asked where its policy's time is over."""
    with closing(ArchiveStore(asking.archive(), chain.name)) as store:
        there = list(islice((segment for segment in store.segments() if segment.object.versions), 2))
        if len(there) < 2:
            return None, _NEVER
        first = there[0]
        return first.name, _kept_until(store, first) if policy_ends(first.name, chain) + _GRACE <= now else _NEVER


def _kept_until(store: ArchiveStore, segment: StoredSegment) -> datetime:
    until = _NEVER
    for stored in (segment.object, segment.manifest):
        if (version := stored.counting()) is None:
            continue
        if store.held(stored.key, version):
            return HELD
        if (lock := store.lock(stored.key, version)) is not None:
            until = max(until, lock.until)
    return until


CHECKS = (
    Check(
        "retention.limited",
        f"entries leave every store when their time is over, or within {_GRACE_DAYS} days",
        "the policy in force; what Postgres and the archive begin with; the legal holds that stand",
        _limited,
    ),
)
