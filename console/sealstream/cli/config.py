"""`sealstream config`: which settings are in force and where each came from, whether they work, and what there are."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer
from rich.text import Text

from sealstream.cli.context import context_of, out, warn
from sealstream.cli.settings import OTHER_VARIABLES, Settings, read_settings
from sealstream.settings import Shown, reference, shown

__all__ = ["app", "reference_text"]

_WIDEST = 60

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


@app.command("reference")
def reference_command() -> None:
    """Print all settings with their meaning, types and defaults, as Markdown."""
    sys.stdout.write(reference_text())


def reference_text() -> str:
    """All settings, and the variables that are none, as Markdown."""
    others = [
        f"| `{name}` | {meaning} |" for name, meaning in OTHER_VARIABLES.items() if not meaning.startswith("the tests")
    ]
    table = "\n".join(["### Variables that are no settings", "", "| variable | what it is |", "|---|---|", *others])
    return f"{reference(Settings)}\n{table}\n"
