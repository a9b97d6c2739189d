"""`sealstream deadletter`: what the sequencer refused and why, and what was sent again since. Reads only.

Nothing is ever sealed from the letters' topic: `retry` (in `retrying.py`) sends an event of its own.
"""

from __future__ import annotations

import json
import sys
from collections import Counter, deque
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from sealstream.cli.context import context_of, out
from sealstream.cli.harmless import harmless, harmless_lines, told
from sealstream.cli.letters import Letter, all_letters, one_letter
from sealstream.cli.sealed import sealed_statements
from sealstream.cli.settings import Settings
from sealstream.layout import ChainTopics, Entry
from sealstream.sequencer.judging import REPEATED

__all__ = ["RETRIED", "ChainOption", "app", "retries"]

app = typer.Typer(
    help="Records that were refused: how many, why, their bytes; and sending them again, corrected.",
    no_args_is_help=True,
)

RETRIED = "deadletter.retried"
_SHOWN_BYTES = 60

ChainOption = Annotated[str, typer.Option("--chain", help="The chain.")]
RetryKey = tuple[int, str]


def retries(settings: Settings, chain: str, oldest: Letter) -> dict[RetryKey, Entry]:
    """The sealed `deadletter.retried` statements since the oldest letter, by the record's offset and SHA-256."""
    found: dict[RetryKey, Entry] = {}
    for entry in sealed_statements(settings, chain, [RETRIED], since=oldest.refused_at):
        said = entry.metadata or {}
        found.setdefault((int(said["offset"]), str(said["sha256"])), entry)
    return found


@app.command("list")
def list_letters(
    context: typer.Context,
    chain: ChainOption = "main",
    limit: Annotated[int, typer.Option(min=1, help="The last so many, the newest at the end.")] = 20,
    waiting: Annotated[
        bool, typer.Option("--waiting", help="Only those that nobody has retried (repeats need not be).")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")] = False,
) -> None:
    """List the last dead letters and what became of them, and count all that are kept (90 days) by reason."""
    settings = context_of(context).settings()
    kafka = settings.kafka_settings()
    topics = ChainTopics.of(settings.chain(chain).name, settings.kafka.prefix)
    newest: deque[Letter] = deque(maxlen=None if waiting else limit)
    reasons: Counter[str] = Counter()
    for letter in all_letters(kafka, topics):
        newest.append(letter._replace(value=letter.value[:_SHOWN_BYTES]) if not as_json else letter)
        reasons[letter.reason] += 1
    retried = retries(settings, chain, newest[0]) if newest else {}
    shown = [letter for letter in newest if not waiting or _waits(letter, retried)][-limit:]
    if as_json:
        for letter in shown:
            members = letter._asdict() | {"refused_at": letter.refused_at.isoformat()}
            members["value"] = letter.value.decode(errors="backslashreplace")
            print(json.dumps(members | {"retried": _retried_members(retried.get(_key(letter)))}))
        return
    if not newest:
        out.print(f"no dead letters of chain {chain}")
        return
    if shown:
        out.print(_table(shown, retried))
    else:
        out.print("no dead letter waits: each was retried, or need not be")
    out.print(f"{reasons.total():,} in all, by reason:")
    for reason, count in reasons.most_common():
        out.print(told(f"  {count:,}  {reason}"), soft_wrap=True)


@app.command("show")
def show_letter(
    context: typer.Context,
    letter: Annotated[int, typer.Argument(min=0, help="Its number, as `list` shows it.")],
    chain: ChainOption = "main",
) -> None:
    """Print one dead letter's bytes as they came (their first 65,536), and what is known of it to standard error.

    On a terminal, control characters are shown as escapes: whoever wrote the record chose its bytes.
    """
    settings = context_of(context).settings()
    topics = ChainTopics.of(settings.chain(chain).name, settings.kafka.prefix)
    found = one_letter(settings.kafka_settings(), topics, letter)
    print(
        harmless(
            f"{found.topic} offset {found.topic_offset}, {found.length} bytes, SHA-256 {found.sha256}: {found.reason}"
        ),
        file=sys.stderr,
    )
    value = found.value.decode(errors="backslashreplace")
    sys.stdout.write(harmless_lines(value) if sys.stdout.isatty() else value)
    sys.stdout.write("\n")


def _waits(letter: Letter, retried: dict[RetryKey, Entry]) -> bool:
    """Whether something is to be done about it: a repeat's event is sealed."""
    return letter.reason != REPEATED and _key(letter) not in retried


def _key(letter: Letter) -> RetryKey:
    return letter.topic_offset, letter.sha256


def _retried_members(entry: Entry | None) -> dict[str, object] | None:
    if entry is None:
        return None
    return {"seq": entry.written.seq, "event": (entry.metadata or {}).get("event"), "by": entry.actor_id}


def _table(letters: list[Letter], retried: dict[RetryKey, Entry]) -> Table:
    table = Table("letter", "refused at", "record", "reason", "retried", "begins with", box=None, padding=(0, 2, 0, 0))
    for letter in letters:
        entry = retried.get(_key(letter))
        table.add_row(
            str(letter.offset),
            letter.refused_at.strftime("%Y-%m-%d %H:%M:%SZ"),
            told(f"{letter.topic} offset {letter.topic_offset}"),
            told(letter.reason, "red" if entry is None else "dim"),
            Text("" if entry is None else f"entry {entry.written.seq}", style="green"),
            told(letter.value[:_SHOWN_BYTES].decode(errors="backslashreplace")),
        )
    return table
