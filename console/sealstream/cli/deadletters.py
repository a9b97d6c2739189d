"""`sealstream deadletters`: what the sequencer refused, and why. Reads only; nothing here can be lost in a crash.

A dead letter is a copy: the record itself stays in its input topic until that is trimmed, and the chain accounts for
it. Nothing is ever sealed from here: who mends a producer sends the event again.
"""

from __future__ import annotations

import json
import sys
from collections import Counter, deque
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, NamedTuple

import typer
from rich.table import Table
from rich.text import Text

from sealstream.cli.context import context_of, out
from sealstream.errors import Misconfigured
from sealstream.kafka import CommittedReader, KafkaSettings, read_until_end, start_offset
from sealstream.layout import ChainTopics

__all__ = ["app"]

app = typer.Typer(help="Records that were refused: how many, why, and their bytes.", no_args_is_help=True)

_SHOWN_BYTES = 60
_WAIT_S = 10.0

ChainOption = Annotated[str, typer.Option("--chain", help="The chain.")]


class _Letter(NamedTuple):
    """One dead letter: its own offset, and what its headers say of the record."""

    offset: int
    refused_at: datetime
    reason: str
    topic: str
    topic_offset: int
    length: int
    sha256: str
    value: bytes


@app.command("list")
def list_letters(
    context: typer.Context,
    chain: ChainOption = "main",
    limit: Annotated[int, typer.Option(min=1, help="The last so many, the newest at the end.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")] = False,
) -> None:
    """List the last dead letters, and count all that are kept (90 days) by reason."""
    newest: deque[_Letter] = deque(maxlen=limit)
    reasons: Counter[str] = Counter()
    for letter in _letters(context, chain):
        newest.append(letter)
        reasons[letter.reason] += 1
    if as_json:
        for letter in newest:
            members = letter._asdict() | {"refused_at": letter.refused_at.isoformat()}
            print(json.dumps(members | {"value": letter.value.decode(errors="backslashreplace")}))
        return
    if not newest:
        out.print(f"no dead letters of chain {chain}")
        return
    table = Table("letter", "refused at", "record", "reason", "begins with", box=None, padding=(0, 2, 0, 0))
    for letter in newest:
        begins = letter.value[:_SHOWN_BYTES].decode(errors="backslashreplace")
        at = letter.refused_at.strftime("%Y-%m-%d %H:%M:%SZ")
        record = f"{letter.topic} offset {letter.topic_offset}"
        table.add_row(str(letter.offset), at, Text(record), Text(letter.reason, style="red"), Text(begins))
    out.print(table)
    out.print(f"{reasons.total():,} in all, by reason:")
    for reason, count in reasons.most_common():
        out.print(Text(f"  {count:,}  {reason}"), soft_wrap=True)


@app.command("show")
def show_letter(
    context: typer.Context,
    letter: Annotated[int, typer.Argument(min=0, help="Its number, as `list` shows it.")],
    chain: ChainOption = "main",
) -> None:
    """Print one dead letter's bytes as they came (their first 65,536), and what is known of it to standard error."""
    kafka, topic = _topic(context, chain)
    with CommittedReader(kafka, topic, max(letter, start_offset(kafka, topic))) as reader:
        records = reader.read(1, _WAIT_S)
    if not records or records[0].offset != letter:
        raise Misconfigured(
            f"there is no dead letter {letter} of chain {chain}: `sealstream deadletters list` shows all"
        )
    found = _letter(records[0].offset, records[0].timestamp_ms, dict(records[0].headers), records[0].value or b"")
    print(
        f"{found.topic} offset {found.topic_offset}, {found.length} bytes, SHA-256 {found.sha256}: {found.reason}",
        file=sys.stderr,
    )
    sys.stdout.write(found.value.decode(errors="backslashreplace"))
    sys.stdout.write("\n")


def _topic(context: typer.Context, chain: str) -> tuple[KafkaSettings, str]:
    settings = context_of(context).settings()
    return settings.kafka_settings(), ChainTopics.of(settings.chain(chain).name, settings.kafka.prefix).deadletter


def _letters(context: typer.Context, chain: str) -> Iterator[_Letter]:
    kafka, topic = _topic(context, chain)
    for records in read_until_end(kafka, topic):
        for record in records:
            yield _letter(record.offset, record.timestamp_ms, dict(record.headers), record.value or b"")


def _letter(offset: int, timestamp_ms: int, headers: dict[str, bytes], value: bytes) -> _Letter:
    def text(name: str) -> str:
        return headers.get(name, b"").decode(errors="replace")

    def number(name: str) -> int:
        return int(text(name)) if text(name).isdigit() else -1

    refused_at = datetime.fromtimestamp(timestamp_ms / 1000, UTC)
    return _Letter(
        offset, refused_at, text("reason"), text("topic"), number("offset"), number("length"), text("sha256"), value
    )
