"""`sealstream retention destroy`: the end of the archive, said by a person, sealed, then done. A dry run by default.

Needs a role that may delete versions, which no other command has: docs/retention.md. `retention/destroying.py` says in
which order things happen, and what a crash leaves; the same command goes on.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any, NamedTuple

import typer
from rich.table import Table
from rich.text import Text

from sealstream.cli.context import Context, context_of, counted, out
from sealstream.cli.holds import known_holds
from sealstream.cli.person_saying import ByOption
from sealstream.cli.policies import in_force, policy_line
from sealstream.cli.saying import Message, Pending, person_says, say_until_sealed
from sealstream.cli.sealed import sealed_statements, sealed_with_ids
from sealstream.cli.settings import Settings
from sealstream.cli.stores import archive_settings
from sealstream.cli.verify import progress_bar
from sealstream.errors import Held, Misconfigured
from sealstream.layout import ChainSettings, Entry
from sealstream.layout.archive import ARCHIVED_ACTION, DESTROYED_ACTION
from sealstream.layout.holds import Hold, covering
from sealstream.postgres import PostgresStore
from sealstream.retention import (
    MAX_SEGMENTS,
    Ended,
    archived_end,
    destroy_listed,
    destroyed_statement_id,
    ended_segments,
    statement_members,
)

__all__ = ["destroy_command", "listed_in", "said_destroyed"]


_CLOCKS_APART = timedelta(minutes=2)  # the sequencer's, which dates the list, and the bucket's


class _Asked(NamedTuple):
    shared: Context
    settings: Settings
    chain: ChainSettings
    reason: str
    by: str | None
    wait_s: float


def destroy_command(
    context: typer.Context,
    chain: Annotated[str, typer.Argument(help="The chain.")] = "main",
    really: Annotated[
        bool, typer.Option("--really", help="Seal what goes, and delete it. Default: show what would go.")
    ] = False,
    reason: Annotated[
        str, typer.Option("--reason", help="Why; it is sealed in the chain.")
    ] = "the locks have ended, and the policy asks for no longer",
    by: ByOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask on a terminal before anything goes.")] = False,
    wait: Annotated[float, typer.Option("--wait", min=1, help="Wait so many seconds until it is sealed.")] = 60,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Delete archived segments whose locks have ended, the oldest first, proven by a sealed entry. Dry run by default.

    With --really the chain seals archive.destroyed, which lists every version that goes, with its SHA-256; and once the
    archive itself holds that entry, the same command deletes them. A lock, a legal hold or a version that is not the
    sealed one stops it. Run it with the access key of a role of its own (SEALSTREAM_ARCHIVE__ACCESS_KEY).
    """
    shared = context_of(context)
    settings = shared.settings()
    if not settings.archive.bucket:
        raise Misconfigured("archive.bucket is not set: there is no archive")
    known = settings.running_chain(chain)._replace(retention=in_force(settings, chain))
    asked = _Asked(shared, settings, known, reason, by, wait)
    said = said_destroyed(settings, chain)
    ended = _ended(asked, said, quiet=as_json)
    if not really:
        _show(asked, said, ended, as_json)
        return
    if (ended.segments or said) and sys.stdin.isatty() and not yes:
        _show(asked, said, ended, as_json=False)
        typer.confirm("delete them for good, and seal that?", abort=True)
    _seal(asked, ended)

    def standing() -> list[Hold]:
        _same_policy(asked)
        return _standing(settings, chain)

    said = said_destroyed(settings, chain)
    upto = archived_end(archive_settings(settings), chain)
    ready = [entry for entry in said if entry.written.seq < upto]
    waiting = [entry for entry in said if entry.written.seq >= upto]
    with progress_bar("deleting", shown=not as_json, unit="segments") as progress:
        gone, kept = destroy_listed(
            archive_settings(settings),
            known,
            standing,
            listed_in(ready),
            online_from=lambda: _online_from(asked),
            progress=progress,
        )
    if as_json:
        document = {
            "chain": chain,
            "deleted_versions": gone,
            "sealed_by_entries": [entry.written.seq for entry in said],
            "waiting_for_the_archive": [entry.written.seq for entry in waiting],
            "stops": kept or ended.stops,
        }
        print(json.dumps(document, indent=2))
        return
    out.print(f"{counted(gone, 'version')} deleted, as sealed; {kept or ended.stops}", soft_wrap=True, markup=False)
    for entry in waiting:
        line = (
            f"entry {entry.written.seq} lists {counted(len(listed_in([entry])), 'segment')} more, which go when the "
            "archive holds that entry: run the same command again when its segment has ended"
        )
        out.print(Text(line, style="yellow"), soft_wrap=True)


def said_destroyed(settings: Settings, chain: str) -> list[Entry]:
    """Every `archive.destroyed` that is sealed, in order."""
    return list(sealed_statements(settings, chain, [DESTROYED_ACTION], whole=True))


def listed_in(said: Sequence[Entry]) -> list[Mapping[str, Any]]:
    """What these lists name, segment by segment."""
    return [item for entry in said for item in (entry.metadata or {})["segments"]]


def _ended(asked: _Asked, said: Sequence[Entry], *, quiet: bool) -> Ended:
    """What may go beyond what was said already, each read and verified now."""

    def sealed(ids: Sequence[str]) -> dict[str, Mapping[str, object]]:
        found: dict[str, Mapping[str, object]] = {}
        for entry in _archived_statements(asked.settings, asked.chain.name, ids):
            found.setdefault(entry.id, entry.metadata or {})
        return found

    with progress_bar("reading what would go", shown=not quiet, unit="segments") as progress:
        return ended_segments(
            archive_settings(asked.settings),
            asked.chain,
            sealed,
            _standing(asked.settings, asked.chain.name),
            listed=listed_in(said),
            online_from=_online_from(asked),
            margin=_CLOCKS_APART,
            progress=progress,
        )


def _online_from(asked: _Asked) -> int | None:
    """The first entry in Postgres, where months leave it: they do so only while the archive still holds them."""
    if asked.chain.retention.online_days is None:
        return None
    if not asked.settings.postgres.reader_dsn:
        raise Misconfigured(
            "postgres.reader_dsn is not set: what Postgres still has leaves it first, and that can't be asked "
            "(SEALSTREAM_POSTGRES__READER_DSN, for this one run)"
        )
    with PostgresStore(asked.settings.postgres.reader_dsn) as store:
        bounds = store.seq_bounds(asked.chain.name)
    return None if bounds is None else bounds[0]


def _standing(settings: Settings, chain: str) -> list[Hold]:
    return [each.hold for each in known_holds(settings, chain) if each.lifted_by is None]


def _same_policy(asked: _Asked) -> None:
    """Raises `Held` when the policy that this began with is in force no more: it may keep what was to go."""
    now = in_force(asked.settings, asked.chain.name)
    if now != asked.chain.retention:
        raise Held(f"nothing more goes: the policy was changed meanwhile, to {policy_line(now)}; run it again")


def _archived_statements(settings: Settings, chain: str, ids: Sequence[str]) -> list[Entry]:
    """The `segment.archived` with these ids, from wherever they still are."""
    wanted = set(ids)
    found = [entry for entry, _ in sealed_with_ids(settings, chain, ids)]
    if not wanted <= {entry.id for entry in found}:
        found = list(sealed_statements(settings, chain, [ARCHIVED_ACTION], whole=True))
    return [
        entry
        for entry in found
        if entry.id in wanted and entry.action == ARCHIVED_ACTION and entry.written.kind == "control"
    ]


def _seal(asked: _Asked, ended: Ended) -> None:
    name = asked.chain.name
    for at in range(0, len(ended.segments), MAX_SEGMENTS):
        batch = ended.segments[at : at + MAX_SEGMENTS]
        _same_policy(asked)
        standing = _standing(asked.settings, name)
        if held := [hold for each in batch for hold in covering(standing, each.name.date)]:
            raise Held(f"nothing more goes: the legal hold {held[0].id} was set meanwhile")
        first, last = batch[0].name.first_seq, batch[-1].name.last_seq
        own_id = destroyed_statement_id(asked.chain.origin, first, last)
        pending = Pending(asked.shared.config, f"destroyed-{name}-{own_id}")
        if pending.read() is None:
            value = person_says(
                DESTROYED_ACTION,
                id=own_id,
                resource_type="archive",
                resource_id=f"{first}-{last}",
                metadata=statement_members(asked.chain, batch, asked.reason),
                by=asked.by,
            )
            pending.write([Message("control", own_id, value)])
        say_until_sealed(asked.settings, name, pending.read() or [], wait_s=asked.wait_s)
        pending.remove()


def _show(asked: _Asked, said: Sequence[Entry], ended: Ended, as_json: bool) -> None:
    if as_json:
        document = {
            "chain": asked.chain.name,
            "would_go": [each.members for each in ended.segments],
            "said_by_entries": [entry.written.seq for entry in said],
            "stops": ended.stops,
        }
        print(json.dumps(document, indent=2))
        return
    out.print(Text(f"chain {asked.chain.name} is kept by {policy_line(asked.chain.retention)}"), soft_wrap=True)
    if said:
        seqs = ", ".join(str(entry.written.seq) for entry in said)
        out.print(f"said already, by entry {seqs}: what is listed there and still in the bucket goes")
    if ended.segments:
        table = Table("sealed on", "entries", "locked until", "object", box=None, padding=(0, 2, 0, 0))
        for each in ended.segments:
            name, until = each.name, str(each.members["retain_until"])[:10]
            table.add_row(name.date, f"{name.first_seq:,} to {name.last_seq:,}", until, name.object_key)
        out.print(table)
    what = counted(len(ended.segments), "segment") if ended.segments else "nothing more"
    out.print(f"{what} may go; {ended.stops}", soft_wrap=True, markup=False)
    out.print("Nothing was deleted: --really does it, with the access key of the role that may.", soft_wrap=True)
