"""What the demo shows on the terminal: headings, tables, verdicts. No logic of its own."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from examples.demo.watching import Command
from rich.console import Console
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from sealstream.alerts import Case
from sealstream.verify import Report

__all__ = ["Tampering", "Teller"]

_SHOWN_LINES = 28


class Tampering(NamedTuple):
    """One act of tampering: what was done and to which entry, and the report of a verifier that was not told."""

    title: str
    done: str
    seq: int
    expected_kind: str
    report: Report

    @property
    def found(self) -> bool:
        """Whether a fault of the right kind names the entry."""
        return any(
            str(fault.kind) == self.expected_kind
            and fault.first_seq is not None
            and fault.first_seq <= self.seq <= (fault.last_seq if fault.last_seq is not None else fault.first_seq)
            for fault in self.report.faults
        )


class Teller:
    """Prints the story to a console."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def opening(self) -> None:
        """The first thing that a person sees."""
        text = Text()
        text.append("Sealstream", style="bold cyan")
        text.append("  a tamper-evident audit log, from a web request to a verified, immutable entry\n\n")
        text.append("real parts: ", style="dim")
        text.append(
            "Apache Kafka 4.3.1, PostgreSQL 18, SeaweedFS with Object Lock; no Docker, nothing mocked", style="dim"
        )
        self.console.print(Panel(text, border_style="cyan", padding=(1, 2)))

    def chapter(self, number: int, title: str) -> None:
        """A heading."""
        self.console.print()
        self.console.print(Rule(Text(f" {number}  {title} ", style="bold"), style="cyan", align="left"))

    def say(self, sentence: str) -> None:
        """A plain line."""
        self.console.print(Text(sentence), soft_wrap=False)

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """A spinner while something takes its time."""
        with self.console.status(Text(what), spinner="dots"):
            yield
        self.console.print(Text.assemble(("✓ ", "green"), what))

    def counts(self, rows: Sequence[tuple[str, int, str]], *, equal: bool) -> None:
        """How many events got how far."""
        table = Table(box=None, padding=(0, 3, 0, 0), show_header=False)
        for name, count, remark in rows:
            table.add_row(name, Text(f"{count:,}", style="bold", justify="right"), Text(remark, style="dim"))
        self.console.print(table)
        verdict = ("✓ not one lost, not one twice", "green") if equal else ("✗ the numbers differ", "bold red")
        self.console.print(Text(*verdict))

    def question(self, question: str, table: Table) -> None:
        """One of an auditor's questions with its answer."""
        self.console.print()
        self.console.print(Text(f"“{question}”", style="italic"))
        self.console.print(table)

    def alerts(self, cases: Sequence[Case], after_s: float, within_s: float) -> None:
        """What was raised, and how soon."""
        for case in cases:
            self.console.print(
                Text.assemble((f"  {case.severity:<9}", "bold red" if case.severity == "critical" else "yellow")),
                Text(str(case.facts["summary"])),
                soft_wrap=False,
            )
        words = f"sealed {after_s:.1f} s after the guess that made it an attack (aim: {within_s:.0f} s)"
        held = after_s <= within_s
        self.console.print(Text(f"✓ {words}" if held else f"✗ {words}", style="green" if held else "bold red"))

    def command(self, command: Command) -> None:
        """A command that a person would type, with what it printed."""
        self.console.print()
        self.console.print(Text(f"$ sealstream {shlex.join(command.words)}", style="cyan"), soft_wrap=True)
        lines = command.output.splitlines()
        for line in lines[:_SHOWN_LINES]:
            self.console.print(Text(f"  {line}"), soft_wrap=True)
        if len(lines) > _SHOWN_LINES:
            self.console.print(Text(f"  ... and {len(lines) - _SHOWN_LINES} lines more", style="dim"))
        if command.code:
            self.console.print(Text(f"✗ it ended with exit code {command.code}", style="bold red"))

    def tampering(self, number: int, act: Tampering) -> None:
        """What was done, and what the verifier found on its own."""
        self.console.print()
        self.console.print(Text.assemble((f"{number}. {act.title}", "bold"), f"  {act.done}"))
        for fault in act.report.faults[:3]:
            where = f" seq {fault.seqs()}" if fault.seqs() else ""
            self.console.print(
                Text.assemble(("   found ", "dim"), (str(fault.kind), "bold red"), where, f" at {fault.place}: "),
                Text(fault.detail, style="dim"),
                soft_wrap=False,
            )
        if len(act.report.faults) > 3:
            self.console.print(Text(f"   and {len(act.report.faults) - 3} more", style="dim"))
        verdict = (
            (f"   ✓ found, named ({act.expected_kind}) and placed (entry {act.seq})", "green")
            if act.found
            else (f"   ✗ NOT FOUND: expected {act.expected_kind} at entry {act.seq}", "bold red")
        )
        self.console.print(Text(*verdict))

    def ending(self, held: bool, seconds: float, next_steps: Sequence[str]) -> None:
        """The verdict on everything, and what to try next."""
        self.console.print()
        lines = Text()
        if held:
            lines.append(f"Everything held ({seconds:.0f} s).", style="bold green")
        else:
            lines.append("Something did not hold: see above.", style="bold red")
        lines.append("\n\nTry next:\n")
        for step in next_steps:
            lines.append(f"  {step}\n", style="cyan")
        self.console.print(Panel(lines, border_style="green" if held else "red", padding=(1, 2)))
