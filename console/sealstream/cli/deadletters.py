"""`sealstream deadletter`: what the sequencer refused and why, and what became of it since. Reads only.

That they are read is in the log (`log.read`) before they are shown; a crash between leaves the record.

Nothing is ever sealed from the letters' topic: `retry` (in `retrying.py`) sends an event of its own, `dismiss`
(`dismissing.py`) says that nothing will be sent.
"""

from __future__ import annotations

import json
import sys
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from sealstream.cli.context import context_of, out
from sealstream.cli.fates import Fate, announced, fates_of, recorded, waits, who_said, why_said
from sealstream.cli.harmless import harmless, harmless_lines, told
from sealstream.cli.letters import Letter, RecordKey, all_letters, one_letter
from sealstream.layout import ChainTopics

__all__ = ["ChainOption", "app"]

app = typer.Typer(
    help="Records that were refused: how many, why, their bytes; sending them again, corrected, or dismissing them.",
    no_args_is_help=True,
)

_SHOWN_BYTES = 60

ChainOption = Annotated[str, typer.Option("--chain", help="The chain.")]


@app.command("list")
def list_letters(
    context: typer.Context,
    chain: ChainOption = "main",
    limit: Annotated[int, typer.Option(min=1, help="The last so many, the newest at the end.")] = 20,
    waiting: Annotated[
        bool, typer.Option("--waiting", help="Only those that nobody has retried or dismissed (repeats need not be).")
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
    fates = fates_of(settings, chain, topics, newest)
    shown = [letter for letter in newest if not waiting or waits(letter, fates[letter.record])][-limit:]
    recorded(settings, chain, f"list --limit {limit}{' --waiting' if waiting else ''}", len(shown))
    if as_json:
        for letter in shown:
            members = letter._asdict() | {"refused_at": letter.refused_at.isoformat()}
            members["value"] = letter.value.decode(errors="backslashreplace")
            print(json.dumps(members | _fate_members(fates[letter.record])))
        return
    if not newest:
        out.print(f"no dead letters of chain {chain}")
        return
    if shown:
        out.print(_table(shown, fates))
    else:
        out.print("no dead letter waits: each was retried or dismissed, or need not be")
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
    recorded(settings, chain, f"show {letter}", 1)
    print(
        harmless(
            f"{found.topic} offset {found.topic_offset}, {found.length} bytes, SHA-256 {found.sha256}: {found.reason}"
        ),
        file=sys.stderr,
    )
    value = found.value.decode(errors="backslashreplace")
    sys.stdout.write(harmless_lines(value) if sys.stdout.isatty() else value)
    sys.stdout.write("\n")


def _fate_members(fate: Fate) -> dict[str, object]:
    members: dict[str, object] = {"retried": None, "dismissed": None}
    if (claim := fate.claim) is not None:
        members["retried"] = {
            "seq": claim.written.seq,
            "event": announced(claim),
            "event_sealed": fate.is_sent,
            "by": claim.actor_id,
            "named": (claim.metadata or {}).get("by"),
        }
    if (dismissal := fate.dismissal) is not None:
        said = dismissal.metadata or {}
        members["dismissed"] = {
            "seq": dismissal.written.seq,
            "reason": said.get("reason"),
            "by": dismissal.actor_id,
            "named": said.get("by"),
        }
    return members


def _fate_words(fate: Fate) -> Text:
    """A retry that came late outdoes a dismissal."""
    if fate.claim is not None and fate.is_sent:
        return told(f"retried: entry {fate.claim.written.seq}, by {who_said(fate.claim)}", "green")
    if fate.claim is not None and fate.is_open:
        return Text(f"retried: entry {fate.claim.written.seq}; its event is not sealed", style="yellow")
    if fate.dismissal is not None:
        said = f"dismissed: entry {fate.dismissal.written.seq}, by {who_said(fate.dismissal)}"
        return told(f"{said}: {why_said(fate.dismissal)}", "dim")
    return Text()


def _table(letters: Sequence[Letter], fates: Mapping[RecordKey, Fate]) -> Table:
    table = Table(
        "letter", "refused at", "record", "reason", "what became of it", "begins with", box=None, padding=(0, 2, 0, 0)
    )
    for letter in letters:
        fate = fates[letter.record]
        table.add_row(
            str(letter.offset),
            letter.refused_at.strftime("%Y-%m-%d %H:%M:%SZ"),
            told(f"{letter.topic} offset {letter.topic_offset}"),
            told(letter.reason, "red" if fate == Fate() else "dim"),
            _fate_words(fate),
            told(letter.value[:_SHOWN_BYTES].decode(errors="backslashreplace")),
        )
    return table
