"""A diagnosis as one HTML file, in the style of the reports: no script, nothing fetched, every text escaped."""

from __future__ import annotations

from sealstream.doctor.diagnosis import Diagnosis, control_state
from sealstream.doctor.outcomes import State
from sealstream.reports.page import page_environment

__all__ = ["render"]

_CLASSES = {State.PASS: "pass", State.FAIL: "fail", State.UNKNOWN: "unknown", State.NOT_TESTABLE: "untestable"}


def render(found: Diagnosis) -> str:
    """The whole page."""
    environment = page_environment("sealstream.doctor")
    environment.filters["css_class"] = _CLASSES.__getitem__
    return environment.get_template("doctor.html.j2").render(found=found, control_state=control_state)
