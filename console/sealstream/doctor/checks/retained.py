"""How long entries are kept: what the chain has promised, what regulations ask for, and what is still online.

`judged_policy` is pure. What the locks in the archive say is a check of its own (`archive_held`).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from sealstream.doctor.asking import Asking
from sealstream.doctor.outcomes import Check, Outcome, failed, folded, passed, unknown
from sealstream.events import parse_timestamp
from sealstream.kafka import topic_configs
from sealstream.layout import (
    ChainSettings,
    ChainTopics,
    Retention,
    decode_entry,
    longest_retention,
    read_retention,
    shortens,
)
from sealstream.layout.chains import RETENTION_EXTENDED
from sealstream.postgres import PostgresStore

__all__ = ["CHECKS", "judged_policy"]

_YEAR = 365
_PAGE = "docs/retention.md"
_NEVER = ("-1", None)


def _promised(asking: Asking) -> Outcome:
    found = []
    for chain in asking.system.chains:
        promise = _sealed(asking, chain)
        why = shortens(promise, chain.retention)
        said = f"the chain promises {_words(promise)}; the settings say {_words(chain.retention)}"
        if why:
            to_do = f"set chains.{chain.name}.retention to {promise.policy!r}: {_PAGE}"
            found.append((f"chain {chain.name}", failed(f"{said}: {why}", to_do=to_do)))
        else:
            found.append((f"chain {chain.name}", passed(said)))
    return folded(found)


def _sealed(asking: Asking, chain: ChainSettings) -> Retention:
    """Entry 0's promise, and what extensions have made of it."""
    promise = read_retention((asking.entry_0(chain).metadata or {}).get("retention") or {})
    for entry in asking.statements(chain, (RETENTION_EXTENDED,)):
        promise = longest_retention(promise, read_retention((entry.metadata or {}).get("to") or {}))
    return promise


def _online(asking: Asking) -> Outcome:
    return folded((f"chain {chain.name}", _online_of(asking, chain)) for chain in asking.system.chains)


def _online_of(asking: Asking, chain: ChainSettings) -> Outcome:
    """Whether Postgres still holds everything that is to be online, and no topic loses anything by itself."""
    with PostgresStore(asking.dsn("reader")) as store:
        bounds = store.seq_bounds(chain.name)
        first = next(store.rows(chain.name, bounds[0], bounds[0] + 1), None) if bounds else None
    if bounds is None or first is None:
        return unknown("Postgres holds no entry", to_do="start the Postgres sink: docs/operating.md")
    oldest = parse_timestamp(decode_entry(first[0].body).written.sequenced_at)
    days = chain.retention.online_days
    said = f"Postgres holds entries from {bounds[0]:,} on, of {oldest:%Y-%m-%d}"
    if bounds[0] > 0 and (days is None or asking.system.clock() - oldest < timedelta(days=days - 1)):
        promised = "for ever" if days is None else f"for {days:,} days"
        to_do = f"`sealstream repair postgres` brings them back from the archive: docs/rebuilding.md, {_PAGE}"
        return failed(f"{said}; they should be online {promised}", to_do=to_do)
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


def judged_policy(retention: Retention, archive_days: int, online_days: int, wanted: str) -> Outcome:
    """Whether a policy keeps entries for so many days in the archive, and so many of them online."""
    said = _words(retention)
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


def _limited(asking: Asking) -> Outcome:
    found = []
    for chain in asking.system.chains:
        said = _words(chain.retention)
        if chain.retention.online_days is None:
            to_do = f"decide after how long entries leave Kafka and Postgres (a policy with a time online): {_PAGE}"
            found.append(
                (f"chain {chain.name}", failed(f"{said}: nothing ever leaves Kafka and Postgres", to_do=to_do))
            )
        else:
            found.append((f"chain {chain.name}", passed(said)))
    return folded(found)


def _words(retention: Retention) -> str:
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
        "the lowest entry in Postgres; the topics' configuration",
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
    Check(
        "retention.limited",
        "entries leave every store when their time is over",
        "the chain's policy",
        _limited,
    ),
)
