"""What a command knows before it begins: where the settings are, and what it prints to."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import typer
from rich.console import Console, ConsoleDimensions

from sealstream.cli.settings import Settings, read_settings
from sealstream.settings import Fault

__all__ = ["Context", "context_of", "counted", "internal_error", "out", "warn"]

_WIDE = 100_000


class _Output(Console):
    """Standard output. In a pipe or a file there is no width to keep to: nothing is wrapped or cut, unless COLUMNS says
    so.
    """

    @property  # type: ignore[misc]  # nobody sets it
    def size(self) -> ConsoleDimensions:
        """What COLUMNS says now, else the terminal's, else wide enough for all."""
        columns = os.environ.get("COLUMNS", "")
        if columns.isdigit() and int(columns):
            return ConsoleDimensions(int(columns), 25)
        return super().size if self.file.isatty() else ConsoleDimensions(_WIDE, 25)


out = _Output(highlight=False)


class Context(NamedTuple):
    """`config` is the settings file in force; it need not exist yet. `named`: it was asked for by name."""

    config: Path
    named: bool = False

    def settings(self, *, must_exist: bool = True) -> Settings:
        """The settings, read now; what is odd but no fault is said on standard error."""
        loaded = read_settings(self.config, must_exist=must_exist)
        warn(loaded.warnings)
        return loaded.settings


def counted(number: int, what: str) -> str:
    """ "1 segment", "2,000 segments"."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def warn(warnings: Iterable[Fault]) -> None:
    """Say on standard error what is odd about the settings."""
    for warning in warnings:
        Console(stderr=True, soft_wrap=True, highlight=False).print(f"sealstream: warning: {warning}", markup=False)


def internal_error(error: Exception) -> str:
    """One sentence about what we did not foresee; `SEALSTREAM_TRACEBACK=1` shows where it happened."""
    if os.environ.get("SEALSTREAM_TRACEBACK"):
        raise error
    return (
        f"a fault in Sealstream itself: {type(error).__name__}: {error}; run it again with SEALSTREAM_TRACEBACK=1 to "
        "see where, and report that"
    )


def context_of(context: typer.Context) -> Context:
    """The shared context, typed."""
    found = context.find_object(Context)
    assert found is not None  # main's callback set it
    return found
