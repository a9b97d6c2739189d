"""`sealstream deadletter dismiss`: letters that nobody can mend are put aside, and the chain says who did and why.

One control statement `deadletter.dismissed` names at most 200 records, each held against the chain before; more take
several. The first that is sealed about a record counts. Nothing is deleted: letters and refusals stay.

The statements are written down before the first is sent (`saying.py`), under the words of the command. Killed before
that, nothing was said. Killed behind it, some are sealed or none: the same command says the very same ones, no other,
and then looks at what is left. Another command knows nothing of them: at worst a letter is dismissed twice.
"""

from __future__ import annotations

import sys
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, NamedTuple

import typer

from sealstream.cli.context import context_of, counted, out
from sealstream.cli.deadletters import ChainOption
from sealstream.cli.fates import DISMISSED, Fate, announced, fates_of, members_of, recorded, who_said
from sealstream.cli.harmless import told
from sealstream.cli.letters import Letter, Refusal, refusals_of, unaccounted
from sealstream.cli.named_letters import asked_for, named_letters
from sealstream.cli.saying import Message, Pending, person_says, say_until_sealed, waits_in_raw
from sealstream.cli.settings import Settings
from sealstream.errors import Misconfigured
from sealstream.events import MAX_LETTERS, new_event_id
from sealstream.layout import ChainTopics, Entry

__all__ = ["MAX_REASON_BYTES", "dismiss_letters"]

MAX_REASON_BYTES = 1_000
_LISTED = 20


class _Open(NamedTuple):
    """A letter that can be dismissed. `claim`: the unfinished retry that this stands instead of."""

    letter: Letter
    claim: Entry | None


def dismiss_letters(
    context: typer.Context,
    reason: Annotated[str, typer.Option("--reason", help="Why nothing more is done about them: sealed in the chain.")],
    letters: Annotated[
        list[str] | None, typer.Argument(help="Their numbers, as `list` shows them: 4, or 3..17 for all of these.")
    ] = None,
    chain: ChainOption = "main",
    all_with_reason: Annotated[
        str | None,
        typer.Option(
            "--all-with-reason",
            help="Instead: all that were refused with exactly these words and that nobody has worked off.",
        ),
    ] = None,
    by: Annotated[
        str | None, typer.Option("--by", help="Who decides it, if not you: sealed beside who you are on this machine.")
    ] = None,
    wait: Annotated[float, typer.Option("--wait", min=1, help="Wait so many seconds until it is sealed.")] = 60,
    take_over: Annotated[
        bool,
        typer.Option(
            "--take-over", help="Also one that somebody began to retry, whose event never came and who can't."
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask on a terminal before it is sealed.")] = False,
) -> None:
    """Put dead letters aside that nobody can mend: a refused control record, a repeat, rubbish.

    The chain says who did and why; `list --waiting` and `sealstream status` count them no longer. Nothing is deleted,
    and a letter can still be retried when a correction comes late. Safe to run again: nothing is said twice.

      sealstream deadletter dismiss 4 --reason "port scan of 24 November, ticket 4711"
      sealstream deadletter dismiss 3..17 --reason "the importer's test run"
    """
    shared = context_of(context)
    settings = shared.settings()
    why, asked = _why(reason), asked_for(letters or [], all_with_reason)
    kafka, known = settings.kafka_settings(), settings.running_chain(chain)
    topics = ChainTopics.of(known.name, known.prefix)
    words = repr((sorted(letters or []), all_with_reason, why, by))
    name = uuid.uuid5(uuid.uuid5(uuid.NAMESPACE_URL, known.origin), f"dismiss/{words}")
    pending = Pending(shared.config, f"deadletter-dismissed-{known.name}-{name}")
    said = _finished(settings, chain, pending, wait)
    chosen = named_letters(kafka, topics, letters or [], all_with_reason)
    recorded(settings, chain, f"dismiss {asked}", len(chosen))
    by_hand = all_with_reason is None and ".." not in asked
    open_letters = _still_open(settings, chain, topics, chosen, said, take_over=take_over, briefly=not by_hand)
    refusals = refusals_of(kafka, topics, [each.letter for each in open_letters])
    strange = [each.letter for each in open_letters if each.letter.offset not in refusals]
    open_letters = [each for each in open_letters if each.letter.offset in refusals]
    if strange and (by_hand or not open_letters):
        raise Misconfigured(unaccounted(strange[0]) + ". Nothing was dismissed; it is evidence: leave it out")
    for letter in strange[:_LISTED]:
        out.print(told(f"WARNING: left out: {unaccounted(letter)}", "yellow"), soft_wrap=True)
    if open_letters:
        _show([each.letter for each in open_letters], refusals, why)
        if sys.stdin.isatty() and not yes:
            typer.confirm(f"dismiss {counted(len(open_letters), 'letter')}?", abort=True)
            remaining = [each.letter for each in open_letters]  # the question may have stood for hours
            open_letters = _still_open(settings, chain, topics, remaining, said, take_over=take_over, briefly=False)
    if open_letters:
        messages = list(_statements(open_letters, topics, refusals, why, by))
        pending.write(messages)
        _say(settings, chain, messages, len(open_letters), wait)
        pending.remove()
        _tell_who_was_first(settings, chain, topics, open_letters, messages)
    elif not said:
        out.print("nothing was left to dismiss")
    if strange:
        raise typer.Exit(1)


def _why(reason: str) -> str:
    why = reason.strip()
    if not why:
        raise Misconfigured("--reason is empty: it is sealed, and is all that an auditor will know; say why")
    if not why.isprintable() or len(why.encode()) > MAX_REASON_BYTES:
        raise Misconfigured(f"--reason: expected one line of printable text, at most {MAX_REASON_BYTES:,} bytes")
    return why


def _still_open(
    settings: Settings,
    chain: str,
    topics: ChainTopics,
    letters: Sequence[Letter],
    own: Mapping[str, int],
    *,
    take_over: bool,
    briefly: bool,
) -> list[_Open]:
    """Those about which something can be said; of the others it is told what became of them.

    `own`: what this command has said already, by the statements' ids. `briefly`: how many, where there are many.
    """
    fates = fates_of(settings, chain, topics, letters)
    found: list[_Open] = []
    closed: list[str] = []
    for letter in letters:
        fate = fates[letter.record]
        words = _why_not(settings, chain, letter, fate, take_over=take_over)
        if not words:
            found.append(_Open(letter, fate.claim))
        elif fate.dismissal is None or fate.dismissal.id not in own:
            closed.append(words)
    if briefly and len(closed) > _LISTED:
        closed = [f"{counted(len(closed), 'letter')} of these were retried or dismissed already, or are being retried"]
    for words in closed:
        out.print(told(words), soft_wrap=True)
    return found


def _why_not(settings: Settings, chain: str, letter: Letter, fate: Fate, *, take_over: bool) -> str:
    """What became of a letter that is not to be dismissed; empty for one that is."""
    claim, dismissal = fate.claim, fate.dismissal
    if claim is not None and (fate.is_sent or (fate.is_open and waits_in_raw(settings, chain, announced(claim)))):
        return (
            f"letter {letter.offset} was retried already, by {who_said(claim)}: entry {claim.written.seq} says that "
            f"event {announced(claim)} replaces it"
        )
    if dismissal is not None and not fate.is_open:
        reason = (dismissal.metadata or {}).get("reason")
        return (
            f"letter {letter.offset} was dismissed already, by {who_said(dismissal)} "
            f"(entry {dismissal.written.seq}): {reason}"
        )
    if claim is not None and not take_over:
        return (
            f"letter {letter.offset} is being retried by {who_said(claim)}: entry {claim.written.seq} says so since "
            f"{claim.written.sequenced_at}, and its event was not sent yet. It was not dismissed: they finish it by "
            "running their command again; if they can't, --take-over dismisses it all the same"
        )
    return ""


def _show(letters: Sequence[Letter], refusals: Mapping[int, Refusal | None], why: str) -> None:
    """What is about to be dismissed, and why."""
    if len(letters) <= _LISTED:
        for letter in letters:
            refusal = refusals[letter.offset]
            account = "the chain's topic no longer reaches back to it" if refusal is None else f"entry {refusal.seq}"
            what = "refused" if refusal is None else refusal.what
            out.print(told(f"letter {letter.offset}, {what} ({account}): {letter.reason}"), soft_wrap=True)
    else:
        out.print(f"{len(letters):,} letters, from {letters[0].offset} to {letters[-1].offset}, by reason:")
        for reason, count in Counter(letter.reason for letter in letters).most_common(_LISTED):
            out.print(told(f"  {count:,}  {reason}"), soft_wrap=True)
    out.print(told(f"dismissed because: {why}", "bold"), soft_wrap=True)


def _statements(
    open_letters: Sequence[_Open],
    topics: ChainTopics,
    refusals: Mapping[int, Refusal | None],
    why: str,
    by: str | None,
) -> Iterator[Message]:
    """One statement for at most so many letters."""
    for begin in range(0, len(open_letters), MAX_LETTERS):
        part = open_letters[begin : begin + MAX_LETTERS]
        first, last = part[0].letter.offset, part[-1].letter.offset
        items = [members_of(letter, topics, refusals[letter.offset], claim) for letter, claim in part]
        own_id = new_event_id()
        statement = person_says(
            DISMISSED,
            id=own_id,
            resource_type="deadletter",
            resource_id=str(first) if first == last else f"{first}..{last}",
            metadata={"reason": why, "letters": items},
            by=by,
        )
        yield Message("control", own_id, statement)


def _finished(settings: Settings, chain: str, pending: Pending, wait_s: float) -> dict[str, int]:
    """What the same command has begun to say before is said: the statements' ids and seqs."""
    begun = pending.read()
    if begun is None:
        return {}
    out.print("this was begun before: what it had begun to say is said first")
    said = _say(settings, chain, begun, None, wait_s)
    pending.remove()
    return said


def _say(
    settings: Settings, chain: str, messages: Sequence[Message], letters: int | None, wait_s: float
) -> dict[str, int]:
    said = say_until_sealed(settings, chain, messages, wait_s=wait_s)
    seqs = sorted(said.values())
    where = f"entry {seqs[0]}" if len(seqs) == 1 else f"entries {', '.join(map(str, seqs[:_LISTED]))}"
    more = f" and {len(seqs) - _LISTED:,} more" if len(seqs) > _LISTED else ""
    what = "they" if letters is None else counted(letters, "letter")
    is_are = "is" if letters == 1 else "are"
    out.print(f"sealed: {where}{more} of chain {chain}: {what} {is_are} dismissed", soft_wrap=True)
    return said


def _tell_who_was_first(
    settings: Settings, chain: str, topics: ChainTopics, dismissed: Sequence[_Open], messages: Sequence[Message]
) -> None:
    """Of letters that somebody else dismissed or retried at the same time, the chain holds both."""
    own = {message.id for message in messages}
    fates = fates_of(settings, chain, topics, [each.letter for each in dismissed])
    for letter, claim in dismissed:
        fate = fates[letter.record]
        counts = fate.dismissal
        if counts is not None and counts.id not in own:
            words = f"letter {letter.offset} was dismissed at the same time by {who_said(counts)}: entry "
            out.print(told(f"{words}{counts.written.seq}, which came first, counts"), soft_wrap=True)
        if claim is None and fate.claim is not None:
            words = f"letter {letter.offset} is being retried at the same time by {who_said(fate.claim)}: entry "
            out.print(told(f"{words}{fate.claim.written.seq}. Both stand"), soft_wrap=True)
