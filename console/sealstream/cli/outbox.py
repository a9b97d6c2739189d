"""`sealstream outbox`: make the table in an application's database, relay what is committed there, look at it."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from sealstream.cli.context import context_of, out
from sealstream.cli.service import configure_logging, serve
from sealstream.cli.watched import MetricsPortOption, questions_of, watched_process
from sealstream.errors import Misconfigured
from sealstream.layout import DEFAULT_OUTBOX, Figures, OutboxTables
from sealstream.relaying import OutboxRelay, make_outbox, outbox_status, renew_outbox
from sealstream.settings import secret_in

__all__ = ["app"]

app = typer.Typer(
    help="Audit events in an application's own transactions: its outbox, and the relay that empties it.",
    no_args_is_help=True,
)

_DSN_FILE = "SEALSTREAM_OUTBOX_DSN_FILE"

DsnOption = Annotated[
    str,
    typer.Option(
        envvar="SEALSTREAM_OUTBOX_DSN",
        help="The application's database, postgresql://user:password@host/database. Better in the environment: what "
        "is on a command line others can see.",
        show_default=False,
    ),
]
TableOption = Annotated[
    str, typer.Option(help="The outbox's table, with its schema if that is not on the search_path.")
]


@app.command("init")
def init(
    dsn: DsnOption = "",
    table: TableOption = DEFAULT_OUTBOX,
    app_role: Annotated[
        str | None, typer.Option(help="Let this role insert events, and nothing else.", show_default=False)
    ] = None,
    relay_role: Annotated[
        str | None, typer.Option(help="Give this role what the relay needs.", show_default=False)
    ] = None,
    sql: Annotated[
        bool, typer.Option("--sql", help="Print the SQL instead, for the application's own migrations.")
    ] = False,
) -> None:
    """Make the outbox's tables in the application's database (PostgreSQL 13 and newer). Repeatable."""
    tables = OutboxTables.of(table)
    if sql:
        sys.stdout.write(tables.create_sql() + tables.grant_sql(app_role, relay_role))
        return
    make_outbox(_given(dsn), tables, app_role, relay_role)
    out.print(f"{tables.table} is made. Its events are sent by `sealstream outbox relay`.")


@app.command("relay")
def relay(
    context: typer.Context,
    dsn: DsnOption = "",
    chain: Annotated[str, typer.Option(help="The chain that seals this outbox's events.")] = "main",
    table: TableOption = DEFAULT_OUTBOX,
    once: Annotated[
        bool, typer.Option("--once", help="Send what is there now, and end; for a scheduler or before a deployment.")
    ] = False,
    poll_ms: Annotated[int, typer.Option(min=1, max=60_000, help="How often to look while nothing waits.")] = 50,
    accept_unseen: Annotated[
        bool,
        typer.Option(
            "--accept-unseen",
            help="The raw topic was trimmed beyond what this outbox last saw of it: vouch that the database was not "
            "restored from a backup since.",
        ),
    ] = False,
    metrics_port: MetricsPortOption = None,
) -> None:
    """Send what the application has committed to Kafka until SIGTERM or Ctrl-C, each event once, numbered.

    Two may run: one works, the other waits and goes on when the first ends. It needs a connection of its own to the
    database (not through a pooler that lends connections by the transaction), and may read and write the chain's raw
    topic. Exit 0 stopped in order, 2 can't run.
    """
    settings, tables = context_of(context).settings(), OutboxTables.of(table)
    given, log_chain = _given(dsn), settings.chain(chain)
    tally = Figures(time.time)

    def build() -> OutboxRelay:
        return OutboxRelay(
            *(settings.kafka_settings(), log_chain, given, tables),
            accept_unseen=accept_unseen,
            idle_s=poll_ms / 1000,
            tally=tally,
        )

    configure_logging()
    if not once:
        questions = questions_of(
            "outbox-relay", settings.kafka_settings(), [log_chain], tally, dsn=given, outbox=tables
        )
        with watched_process(settings, "outbox-relay", [log_chain], metrics_port, questions, tally) as health:
            code = serve("outbox-relay", build, vitals=health.vitals)
        raise typer.Exit(code)
    with _until_interrupted() as interrupted:
        one = build()
        try:
            if not one.step():
                raise Misconfigured("another relay works on this outbox: it sends what is there")
            while not interrupted.is_set() and one.step():
                pass
        finally:
            one.close()
    out.print(f"sent {one.relayed} events" + ("; stopped, the rest waits" if interrupted.is_set() else ""))
    if interrupted.is_set():
        raise typer.Exit(130)


@app.command("status")
def status(dsn: DsnOption = "", table: TableOption = DEFAULT_OUTBOX) -> None:
    """What waits, since when, what was sent, and whether a relay works."""
    tables = OutboxTables.of(table)
    found = outbox_status(_given(dsn), tables)
    shown = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    waiting = f"{found.waiting:,}"
    if found.oldest_age_s is not None:
        waiting += f", the oldest for {timedelta(seconds=round(found.oldest_age_s))}"
    sent = f"{found.relayed:,}" + (f", last at {found.relayed_at:%Y-%m-%d %H:%M:%SZ}" if found.relayed_at else "")
    for name, value in (
        ("outbox", f"{tables.table} ({found.outbox_id})"),
        ("log", found.origin or "not yet relayed anywhere"),
        ("relay", "connected" if found.working else "none is connected: start `sealstream outbox relay`"),
        ("waiting", waiting),
        ("sent", sent),
        ("stream", "a new one with the next event" if found.producer_id is None else f"{found.producer_id}"),
        ("next number", "" if found.next is None else f"{found.next:,}"),
        ("refused", f"{found.refused:,}" + (f", see {tables.refused}" if found.refused else "")),
        ("size", f"{found.table_bytes / 1024:,.0f} KiB"),
    ):
        shown.add_row(name, Text(value))
    out.print(shown)


@app.command("renew")
def renew(
    dsn: DsnOption = "",
    table: TableOption = DEFAULT_OUTBOX,
    discard: Annotated[
        bool, typer.Option("--discard", help="Delete what waits: the original database's relay sends it.")
    ] = False,
) -> None:
    """Make a copied database's outbox one of its own, as for a staging system made from a copy of production.

    No relay may run on it meanwhile. What waits goes to the log of its next relay, unless --discard.
    """
    tables = OutboxTables.of(table)
    discarded = renew_outbox(_given(dsn), tables, discard=discard)
    out.print(f"{tables.table} is a new outbox" + (f"; waiting events deleted: {discarded:,}" if discard else ""))


@contextmanager
def _until_interrupted() -> Iterator[threading.Event]:
    """Set by the first SIGINT or SIGTERM, so that a batch is finished; the second one ends the process."""
    interrupted = threading.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def told(_number: int, _frame: FrameType | None) -> None:
        interrupted.set()
        for number in before:
            signal.signal(number, signal.SIG_DFL)

    for number in before:
        signal.signal(number, told)
    try:
        yield interrupted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _given(dsn: str) -> str:
    named = os.environ.get(_DSN_FILE)
    if not dsn and named:
        dsn, fault = secret_in(Path(named))
        if fault:
            raise Misconfigured(f"{_DSN_FILE}: {fault}")
    if not dsn:
        raise Misconfigured(
            "which database? Name it in SEALSTREAM_OUTBOX_DSN or with --dsn: postgresql://user:password@host/database; "
            f"or in {_DSN_FILE} a file that holds this"
        )
    return dsn
