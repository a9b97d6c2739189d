"""A review's document: what a reviewer saw, in canonical JSON (RFC 8785), so that its SHA-256 names it. Pure.

It holds the whole report of the period and its main figures. What it says of a period that is over follows from the
chain, but for two things: how its alerts were judged, which goes on until somebody signs, and what a verification found
when the document was made. `changes` compares all but the latter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sealstream.errors import NotCanonical
from sealstream.events import format_timestamp
from sealstream.reports import PeriodReport, Section
from sealstream.reviews.alerts_section import LEFT_TO_DO
from sealstream.sealing import canonical_json, is_canonical, parse_json

__all__ = ["changes", "document_bytes", "document_sha256", "main_figures", "read_document", "review_document"]

_NEEDED = {"review", "chain", "period", "figures", "sections", "size"}
_OF_THE_MOMENT = ("Verification", "Retention and locks")
_TOLD_ROWS = 3

_MAIN = {
    "events": "events",
    "actors": "actors",
    "denied": "denied",
    "failed": "failed",
    "reads of this log": "reads",
    "reads that were refused": "reads_refused",
    "gaps noticed": "gaps",
    "records refused": "refused",
    "refused records sent again": "sent_again",
    "events that producers dropped": "lost",
    "alerts raised": "alerts",
    LEFT_TO_DO: "alerts_left_to_do",
    "alerts: true positives": "true_positives",
    "alerts: false positives": "false_positives",
    "alerts: benign": "benign",
    "alerts: muted": "alerts_muted",
}
"""Figures by their label, as the statement `review.signed` calls them."""


def main_figures(sections: Sequence[Section]) -> dict[str, Any]:
    """What a signature states: counts by name, privileged actions by kind, each store's verdict."""
    by_label = {figure.label: figure.value for section in sections for figure in section.figures}
    figures: dict[str, Any] = {name: by_label[label] for label, name in _MAIN.items() if label in by_label}
    for section in sections:
        if section.title == "Privileged actions":
            figures["privileged"] = {figure.label: figure.value for figure in section.figures}
        if section.title == "Verification":
            figures["verification"] = {str(row[0]): str(row[1]) for row in section.tables[0].rows}
    return figures


def review_document(report: PeriodReport, review: str, size: int) -> dict[str, Any]:
    """The document. `review`: its id; `size`: entries under the newest checkpoint when it was made."""
    return report.to_json() | {
        "v": 1,
        "review": review,
        "period": str(report.period),
        "first": format_timestamp(report.period.begins),
        "before": format_timestamp(report.period.ends),
        "size": size,
        "figures": main_figures(report.sections),
    }


def document_bytes(document: Mapping[str, Any]) -> bytes:
    """As it is written into a file."""
    return canonical_json(document)


def document_sha256(data: bytes) -> str:
    """What statements name it by."""
    return hashlib.sha256(data).hexdigest()


def read_document(data: bytes) -> dict[str, Any]:
    """The reverse of `document_bytes`. Raises `NotCanonical` for anything else than such a document."""
    document = parse_json(data) if is_canonical(data) else None
    if not isinstance(document, dict) or not document.keys() >= _NEEDED:
        raise NotCanonical("this is no review's document, or it was changed: expected canonical JSON (RFC 8785)")
    return document


def changes(seen: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What is otherwise now than the document `seen` says, in words; empty: nothing."""
    before, after = (
        {section["title"]: section for section in document["sections"] if section["title"] not in _OF_THE_MOMENT}
        for document in (seen, now)
    )
    told: list[str] = []
    for title in dict.fromkeys((*before, *after)):
        told += _section_changes(before.get(title, {}), after.get(title, {}))
    return list(dict.fromkeys(told))


def _section_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    old, new = (
        {figure["label"]: figure["value"] for figure in section.get("figures", ())} for section in (before, after)
    )
    for label in dict.fromkeys((*old, *new)):
        if old.get(label) != new.get(label):
            yield f"{label}: {_said(old.get(label))} then, {_said(new.get(label))} now"
    for what in ("tables", "series"):
        shown, shows = ({each["title"]: each for each in section.get(what, ())} for section in (before, after))
        for title in dict.fromkeys((*shown, *shows)):
            if shown.get(title) != shows.get(title):
                yield f"{title}: {_rows_told(shown.get(title, {}), shows.get(title, {}))}"


def _said(value: object) -> str:
    return "nothing" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def _rows_told(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """The rows that are there now and were not then, some of them."""
    old, new = ({tuple(row) for row in table.get("rows", ())} for table in (before, after))
    fresh = [row for row in map(tuple, after.get("rows", ())) if row not in old]
    if not fresh:
        gone = len(old - new)
        return f"{gone} rows less" if gone else "otherwise"
    words = "; ".join(", ".join(str(cell) for cell in row if cell != "") for row in fresh[:_TOLD_ROWS])
    return f"now {words}" + (f" and {len(fresh) - _TOLD_ROWS} more" if len(fresh) > _TOLD_ROWS else "")
