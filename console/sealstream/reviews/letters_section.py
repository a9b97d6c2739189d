"""What the sequencer refused within a period, why, and what was sent again, as a section of its report."""

from __future__ import annotations

from collections import Counter

from sealstream.reports import Asker, Figure, Section, Table

__all__ = ["letters_section"]

_PASSED = "kind:log action:input.passed"
_SHOWN = 20


def letters_section(ask: Asker) -> Section:
    """The section."""
    reasons: Counter[str] = Counter()
    repeated = 0
    for entry in ask.entries(_PASSED):
        for item in entry.get("metadata", {}).get("items", []):
            count = int(item["last"]) - int(item["first"]) + 1
            if item.get("what") == "refused":
                reasons[str(item.get("reason", ""))] += count
            elif item.get("what") == "repeated":
                repeated += count
    question = ask.question(_PASSED)
    return Section(
        "Dead letters",
        "Records that never became entries; their bytes are in the dead letters (`sealstream deadletter list`).",
        [
            ask.count(
                "refused records sent again",
                "kind:control action:deadletter.retried",
                note="corrected, and sealed as an event",
            ),
            Figure("records that repeated an earlier one", repeated, question, "sealed once; nothing is missing"),
        ],
        tables=[
            Table(
                "Why records were refused",
                ("reason", "records"),
                reasons.most_common(_SHOWN),
                question,
                max(0, len(reasons) - _SHOWN),
                "none was",
            )
        ],
    )
