"""Reports: a period of a chain as a page that an auditor can read, print and check number by number.

What draws (`page`, `charts`) needs the extra `console` and is imported where it is used.
"""

from sealstream.reports.figures import Figure, PeriodReport, Question, Section, Series, Table
from sealstream.reports.gathering import PRIVILEGED, READS, Asker, Log, period_sections, verdict_of
from sealstream.reports.periods import PERIOD_KINDS, Period, PeriodKind

__all__ = [
    "PERIOD_KINDS",
    "PRIVILEGED",
    "READS",
    "Asker",
    "Figure",
    "Log",
    "Period",
    "PeriodKind",
    "PeriodReport",
    "Question",
    "Section",
    "Series",
    "Table",
    "period_sections",
    "verdict_of",
]
