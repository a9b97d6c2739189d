"""Reports: one month of a chain as a page that an auditor can read, print and check number by number."""

from sealstream.reports.figures import Figure, Month, MonthReport, Question, Section, Series, Table
from sealstream.reports.page import render
from sealstream.reports.pdf import find_chromium, print_pdf

__all__ = [
    "Figure",
    "Month",
    "MonthReport",
    "Question",
    "Section",
    "Series",
    "Table",
    "find_chromium",
    "print_pdf",
    "render",
]
