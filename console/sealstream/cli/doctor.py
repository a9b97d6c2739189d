"""`sealstream doctor`: which duties the system that runs meets, with the evidence, and what to do where it does not.

What is tried is tried so that nothing comes of it: statements in transactions that are rolled back, records that no
broker takes, deletions of an object of the doctor's own. The run is recorded in the log (`log.read`), and not held back
where that can't be done: as of a verification, whoever could stop Kafka must not be able to stop a diagnosis. Ctrl-C
leaves a beginning without an end in the log, and the canary, until a later run.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from sealstream.cli.context import context_of, out, warn
from sealstream.cli.doctor_system import system_of
from sealstream.cli.doctor_view import controls_listed, screen
from sealstream.cli.settings import read_settings
from sealstream.cli.verify import StateOption
from sealstream.cli.whole_file import write_whole
from sealstream.doctor import CONTROL_SETS, ControlSet, Diagnosis, diagnose
from sealstream.errors import Misconfigured
from sealstream.verify import default_state_dir

__all__ = ["doctor_command"]


def doctor_command(
    context: typer.Context,
    controls: Annotated[
        list[str] | None,
        typer.Option(
            "--control",
            help=f"A set of controls: {', '.join(CONTROL_SETS)}. Repeatable. Default: all.",
            metavar="SET",
            show_default=False,
        ),
    ] = None,
    chains: Annotated[
        list[str] | None,
        typer.Option("--chain", help="A chain; repeatable. Default: all that are run.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as data, for programs.")] = False,
    html: Annotated[
        Path | None,
        typer.Option(
            "--html", help="Write it as one HTML file, too, for an auditor.", metavar="FILE", show_default=False
        ),
    ] = None,
    evidence: Annotated[bool, typer.Option("--evidence", help="Show the evidence of what passes, too.")] = False,
    producer_config: Annotated[
        Path | None,
        typer.Option(
            "--producer-config",
            help="A settings file with an application's Kafka user, as which it is tried to write to the chain. "
            "Variables of the environment don't count for it. Default: the settings' own user.",
            show_default=False,
        ),
    ] = None,
    only_list: Annotated[
        bool, typer.Option("--list", help="Show the controls and their checks, and ask nothing.")
    ] = False,
    timeout: Annotated[float, typer.Option(min=5, max=3600, help="How many seconds all checks may take.")] = 120,
    state_dir: StateOption = None,
) -> None:
    """Check the running system against control sets: each control with its evidence, and what to do where it fails.

    Reads settings, catalogues, locks, ACLs and entries, verifies the last hour, and tries what must be refused: UPDATE,
    DELETE and TRUNCATE of entries (rolled back), deleting and unlocking an object of its own, writing to the chain as
    an application. Nothing of the log is changed; that the doctor looked is recorded in it.

    Exit codes: 0 all checks pass, 1 some fail, 2 none is known to fail and not everything could be asked. What no
    software can tell is named beside each control, and changes no exit code.

    Examples:

      sealstream doctor --control pci --control soc2

      sealstream doctor --html doctor.html

      sealstream doctor --json | jq -r '.checks[] | select(.state == "fail") | .to_do'
    """
    sets = _sets(controls or [])
    if only_list:
        for line in controls_listed(sets):
            out.print(line, soft_wrap=True)
        return
    shared = context_of(context)
    loaded = read_settings(shared.config)
    warn(loaded.warnings)
    render = _renderer() if html is not None else None
    system = system_of(loaded, shared.config, chains or [], state_dir or default_state_dir(), producer_config)
    with Console(stderr=True).status("looking"):
        found = diagnose(system, sets, name=loaded.settings.log, timeout_s=timeout)
    if as_json:
        print(json.dumps(found.to_json(), indent=2, ensure_ascii=False))
    else:
        out.print(screen(found, all_evidence=evidence), soft_wrap=True)
    if html is not None and render is not None:
        _write(render(found), html)
        Console(stderr=True, soft_wrap=True, highlight=False).print(Text(f"wrote {html}"))
    raise typer.Exit(found.exit_code)


def _sets(names: list[str]) -> list[ControlSet]:
    asked = [name for each in names for name in each.split(",") if name]
    for name in asked:
        if name not in CONTROL_SETS:
            raise Misconfigured(f"--control {name!r}: expected one of {', '.join(CONTROL_SETS)}")
    return [CONTROL_SETS[name] for name in dict.fromkeys(asked)] or list(CONTROL_SETS.values())


def _renderer() -> Callable[[Diagnosis], str]:
    """What draws the page; asked for before anything else is."""
    try:
        from sealstream.doctor.page import render
    except ModuleNotFoundError as error:
        raise Misconfigured(
            f"the page is drawn with {error.name}, which is not installed: pip install 'sealstream[console]'; --json "
            "prints the same without it"
        ) from error
    return render


def _write(page: str, file: Path) -> None:
    try:
        write_whole(file, page.encode())
    except OSError as error:
        raise Misconfigured(f"{file} can't be written: {error.strerror}") from error
