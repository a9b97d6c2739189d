"""The table of controls and checks in docs/doctor.md: `python -m sealstream.doctor.table` prints it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from sealstream.doctor.controls import CONTROL_SETS
from sealstream.doctor.registry import CHECKS

__all__ = ["markdown"]


def markdown() -> str:
    """Each set's controls with their checks and what remains, and then the checks."""
    parts = []
    for each in CONTROL_SETS.values():
        parts += [f"**{each.title}** (`--control {each.name}`)", ""]
        rows = [
            (
                control.id,
                control.asks,
                ", ".join(f"`{check}`" for check in dict.fromkeys(control.checks)) or "not testable by software",
                control.remains or "",
            )
            for control in each.controls
        ]
        parts += [_table(("control", "asks for", "checks", "not testable by software"), rows)]
    checks = [(f"`{check.id}`", check.title, check.how) for check in CHECKS.values()]
    parts += ["**Checks**", "", _table(("check", "holds when it passes", "how it is obtained"), checks)]
    return "\n".join(parts).rstrip() + "\n"


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    return "".join(f"| {' | '.join(each)} |\n" for each in (heads, ("---",) * len(heads), *rows))


if __name__ == "__main__":
    print(markdown(), end="")
