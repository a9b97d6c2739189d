"""Reports: one month of a chain as a page that an auditor can read, print and check number by number.

What draws (`page`, `charts`) needs the extra `console` and is imported where it is used.
"""

from sealstream.reports.figures import Figure, Month, MonthReport, Question, Section, Series, Table
from sealstream.reports.gathering import PRIVILEGED, Log, month_sections, verdict_of

__all__ = [
    "PRIVILEGED",
    "Figure",
    "Log",
    "Month",
    "MonthReport",
    "Question",
    "Section",
    "Series",
    "Table",
    "month_sections",
    "verdict_of",
]
