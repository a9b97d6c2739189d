"""What `sealstream doctor` shows a person: the checks with their evidence, then the controls. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group
from rich.text import Text

from sealstream.cli.harmless import told
from sealstream.doctor import Control, ControlSet, Diagnosis, State, control_state

__all__ = ["controls_listed", "screen"]

_STYLE = {State.PASS: "green", State.FAIL: "bold red", State.UNKNOWN: "yellow", State.NOT_TESTABLE: "dim"}


def screen(found: Diagnosis, *, all_evidence: bool) -> Group:
    """`all_evidence`: of checks that pass, too."""
    return Group(*_checks(found, all_evidence), *_controls(found), Text(), *_verdict(found))


def _checks(found: Diagnosis, all_evidence: bool) -> Iterator[Text]:
    width = max(len(check.id) for check in found.checks)
    for check in found.checks:
        outcome = found.outcomes[check.id]
        yield Text.assemble(
            (f"{outcome.state:<8}", _STYLE[outcome.state]), (f"{check.id:<{width}}  ", "bold"), told(check.title)
        )
        if outcome.state is State.PASS and not all_evidence:
            continue
        for sentence in outcome.evidence:
            yield told(f"          {sentence}", "dim")
        if outcome.to_do and outcome.state is not State.PASS:
            yield told(f"          to do: {outcome.to_do}")


def _controls(found: Diagnosis) -> Iterator[Text]:
    for each in found.sets:
        yield Text()
        yield Text(each.title, style="bold")
        width = max(len(control.id) for control in each.controls)
        for control in each.controls:
            state = control_state(control, found.outcomes)
            short = "-" if state is State.NOT_TESTABLE else str(state)
            yield Text.assemble((f"{short:<8}", _STYLE[state]), (f"{control.id:<{width}}  ", "bold"), control.asks)
            if named := _why(control, found):
                yield Text(f"{'':<{width + 10}}because of {named}", style="dim")
            if control.remains:
                yield Text(f"{'':<{width + 10}}not testable by software: {control.remains}", style="dim")


def _why(control: Control, found: Diagnosis) -> str:
    """The checks that did not pass."""
    return ", ".join(dict.fromkeys(check for check in control.checks if found.outcomes[check].state is not State.PASS))


def _verdict(found: Diagnosis) -> Iterator[Text]:
    style = {0: "bold green", 1: "bold red", 2: "bold yellow"}[found.exit_code]
    yield Text(found.verdict, style=style)
    for note in found.notes:
        yield told(f"note: {note}", "yellow")


def controls_listed(sets: Sequence[ControlSet]) -> Iterator[Text]:
    """The controls of these sets with the checks that speak for each; nothing is asked."""
    for each in sets:
        yield Text(f"{each.name}: {each.title}", style="bold")
        for control in each.controls:
            yield Text.assemble((f"  {control.id}  ", "bold"), control.asks)
            if control.checks:
                yield Text(f"      {', '.join(dict.fromkeys(control.checks))}", style="dim")
            if control.remains:
                yield Text(f"      not testable by software: {control.remains}", style="dim")
        yield Text()
