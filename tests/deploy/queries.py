"""Queries in Prometheus's language, held against what processes serve: every figure and label in them is there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import promql_parser
import yaml
from prometheus_client.parser import text_string_to_metric_families

__all__ = ["PROMTOOL", "RULES", "RULE_TESTS", "Series", "expressions_of_rules", "faults_of", "promtool", "series_of"]

_FOLDER = Path(__file__).parents[2] / "deploy" / "prometheus"
RULES = _FOLDER / "sealstream.rules.yml"
RULE_TESTS = _FOLDER / "sealstream.test.yml"
PROMTOOL = "Prometheus's own tool is not installed: `promtool`, of Debian's package prometheus"
# Prometheus makes them itself, and names the job and the instance of all.
_ITS_OWN = {"up"}
_ITS_LABELS = {"job", "instance"}


class Series(NamedTuple):
    """One figure with its labels, as a process serves it."""

    name: str
    labels: Mapping[str, str]


def promtool() -> str | None:
    """Where it is, if it is."""
    return os.environ.get("PROMTOOL") or shutil.which("promtool")


def series_of(page: str) -> Iterator[Series]:
    """All on a /metrics page."""
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            yield Series(sample.name, sample.labels)


def expressions_of_rules(text: str) -> dict[str, str]:
    """Each alert's, by its name."""
    groups = yaml.safe_load(text)["groups"]
    return {rule["alert"]: str(rule["expr"]) for group in groups for rule in group["rules"]}


def faults_of(expression: str, served: Iterable[Series]) -> list[str]:
    """What the expression names and no process serves; or why it is none."""
    try:
        parsed = promql_parser.parse(expression)
    except ValueError as error:
        return [f"{expression!r} is no query: {error}"]
    by_name: dict[str, list[Mapping[str, str]]] = {}
    for series in served:
        by_name.setdefault(series.name, []).append(series.labels)
    found: list[str] = []
    known: set[str] = set(_ITS_LABELS)

    def visit(node: Any) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            found.extend(_faults_of_selector(node, by_name))
            known.update(label for labels in by_name.get(node.name, []) for label in labels)

    promql_parser.walk(parsed, visit)
    grouped: list[str] = []

    def look(node: Any) -> None:
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            grouped.extend(node.modifier.labels)
        if isinstance(node, promql_parser.BinaryExpr) and node.modifier is not None and node.modifier.matching:
            grouped.extend(node.modifier.matching.labels)

    promql_parser.walk(parsed, look)
    return found + [f"nothing in it has the label {label}" for label in grouped if label not in known]


def _faults_of_selector(selector: Any, by_name: Mapping[str, list[Mapping[str, str]]]) -> Iterator[str]:
    name = selector.name
    if name not in by_name and name not in _ITS_OWN:
        yield f"no process serves {name}"
        return
    for matcher in selector.matchers.matchers:
        if matcher.name in _ITS_LABELS:
            continue
        values = {labels[matcher.name] for labels in by_name.get(name, []) if matcher.name in labels}
        exact = matcher.op in (promql_parser.MatchOp.Equal, promql_parser.MatchOp.NotEqual)
        if not values:
            yield f"{name} has no label {matcher.name}"
        elif exact and matcher.value not in values and "" not in values:
            yield f"{name} has no {matcher.name} {matcher.value!r}: {', '.join(sorted(values))}"
