"""What a run measured, as JSON and as a table by kind of fault.

`sealed_s`: from the moment when the last fault of the round was mended until everything that the applications had
handed over by then was sealed; `stored_s`: until it was also in Postgres and signed; `archived_s`: until every segment
signed by then was in the archive. `outage_s`: from the round's first break to `stored_s`: how long the log was behind.
`late`: acknowledged events that were not sealed when waiting for the round's end was given up. `lost`: acknowledged
while the round went on, and not in the chain when everything had come to rest.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Round", "merged_table", "read_rounds", "write_results"]


@dataclass
class Round:
    """One or more faults that overlapped, and what came of them."""

    number: int
    kinds: list[str]
    events: int = 0
    sealed_s: float = 0.0
    stored_s: float = 0.0
    archived_s: float = 0.0
    outage_s: float = 0.0
    late: int = 0
    lost: int = 0
    doubled: int = 0
    alarms: dict[str, str] = field(default_factory=dict)
    failure: str = ""


def write_results(folder: Path, seed: int, minutes: float, rounds: Sequence[Round], verdict: Any) -> Path:
    """`results-<seed>.json` and `.md`."""
    path = folder / f"results-{seed}.json"
    document = {
        "seed": seed,
        "minutes": round(minutes, 1),
        "verdict": None if verdict is None else verdict._asdict(),
        "rounds": [asdict(each) for each in rounds],
    }
    path.write_text(json.dumps(document, indent=1) + "\n")
    path.with_suffix(".md").write_text(merged_table(rounds))
    return path


def read_rounds(paths: Iterable[Path]) -> list[Round]:
    """The rounds of several runs."""
    return [Round(**each) for path in paths for each in json.loads(path.read_text())["rounds"]]


def merged_table(rounds: Iterable[Round]) -> str:
    """By kind of fault: a markdown table."""
    rounds = list(rounds)
    kinds = sorted({kind for each in rounds for kind in each.kinds})
    lines = [
        "| fault | times | not within 180 s | sealed again p50 / p99, s | in Postgres and signed p50 / p99, s "
        "| archived p50 / p99, s | behind p50 / p99, s (RTO) | lost (RPO) | doubled |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for kind in kinds:
        lines.append(_row(kind, [each for each in rounds if kind in each.kinds]))
    lines.append(_row("**all rounds**", rounds))
    return "\n".join(lines) + "\n"


def _row(name: str, chosen: list[Round]) -> str:
    def both(values: list[float]) -> str:
        return f"{_percentile(values, 50):.1f} / {_percentile(values, 99):.1f}"

    done = [each for each in chosen if not each.failure] or chosen
    return (
        f"| {name} | {len(chosen)} | {sum(bool(each.failure) for each in chosen)} "
        f"| {both([each.sealed_s for each in done])} | {both([each.stored_s for each in done])} "
        f"| {both([each.archived_s for each in done])} | {both([each.outage_s for each in done])} "
        f"| {sum(each.lost for each in chosen)} | {sum(each.doubled for each in chosen)} |"
    )


def _percentile(values: list[float], percent: int) -> float:
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] if ordered else 0.0
