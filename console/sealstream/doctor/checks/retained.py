"""How long entries are kept: what the chain has promised, what regulations ask for, and what is still online.

`judged_policy` is pure. What the locks in the archive say is a check of its own (`archive_locked`), and so is whether
what is over leaves (`limited`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from sealstream.doctor.asking import Asking
from sealstream.doctor.outcomes import Check, Outcome, State, failed, folded, passed, unknown
from sealstream.doctor.promised import LET_GO, let_go, sealed_promise
from sealstream.kafka import topic_configs
from sealstream.layout import ChainSettings, ChainTopics, Retention, shortens
from sealstream.layout.chains import STORE_EXPIRED
from sealstream.postgres.driver import Session
from sealstream.retention import StoredMonth, stored_months

__all__ = ["CHECKS", "judged_months", "judged_policy", "kept_months", "policy_words"]

_YEAR = 365
_PAGE = "docs/retention.md"
_NEVER = ("-1", None)


def _promised(asking: Asking) -> Outcome:
    found = []
    for chain in asking.system.chains:
        promise = sealed_promise(asking, chain)
        why = shortens(promise, chain.retention)
        said = f"the chain promises {policy_words(promise)}; the settings say {policy_words(chain.retention)}"
        if why:
            to_do = f"set chains.{chain.name}.retention to {promise.policy!r}: {_PAGE}"
            found.append((f"chain {chain.name}", failed(f"{said}: {why}", to_do=to_do)))
        else:
            found.append((f"chain {chain.name}", passed(said)))
    return folded(found)


def _online(asking: Asking) -> Outcome:
    return folded((f"chain {chain.name}", _online_of(asking, chain)) for chain in asking.system.chains)


def _online_of(asking: Asking, chain: ChainSettings) -> Outcome:
    """Whether Postgres holds all but what the chain let go, and no topic loses anything by itself."""
    months = kept_months(asking, chain)
    if not months:
        return unknown("Postgres holds no entry", to_do="start the Postgres sink: docs/operating.md")
    judged = judged_months(months, let_go(asking, chain, asking.statements(chain, LET_GO)))
    if judged.state is not State.PASS:
        return judged
    (said,) = judged.evidence
    topics = ChainTopics.of(chain.name, chain.prefix)
    kept = (topics.raw, topics.control, topics.chain, topics.segments)
    configs = topic_configs(asking.system.kafka, list(kept))
    losing = [
        f"{topic} ({name}={configs[topic][name]})"
        for topic in kept
        for name in ("retention.ms", "retention.bytes")
        if configs[topic].get(name) not in _NEVER
    ]
    if losing:
        to_do = "`kafka-configs.sh --alter --entity-type topics --add-config retention.ms=-1,retention.bytes=-1`"
        return failed(f"{said}; Kafka deletes by itself from {', '.join(losing)}", to_do=to_do)
    return passed(f"{said}; no topic of it deletes anything by itself")


def kept_months(asking: Asking, chain: ChainSettings) -> list[StoredMonth]:
    """The months that Postgres has."""

    def ask() -> list[StoredMonth]:
        with Session(asking.dsn("reader"), "sealstream doctor", command_timeout_s=60) as session:
            return stored_months(session, chain.name)

    return asking.once(f"months {chain.name}", ask)


def judged_months(months: Sequence[StoredMonth], said: Iterable[Mapping[str, Any]]) -> Outcome:
    """Whether the stored months follow each other, from entry 0 on or from where these sealed statements say.

    A Postgres that was replayed from an archive whose beginning was destroyed begins with a segment of it.
    """
    left = list(said)
    begins = {int(each["last_seq"]) + 1 for each in left if each.get("store") == "postgres"}
    destroyed = {int(item["last_seq"]) + 1 for each in left for item in each.get("segments", ())}
    first = months[0].first
    lacking = [
        f"entries {before.last + 1:,} to {after.first - 1:,}, between {before.month} and {after.month}"
        for before, after in pairwise(months)
        if after.first != before.last + 1
    ]
    if first > 0 and first not in begins | destroyed:
        lacking.insert(0, f"entries 0 to {first - 1:,}, which no {STORE_EXPIRED} let go")
    if lacking:
        return failed(
            f"Postgres holds entries from {first:,} on, of {months[0].month}, and lacks {'; '.join(lacking[:5])}",
            to_do="`sealstream verify postgres` names what is missing (docs/runbooks/README.md); `sealstream repair "
            "postgres` brings it back from the archive: docs/rebuilding.md",
        )
    why = "" if first == 0 or first in begins else ", where the archive begins since what was before is destroyed"
    return passed(
        f"by each month's first and last Postgres holds every entry from {first:,} on, of {months[0].month}{why}"
    )


def judged_policy(retention: Retention, archive_days: int, online_days: int, wanted: str) -> Outcome:
    """Whether a policy keeps entries for so many days in the archive, and so many of them online."""
    said = policy_words(retention)
    if retention.archive_days < archive_days or (
        retention.online_days is not None and retention.online_days < online_days
    ):
        return failed(
            f"{said}: expected {wanted}", to_do=f"`sealstream chain retention CHAIN POLICY --extend-objects`: {_PAGE}"
        )
    return passed(said)


def _policy(archive_days: int, online_days: int, wanted: str) -> Callable[[Asking], Outcome]:
    def ask(asking: Asking) -> Outcome:
        return folded(
            (f"chain {chain.name}", judged_policy(chain.retention, archive_days, online_days, wanted))
            for chain in asking.system.chains
        )

    return ask


def policy_words(retention: Retention) -> str:
    """A policy in one line."""
    online = "for ever" if retention.online_days is None else f"{retention.online_days:,} days"
    return f"{retention.policy}: {retention.archive_days:,} days locked in the archive, {online} online"


CHECKS = (
    Check(
        "retention.promised",
        "the settings keep entries for at least as long as the chain has promised",
        "entry 0 and each retention.extended in the chain",
        _promised,
    ),
    Check(
        "retention.online",
        "what is to be online is online, and no topic deletes anything by itself",
        "each month's first and last entry in Postgres, and what the chain let go; the topics' configuration",
        _online,
    ),
    Check(
        "retention.year",
        "entries are kept for a year",
        "the chain's policy",
        _policy(_YEAR, 0, "365 days"),
    ),
    Check(
        "retention.pci",
        "entries are kept for twelve months, three of them online",
        "the chain's policy",
        _policy(_YEAR, 92, "365 days, 92 of them online"),
    ),
    Check(
        "retention.six_years",
        "entries are kept for six years",
        "the chain's policy",
        _policy(6 * _YEAR + 1, 0, "2,191 days"),
    ),
)
