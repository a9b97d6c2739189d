"""`sealstream producers`: who writes to a chain, whose numbers are missing, who fell silent. Reads only.

From the sequencer's own record (`audit.producers.C`), which is written with the entries that it follows from: one
reading of a compacted topic, however many producers there are. It is a copy of what the chain says (`producer.gap`,
`producer.silent`, an event's `source`): what must be proved is proved by `sealstream verify`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, NamedTuple

import typer
from rich.table import Table
from rich.text import Text

from sealstream.cli.context import context_of, out
from sealstream.cli.harmless import told
from sealstream.cli.progress import span
from sealstream.events import parse_timestamp
from sealstream.kafka import KafkaSettings, read_until_end
from sealstream.layout import ChainTopics
from sealstream.sequencer.producers import (
    AS_OF_KEY,
    AsOf,
    ProducerState,
    Range,
    decode_as_of,
    decode_state,
    holds_state,
    producer_of,
)

__all__ = ["Producer", "producers_command", "read_producers", "sorted_by_worry"]

_SILENT_AFTER = timedelta(days=1)
_RANGES_SHOWN = 3
_STYLES = {"gaps": "red", "silent": "yellow", "open": "", "closed": "dim"}


class Producer(NamedTuple):
    """One producer as the sequencer remembers it. `kind`: `event`, or `control` for what processes number there."""

    id: str
    kind: str
    state: ProducerState

    @property
    def missing(self) -> int:
        """How many of its numbers never came, so far."""
        return sum(last - first + 1 for first, last in self.state.missing)

    @property
    def application(self) -> str:
        """What its events say of whose it is: a claim of whoever wrote them."""
        source = self.state.source
        if source is None or not any(source):
            return "not said"
        if not source.service:
            return f"at {source.host}"
        return f"{source.service} at {source.host}" if source.host else source.service

    def word(self, now: datetime) -> str:
        """`closed`: it ended in order; `silent`: it did neither that nor speak for a day; else `open`."""
        if self.state.closed:
            return "closed"
        return "silent" if self.state.silent or self.silence(now) > _SILENT_AFTER else "open"

    def silence(self, now: datetime) -> timedelta:
        """How long ago its last event was sealed."""
        return now - parse_timestamp(self.state.last_seen) if self.state.last_seen else timedelta.max


def read_producers(kafka: KafkaSettings, topics: ChainTopics) -> tuple[list[Producer], AsOf | None]:
    """All that are remembered, and as of which entries (None: nothing is recorded yet). Raises `NotCanonical`."""
    values: dict[bytes, bytes] = {}
    for records in read_until_end(kafka, topics.producers):
        for record in records:
            if record.value is None:
                values.pop(record.key or b"", None)
            else:
                values[record.key or b""] = record.value
    as_of = values.pop(AS_OF_KEY, None)
    found = []
    for key, value in values.items():
        if holds_state(key):
            kind, producer_id = producer_of(key)
            found.append(Producer(producer_id, kind, decode_state(value)))
    return found, None if as_of is None else decode_as_of(as_of)


def sorted_by_worry(producers: Sequence[Producer], now: datetime) -> list[Producer]:
    """Those that miss most first, then the silent (the longest first), then who speaks, then the closed."""
    order = {"silent": 0, "open": 1, "closed": 2}
    return sorted(producers, key=lambda one: (-one.missing, order[one.word(now)], one.state.last_seen, one.id))


def producers_command(
    context: typer.Context,
    chain: Annotated[str, typer.Option("--chain", help="The chain.")] = "main",
    gaps: Annotated[bool, typer.Option("--gaps", help="Only those with missing numbers.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the most worrying first.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document, for programs.")] = False,
) -> None:
    """List the producers of a chain: numbers that are missing, silence, who closed in order.

    A producer (a process, a spool file, an outbox) numbers its events from 0. A missing number is an event that was
    reported and did not arrive, or was refused; it may still come. docs/runbooks/missing-numbers.md says what to do.
    Which application it is, its events say themselves (source.service, source.host).
    """
    settings = context_of(context).settings()
    topics = ChainTopics.of(settings.chain(chain).name, settings.kafka.prefix)
    found, as_of = read_producers(settings.kafka_settings(), topics)
    now = datetime.now(UTC)
    listed = sorted_by_worry([one for one in found if one.missing or not gaps], now)
    with_gaps = sum(1 for one in found if one.missing)
    if as_json:
        document = {
            "chain": chain,
            "as_of_size": None if as_of is None else as_of.size,
            "producers": len(found),
            "with_gaps": with_gaps,
            "shown": [_members(one, now) for one in listed[:limit]],
        }
        print(json.dumps(document, indent=2))
    else:
        _print(chain, listed, limit, now, len(found), with_gaps)


def _members(one: Producer, now: datetime) -> dict[str, object]:
    return {
        "producer_id": one.id,
        "kind": one.kind,
        "service": (one.state.source and one.state.source.service) or None,
        "host": (one.state.source and one.state.source.host) or None,
        "state": one.word(now),
        "next": one.state.next,
        "missing": one.missing,
        "missing_ranges": one.state.missing,
        "not_remembered_below": one.state.floor,
        "last_seen": one.state.last_seen or None,
    }


def _print(chain: str, listed: list[Producer], limit: int, now: datetime, total: int, with_gaps: int) -> None:
    if not total:
        out.print(f"no producer has numbered an event of chain {chain} yet (or all that did are forgotten)")
        return
    if not listed:
        out.print(f"no number of any of the {total:,} producers of chain {chain} is missing")
        return
    headings = ("producer", "application", "state", "sent", "missing", "which", "last seen")
    table = Table(*headings, box=None, padding=(0, 2, 0, 0))
    for one in listed[:limit]:
        word = one.word(now)
        table.add_row(
            told(one.id if one.kind == "event" else f"{one.id} (control)"),
            told(one.application, "" if one.application != "not said" else "dim"),
            Text(word, style=_STYLES[word]),
            f"{one.state.next:,}",
            Text(f"{one.missing:,}" if one.missing else "-", style=_STYLES["gaps"] if one.missing else ""),
            _ranges(one.state.missing),
            _ago(one, now),
        )
    out.print(table)
    if len(listed) > limit:
        out.print(f"and {len(listed) - limit:,} more: --limit shows them")
    out.print(f"{total:,} producers, {with_gaps:,} with missing numbers")
    worrying = next((one for one in listed if one.kind == "event" and (one.missing or one.word(now) == "silent")), None)
    if worrying is not None:
        out.print(
            Text(
                f"What it did last, and all that it says of itself: `sealstream search producer:{worrying.id} "
                f"--chain {chain} -n 1 -o ndjson`"
            ),
            soft_wrap=True,
        )
    if with_gaps:
        out.print(
            "A missing number is an event that was reported and never came, or was refused (`sealstream deadletter "
            "list`); the chain says so (producer.gap). It may still come: from a spool, or by a retry. What to do: "
            "docs/runbooks/missing-numbers.md",
            soft_wrap=True,
        )


def _ranges(missing: Sequence[Range]) -> str:
    shown = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in missing[:_RANGES_SHOWN])
    more = len(missing) - _RANGES_SHOWN
    return f"{shown} and {more:,} more ranges" if more > 0 else shown


def _ago(one: Producer, now: datetime) -> str:
    if not one.state.last_seen:
        return "never"
    silence = one.silence(now)
    return f"{silence.days} days ago" if silence.days >= 2 else f"{span(max(silence.total_seconds(), 0))} ago"
