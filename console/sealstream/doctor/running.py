"""Runs the checks, several at the same time, each given up on when it takes too long: one that hangs hides no other.

Whatever a check raises, its outcome is never a pass: unknown, with the reason, or a fail where a store answered and
what it said is not as it must be.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import partial

from sealstream.doctor.asking import Asking
from sealstream.doctor.controls import ControlSet
from sealstream.doctor.diagnosis import Diagnosis
from sealstream.doctor.outcomes import Check, Outcome, failed, unknown
from sealstream.doctor.registry import CHECKS
from sealstream.doctor.system import System
from sealstream.health.asking import Trouble, at_once

__all__ = ["checks_of", "diagnose", "outcome_of"]

_AT_ONCE = 8
_SOONEST = ("access.recorded", "clocks.agree")  # the sooner seen, the surer a time
_TO_DO = "`sealstream config check` tries each server and login; `sealstream status` says what runs"
_RUNBOOKS = "docs/runbooks/README.md"


def checks_of(sets: Sequence[ControlSet]) -> list[Check]:
    """The checks that speak for these controls, each once, in the registry's order."""
    wanted = {check for each in sets for control in each.controls for check in control.checks}
    return [check for check in CHECKS.values() if check.id in wanted]


def diagnose(system: System, sets: Sequence[ControlSet], *, name: str, timeout_s: float) -> Diagnosis:
    """Run every check of these sets. That it is done is recorded in each chain, before and after."""
    checks = checks_of(sets)
    began_at, notes = system.clock(), []
    with Asking(system) as asking:
        trouble = asking.begin(" ".join(f"--control {each.name}" for each in sets))
        outcomes = outcomes_of(checks, asking, timeout_s)
        chains = [chain.name for chain in system.chains]
        found = Diagnosis(began_at, system.reader.id, name, chains, sets, checks, outcomes)
        trouble = trouble or asking.end(found.verdict)
    if trouble:
        notes.append(f"this run is not recorded in the log: {trouble}")
    return found._replace(notes=notes)


def outcomes_of(checks: Sequence[Check], asking: Asking, timeout_s: float) -> Mapping[str, Outcome]:
    """Each check's outcome, by its id."""
    turn = threading.Semaphore(_AT_ONCE)

    def ask(check: Check) -> Outcome:
        with turn:
            return check.ask(asking)

    soonest = sorted(checks, key=lambda check: check.id not in _SOONEST)
    answers = at_once({check.id: partial(ask, check) for check in soonest}, timeout_s)
    return {check.id: _outcome(answers[check.id]) for check in checks}


def outcome_of(check_id: str, system: System) -> Outcome:
    """Of one check alone; the run is recorded as any other."""
    with Asking(system) as asking:
        asking.begin(f"--check {check_id}")
        (found,) = outcomes_of([CHECKS[check_id]], asking, 60.0).values()
        asking.end(str(found.state))
    return found


def _outcome(answer: Outcome | Trouble) -> Outcome:
    if isinstance(answer, Trouble) and answer.is_wrong:  # it answered, and what it said is not as it must be
        return failed(answer.reason, to_do=answer.runbook or _RUNBOOKS)
    if isinstance(answer, Trouble):
        return unknown(answer.reason, to_do=answer.runbook or _TO_DO)
    return answer
