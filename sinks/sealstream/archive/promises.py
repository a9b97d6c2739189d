"""How long the chain itself has promised to keep things, and that nobody is told to keep them for less.

Entry 0 says it first, and each sealed `retention.extended` says it for the entries behind it. The settings must promise
at least as much. Where they don't, the sink does not go by the statement of its own accord: a lock can't be taken back,
so a person mends the settings. The invariant: no segment that holds a promise, and none behind it, is put under
settings that fall short of it. Reading only; a crash leaves nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from sealstream.archive.holdings import Holding
from sealstream.errors import InvalidEvent, Misconfigured, NotCanonical
from sealstream.events import check_metadata, parse_timestamp
from sealstream.kafka import KafkaSettings, read_until_end, start_offset
from sealstream.layout import ChainSettings, ChainTopics, Entry, Retention, decode_entry, read_retention, shortens
from sealstream.layout.chains import RETENTION_EXTENDED

__all__ = ["check_newest_holding", "check_promises", "refuse_shorter"]

_NEEDLE = b'"action":"' + RETENTION_EXTENDED.encode() + b'"'
_DAY = timedelta(days=1)


def refuse_shorter(chain: ChainSettings, promised: Retention, said_by: str) -> None:
    """Raises `Misconfigured` when the settings would keep anything for less long than `promised`."""
    why = shortens(promised, chain.retention)
    if why:
        raise Misconfigured(
            f"chain {chain.name}: the settings say retention {chain.retention.policy}, but {said_by} of the chain "
            f"promises {promised.policy}: {why}. A promise is never shortened: set chains.{chain.name}.retention to "
            f"{promised.policy!r} (`sealstream chain retention {chain.name}` shows what is in force)"
        )


def check_promises(chain: ChainSettings, values: Iterable[bytes]) -> None:
    """Raises `Misconfigured` when one of these sealed entries extends the retention beyond the settings."""
    for value in values:
        if _NEEDLE in value:
            entry = decode_entry(value)
            promised = _promise(entry)
            if promised is not None:
                refuse_shorter(chain, promised, f"entry {entry.written.seq} ({RETENTION_EXTENDED})")


def check_newest_holding(kafka: KafkaSettings, chain: ChainSettings, newest: Holding) -> None:
    """The same for what earlier lives have archived already: the newest lock tells whether there may be such a promise.

    A lock of whole days beyond the settings' was made under a longer policy (or, once in a day's seconds, by a sink
    that was late): then the chain is read for it, and where it no longer reaches back, the lock itself is believed.
    """
    ends = parse_timestamp(newest.manifest.last_sequenced_at)
    days, rest = divmod(parse_timestamp(newest.manifest.retain_until) - ends, _DAY)
    if rest >= timedelta(seconds=1) or days <= chain.retention.archive_days:
        return
    topic = ChainTopics.of(chain.name, chain.prefix).chain
    for records in read_until_end(kafka, topic):
        check_promises(chain, (record.value or b"" for record in records))
    if start_offset(kafka, topic) > 0:
        raise Misconfigured(
            f"chain {chain.name}: its newest archived segment {newest.name.decimal} is locked for {days:,} days, but "
            f"the settings say retention {chain.retention.policy} ({chain.retention.archive_days:,} days): was it "
            f"extended elsewhere? Set chains.{chain.name}.retention to what `sealstream verify archive` says of it"
        )


def _promise(entry: Entry) -> Retention | None:
    """What a statement of the right kind and form promises; None for anybody's event of the same name, and for what is
    against the rules.
    """
    if entry.action != RETENTION_EXTENDED or entry.written.kind != "control":
        return None
    try:
        check_metadata(entry.action, entry.metadata)
        return read_retention((entry.metadata or {})["to"])
    except (InvalidEvent, NotCanonical):
        return None
