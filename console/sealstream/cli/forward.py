"""`sealstream forward`: how the targets are, a message to try one, and the letters of what they refused.

Sending a letter again and settling it are two steps: killed between them, the letter is open and its message was sent;
sent once more, it has the same id.
"""

from __future__ import annotations

import json
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.table import Table

from sealstream.access import person_at_this_machine
from sealstream.cli.context import context_of, counted, out
from sealstream.cli.forward_process import sources_of
from sealstream.cli.harmless import told
from sealstream.cli.settings import Settings
from sealstream.errors import Misconfigured
from sealstream.forward import (
    Message,
    Outcome,
    RefusedLetter,
    Sender,
    Target,
    message_in,
    open_letters,
    sender_of,
    settle,
    trial_message,
)
from sealstream.forward.positions import kept_positions
from sealstream.forward.senders import waiting
from sealstream.health.judging import said_age
from sealstream.kafka import StandingProducer
from sealstream.kafka.offsets import bounds
from sealstream.layout.forwarding import Place

__all__ = ["app"]

app = typer.Typer(
    help="Where alerts and entries are sent to: how each target is, a test message, and what targets refused.",
    no_args_is_help=True,
)

JsonOption = Annotated[bool, typer.Option("--json", help="For programs.")]
TargetOption = Annotated[str | None, typer.Option("--target", help="Of this target alone.", show_default=False)]
LettersArgument = Annotated[
    list[int] | None, typer.Argument(help="Their numbers, as `list` shows them.", show_default=False)
]


@app.command("status")
def status_command(context: typer.Context, as_json: JsonOption = False) -> None:
    """Show each target: what it follows, how many records wait for it, and how many it refused.

    Why one takes nothing now says `sealstream status`, or the log of `sealstream run forward`.
    """
    settings = context_of(context).settings()
    kafka, sources = settings.kafka_settings(), sources_of(settings)
    kept = kept_positions(kafka, sources.own.positions)
    letters = Counter(letter.told.target for letter in open_letters(kafka, sources.own.deadletter))
    rows = []
    for target in settings.forward_targets():
        positions = kept.get(target.name)
        waits = None
        if positions is not None and positions.places:
            places = {_place(name): position.next for name, position in positions.places.items()}
            ends = bounds(kafka, list(places))
            waits = sum(max(ends[place][1] - at, 0) for place, at in places.items())
        rows.append((target, waits, letters[target.name]))
    if as_json:
        listed = [
            {"target": target.name, "kind": target.kind, "what": target.what, "waiting": waits, "letters": refused}
            for target, waits, refused in rows
        ]
        print(json.dumps(listed, indent=2))
        return
    table = Table("target", "kind", "what", "records waiting", "letters", box=None, padding=(0, 2, 0, 0))
    for target, waits, refused in rows:
        table.add_row(
            told(target.name),
            target.kind,
            target.what,
            "never ran" if waits is None else f"{waits:,}",
            f"{refused:,}" if refused else "-",
        )
    out.print(table if rows else "no targets: [forward.targets.NAME] in the settings makes one")


@app.command("test")
def test_command(
    context: typer.Context,
    target: Annotated[str, typer.Argument(help="Its name in the settings.")],
) -> None:
    """Send a test message to a target, past all filters, and show its answer. Exit 1 when it was not taken.

    It is an alert of low severity that says that nothing has happened. PagerDuty is told at once that it is over.
    """
    chosen = _target(context_of(context).settings(), target)
    sender = sender_of(chosen, waiting)
    begun = time.monotonic()
    try:
        message = trial_message(chosen, str(uuid.uuid4()), datetime.now(UTC))
        outcome = _sent(sender, message)
        if chosen.kind == "pagerduty" and outcome.end == "taken":
            over = _sent(sender, message._replace(what="closing"))
            outcome = outcome._replace(said=f"{outcome.said}; resolved: {over.said}")
    finally:
        sender.close()
    words = {"taken": "taken", "refused": "refused for good", "unsure": "not taken", "later": "not taken"}[outcome.end]
    out.print(
        told(f"{chosen.name} ({chosen.kind}): {words} in {time.monotonic() - begun:.1f} s: {outcome.said}"),
        soft_wrap=True,
    )
    if outcome.end != "taken":
        raise typer.Exit(1)


@app.command("list")
def list_letters(context: typer.Context, target: TargetOption = None, as_json: JsonOption = False) -> None:
    """List what targets refused for good and nobody has worked off yet; letters are kept for 90 days."""
    letters = _open(context_of(context).settings(), target)
    if as_json:
        print(json.dumps([_members(letter) for letter in letters], indent=2))
        return
    if not letters:
        out.print("no letters: every message was taken, or worked off")
        return
    table = Table("letter", "target", "what", "age", "id", "reason", box=None, padding=(0, 2, 0, 0))
    now = datetime.now(UTC)
    for letter in letters:
        age = said_age(max((now - datetime.fromisoformat(letter.told.at)).total_seconds(), 0))
        table.add_row(
            str(letter.number),
            told(letter.told.target),
            told(letter.told.what),
            age,
            told(letter.told.id or "-"),
            told(letter.told.reason),
        )
    out.print(table)


@app.command("retry")
def retry_letters(
    context: typer.Context,
    letters: LettersArgument = None,
    target: TargetOption = None,
    everything: Annotated[bool, typer.Option("--all", help="All that are open, of --target if it is given.")] = False,
) -> None:
    """Send refused messages again, each with the id that it had. Exit 1 when one was not taken: its letter stays.

    sealstream forward retry 12 17          these letters

    sealstream forward retry --all --target pager
    """
    settings = context_of(context).settings()
    chosen = _chosen(settings, letters, target, everything)
    senders: dict[str, Sender] = {}
    topic, failed = sources_of(settings).own.deadletter, 0
    by = f"sent again by {person_at_this_machine().id}"
    with StandingProducer(settings.kafka_settings()) as producer:
        try:
            for letter in chosen:
                message = message_in(letter)
                if message is None:
                    failed += 1
                    _say(letter, "its message is not here to be sent: `sealstream forward dismiss` ends the letter")
                    continue
                name = letter.told.target
                if name not in senders:
                    senders[name] = sender_of(_target(settings, name), waiting)
                outcome = _sent(senders[name], message)
                if outcome.end == "taken":
                    settle(producer, topic, letter, "delivered", by)
                else:
                    failed += 1
                _say(letter, f"{'taken' if outcome.end == 'taken' else 'not taken'}: {outcome.said}")
        finally:
            for sender in senders.values():
                sender.close()
    out.print(f"{counted(len(chosen) - failed, 'letter')} worked off, {failed:,} still open")
    if failed:
        raise typer.Exit(1)


@app.command("dismiss")
def dismiss_letters(
    context: typer.Context,
    reason: Annotated[str, typer.Option("--reason", help="Why they need not be sent.")],
    letters: LettersArgument = None,
    target: TargetOption = None,
    everything: Annotated[bool, typer.Option("--all", help="All that are open, of --target if it is given.")] = False,
) -> None:
    """End letters without sending them; who and why stays beside them."""
    settings = context_of(context).settings()
    chosen = _chosen(settings, letters, target, everything)
    by = f"{reason} (dismissed by {person_at_this_machine().id})"
    with StandingProducer(settings.kafka_settings()) as producer:
        for letter in chosen:
            settle(producer, sources_of(settings).own.deadletter, letter, "dismissed", by)
    out.print(f"{counted(len(chosen), 'letter')} dismissed")


def _sent(sender: Sender, message: Message) -> Outcome:
    return sender.send([sender.prepare(message)])


def _target(settings: Settings, name: str) -> Target:
    for target in settings.forward_targets():
        if target.name == name:
            return target
    known = ", ".join(target.name for target in settings.forward_targets()) or "none"
    raise Misconfigured(f"there is no target {name!r} in the settings (known: {known})")


def _open(settings: Settings, target: str | None) -> list[RefusedLetter]:
    """Also of targets that are no longer in the settings."""
    letters = open_letters(settings.kafka_settings(), sources_of(settings).own.deadletter)
    return [letter for letter in letters if target is None or letter.told.target == target]


def _chosen(
    settings: Settings, numbers: Sequence[int] | None, target: str | None, everything: bool
) -> list[RefusedLetter]:
    if bool(numbers) == everything:
        raise Misconfigured("which letters? Give their numbers, as `sealstream forward list` shows them, or --all")
    letters = _open(settings, target)
    if everything:
        return letters
    found = {letter.number: letter for letter in letters}
    if missing := [number for number in numbers or () if number not in found]:
        raise Misconfigured(f"there is no open letter {missing[0]}: `sealstream forward list` shows those that are")
    return [found[number] for number in numbers or ()]


def _say(letter: RefusedLetter, words: str) -> None:
    out.print(told(f"letter {letter.number} to {letter.told.target}: {words}"), soft_wrap=True)


def _members(letter: RefusedLetter) -> dict[str, object]:
    members = {name: value for name, value in letter.told._asdict().items() if name not in ("settled", "place")}
    return {"letter": letter.number, **members, "place": str(letter.told.place)}


def _place(name: str) -> Place:
    topic, _, partition = name.rpartition("/")
    return Place(topic, int(partition))
