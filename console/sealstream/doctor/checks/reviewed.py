"""Whether people look at the log, as often as was said, and sign that they did."""

from __future__ import annotations

from datetime import UTC, datetime

from sealstream.doctor.asking import Asking
from sealstream.doctor.checks.recorded import has_let_go
from sealstream.doctor.outcomes import Check, Outcome, failed, folded, passed, unknown
from sealstream.errors import SealstreamError
from sealstream.events import parse_timestamp
from sealstream.layout import ChainSettings
from sealstream.reviews import ACTIONS, fold, overdue

__all__ = ["CHECKS"]

_CADENCE = 'set `every` in [reviews] ("day", "week" or "month"), and sign each: docs/reviews.md'
_BEGINNING = "`sealstream status` says which stores answer; `sealstream review list` asks the archive, too"


def _signed(asking: Asking) -> Outcome:
    return folded((f"chain {chain.name}", _signed_of(asking, chain)) for chain in asking.system.chains)


def _signed_of(asking: Asking, chain: ChainSettings) -> Outcome:
    cadence, now = asking.system.cadences.get(chain.name), asking.system.clock()
    reviews = fold(asking.statements(chain, ACTIONS))
    signatures = [signature for review in reviews.found.values() for signature in review.signatures]
    newest = max(signatures, key=lambda each: each.seq, default=None)
    said = f"{len(signatures):,} reviews are signed" + (f", the newest by {newest.by}" if newest else "")
    if cadence is None:
        return failed(f"{said}; nobody has to review it", to_do=_CADENCE)
    try:
        began, is_online = _began(asking, chain)
    except SealstreamError as error:
        return unknown(f"{said}; nobody says since when there is anything to review: {error}", to_do=_BEGINNING)
    late = overdue(reviews, chain.name, cadence, now, began)
    if late:
        return failed(
            f"{said}; {len(late):,} are overdue, the oldest that of {late[0].period}",
            to_do=f"`sealstream review start --chain {chain.name} --period {late[0].period}`: docs/reviews.md",
        )
    since = f" since {began:%Y-%m-%d}, when what is online begins" if is_online else ""
    return passed(f"{said}; each {cadence.every} has to be, and none is overdue{since}")


def _began(asking: Asking, chain: ChainSettings) -> tuple[datetime, bool]:
    """When the first entry that is online was sealed, and whether others have left before it: what was said of their
    periods has left with them. Rows that nobody let go end no duty. Raises a `SealstreamError` where nobody can say.
    """
    first_at = asking.stored(chain).first_at
    if first_at is not None and has_let_go(asking, chain):
        return datetime.fromtimestamp(first_at, UTC), True
    return parse_timestamp(asking.entry_0(chain).written.sequenced_at), False


def _daily(asking: Asking) -> Outcome:
    found = []
    for chain in asking.system.chains:
        cadence = asking.system.cadences.get(chain.name)
        said = f"reviewed each {cadence.every}" if cadence else "nobody has to review it"
        daily = cadence is not None and cadence.every == "day"
        to_do = 'set every = "day" in [reviews]: docs/reviews.md'
        found.append((f"chain {chain.name}", passed(said) if daily else failed(said, to_do=to_do)))
    return folded(found)


CHECKS = (
    Check(
        "reviews.signed",
        "the log is reviewed as often as was said, and each review is signed",
        "[reviews] in the settings, and the statements about reviews in the chain",
        _signed,
    ),
    Check("reviews.daily", "the log has to be reviewed each day", "[reviews] in the settings", _daily),
)
