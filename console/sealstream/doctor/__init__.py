"""The doctor: looks at the system that runs, and says which duties it meets, with the evidence for each.

`CHECKS` are what is looked at, `CONTROL_SETS` what is asked of an audit log; `diagnose` brings both together. What
draws (`page`) needs the extra `console` and is imported where it is used.
"""

from sealstream.doctor.controls import CONTROL_SETS, Control, ControlSet
from sealstream.doctor.diagnosis import Diagnosis, control_state
from sealstream.doctor.outcomes import Check, Outcome, State
from sealstream.doctor.registry import CHECKS
from sealstream.doctor.running import checks_of, diagnose, outcome_of
from sealstream.doctor.system import System

__all__ = [
    "CHECKS",
    "CONTROL_SETS",
    "Check",
    "Control",
    "ControlSet",
    "Diagnosis",
    "Outcome",
    "State",
    "System",
    "checks_of",
    "control_state",
    "diagnose",
    "outcome_of",
]
