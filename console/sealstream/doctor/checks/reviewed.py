"""Whether people look at the log, as often as was said, and sign that they did."""

from __future__ import annotations

from datetime import UTC, datetime

from sealstream.doctor.asking import Asking
from sealstream.doctor.outcomes import Check, Outcome, failed, folded, passed
from sealstream.errors import SealstreamError
from sealstream.events import parse_timestamp
from sealstream.layout import ChainSettings
from sealstream.reviews import ACTIONS, fold, overdue

__all__ = ["CHECKS"]

_CADENCE = 'set `every` in [reviews] ("day", "week" or "month"), and sign each: docs/reviews.md'


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
    late = overdue(reviews, chain.name, cadence, now, _began(asking, chain))
    if late:
        return failed(
            f"{said}; {len(late):,} are overdue, the oldest that of {late[0].period}",
            to_do=f"`sealstream review start --chain {chain.name} --period {late[0].period}`: docs/reviews.md",
        )
    return passed(f"{said}; each {cadence.every} has to be, and none is overdue")


def _began(asking: Asking, chain: ChainSettings) -> datetime | None:
    """When the first entry that is online was sealed: what was said of the periods before it has left with them."""
    first = asking.stored(chain)
    if first.first_seq > 0 and first.first_at is not None:
        return datetime.fromtimestamp(first.first_at, UTC)
    try:
        return parse_timestamp(asking.entry_0(chain).written.sequenced_at)
    except SealstreamError:
        return None


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
