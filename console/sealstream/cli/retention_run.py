"""`sealstream retention run`: months leave Postgres when their online time is over and the archive holds them.

Safe to repeat, and killed at any moment the same command goes on: `retention/expiring.py` says what each step leaves.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated

import typer
from rich.text import Text

from sealstream.cli.context import context_of, counted, out
from sealstream.cli.holds import held_by, release_and_hold
from sealstream.cli.policies import in_force, policy_line
from sealstream.cli.repair import postgres_target
from sealstream.cli.settings import Settings
from sealstream.cli.stores import archive_settings
from sealstream.cli.verify import progress_bar
from sealstream.errors import Held, Misconfigured
from sealstream.layout import ChainSettings, month_leaves
from sealstream.rebuild.months import Keeper
from sealstream.retention import MonthLeft, PostgresExpiry, StoredMonth

__all__ = ["app"]

app = typer.Typer(
    help="What leaves a store when its time is over: what would go when, and letting it go.", no_args_is_help=True
)

ChainArgument = Annotated[str, typer.Argument(help="The chain.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask on a terminal before anything goes.")]


@app.command("run")
def run_command(
    context: typer.Context,
    chain: ChainArgument = "main",
    yes: YesOption = False,
    wait_s: Annotated[
        float,
        typer.Option(
            "--wait", min=1, help="How many seconds to wait until a month's statement is sealed, and for readers."
        ),
    ] = 120.0,
    as_json: Annotated[bool, typer.Option("--json", help="What has left, for programs.")] = False,
) -> None:
    """Let months leave Postgres that are past the chain's online time, once the archive holds and verifies them.

    For each month, the oldest first: every segment of it is read in the archive and met by the signed roots, Postgres'
    own rows are hashed again, the chain seals store.expired, and the keeper's function drops the month. Under a policy
    without an online time nothing ever leaves, nor what a legal hold covers. Safe to repeat and to run each day.
    """
    settings = context_of(context).settings()
    known = settings.running_chain(chain)
    if not settings.archive.bucket:
        raise Misconfigured("archive.bucket is not set: nothing leaves Postgres that no archive holds")
    target = postgres_target(settings)
    known = known._replace(retention=in_force(settings, chain))
    left: list[MonthLeft] = []
    why = ""
    with (
        progress_bar("reading the archive", shown=not as_json) as progress,
        Keeper(target.keeper_dsn) as keeper,
    ):
        expiry = PostgresExpiry(
            keeper,
            target.reader_dsn,
            known,
            settings.kafka_settings(),
            archive_settings(settings),
            workers=os.cpu_count() or 1,
            wait_s=wait_s,
            held=_kept_by(settings, known),
            say=lambda line: None if as_json else out.print(Text(line), soft_wrap=True),
            progress=progress,
        )
        due = expiry.due()
        if due and sys.stdin.isatty() and not yes:
            _ask(settings, chain, due)
        for month in due:
            try:
                gone = expiry.expire(month)
            except Held as error:
                why = str(error)
                break
            if gone is None:
                why = f"month {month.month} is due, and stays: the archive does not hold it to its end yet"
                break
            left.append(gone)
            if not as_json:
                out.print(
                    f"month {gone.month}: entries {gone.first:,} to {gone.last:,} have left Postgres; entry "
                    f"{gone.statement} says so",
                    soft_wrap=True,
                )
    release_and_hold(settings, chain, quiet=as_json)
    if as_json:
        print(json.dumps({"chain": chain, "left": [each._asdict() for each in left], "stays": why}, indent=2))
        return
    if why:
        out.print(Text(why, style="yellow"), soft_wrap=True)
    elif not left:
        out.print(_nothing(chain, known.retention.online_days is None), soft_wrap=True, markup=False)
    if left:
        out.print(
            "They are answered from the archive now: searches and reports take what is not in Postgres from there."
        )


def _kept_by(settings: Settings, chain: ChainSettings) -> Callable[[str], str]:
    """What keeps a month, asked of the chain at each call: a legal hold, or a policy that was extended meanwhile."""
    held = held_by(settings, chain.name)

    def kept(month: str) -> str:
        now = in_force(settings, chain.name)
        if now.online_days != chain.retention.online_days:
            return f"the chain is kept by {policy_line(now)} now"
        return held(month)

    return kept


def _ask(settings: Settings, chain: str, due: Sequence[StoredMonth]) -> None:
    retention = in_force(settings, chain)
    out.print(Text(f"chain {chain} is kept by {policy_line(retention)}"), soft_wrap=True)
    for month in due:
        since = month_leaves(month.month, retention.online_days or 0)
        out.print(f"  month {month.month}: entries {month.first:,} to {month.last:,}, may leave since {since:%Y-%m-%d}")
    typer.confirm(f"let {counted(len(due), 'month')} leave Postgres, once the archive is verified?", abort=True)


def _nothing(chain: str, never: bool) -> str:
    if never:
        return f"chain {chain} has no online time: no month ever leaves Postgres"
    return (
        f"no month of chain {chain} is past its online time: `sealstream retention plan {chain}` shows when one will be"
    )
