"""What a dashboard is made of: panels, and the queries in them. Pure."""

from __future__ import annotations

from typing import Literal, NamedTuple

__all__ = [
    "BAD_GOOD",
    "BUT_ARCHIVE",
    "CHAIN",
    "GOOD_BAD",
    "MINE",
    "SOON_LATE",
    "Dashboard",
    "Panel",
    "appeared",
    "by",
    "grown",
    "hourly",
    "named",
    "rate",
]

MINE = 'job="$job"'
CHAIN = f'{MINE}, chain=~"$chain"'
BUT_ARCHIVE = f'{CHAIN}, process!="archive-sink"'


class Panel(NamedTuple):
    """One panel. `queries`: each with its legend; `columns`: of 24; `limits`: from which value on it is which colour;
    `hidden`: columns of a table; `tall`: otherwise than its kind is."""

    title: str
    description: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    kind: Literal["timeseries", "stat", "table"] = "timeseries"
    columns: int = 8
    limits: tuple[tuple[float, str], ...] = ()
    legend: Literal["bottom", "right"] = "bottom"
    hidden: tuple[str, ...] = ()
    tall: int | None = None


class Dashboard(NamedTuple):
    """One dashboard. `rows`: panels below a heading each."""

    uid: str
    title: str
    description: str
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]


def by(figure: str, matchers: str, *labels: str, over: str = "sum") -> str:
    return f"{over} by ({', '.join(labels)}) ({figure}{{{matchers}}})"


def rate(figure: str, matchers: str, *labels: str) -> str:
    return f"sum by ({', '.join(labels)}) (rate({figure}{{{matchers}}}[$__rate_interval]))"


def grown(figure: str, matchers: str, *labels: str, over: str = "$__range") -> str:
    """How many more in that time, as whole numbers: Prometheus reckons beyond the first and last scrape in it."""
    return f"round(sum by ({', '.join(labels)}) (increase({figure}{{{matchers}}}[{over}])))"


def hourly(figure: str, matchers: str, *labels: str) -> str:
    return grown(figure, matchers, *labels, over="1h")


def appeared(figure: str, matchers: str, *labels: str, over: str = "$__range") -> str:
    """The same of a counter that is not there before its first 1, which `increase` passes over."""
    counter = f"{figure}{{{matchers}}}"
    return (
        f"round(sum by ({', '.join(labels)}) "
        f"(({counter} unless {counter} offset {over}) or increase({counter}[{over}])))"
    )


def named(machine: str) -> str:
    """What the machine counts of a process (`process_*`), with the label `process`, which it lacks."""
    return f"{machine} * on (job, instance) group_left (process) sealstream_process_info{{{MINE}}}"


GOOD_BAD = ((0, "green"), (1, "red"))
BAD_GOOD = ((0, "red"), (1, "green"))
SOON_LATE = ((0, "green"), (60, "yellow"), (180, "red"))
