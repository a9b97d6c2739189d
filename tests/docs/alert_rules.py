"""A page's alert rules for Prometheus, held against what real processes serve: every figure and label in them is there.

Enough of PromQL is read to find the names; whether an expression is one, `promtool` says where it is installed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from prometheus_client.parser import text_string_to_metric_families

__all__ = ["Series", "faults_of_rules", "series_of", "why_promtool_refuses"]

_SELECTOR = re.compile(r"(?P<name>[a-zA-Z_:][\w:]*)(?P<call>\s*\()?(?:\{(?P<matchers>[^}]*)\})?(?:\[\w+\])?")
_MATCHER = re.compile(r'\s*(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"\s*')
_WORDS = {"and", "or", "unless", "bool", "offset", "by", "without", "on", "ignoring", "group_left", "group_right"}
_FUNCTIONS = {"rate", "increase", "delta", "time", "max", "min", "sum", "absent", "changes", "max_over_time"}
# Prometheus makes it itself, and names the job and the instance of all.
_ITS_OWN = {"up"}
_ITS_LABELS = {"job", "instance"}


class Series(NamedTuple):
    """One figure with its labels, as a process serves it."""

    name: str
    labels: Mapping[str, str]


def series_of(page: str) -> Iterator[Series]:
    """All on a /metrics page."""
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            yield Series(sample.name, sample.labels)


def faults_of_rules(text: str, served: Iterable[Series]) -> list[str]:
    """What the rules name and no process serves."""
    by_name: dict[str, list[Mapping[str, str]]] = {}
    for series in served:
        by_name.setdefault(series.name, []).append(series.labels)
    found = []
    for rule in yaml.safe_load(text):
        if not rule.keys() >= {"alert", "expr"}:
            found.append(f"{rule}: expected alert and expr")
            continue
        found += [f"{rule['alert']}: {fault}" for fault in _faults(str(rule["expr"]), by_name)]
    return found


def _faults(expression: str, by_name: Mapping[str, list[Mapping[str, str]]]) -> Iterator[str]:
    for selector in _SELECTOR.finditer(expression):
        name = selector["name"]
        if name in _WORDS or (selector["call"] and name in _FUNCTIONS):
            continue
        if name not in by_name and name not in _ITS_OWN:
            yield f"no process serves {name}"
            continue
        labelled = by_name.get(name, [])
        for matcher in filter(None, (selector["matchers"] or "").split(",")):
            told = _MATCHER.fullmatch(matcher)
            if told is None:
                yield f"{matcher!r} selects nothing"
                continue
            label, operator, value = told.groups()
            if label in _ITS_LABELS:
                continue
            values = {labels[label] for labels in labelled if label in labels}
            if not values:
                yield f"{name} has no label {label}"
            elif operator in ("=", "!=") and value not in values:
                yield f"{name} has no {label} {value!r}: {', '.join(sorted(values))}"


def why_promtool_refuses(text: str, folder: Path) -> str:
    """What Prometheus's own tool says of the rules; empty when nothing, or when it is not installed."""
    program = shutil.which("promtool")
    if program is None:
        return ""
    rules: dict[str, Any] = {"groups": [{"name": "of-the-page", "rules": yaml.safe_load(text)}]}
    file = folder / "rules.yaml"
    file.write_text(yaml.safe_dump(rules))
    done = subprocess.run(
        [program, "check", "rules", str(file)], capture_output=True, text=True, timeout=30, check=False
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr
