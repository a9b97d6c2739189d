"""`sealstream repair postgres`: build the months that differ anew, from the archive, and swap them in.

Repeatable: it goes on where a killed one has stopped, and says so when nothing differs. Ctrl-C leaves whole months:
those that were swapped in, and one that nobody sees yet.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from sealstream.cli.context import context_of, out
from sealstream.cli.harmless import told
from sealstream.cli.reconcile import verified_objects
from sealstream.cli.settings import Settings
from sealstream.cli.stores import archive_settings
from sealstream.cli.verify import progress_bar
from sealstream.errors import Misconfigured
from sealstream.rebuild import Done, PostgresTarget, drop_replaced, repair_postgres
from sealstream.verify import default_state_dir

__all__ = ["app", "postgres_target", "tell_done"]

app = typer.Typer(help="Put right what a store holds otherwise than it was sealed.", no_args_is_help=True)


@app.command("postgres")
def repair_postgres_command(
    context: typer.Context,
    chain: Annotated[str, typer.Option("--chain", help="The chain.")] = "main",
    month: Annotated[
        list[str] | None,
        typer.Option(
            "--month",
            help="Build this month (YYYY-MM) anew, whatever it holds; repeatable. Default: the months that differ.",
            show_default=False,
        ),
    ] = None,
    drop_old: Annotated[
        bool, typer.Option("--drop-old", help="Drop the months that are replaced. Default: they are kept as evidence.")
    ] = False,
    without_kafka: Annotated[
        bool,
        typer.Option(
            "--without-kafka",
            help="Kafka is gone: rows that are not archived yet are taken over as they stand, if they follow.",
        ),
    ] = False,
    wait_s: Annotated[
        float, typer.Option("--wait", min=0, help="How many seconds to wait for readers of the log, before the swap.")
    ] = 600.0,
    state_dir: Annotated[
        Path | None,
        typer.Option(
            "--state-dir", help="Where this verifier remembers which objects it has read through.", show_default=False
        ),
    ] = None,
) -> None:
    """Restore Postgres from the archive: find the months that differ, build each beside the log, verify, swap it in.

    The archive is verified first (versions, roots, signatures), and nothing is touched if it does not hold. Entries
    that are not archived yet come from Kafka. Readers see the old month or the new one; the sink goes on. What was done
    is sealed in the chain as `store.repaired`. The replaced months are kept (`sealstream repair drop` removes them).
    """
    settings = context_of(context).settings()
    known = settings.chain(chain)
    for each in month or ():
        if not re.fullmatch(r"[0-9]{4}-(0[1-9]|1[0-2])", each):
            raise Misconfigured(f"--month {each}: expected YYYY-MM")
    with progress_bar("entries", shown=True) as progress:
        done = repair_postgres(
            known,
            postgres_target(settings),
            archive_settings(settings),
            None if without_kafka else settings.kafka_settings(),
            months=month,
            keep=not drop_old,
            workers=os.cpu_count() or 1,
            wait_s=wait_s,
            verified=verified_objects(state_dir or default_state_dir(), known),
            say=lambda line: out.print(Text(line), soft_wrap=True),
            progress=progress,
        )
    tell_done(done, "Postgres holds the signed entries: nothing to repair")


@app.command("drop")
def drop_command(
    context: typer.Context,
    table: Annotated[str, typer.Argument(help="The kept month, such as audit_replaced_2026_11_0a1b2c3d.")],
) -> None:
    """Drop a month that was replaced and kept as evidence."""
    drop_replaced(postgres_target(context_of(context).settings()), table)
    out.print(f"dropped {table}")


def postgres_target(settings: Settings) -> PostgresTarget:
    """The database by its two roles. Raises `Misconfigured` when one is not set."""
    for role in ("keeper", "reader"):
        if not getattr(settings.postgres, f"{role}_dsn"):
            raise Misconfigured(
                f"postgres.{role}_dsn is not set: months are read as sealstream_reader, swapped as sealstream_keeper"
            )
    return PostgresTarget(settings.postgres.keeper_dsn, settings.postgres.reader_dsn)


def tell_done(done: Done, nothing: str) -> None:
    """What was done, and what is left to do."""
    if not done.months and not done.notes:
        out.print(nothing)
    elif done.months:
        out.print(f"{len(done.months)} month(s) built anew; check with `sealstream verify postgres`")
    for item in done.months:
        if item.replaced:
            line = f"the old {item.month} is kept: `sealstream repair drop {item.replaced}` removes it"
            out.print(line, soft_wrap=True)
    if done.unsealed:
        out.print(
            told(f"not yet sealed as store.repaired: {done.unsealed}; the next `sealstream repair postgres` says it"),
            soft_wrap=True,
        )
