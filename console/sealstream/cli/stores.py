"""Commands about one store: `sealstream migrate`, `archive init`, and an auditor's questions, `ask`.

An answer to `ask` is recorded in the log (`log.read`) before it is shown; a crash between leaves the record.
"""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import unquote, urlsplit

import typer
from rich.table import Table
from rich.text import Text

from sealstream.access import Access as LogAccess
from sealstream.access import person_at_this_machine
from sealstream.archive import ArchiveSettings, init_bucket
from sealstream.cli.context import context_of, counted, out
from sealstream.cli.harmless import told
from sealstream.cli.reading import access_log
from sealstream.cli.settings import Settings
from sealstream.errors import Misconfigured
from sealstream.layout import named_retention
from sealstream.postgres import Access, Action, AuditQueries, FailingActor, migrate, migrate_back

__all__ = [
    "accesses_table",
    "actions_table",
    "archive_app",
    "archive_settings",
    "ask_app",
    "failing_table",
    "migrate_command",
    "migrate_postgres",
]

archive_app = typer.Typer(help="The archive: a bucket with Object Lock.", no_args_is_help=True)
ask_app = typer.Typer(help="An auditor's questions, answered from Postgres.", no_args_is_help=True)

ChainOption = Annotated[
    str | None,
    typer.Option("--chain", help="The chain. Default: main, or the only one in the settings.", show_default=False),
]

_NO_ADMINISTRATOR = (
    "postgres.admin_dsn is not set: migrating needs a superuser, or the database's owner with CREATEROLE"
)
_RESULT_STYLE = {"success": "green", "failure": "yellow", "denied": "red"}


def archive_settings(settings: Settings) -> ArchiveSettings:
    """The archive as `sealstream.archive` takes it; what is empty is left to AWS's own defaults."""
    section = settings.archive
    return ArchiveSettings(
        bucket=section.bucket,
        endpoint_url=section.endpoint_url or None,
        region=section.region,
        access_key=section.access_key or None,
        secret_key=section.secret_key or None,
        replayed=section.replayed,
        ca_file=section.ca_file or None,
    )


def migrate_postgres(settings: Settings) -> list[str]:
    """Bring the database to this version's schema; roles get the passwords that the settings' DSNs name."""
    if not settings.postgres.admin_dsn:
        raise Misconfigured(_NO_ADMINISTRATOR)
    return migrate(settings.postgres.admin_dsn, passwords=_passwords(settings))


def _passwords(settings: Settings) -> dict[str, str]:
    """By role, those that the settings' DSNs name."""
    section = settings.postgres
    passwords = {}
    for role, dsn in (("sink", section.sink_dsn), ("reader", section.reader_dsn), ("keeper", section.keeper_dsn)):
        if dsn and (password := urlsplit(dsn).password):
            passwords[role] = unquote(password)
    return passwords


def migrate_command(
    context: typer.Context,
    back_to: Annotated[
        int | None,
        typer.Option(
            "--back-to",
            help="Take back the steps behind this number, for the release before: its processes refuse a database "
            "with steps that they do not know.",
            metavar="NUMBER",
            min=1,
            show_default=False,
        ),
    ] = None,
) -> None:
    """Bring Postgres to this version's schema: roles, tables, triggers. Repeatable; each step is a transaction."""
    settings = context_of(context).settings()
    if back_to is not None:
        if not settings.postgres.admin_dsn:
            raise Misconfigured(_NO_ADMINISTRATOR)
        for name in (taken := migrate_back(settings.postgres.admin_dsn, back_to)):
            out.print(f"taken back {name}")
        out.print("no step of the database is newer" if not taken else "the release before can go on with it")
        return
    applied = migrate_postgres(settings)
    for name in applied:
        out.print(f"applied {name}")
    out.print("the schema is as this version wants it" if applied else "the schema is up to date: no step was missing")
    if passwords := _passwords(settings):
        out.print(f"passwords of {counted(len(passwords), 'role')} set: {', '.join(passwords)}")


@archive_app.command("init")
def archive_init(
    context: typer.Context,
    retention: Annotated[
        str | None,
        typer.Option(
            help="hipaa (6 years), pci (12 months online, 12 archived), soc2 (1 year), gdpr:<duration> or <duration>. "
            "Default: the longest of the chains in the settings.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Make the archive's bucket with Object Lock and a default retention, and say what can't be changed later.

    Repeatable. An existing bucket is taken if it has Object Lock; its retention is lengthened, never shortened.
    """
    settings = context_of(context).settings(must_exist=False)
    policies = [retention] if retention else [chain.retention for chain in settings.chains.values()]
    if not policies:
        raise Misconfigured("no retention: give --retention, or make a chain first with `sealstream chain create main`")
    longest = max((named_retention(policy) for policy in policies), key=lambda known: known.archive_days)
    out.print(Text(init_bucket(archive_settings(settings), longest)), soft_wrap=True)


class _Asked:
    """One question under way: about which chain, and where it is recorded."""

    def __init__(self, settings: Settings, chain: str | None) -> None:
        if not settings.postgres.reader_dsn:
            raise Misconfigured("postgres.reader_dsn is not set: questions are asked with the role sealstream_reader")
        if chain is None:
            chain = next(iter(settings.chains)) if len(settings.chains) == 1 else "main"
        # Never about all chains, since rows of a chain that nobody made prove nothing.
        self.chain = settings.chain(chain).name
        self._settings = settings
        self.queries = AuditQueries(settings.postgres.reader_dsn)

    def show(self, question: str, table: Table, nothing: str, *, cut_at: int = 0, search: str = "") -> None:
        """Record the answer, then print it. `cut_at`: there are more than so many, which `search` would find."""
        access = LogAccess(self.chain, "ask", "postgres", question)
        with access_log(self._settings) as log:
            log.record(person_at_this_machine(), access, table.row_count)
        out.print(table if table.row_count else nothing)
        if cut_at:
            everything = shlex.join(["sealstream", "search", search, "--chain", self.chain, "--all"])
            print(f"there are more than these {cut_at:,}: --limit N, or `{everything}`", file=sys.stderr)


@contextmanager
def _asking(context: typer.Context, chain: str | None) -> Iterator[_Asked]:
    asked = _Asked(context_of(context).settings(), chain)
    with asked.queries:
        yield asked


@ask_app.command("actor")
def ask_actor(
    context: typer.Context,
    actor_id: Annotated[str, typer.Argument(help="Whose actions.")],
    days: Annotated[float, typer.Option(min=0, help="Within the last so many days.")] = 30,
    chain: ChainOption = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest first.")] = 100,
) -> None:
    """All actions of one actor in the last 30 days."""
    with _asking(context, chain) as asked:
        actions = asked.queries.actor_actions(actor_id, days=days, chain=asked.chain, limit=limit + 1)
        question = f"actor {actor_id} --days {days:g} --limit {limit}"
        asked.show(
            question,
            actions_table(actions[:limit]),
            "no actions in that time",
            cut_at=limit if len(actions) > limit else 0,
            search=f"{_term('actor', actor_id)} after:{math.ceil(days * 24)}h",
        )


@ask_app.command("resource")
def ask_resource(
    context: typer.Context,
    resource_type: Annotated[str, typer.Argument(help="Such as patient_record; or both, as patient_record/456.")],
    resource_id: Annotated[str | None, typer.Argument(help="Such as patient-456.", show_default=False)] = None,
    chain: ChainOption = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest first.")] = 100,
) -> None:
    """All access to one resource, with the reasons that were given."""
    if resource_id is None:
        resource_type, _, resource_id = resource_type.partition("/")
        if not resource_id:
            raise typer.BadParameter(
                f"got {resource_type}: expected a type and an id, as patient_record patient-456 or "
                "patient_record/patient-456",
                param_hint="RESOURCE_ID",
            )
    with _asking(context, chain) as asked:
        accesses = asked.queries.resource_accesses(resource_type, resource_id, chain=asked.chain, limit=limit + 1)
        question = f"resource {resource_type} {resource_id} --limit {limit}"
        asked.show(
            question,
            accesses_table(accesses[:limit]),
            "no access to it",
            cut_at=limit if len(accesses) > limit else 0,
            search=_term("resource", f"{resource_type}/{resource_id}"),
        )


@ask_app.command("failures")
def ask_failures(
    context: typer.Context,
    more_than: Annotated[int, typer.Option(min=0, help="More than so many attempts.")] = 5,
    hours: Annotated[float, typer.Option(min=0, help="Within the last so many hours.")] = 24,
    chain: ChainOption = None,
) -> None:
    """Actors with more than five failed or denied attempts in 24 hours."""
    with _asking(context, chain) as asked:
        failing = asked.queries.failing_actors(more_than=more_than, hours=hours, chain=asked.chain)
        asked.show(f"failures --more-than {more_than} --hours {hours:g}", failing_table(failing), "nobody")


def _term(field: str, value: str) -> str:
    """One term of a search, in quotes where it needs them."""
    if all(c.isalnum() or c in "-_./@" for c in value):
        return f"{field}:{value}"
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'{field}:"{quoted}"'


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _result(result: str) -> Text:
    return told(result, _RESULT_STYLE.get(result, ""))


def actions_table(actions: Sequence[Action]) -> Table:
    """Actions as a person reads them."""
    table = Table("seq", "when", "action", "resource", "result", "from", box=None, padding=(0, 2, 0, 0))
    for did in actions:
        resource = told(f"{did.resource_type}/{did.resource_id}")
        table.add_row(
            str(did.seq),
            _time(did.timestamp),
            told(did.action),
            resource,
            _result(did.result),
            told(did.ip_address or ""),
        )
    return table


def accesses_table(accesses: Sequence[Access]) -> Table:
    """Access to a resource as a person reads it."""
    table = Table("seq", "when", "who", "action", "result", "from", "reason", box=None, padding=(0, 2, 0, 0))
    for access in accesses:
        table.add_row(
            str(access.seq),
            _time(access.timestamp),
            told(f"{access.actor_id} ({access.actor_type})"),
            told(access.action),
            _result(access.result),
            told(access.ip_address or ""),
            told(access.reason or ""),
        )
    return table


def failing_table(actors: Sequence[FailingActor]) -> Table:
    """Failing actors as a person reads them."""
    table = Table("who", "attempts", "of these denied", "first", "last", box=None, padding=(0, 2, 0, 0))
    for actor in actors:
        table.add_row(
            told(actor.actor_id, "bold red"),
            str(actor.attempts),
            str(actor.denied),
            _time(actor.first_at),
            _time(actor.last_at),
        )
    return table
