"""`sealstream config`: which settings are in force and where each came from, whether they work, and what there are."""

from __future__ import annotations

import json
import sys
from functools import partial
from typing import Annotated

import typer
from rich.text import Text

from sealstream.cli.check_archive import check_archive
from sealstream.cli.check_certificate import check_certificate
from sealstream.cli.check_collect import check_collect
from sealstream.cli.check_files import check_files, check_keys
from sealstream.cli.check_forward import forward_checks
from sealstream.cli.check_kafka import check_kafka
from sealstream.cli.check_postgres import check_role
from sealstream.cli.check_tracing import check_tracing
from sealstream.cli.context import Context, context_of, out, warn
from sealstream.cli.findings import Finding, any_wrong, found_by, ok, warning, wrong
from sealstream.cli.harmless import harmless, told
from sealstream.cli.settings import OTHER_VARIABLES, Settings, read_settings
from sealstream.errors import Misconfigured
from sealstream.kafka import CLIENTS, permissions
from sealstream.layout import check_chain_name
from sealstream.layout.chains import original_name
from sealstream.settings import Shown, WrongSettings, reference, shown

__all__ = ["app", "reference_text"]

_WIDEST = 60
_STATE_STYLE = {"ok": "green", "warning": "yellow", "wrong": "bold red", "skipped": "dim"}

app = typer.Typer(help="Look at the settings, and try them.", no_args_is_help=True)

JsonOption = Annotated[bool, typer.Option("--json", help="For programs.")]


@app.command("show")
def show(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(help="A setting or a section, such as kafka. Default: all.", show_default=False)
    ] = None,
    given: Annotated[bool, typer.Option("--given", help="Only those that are not left at their defaults.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Print every setting in force and where it came from: the file's line, a variable, a secret's file, the default.

    Secrets are hidden, always. Nothing is connected to: that does `sealstream config check`.

    sealstream config show --given    what was set, and where

    sealstream config show kafka      one section
    """
    shared = context_of(context)
    loaded = read_settings(shared.config, must_exist=False)
    warn(loaded.warnings)
    rows = [row for row in shown(loaded) if _below(row.name, name) and not (given and str(row.origin) == "default")]
    if as_json:
        print(json.dumps({"file": str(shared.config), "settings": [row.members() for row in rows]}, indent=2))
        return
    there = "" if shared.config.exists() else " (there is none: defaults and variables alone)"
    out.print(Text(f"settings file: {shared.config}{there}", style="dim"), soft_wrap=True)
    _print(rows)


def _below(name: str, asked: str | None) -> bool:
    return asked is None or name == asked or name.startswith(f"{asked}.")


def _print(rows: list[Shown]) -> None:
    names = max((len(row.name) for row in rows), default=0)
    values = min(_WIDEST, max((len(row.text) for row in rows), default=0))
    for row in rows:
        default = str(row.origin) == "default"
        line = f"{row.name:<{names}}  {row.text:<{values}}  {row.origin}"
        out.print(Text(line, style="dim" if default else ""), soft_wrap=True)


@app.command("check")
def check(
    context: typer.Context,
    clients: Annotated[
        list[str] | None,
        typer.Option(
            "--for",
            help=f"Whose Kafka ACLs this user must have: {', '.join(CLIENTS)}. Repeatable. Default: any one's.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Try each connection and permission, and say per line what is right, what is wrong, and what to do.

    Nothing is written or changed anywhere. Exit 0 all is right (warnings aside), 1 something is wrong.

    sealstream config check --for sequencer    before the first start of a sequencer
    """
    for client in clients or ():
        if client not in CLIENTS:
            raise Misconfigured(f"--for {client!r}: expected one of {', '.join(CLIENTS)}")
    shared = context_of(context)
    try:
        loaded = read_settings(shared.config, must_exist=False)
    except WrongSettings as error:
        _report([wrong("settings", str(fault)) for fault in error.faults], as_json)
        return
    settings = loaded.settings
    odd = [warning("settings", str(fault), "remove it, or spell it right") for fault in loaded.warnings]
    roles = [(f"postgres {role}", partial(check_role, role, dsn)) for role, dsn in settings.postgres.by_role().items()]
    findings = [
        _settings_file(shared),
        *odd,
        *check_files(loaded),
        *check_certificate(settings.kafka),
        *check_keys(settings, shared.config.parent),
        *check_collect(settings, shared.config),
        *found_by(
            [
                ("kafka", lambda: check_kafka(settings, clients or ())),
                *roles,
                ("archive", lambda: check_archive(settings)),
                ("tracing", lambda: check_tracing(settings.tracing.receiver())),
                *forward_checks(settings.forward_targets()),
            ]
        ),
    ]
    _report(findings, as_json)


def _settings_file(shared: Context) -> Finding:
    if shared.config.exists():
        return ok("settings", f"{shared.config} is right")
    if shared.named:
        to_do = "name the file that there is, with --config or SEALSTREAM_CONFIG, or neither"
        return wrong("settings", f"no settings file at {shared.config}: what follows is of defaults, variables", to_do)
    return ok("settings", f"no file {shared.config}: defaults, variables")


def _report(findings: list[Finding], as_json: bool) -> None:
    if as_json:
        print(json.dumps([finding._asdict() for finding in findings], indent=2))
    else:
        for finding in findings:
            line = Text(f"{finding.state:<8}", style=_STATE_STYLE[finding.state])
            first, *others = finding.said.split("\n")  # a search that is none is shown with a mark below it
            out.print(line.append(harmless(f"  {finding.about}: {first}"), style="default"), soft_wrap=True)
            for other in others:
                out.print(told(f"          {other}"), soft_wrap=True)
            if finding.to_do:
                out.print(told(f"          to do: {finding.to_do}"), soft_wrap=True)
    if any_wrong(findings):
        raise typer.Exit(1)


@app.command("acls")
def acls(
    context: typer.Context,
    chain: Annotated[str, typer.Argument(help="The chain; it need not exist yet.")] = "main",
    clients: Annotated[
        list[str] | None,
        typer.Option("--for", help=f"Of {', '.join(CLIENTS)}. Repeatable. Default: all.", show_default=False),
    ] = None,
) -> None:
    """Print the commands that give each client of Kafka the ACLs that it needs, and no more.

    Each client is shown with a user of its own name: put in the users that you have made.
    """
    settings = context_of(context).settings(must_exist=False)
    check_chain_name(original_name(chain))
    if chain in CLIENTS and chain not in settings.chains:
        known = next(iter(sorted(settings.chains)), "main")
        raise Misconfigured(f"{chain} is a client and no chain: `sealstream config acls {known} --for {chain}`")
    for client in clients or CLIENTS:
        if client not in CLIENTS:
            raise Misconfigured(f"--for {client!r}: expected one of {', '.join(CLIENTS)}")
        print(f"# {client}")
        for needed in permissions(client, chain, settings.kafka.prefix):
            operations = " ".join(f"--operation {each.title().replace('_', '')}" for each in needed.operations)
            print(
                f"kafka-acls.sh --bootstrap-server {settings.kafka.bootstrap} --add --allow-principal User:{client} "
                f"{operations} --{needed.resource}{'' if needed.resource == 'cluster' else f' {needed.name}'}"
            )


@app.command("reference")
def reference_command() -> None:
    """Print all settings with their meaning, types and defaults, as Markdown."""
    sys.stdout.write(reference_text())


def reference_text() -> str:
    """All settings, the variables that are none, and the ACLs that each client of Kafka needs, as Markdown."""
    others = [
        f"| `{name}` | {meaning} |" for name, meaning in OTHER_VARIABLES.items() if not meaning.startswith("the tests")
    ]
    table = "\n".join(["### Variables that are no settings", "", "| variable | what it is |", "|---|---|", *others])
    needed = [
        f"| {client} | {needed.resource} `{needed.name}` | {', '.join(needed.operations)} |"
        for client in CLIENTS
        for needed in permissions(client, "main", "audit")
    ]
    ruled = "\n".join(
        ["### ACLs, for a chain `main`", "", "| client | resource | operations |", "|---|---|---|", *needed]
    )
    return f"{reference(Settings)}\n{table}\n\n{ruled}\n"
