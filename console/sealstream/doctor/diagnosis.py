"""What a run found: each check's outcome, and what follows for each control. Pure.

The invariant: a control passes when each of its checks does; one that could not be asked leaves it unknown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sealstream.doctor.controls import Control, ControlSet
from sealstream.doctor.outcomes import Check, Outcome, State, worst

__all__ = ["Diagnosis", "control_state"]


class Diagnosis(NamedTuple):
    """`outcomes` by check id, in the order in which they are shown. `notes`: what is to be said of the run itself."""

    at: datetime
    by: str
    system: str
    chains: Sequence[str]
    sets: Sequence[ControlSet]
    checks: Sequence[Check]
    outcomes: Mapping[str, Outcome]
    notes: Sequence[str] = ()

    @property
    def exit_code(self) -> int:
        """0 all pass, 1 some fail, 2 none is known to fail and not everything could be asked."""
        return {State.FAIL: 1, State.UNKNOWN: 2}.get(worst(each.state for each in self.outcomes.values()), 0)

    @property
    def verdict(self) -> str:
        """How many checks passed, failed and could not be asked."""
        counts = {state: sum(each.state is state for each in self.outcomes.values()) for state in State}
        return (
            f"{counts[State.PASS]} of {len(self.outcomes)} checks pass, {counts[State.FAIL]} fail, "
            f"{counts[State.UNKNOWN]} could not be asked"
        )

    def to_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "at": self.at.isoformat(),
            "by": self.by,
            "system": self.system,
            "chains": list(self.chains),
            "verdict": self.verdict,
            "exit_code": self.exit_code,
            "notes": list(self.notes),
            "checks": [
                {
                    "id": check.id,
                    "title": check.title,
                    "state": str(self.outcomes[check.id].state),
                    "evidence": list(self.outcomes[check.id].evidence),
                    "how": check.how,
                    "to_do": self.outcomes[check.id].to_do,
                }
                for check in self.checks
            ],
            "controls": [
                {
                    "set": each.name,
                    "title": each.title,
                    "id": control.id,
                    "asks": control.asks,
                    "state": str(control_state(control, self.outcomes)),
                    "checks": {check: str(self.outcomes[check].state) for check in control.checks},
                    "not_testable_by_software": control.remains,
                }
                for each in self.sets
                for control in each.controls
            ],
        }


def control_state(control: Control, outcomes: Mapping[str, Outcome]) -> State:
    """The worst of its checks; not testable where it has none."""
    return worst(outcomes[check].state for check in control.checks)
