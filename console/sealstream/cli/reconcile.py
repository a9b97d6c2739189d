"""`sealstream reconcile`: hold Kafka, Postgres and the archive against the signed sizes, once or again and again.

Reads only; Ctrl-C leaves nothing behind. Exit 0: every store holds the signed entries; 1: one of them differs; 2: a
store can't be read.
"""

from __future__ import annotations

import json
import re
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from sealstream.cli.context import context_of, out
from sealstream.cli.harmless import told
from sealstream.cli.settings import Settings
from sealstream.cli.stores import archive_settings
from sealstream.cli.verify import progress_bar
from sealstream.errors import Misconfigured, Unavailable
from sealstream.layout import ChainSettings
from sealstream.rebuild import Reconciliation, Sources, Verified, reconcile
from sealstream.verify import default_state_dir, kept_notes

__all__ = ["print_reconciliation", "reconcile_command", "sources_of", "verified_objects"]

_STORES = ("kafka", "postgres", "archive")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_KAFKA_AFRESH_S = 86_400.0
_SHOWN = 50


def reconcile_command(
    context: typer.Context,
    chain: Annotated[str, typer.Option("--chain", help="The chain.")] = "main",
    stores: Annotated[
        list[str] | None,
        typer.Option("--store", help="kafka, postgres or archive; repeatable. Default: all three.", show_default=False),
    ] = None,
    continuous: Annotated[
        bool, typer.Option("--continuous", help="Again and again until Ctrl-C, every 5 minutes unless --every says.")
    ] = False,
    every: Annotated[
        str | None, typer.Option("--every", help="Again and again, so far apart: 30s, 5m, 1h.", show_default=False)
    ] = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="Take Postgres' stored hashes as they are: seven times as fast, and blind to a body that was edited "
            "without its hash.",
        ),
    ] = False,
    afresh: Annotated[
        bool,
        typer.Option("--afresh", help="Hash archived entries one by one again, also of objects that were seen before."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one document a round.")] = False,
    state_dir: Annotated[
        Path | None,
        typer.Option(
            "--state-dir", help="Where this verifier remembers which objects it has read through.", show_default=False
        ),
    ] = None,
) -> None:
    """Compare Kafka, Postgres and the archive, and tell each entry in which one of them differs.

    Every store's entries are hashed again, by ranges, and folded to subtree roots that the chain's key has signed; only
    a range that does not fold is looked into. In Postgres the database itself hashes. Exit 0 equal, 1 differ.
    """
    settings = context_of(context).settings()
    known = settings.chain(chain)
    pause_s = _seconds(every) if every is not None else 300.0 if continuous else None
    chosen = _chosen(stores)
    state = state_dir or default_state_dir()
    notes = [
        note._replace(must_reach=False)
        for store in _STORES
        for note in kept_notes(state, known.origin, known.vkey, store)
    ]
    verified = Verified(None) if afresh else verified_objects(state, known)
    mark, marked_at = None, time.monotonic()
    while True:
        if time.monotonic() - marked_at > _KAFKA_AFRESH_S:
            mark, marked_at = None, time.monotonic()
        try:
            with progress_bar(f"reconcile {chain}", shown=not as_json) as progress:
                result = reconcile(
                    known,
                    sources_of(settings, chosen),
                    quick=quick,
                    verified=verified,
                    kept=notes,
                    kafka_behind=mark,
                    progress=progress,
                )
        except Unavailable as error:
            if pause_s is None:
                raise
            print(f"{_now()}  can't compare now, trying again in {pause_s:g} s: {error}", file=sys.stderr, flush=True)
        else:
            mark = result.kafka_mark
            if as_json:
                print(json.dumps(result.to_json(), indent=None if pause_s is not None else 2), flush=True)
            else:
                print_reconciliation(result, at=_now() if pause_s is not None else "")
            if pause_s is None:
                raise typer.Exit(result.exit_code)
        time.sleep(pause_s)


def sources_of(settings: Settings, chosen: tuple[str, ...] = _STORES) -> Sources:
    """The stores of the settings. Raises `Misconfigured` when one that is asked for is not set."""
    if "postgres" in chosen and not settings.postgres.reader_dsn:
        raise Misconfigured("postgres.reader_dsn is not set: the rows are read with the role sealstream_reader")
    return Sources(
        settings.kafka_settings() if "kafka" in chosen else None,
        settings.postgres.reader_dsn if "postgres" in chosen else None,
        archive_settings(settings) if "archive" in chosen else None,
    )


def verified_objects(state: Path, chain: ChainSettings) -> Verified:
    """The objects that this verifier has read through before."""
    return Verified(state / f"{chain.origin.replace('/', '%2F')}@objects.json")


def print_reconciliation(result: Reconciliation, *, at: str = "") -> None:
    """One line a store, and a table of what differs."""
    line = Text(f"{at}  " if at else "")
    line.append("equal  " if not result.differences else "DIFFER ", style="bold red" if result.differences else "green")
    line.append(f" chain {result.chain}, signed size {result.signed_size:,}")
    line.append(f"  ({result.elapsed_s:.1f} s)", style="dim")
    out.print(line, soft_wrap=True)
    for store in result.stores:
        held = f"entries {store.first:,} to {store.stop - 1:,}" if store.stop > store.first else "no entries"
        out.print(f"          {store.name:<9} {held}, {store.spans} ranges in {store.seconds:.1f} s", soft_wrap=True)
    if result.differences:
        table = Table("store", "kind", "seq", "place", "what was found", box=None, padding=(0, 2, 0, 0))
        for store_name, fault in result.differences[:_SHOWN]:
            table.add_row(
                store_name, Text(str(fault.kind), style="red"), fault.seqs(), told(fault.place), told(fault.detail)
            )
        out.print(table)
        if len(result.differences) > _SHOWN:
            out.print(f"and {len(result.differences) - _SHOWN} more: --json lists all", style="dim")
        if result.of("postgres"):
            out.print("`sealstream repair postgres` builds the months concerned anew from the archive", style="dim")
    for note in result.notes:
        out.print(told(f"          note: {note}", "dim"), soft_wrap=True)


def _chosen(stores: list[str] | None) -> tuple[str, ...]:
    for store in stores or ():
        if store not in _STORES:
            raise Misconfigured(f"--store {store}: expected one of {', '.join(_STORES)}")
    return tuple(stores) if stores else _STORES


def _seconds(text: str) -> float:
    found = re.fullmatch(r"([0-9]+)([smhd])", text)
    if found is None or not int(found[1]):
        raise Misconfigured(f"--every {text}: expected a number and s, m, h or d, such as 5m")
    return float(int(found[1]) * _UNITS[found[2]])


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
