"""`sealstream retention hold`: what a person says must be kept whatever the policy says, until it is lifted. Sealed.

Set: the statement is sealed first, then what is archived already is put under S3's legal hold; what comes is put so by
the archive sink. Lifted: the statement is sealed, and objects are released once the archive holds that statement, so
that an archive alone always agrees with what it says. A crash between leaves objects as they were: the same command, or
`hold apply`, goes on.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import date
from typing import Annotated, NamedTuple

import typer
from rich.table import Table
from rich.text import Text

from sealstream.archive import apply_holds
from sealstream.cli.context import context_of, counted, out
from sealstream.cli.harmless import told
from sealstream.cli.person_saying import ByOption, WaitOption, say_as_person
from sealstream.cli.sealed import sealed_statements
from sealstream.cli.settings import Settings
from sealstream.cli.stores import archive_settings
from sealstream.cli.verify import progress_bar
from sealstream.errors import Misconfigured, NotCanonical, SealstreamError
from sealstream.layout import Entry
from sealstream.layout.holds import (
    HOLD_LIFTED,
    HOLD_SET,
    MAX_HOLDS,
    Hold,
    after_statement,
    hold_members,
    read_hold,
)
from sealstream.postgres import PostgresStore
from sealstream.retention import archived_beginning, archived_holds

__all__ = ["Known", "app", "held_by", "known_holds", "release_and_hold"]

app = typer.Typer(help="Legal holds: what is kept whatever the policy says.", no_args_is_help=True)

ChainArgument = Annotated[str, typer.Argument(help="The chain.")]
_DESTROYED = "(the entry that set it was destroyed)"
_LEAST_OF_ID = 8

ReasonOption = Annotated[str, typer.Option("--reason", help="Why; it is sealed in the chain.")]


class Known(NamedTuple):
    """A hold that was set: by the entry `seq`; `lifted_by`: the entry that lifted it, None while it stands.

    Where the entry that set it was destroyed, a manifest still carries the hold: then `seq` is -1, and nobody's name
    and no reason is known.
    """

    hold: Hold
    reason: str
    by: str
    seq: int
    at: str
    lifted_by: int | None = None
    lifted_why: str = ""


def known_holds(settings: Settings, chain: str) -> list[Known]:
    """All that were ever set, in order, as the chain says: by its entries, or those that a manifest behind them carries
    where the archive's beginning was destroyed.
    """
    standing = _carried(settings, chain)
    found = {hold.id: Known(hold, _DESTROYED, _DESTROYED, -1, "") for hold in standing}
    for entry in sealed_statements(settings, chain, [HOLD_SET, HOLD_LIFTED], whole=True):
        metadata = entry.metadata or {}
        after, why = after_statement(standing, entry.action, metadata), str(metadata.get("reason"))
        if after == standing:
            same = found.get(str(metadata.get("hold")))
            if same is not None and _sets_carried(entry, same):
                found[same.hold.id] = Known(same.hold, why, _who(entry), entry.written.seq, _at(entry))
            continue  # set twice, lifted twice, one too many, on no day of a calendar: it counts for nothing
        hold = read_hold(metadata)
        if entry.action == HOLD_SET:
            found[hold.id] = Known(hold, why, _who(entry), entry.written.seq, _at(entry))
        else:
            found[hold.id] = found[hold.id]._replace(lifted_by=entry.written.seq, lifted_why=why)
        standing = after
    return list(found.values())


def _sets_carried(entry: Entry, known: Known) -> bool:
    """Whether this may be the entry that set a hold which stands, and of which a manifest alone has told so far."""
    unknown = known.seq < 0 and known.lifted_by is None
    return unknown and after_statement((), entry.action, entry.metadata or {}) == (known.hold,)


def _carried(settings: Settings, chain: str) -> tuple[Hold, ...]:
    """The holds in the first manifest of an archive whose beginning is gone, where no store has those entries."""
    if not settings.archive.bucket:
        return ()
    if settings.postgres.reader_dsn:
        with suppress(SealstreamError), PostgresStore(settings.postgres.reader_dsn) as store:
            bounds = store.seq_bounds(chain)
            if bounds is None or bounds[0] == 0:
                return ()
    beginning = archived_beginning(archive_settings(settings), chain)
    return beginning.holds if beginning is not None and beginning.first else ()


def held_by(settings: Settings, chain: str) -> Callable[[str], str]:
    """Of a month the hold that keeps it, in words, asked of the chain at each call; empty: none."""

    def held(month: str) -> str:
        for known in known_holds(settings, chain):
            if known.lifted_by is None and known.hold.covers_any(f"{month}-01", f"{month}-31"):
                return f"the legal hold {known.hold.id} covers it ({known.reason})"
        return ""

    return held


def _who(entry: Entry) -> str:
    named = (entry.metadata or {}).get("by")
    return f"{entry.actor_id} (for {named})" if named else entry.actor_id


def _at(entry: Entry) -> str:
    return entry.written.sequenced_at


@app.command("set")
def set_command(
    context: typer.Context,
    reason: ReasonOption,
    chain: ChainArgument = "main",
    first: Annotated[
        str | None,
        typer.Option(
            "--from", help="From this UTC day on (YYYY-MM-DD), by when entries were sealed.", show_default=False
        ),
    ] = None,
    last: Annotated[
        str | None, typer.Option("--to", help="Up to this UTC day, it included. Default: for ever.", show_default=False)
    ] = None,
    by: ByOption = None,
    wait: WaitOption = 60,
) -> None:
    """Hold a chain, or some days of it: nothing of that leaves any store until the hold is lifted, whatever is due.

    Sealed as hold.set. Objects and manifests that are archived get S3's legal hold now, later ones when they are put;
    Postgres' months and the chain's topic stay. Safe to run again: a hold that stands is not set twice.
    """
    shared = context_of(context)
    settings = shared.settings()
    hold = _asked(str(uuid.uuid4()), first, last)
    known = known_holds(settings, chain)
    standing = [each for each in known if each.lifted_by is None]
    same = next((each for each in standing if (each.hold[1:], each.reason) == (hold[1:], reason)), None)
    if same is None and len(standing) >= MAX_HOLDS:
        raise Misconfigured(f"{MAX_HOLDS} legal holds stand in chain {chain}: lift one, or set one for more days")
    already = f"held already: entry {same.seq} of chain {chain} set the hold {same.hold.id}" if same else ""
    metadata = hold_members(hold) | {"reason": reason}
    key = (HOLD_SET, *hold[1:], reason)
    say_as_person(shared, settings, chain, HOLD_SET, "hold", hold.id, metadata, by, wait, key=key, already=already)
    release_and_hold(settings, chain)


@app.command("lift")
def lift_command(
    context: typer.Context,
    hold: Annotated[
        str,
        typer.Argument(help="Its id, or at least 8 characters that it begins with; or the reason that it was set for."),
    ],
    reason: ReasonOption,
    chain: ChainArgument = "main",
    by: ByOption = None,
    wait: WaitOption = 60,
) -> None:
    """Lift a hold. Sealed as hold.lifted; what no other hold covers follows the policy again.

    Objects are released when the archive holds that statement, which is when its segment has ended: run `sealstream
    retention hold apply` then (`retention run` does it, too).
    """
    shared = context_of(context)
    settings = shared.settings()
    known = known_holds(settings, chain)
    lifting = _called(hold, known, chain)
    already = "" if lifting.lifted_by is None else f"lifted already: entry {lifting.lifted_by} of chain {chain} says so"
    identity = lifting.hold.id
    metadata = {"hold": identity, "reason": reason}
    key = (HOLD_LIFTED, identity)
    say_as_person(shared, settings, chain, HOLD_LIFTED, "hold", identity, metadata, by, wait, key=key, already=already)
    release_and_hold(settings, chain)


def _called(word: str, known: list[Known], chain: str) -> Known:
    """The one hold that is called so. Raises `Misconfigured` where that is none, or not one alone."""
    shown = f"`sealstream retention hold list {chain} --all` shows them"
    if not word.strip():
        raise Misconfigured(f"which hold? Expected its id or its reason, got nothing (is a variable not set?): {shown}")
    # What was typed whole comes before what only begins so: anybody who may have a hold set chooses its id and reason.
    named = (
        [each for each in known if each.hold.id == word]
        or [each for each in known if each.reason == word and each.lifted_by is None]
        or [each for each in known if each.reason == word]
        or [each for each in known if each.hold.id.startswith(word) and len(word) >= _LEAST_OF_ID]
    )
    if len(named) == 1:
        return named[0]
    why = f"{len(named)} holds of chain {chain} are called so" if named else f"chain {chain} has no such hold"
    if not named and len(word) < _LEAST_OF_ID:
        why = f"{why}, and the beginning of an id is taken with at least {_LEAST_OF_ID} characters"
    raise Misconfigured(f"hold {word}: {why}: {shown}")


@app.command("list")
def list_command(
    context: typer.Context,
    chain: ChainArgument = "main",
    everything: Annotated[bool, typer.Option("--all", help="Also those that were lifted.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """The holds that stand: who set which, when, and why."""
    settings = context_of(context).settings()
    settings.chain(chain)
    shown = [known for known in known_holds(settings, chain) if everything or known.lifted_by is None]
    if as_json:
        print(json.dumps([_document(known) for known in shown], indent=2))
        return
    if not shown:
        out.print(f"no legal hold stands in chain {chain}" if not everything else f"no hold was ever set in {chain}")
        return
    table = Table("hold", "what", "since", "by", "why", "", box=None, padding=(0, 2, 0, 0))
    for known in shown:
        lifted = "" if known.lifted_by is None else f"lifted by entry {known.lifted_by}: {known.lifted_why}"
        what, since = known.hold.days, f"{known.at[:10]} (entry {known.seq})" if known.seq >= 0 else ""
        table.add_row(known.hold.id, what, since, told(known.by), told(known.reason), told(lifted, "dim"))
    out.print(table)


@app.command("apply")
def apply_command(context: typer.Context, chain: ChainArgument = "main") -> None:
    """Bring the archive's objects to what the chain says: held what a hold covers, released what only lifted ones did.

    Safe to run again; run it after a hold was lifted, or when one was set while the bucket could not be reached.
    """
    settings = context_of(context).settings()
    settings.chain(chain)
    release_and_hold(settings, chain)


def release_and_hold(settings: Settings, chain: str, *, quiet: bool = False) -> None:
    """The bucket's legal holds as the chain says, if there is a bucket and there was ever a hold; says what it did,
    unless `quiet`.
    """
    known = known_holds(settings, chain)
    if not known or not settings.archive.bucket:
        return
    while True:
        _release_and_hold(settings, chain, known, quiet=quiet)
        before, known = known, known_holds(settings, chain)
        # One that was set meanwhile may cover objects that were released by what was read before.
        if _which_stand(known) == _which_stand(before):
            return


def _which_stand(known: list[Known]) -> list[tuple[str, bool]]:
    return [(each.hold.id, each.lifted_by is None) for each in known]


def _release_and_hold(settings: Settings, chain: str, known: list[Known], *, quiet: bool) -> None:
    standing = [each.hold for each in known if each.lifted_by is None]
    lifted = [each.hold for each in known if each.lifted_by is not None]
    # What the archive itself still says is held stays so until it holds the statement that lifts it.
    in_archive = archived_holds(archive_settings(settings), chain)
    waiting = [hold for hold in lifted if hold in in_archive]
    with progress_bar("legal holds", shown=not quiet, unit="segments") as progress:
        done = apply_holds(archive_settings(settings), chain, [*standing, *waiting], lifted, progress)
    if quiet:
        return
    out.print(
        f"archive   {counted(done.segments, 'segment')} looked at: {counted(done.held, 'legal hold')} set, "
        f"{done.released:,} released",
        soft_wrap=True,
    )
    for hold in waiting:
        line = (
            f"the hold {hold.id} is lifted, but the archive does not hold that yet: its objects are released by "
            f"`sealstream retention hold apply {chain}` when it does"
        )
        out.print(Text(line, style="yellow"), soft_wrap=True)


def _asked(identity: str, first: str | None, last: str | None) -> Hold:
    for day in (first, last):
        try:
            if day is not None and date.fromisoformat(day).isoformat() != day:
                raise ValueError(day)
        except ValueError as error:
            raise Misconfigured(f"{day}: expected a day as YYYY-MM-DD") from error
    if first and last and first > last:
        raise Misconfigured(f"--from {first} lies behind --to {last}")
    members = {"hold": identity} | ({"first_day": first} if first else {}) | ({"last_day": last} if last else {})
    try:
        return read_hold(members)
    except NotCanonical as error:
        raise Misconfigured(str(error)) from error


def _document(known: Known) -> dict[str, object]:
    return {
        **hold_members(known.hold),
        "reason": known.reason,
        "by": known.by,
        "set_by_entry": known.seq if known.seq >= 0 else None,
        "set_at": known.at or None,
        "lifted_by_entry": known.lifted_by,
        "lifted_why": known.lifted_why or None,
    }
