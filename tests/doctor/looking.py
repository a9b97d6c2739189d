"""Looks at a system by one check, and holds what is found to what it must be.

`test_doctor_controls.py` reads these calls: each check has one that sees it fail, and one that sees it pass.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.pipeline import Pipeline

from sealstream.cli.doctor_system import system_of
from sealstream.cli.settings import read_settings
from sealstream.doctor import CHECKS, Outcome, State, System, outcome_of

__all__ = ["failing", "later", "passing", "system_at", "system_for", "unasked"]


def system_at(config: Path, **more: object) -> System:
    """As the command sees it with these settings."""
    made = system_of(read_settings(config), config, [], config.parent / "state", None)
    return made._replace(**more)  # type: ignore[arg-type]


def system_for(pipeline: Pipeline, **more: object) -> System:
    """The same of a pipeline."""
    return system_at(pipeline.config, **more)


def later(**by: float) -> dict[str, object]:
    """A clock that is ahead by so much: what was just done is old."""
    return {"clock": lambda: datetime.now(UTC) + timedelta(**by)}


def failing(check_id: str, seen: System | Outcome) -> str:
    """The check sees it fail, and says what to do; its evidence."""
    outcome = _looked(check_id, seen)
    assert outcome.state is State.FAIL, outcome
    assert outcome.to_do, outcome
    return "; ".join(outcome.evidence)


def passing(check_id: str, seen: System | Outcome) -> str:
    """The check sees it pass, by some evidence."""
    outcome = _looked(check_id, seen)
    assert outcome.state is State.PASS, outcome
    assert any(outcome.evidence), outcome
    return "; ".join(outcome.evidence)


def unasked(check_id: str, seen: System | Outcome) -> str:
    """The check can't ask, and says so."""
    outcome = _looked(check_id, seen)
    assert outcome.state is State.UNKNOWN, outcome
    assert outcome.to_do, outcome
    return "; ".join(outcome.evidence)


def _looked(check_id: str, seen: System | Outcome) -> Outcome:
    assert check_id in CHECKS, check_id
    return outcome_of(check_id, seen) if isinstance(seen, System) else seen
