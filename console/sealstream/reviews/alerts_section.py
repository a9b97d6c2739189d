"""What was raised within a period, and what people made of it, as a section of its report. Pure.

An alert belongs to the period in which it was sealed; what was said of it counts whenever it was said, since that is
what the reviewer signs for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sealstream.alerts import Book, Case, Mute
from sealstream.layout.alerts import SEVERITIES
from sealstream.reports import Figure, Period, Question, Section, Table

__all__ = ["LEFT_TO_DO", "Alerts", "alerts_of", "alerts_section"]

LEFT_TO_DO = "alerts left to do"
_VERDICTS = {"true-positive": "true positives", "false-positive": "false positives", "benign": "benign"}
_LISTED = 50


class Alerts(NamedTuple):
    """Of one chain's period: its alerts, and the mutes that were in force for some of it."""

    cases: Sequence[Case]
    mutes: Sequence[Mute]

    @property
    def left_to_do(self) -> list[Case]:
        """Those that nobody has judged and no mute covers."""
        return [case for case in self.cases if case.is_work]


def alerts_of(book: Book, chain: str, period: Period) -> Alerts:
    """Those of the period."""
    cases = [case for case in book.cases.values() if case.chain == chain and period.begins <= case.at < period.ends]
    mutes = [
        mute
        for mute in book.mutes.values()
        if mute.chain == chain
        and mute.since < period.ends
        and min(mute.until, mute.ended or mute.until) > period.begins
    ]
    return Alerts(cases, mutes)


def alerts_section(alerts: Alerts, chain: str, period: Period) -> Section:
    """The section."""
    within = ("--since", period.since, "--until", period.until, "--chain", chain)
    limit = ("--limit", str(max(len(alerts.cases), 1)))
    every, work = (
        Question(("alerts", "list", "--all", *within, *limit)),
        Question(("alerts", "list", *within, *limit)),
    )
    figures = [
        Figure("alerts raised", len(alerts.cases), every),
        Figure(
            LEFT_TO_DO,
            len(alerts.left_to_do),
            work,
            "nobody has judged them, and no mute covers them",
            bool(alerts.left_to_do),
        ),
    ]
    figures += [
        Figure(f"alerts: {words}", sum(case.verdict == verdict for case in alerts.cases), every)
        for verdict, words in _VERDICTS.items()
    ]
    muted = sum(case.muted_by is not None and not case.verdict for case in alerts.cases)
    figures.append(Figure("alerts: muted", muted, every, "raised and sealed, and nobody's work"))
    return Section(
        "Alerts",
        "What the detectors raised, and how people judged it; each judgement is sealed in the log itself.",
        figures,
        tables=[
            _listed(alerts, every),
            _by_detector(alerts, every),
            Table(
                "Mutes in force",
                ("detector", "subject", "since", "until", "by", "reason"),
                [
                    (
                        mute.detector or "all",
                        mute.subject or "all",
                        f"{mute.since:%Y-%m-%d %H:%M}",
                        f"{min(mute.until, mute.ended or mute.until):%Y-%m-%d %H:%M}",
                        mute.by,
                        mute.reason,
                    )
                    for mute in alerts.mutes
                ],
                Question(("alerts", "mutes", "--all", "--chain", chain)),
            ),
        ],
    )


def _listed(alerts: Alerts, question: Question) -> Table:
    """What is left to do first, then the worst."""
    cases = sorted(alerts.cases, key=lambda case: (not case.is_work, -SEVERITIES.index(case.severity), case.seq))
    return Table(
        "Alerts, what is left to do first",
        ("seq", "raised", "severity", "detector", "subject", "what", "state", "by", "why"),
        [
            (
                str(case.seq),
                f"{case.at:%Y-%m-%d %H:%M:%S}",
                case.severity,
                case.detector,
                case.subject,
                str(case.facts["summary"]),
                case.verdict or ("muted" if case.muted_by is not None else case.state),
                case.said[-1].by if case.said else "",
                case.said[-1].words if case.said else "",
            )
            for case in cases[:_LISTED]
        ],
        question,
        max(0, len(cases) - _LISTED),
    )


def _by_detector(alerts: Alerts, question: Question) -> Table:
    rows: list[Sequence[int | str]] = []
    for detector in sorted({case.detector for case in alerts.cases}):
        cases = [case for case in alerts.cases if case.detector == detector]
        judged = [sum(case.verdict == verdict for case in cases) for verdict in _VERDICTS]
        rows.append((detector, len(cases), *judged, sum(case.is_work for case in cases)))
    return Table("By detector", ("detector", "raised", *_VERDICTS.values(), "left to do"), rows, question)
