"""`sealstream deadletter retry`: a refused event is sent again, corrected, and the chain says that it is.

Two records are sent: the control statement `deadletter.retried`, and then the event, to the raw topic like any
producer's. The statement ties the event to the refusal that the chain holds already, and is the claim on the letter:
the first that is sealed counts, and only whose claim counts sends an event. The log takes no side: the refusal stays,
the correction is a new entry by whoever gives it.

Both are written down before anything is sent (`saying.py`). Killed before the claim is sealed, another's may come
first: then this one gives way. Killed behind it, the claim stands without an event, and `list` shows the letter as
waiting: running the command again, with the same settings folder, sends the event; where that is lost, `--take-over`
makes a claim that says instead of which one it stands. Killed behind the event, the next run sees both sealed.
"""

from __future__ import annotations

import json
import sys
import uuid
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from sealstream.cli.context import context_of, out
from sealstream.cli.deadletters import ChainOption
from sealstream.cli.editing import edit as edit_file
from sealstream.cli.event_faults import all_faults
from sealstream.cli.fates import RETRIED, Fate, announced, fate_of, members_of, recorded, who_said
from sealstream.cli.harmless import told
from sealstream.cli.letters import Letter, Refusal, one_letter, refusal_of
from sealstream.cli.saying import Message, Pending, person_says, say_until_sealed, waits_in_raw, was_said
from sealstream.cli.sealed import sealed_with_ids
from sealstream.cli.settings import Settings
from sealstream.errors import InvalidEvent, Misconfigured, NotCanonical
from sealstream.events import canonical_event, new_event_id, validate_event
from sealstream.kafka import KafkaSettings, read_until_end
from sealstream.layout import ChainTopics, Entry
from sealstream.sealing import parse_json
from sealstream.sequencer.judging import REPEATED
from sealstream.sequencer.producers import decode_state, record_key

__all__ = ["check_may_be_retried", "retry_letter"]


class _Correction(NamedTuple):
    """What is sent instead. `notes`: what was changed of it besides, for the person to read."""

    event: bytes
    id: str
    notes: list[str]


def retry_letter(
    context: typer.Context,
    letter: Annotated[int, typer.Argument(min=0, help="Its number, as `list` shows it.")],
    chain: ChainOption = "main",
    event: Annotated[
        Path | None,
        typer.Option("--event", "-e", help="The corrected event, as JSON; - reads it from standard input."),
    ] = None,
    edit: Annotated[bool, typer.Option("--edit", help="Correct it in $EDITOR.")] = False,
    by: Annotated[
        str | None, typer.Option("--by", help="Who corrects it, if not you: sealed beside who you are on this machine.")
    ] = None,
    wait: Annotated[float, typer.Option("--wait", min=1, help="Wait so many seconds until both are sealed.")] = 60,
    take_over: Annotated[
        bool,
        typer.Option("--take-over", help="Retry it in the place of somebody whose event never came and who can't."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask on a terminal before it is sent.")] = False,
) -> None:
    """Send a refused event again, corrected: it is sealed as new, and a statement ties it to the refusal.

    Without a correction the event is sent as it was, if it holds by now. Safe to run again: nothing is sent twice. One
    that was dismissed can be retried all the same, when a correction comes late: both stand in the chain.

      sealstream deadletter show 4 > event.json       # then mend event.json
      sealstream deadletter retry 4 --event event.json
    """
    shared = context_of(context)
    settings = shared.settings()
    kafka, known = settings.kafka_settings(), settings.running_chain(chain)
    topics = ChainTopics.of(known.name, known.prefix)
    found = one_letter(kafka, topics, letter)
    check_may_be_retried(found, topics)
    name = uuid.uuid5(uuid.uuid5(uuid.NAMESPACE_URL, known.origin), _record(found))
    pending = Pending(shared.config, f"deadletter-{known.name}-{name}")
    begun = _begun(pending)
    fate = fate_of(settings, chain, topics, found)
    claim = fate.claim
    if claim is not None and (begun is None or not begun.is_claimed_by(claim)):
        if _is_over(settings, chain, found, fate, take_over=take_over):
            _give_way(settings, chain, found, claim, begun, pending)
            return
        begun = None
    if begun is not None:
        out.print("a retry of this letter was begun before: it is finished, with the correction that it had")
    else:
        if edit:
            recorded(settings, chain, f"retry {letter}", 1)
        correction = _correction(settings, chain, _given(found, event, edit), str(uuid.uuid5(name, "event")))
        _check_number(kafka, topics, correction.event)
        refusal = refusal_of(kafka, topics, found)
        if refusal is not None and refusal.what != "refused":
            raise Misconfigured(
                f"entry {refusal.seq} of the chain says that this record was {refusal.what}: no refusal"
            )
        if not edit:
            recorded(settings, chain, f"retry {letter}", 1)
        _show(found, correction, refusal, fate.dismissal)
        if sys.stdin.isatty() and not yes:
            typer.confirm("send it?", abort=True)
        standing = fate_of(settings, chain, topics, found)  # the question may have stood for hours
        if standing.claim is not None and (
            claim is None
            or standing.claim.written.seq != claim.written.seq
            or _is_over(settings, chain, found, standing, take_over=True)
        ):
            _give_way(settings, chain, found, standing.claim, None, pending)
            return
        own_id = new_event_id()
        members = members_of(found, topics, refusal, claim) | {"event": correction.id}
        statement = person_says(
            RETRIED, id=own_id, resource_type="event", resource_id=correction.id, metadata=members, by=by
        )
        begun = _Begun(Message("control", own_id, statement), Message("raw", correction.id, correction.event))
        pending.write([begun.claim, begun.event])
    sealed = say_until_sealed(settings, known.name, [begun.claim], wait_s=wait)
    counts = fate_of(settings, chain, topics, found).claim
    if counts is not None and not begun.is_claimed_by(counts):
        _give_way(settings, chain, found, counts, begun, pending)
        return
    sealed |= say_until_sealed(settings, known.name, [begun.event], wait_s=wait)
    pending.remove()
    entries = " and ".join(str(seq) for seq in sorted(sealed.values()))
    out.print(
        f"sealed: entries {entries} of chain {chain}, the statement that letter {letter} is corrected, and the event",
        soft_wrap=True,
    )


class _Begun(NamedTuple):
    """A retry that was written down: its claim on the letter, and the event that follows."""

    claim: Message
    event: Message

    def is_claimed_by(self, entry: Entry) -> bool:
        """Whether it was this very retry that the chain has sealed, and not another person's."""
        own = json.loads(self.claim.value)
        return (own["id"], own["timestamp"], own["actor_id"]) == (entry.id, entry.timestamp, entry.actor_id)


def _begun(pending: Pending) -> _Begun | None:
    by_topic = {message.topic: message for message in pending.read() or []}
    return _Begun(by_topic["control"], by_topic["raw"]) if by_topic else None


def _is_over(settings: Settings, chain: str, letter: Letter, fate: Fate, *, take_over: bool) -> bool:
    """Whether the event that another's claim announces was sent. Raises `Misconfigured` when not, unless taken over."""
    claim = fate.claim
    assert claim is not None
    if fate.is_sent or waits_in_raw(settings, chain, announced(claim)):
        return True
    if take_over:
        return False
    raise Misconfigured(
        f"letter {letter.offset} is being retried by {who_said(claim)}: entry {claim.written.seq} says so since "
        f"{claim.written.sequenced_at}, and its event {announced(claim)} was not sent yet. Nothing was sent. If that "
        "command was interrupted, they finish it by running it again, where they ran it; if they can't, retry it in "
        "their place with --take-over"
    )


def _give_way(
    settings: Settings, chain: str, letter: Letter, claim: Entry, begun: _Begun | None, pending: Pending
) -> None:
    """Say whose retry counts, and what has become of one's own."""
    said = f"entry {claim.written.seq} says that event {announced(claim)} replaces it"
    out.print(told(f"letter {letter.offset} was retried already, by {who_said(claim)}: {said}"), soft_wrap=True)
    where = None if begun is None else was_said(settings, chain, begun.event)
    if begun is None or where is None:
        out.print("your correction was not sent", soft_wrap=True)
    else:
        out.print(
            f"WARNING: your own correction, event {begun.event.id}, was sent before: {where}. Both stand in the chain, "
            "and only the other is tied to the letter: tell your auditor",
            soft_wrap=True,
        )
    pending.remove()


def _record(letter: Letter) -> str:
    return f"deadletter/{letter.topic_offset}/{letter.sha256}"


def check_may_be_retried(letter: Letter, topics: ChainTopics) -> None:
    """Raises `Misconfigured` that says why, for a letter of which nothing can be mended here."""
    if letter.reason == REPEATED:
        raise Misconfigured(
            f"letter {letter.offset} is a repeat: its event was sealed long ago, under its producer's number, and came "
            "once more. There is nothing to mend, and sending it again would only be passed over again: "
            f"{_dismissed_instead(letter)}"
        )
    if letter.topic != topics.raw:
        raise Misconfigured(
            f"letter {letter.offset} was refused from {letter.topic}: a control record speaks for a process or a "
            "person, and only who made it can make it anew: mend what wrote it, and let it say it again. "
            f"{_dismissed_instead(letter)}"
        )


def _dismissed_instead(letter: Letter) -> str:
    return f"`sealstream deadletter dismiss {letter.offset} --reason TEXT` puts it aside"


def _given(letter: Letter, event: Path | None, edit: bool) -> bytes:
    """The corrected event's bytes, or the record's own."""
    if event is not None and edit:
        raise Misconfigured("--event and --edit are two ways to give the correction: use one")
    if event is not None:
        try:
            return sys.stdin.buffer.read() if str(event) == "-" else event.read_bytes()
        except OSError as error:
            raise Misconfigured(f"--event: {event} can't be read: {error}") from error
    if len(letter.value) < letter.length:
        raise Misconfigured(
            f"letter {letter.offset} holds the first {len(letter.value):,} of {letter.length:,} bytes: give the whole "
            "event, corrected, with --event FILE"
        )
    if not edit:
        return letter.value
    path = edit_file(letter.value, f"letter-{letter.offset}")
    out.print(f"the correction is in {path}: --event {path} uses it again", soft_wrap=True)
    return path.read_bytes()


def _correction(settings: Settings, chain: str, given: bytes, derived_id: str) -> _Correction:
    """The event that is sent, in canonical form. Raises `Misconfigured` that names the field at fault."""
    notes: list[str] = []
    fields: dict[str, Any] = {}
    try:
        fields = _object(given)
        if "id" not in fields:
            fields["id"] = derived_id
            notes.append(f"it had no id: {derived_id} is its own")
        event = canonical_event(fields)
        taken = next(sealed_with_ids(settings, chain, [validate_event(event).id]), None)
        if taken is not None and not taken[1].startswith(event[:-1] + b',"written":'):
            fields["id"] = derived_id
            notes.append(f"its id is that of another entry, {taken[0].written.seq}: {derived_id} is its own")
            event = canonical_event(fields)
    except InvalidEvent as error:
        faults = "; ".join(map(_said, all_faults(fields) if fields else [error]))
        raise Misconfigured(
            f"the sequencer would refuse this event again: {faults}. Nothing was sent; correct it, and give it with "
            "--event FILE or --edit (docs/format.md lists the fields)"
        ) from error
    return _Correction(event, validate_event(event).id, notes)


def _said(fault: InvalidEvent) -> str:
    return f"{fault.reason} ({fault.field})" if fault.field and fault.field not in fault.reason else fault.reason


def _object(given: bytes) -> dict[str, Any]:
    try:
        parsed = parse_json(given)
    except (NotCanonical, ValueError, RecursionError):
        parsed = None
    if isinstance(parsed, dict):
        return parsed
    validate_event(given)  # says what is wrong with it
    raise InvalidEvent("event is not a JSON object")


def _check_number(kafka: KafkaSettings, topics: ChainTopics, event: bytes) -> None:
    """A number that was sealed meanwhile belongs to another event: ours would be passed over, or be a conflict."""
    valid = validate_event(event)
    if valid.producer_id is None or valid.producer_seq is None:
        return
    key, value = record_key("event", valid.producer_id), None
    for records in read_until_end(kafka, topics.producers):
        for record in records:
            value = record.value if record.key == key else value
    if value is not None and decode_state(value).knows(valid.producer_seq) == "seen":
        raise Misconfigured(
            f"producer_seq: number {valid.producer_seq} of producer {valid.producer_id} was sealed meanwhile: it seems "
            "that its producer has sent it again itself. If this is another event, leave producer_id and producer_seq "
            "out of the correction"
        )


def _show(letter: Letter, correction: _Correction, refusal: Refusal | None, dismissal: Entry | None) -> None:
    """The correction beside what was refused."""
    account = "the chain's topic no longer reaches back to it" if refusal is None else f"entry {refusal.seq}"
    out.print(told(f"letter {letter.offset}, refused ({account}): {letter.reason}"), soft_wrap=True)
    if dismissal is not None:
        said = f"it was dismissed, by {who_said(dismissal)} (entry {dismissal.written.seq}): "
        reason = (dismissal.metadata or {}).get("reason")
        out.print(told(f"{said}{reason}; the correction is sealed all the same", "yellow"), soft_wrap=True)
    new = json.loads(correction.event)
    try:
        old = _object(letter.value)
    except InvalidEvent:
        old = {}
    for field in sorted({*old, *new}, key=list({**old, **new}).index):
        before, after = (json.dumps(event[field]) if field in event else None for event in (old, new))
        if before == after:
            out.print(told(f"    {field}: {after}"), soft_wrap=True)
            continue
        if before is not None:
            out.print(told(f"  - {field}: {before}", "red"), soft_wrap=True)
        if after is not None:
            out.print(told(f"  + {field}: {after}", "green"), soft_wrap=True)
    for note in correction.notes:
        out.print(told(f"  {note}", "dim"), soft_wrap=True)
