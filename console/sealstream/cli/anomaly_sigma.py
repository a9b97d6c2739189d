"""`sealstream anomaly rules`: the Sigma rules that run, and what is wrong with the others. Reads files alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from sealstream.cli.anomaly_rules import sigma_folder
from sealstream.cli.context import context_of, out
from sealstream.cli.harmless import told
from sealstream.errors import Misconfigured

__all__ = ["rules_command"]


def rules_command(
    context: typer.Context,
    folder: Annotated[
        Path | None,
        typer.Argument(help="Check the rules in this folder. Default: anomaly.sigma_rules.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """List the Sigma rules that run, and those that can't, each with its line and the reason. Exit 1 if any."""
    from sealstream.anomaly.sigma import SigmaFolder

    settings = context_of(context).settings(must_exist=folder is None)
    where = SigmaFolder(folder) if folder is not None else sigma_folder(settings)
    if where is None:
        raise Misconfigured("anomaly.sigma_rules is not set: name a folder there, or here")
    rules = where.load()
    if as_json:
        running = [{"name": each.rule, "title": each.says, "subject": each.subject} for each in rules.detectors]
        print(json.dumps({"rules": running, "faults": [fault._asdict() for fault in rules.faults]}, indent=2))
    else:
        for each in rules.detectors:
            out.print(told(f"{each.rule}: {each.says} (of an {each.subject})"), soft_wrap=True)
        for fault in rules.faults:
            out.print(told(f"does not run: {fault}", "red"), soft_wrap=True)
        if not rules.detectors and not rules.faults:
            out.print("there is no rule")
    if rules.faults:
        raise typer.Exit(1)
