"""`sealstream retention plan`: what would leave which store, when and by which policy, before it goes. Reads only."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from sealstream.cli.context import context_of, out
from sealstream.cli.holds import known_holds
from sealstream.cli.policies import in_force, policy_line
from sealstream.cli.retention_destroy import listed_in, said_destroyed
from sealstream.cli.stores import archive_settings
from sealstream.cli.verify import progress_bar
from sealstream.errors import Misconfigured, SealstreamError
from sealstream.events import parse_timestamp
from sealstream.layout import ChainTopics, retention_members
from sealstream.retention import Going, inputs_line, plan

__all__ = ["plan_command"]

_AHEAD = timedelta(days=90)


def plan_command(
    context: typer.Context,
    chain: Annotated[str, typer.Argument(help="The chain.")] = "main",
    until: Annotated[
        str | None,
        typer.Option(
            "--until", help="What goes until then (a date, or RFC 3339). Default: in 90 days.", show_default=False
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The plan, for programs.")] = False,
) -> None:
    """Show what would leave Kafka, Postgres and the archive until some day, month by month, before it goes.

    By the policy in force and by the locks as the bucket has them now. What is due already and has not left is shown,
    too, with what keeps it. Kafka is trimmed by itself; what else goes goes by the command that is shown, and only when
    somebody runs it.
    """
    settings = context_of(context).settings()
    retention = in_force(settings, chain)
    known = settings.chain(chain)._replace(retention=retention)
    now = datetime.now(UTC)
    moment = now + _AHEAD if until is None else _moment(until)
    with progress_bar("reading locks", shown=not as_json, unit="segments") as progress:
        found = plan(
            known,
            settings.kafka_settings(),
            settings.postgres.reader_dsn,
            archive_settings(settings) if settings.archive.bucket else None,
            moment,
            [known.hold for known in known_holds(settings, chain) if known.lifted_by is None],
            listed_in(said_destroyed(settings, chain)),
            progress,
        )
    if as_json:
        document = {
            "chain": chain,
            "policy": retention_members(retention),
            "now": now.isoformat(),
            "until": moment.isoformat(),
            "goes": [each.to_json() for each in found],
        }
        print(json.dumps(document, indent=2))
        return
    out.print(Text.assemble(("chain ", "dim"), (chain, "bold"), f"  {policy_line(retention)}"), soft_wrap=True)
    if not found:
        out.print(f"nothing leaves any store until {moment:%Y-%m-%d}")
    else:
        out.print(_table(found, now))
    out.print(Text(inputs_line(ChainTopics.of(chain, settings.kafka.prefix)), style="dim"), soft_wrap=True)


def _moment(text: str) -> datetime:
    try:
        return parse_timestamp(f"{text}T00:00:00Z" if len(text) == 10 else text)
    except SealstreamError as error:
        raise Misconfigured(f"--until: {error}") from error


def _table(found: list[Going], now: datetime) -> Table:
    table = Table("store", "sealed in", "entries", "goes", "how", box=None, padding=(0, 2, 0, 0))
    for going in found:
        objects = f" ({going.segments:,} objects)" if going.store == "archive" else ""
        entries = f"{going.first:,} to {going.last:,}{objects}"
        how = Text(f"stays: {going.stays}", style="yellow") if going.stays else Text(going.how)
        table.add_row(going.store, going.month, entries, _when(going, now), how)
    return table


def _when(going: Going, now: datetime) -> Text:
    if going.ends <= now:
        return Text(f"since {going.ends:%Y-%m-%d}", style="bold")
    if going.begins.date() == going.ends.date():
        return Text(f"{going.ends:%Y-%m-%d}")
    return Text(f"{going.begins:%Y-%m-%d} to {going.ends:%Y-%m-%d}")
