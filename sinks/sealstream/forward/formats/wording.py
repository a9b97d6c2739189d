"""An alert's parts as people read them: the facts beside the summary, in one order, for every receiver. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from sealstream.layout.alerts import Alert

__all__ = ["clipped", "facts", "figures_told", "search_command", "window_told"]


def facts(alert: Alert) -> list[tuple[str, str]]:
    """Names and values; what an alert does not have is left out."""
    listed = [
        ("severity", f"{alert.severity}, confidence {alert.confidence:.0%}"),
        ("subject", f"{alert.subject_kind} {alert.subject}"),
        ("detector", alert.detector + (f", rule {alert.rule}" if alert.rule else "")),
        ("window", window_told(alert)),
        ("seen", figures_told(alert.seen)),
        ("usual", figures_told(alert.usual)),
        ("chain", alert.chain),
        ("tenant", alert.tenant or ""),
        ("incident", alert.incident),
    ]
    return [(name, value) for name, value in listed if value]


def window_told(alert: Alert) -> str:
    """First and last second; one where they are the same."""
    first, last = alert.window
    return first if first == last else f"{first} to {last}"


def figures_told(figures: Mapping[str, int | float | str]) -> str:
    """`failures 17, addresses 2`."""
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in figures.items())


def search_command(alert: Alert) -> str:
    """What a person types to see the entries; a stranger's name in the query stays one word of the shell."""
    return f"sealstream search {shlex.quote(alert.query)}"


def clipped(text: str, most: int) -> str:
    """At most so many characters, with a sign that something is missing."""
    return text if len(text) <= most else text[: most - 1] + "…"
