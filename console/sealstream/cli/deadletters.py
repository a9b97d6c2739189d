"""`sealstream deadletter`: what the sequencer refused and why, and what was sent again since. Reads only.

That they are read is in the log (`log.read`) before they are shown; a crash between leaves the record.

Nothing is ever sealed from the letters' topic: `retry` (in `retrying.py`) sends an event of its own.
"""

from __future__ import annotations

import json
import sys
from collections import Counter, deque
from collections.abc import Iterable
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from sealstream.cli.context import context_of, out
from sealstream.cli.harmless import harmless, harmless_lines, told
from sealstream.cli.letters import Letter, all_letters, one_letter
from sealstream.cli.reading import ReadLog
from sealstream.cli.sealed import sealed_statements, sealed_with_ids
from sealstream.cli.settings import Settings
from sealstream.layout import ChainTopics, Entry
from sealstream.sequencer.judging import REPEATED

__all__ = ["RETRIED", "ChainOption", "app", "recorded", "retries", "sealed_events", "who_retried"]

app = typer.Typer(
    help="Records that were refused: how many, why, their bytes; and sending them again, corrected.",
    no_args_is_help=True,
)

RETRIED = "deadletter.retried"
_SHOWN_BYTES = 60

ChainOption = Annotated[str, typer.Option("--chain", help="The chain.")]
RetryKey = tuple[int, str]


def retries(settings: Settings, chain: str, oldest: Letter) -> dict[RetryKey, Entry]:
    """The `deadletter.retried` that counts, by the record's offset and SHA-256, since the oldest letter.

    The first one sealed counts, until another says that it stands instead of it: so of two people who retry the same
    letter at once, one sends the event.
    """
    found: dict[RetryKey, Entry] = {}
    for entry in sealed_statements(settings, chain, [RETRIED], since=oldest.refused_at):
        said = entry.metadata or {}
        key = int(said["offset"]), str(said["sha256"])
        counts = found.setdefault(key, entry)
        if said.get("instead_of") == counts.written.seq:
            found[key] = entry
    return found


def sealed_events(settings: Settings, chain: str, claims: Iterable[Entry], oldest: Letter) -> set[str]:
    """Of the events that these statements announce, the ids of those that are sealed."""
    ids = [str((entry.metadata or {})["event"]) for entry in claims]
    found = sealed_with_ids(settings, chain, ids, since=oldest.refused_at) if ids else iter(())
    return {entry.id for entry, _ in found if entry.written.kind == "event"}


def who_retried(entry: Entry) -> str:
    """Who says so, and whom they named."""
    by = (entry.metadata or {}).get("by")
    return f"{entry.actor_id} (for {by})" if by else entry.actor_id


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
    events = sealed_events(settings, chain, retried.values(), newest[0]) if newest else set()
    shown = [letter for letter in newest if not waiting or _waits(letter, retried, events)][-limit:]
    recorded(settings, chain, f"list --limit {limit}{' --waiting' if waiting else ''}", len(shown))
    if as_json:
        for letter in shown:
            members = letter._asdict() | {"refused_at": letter.refused_at.isoformat()}
            members["value"] = letter.value.decode(errors="backslashreplace")
            print(json.dumps(members | {"retried": _retried_members(retried.get(_key(letter)), events)}))
        return
    if not newest:
        out.print(f"no dead letters of chain {chain}")
        return
    if shown:
        out.print(_table(shown, retried, events))
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


def recorded(settings: Settings, chain: str, query: str, rows: int) -> None:
    """That letters are read is in the log before they are shown: repeats and conflicts are copies of sealed events."""
    ReadLog(settings, "deadletter", query, [chain]).counted("kafka", {chain: rows})


def _waits(letter: Letter, retried: dict[RetryKey, Entry], events: set[str]) -> bool:
    """Whether something is to be done about it: a repeat's event is sealed, a retry's may not be yet."""
    claim = retried.get(_key(letter))
    return letter.reason != REPEATED and (claim is None or not _is_sealed(claim, events))


def _is_sealed(claim: Entry, events: set[str]) -> bool:
    return (claim.metadata or {}).get("event") in events


def _key(letter: Letter) -> RetryKey:
    return letter.topic_offset, letter.sha256


def _retried_members(entry: Entry | None, events: set[str]) -> dict[str, object] | None:
    if entry is None:
        return None
    said = entry.metadata or {}
    return {
        "seq": entry.written.seq,
        "event": said.get("event"),
        "event_sealed": _is_sealed(entry, events),
        "by": entry.actor_id,
        "named": said.get("by"),
    }


def _retried_words(entry: Entry | None, events: set[str]) -> Text:
    if entry is None:
        return Text()
    if _is_sealed(entry, events):
        return Text(f"entry {entry.written.seq}", style="green")
    return Text(f"entry {entry.written.seq}; its event is not sealed", style="yellow")


def _table(letters: list[Letter], retried: dict[RetryKey, Entry], events: set[str]) -> Table:
    table = Table("letter", "refused at", "record", "reason", "retried", "begins with", box=None, padding=(0, 2, 0, 0))
    for letter in letters:
        entry = retried.get(_key(letter))
        table.add_row(
            str(letter.offset),
            letter.refused_at.strftime("%Y-%m-%d %H:%M:%SZ"),
            told(f"{letter.topic} offset {letter.topic_offset}"),
            told(letter.reason, "red" if entry is None else "dim"),
            _retried_words(entry, events),
            told(letter.value[:_SHOWN_BYTES].decode(errors="backslashreplace")),
        )
    return table
