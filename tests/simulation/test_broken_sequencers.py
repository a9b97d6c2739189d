"""A sequencer or checkpointing that is broken on purpose is found within a few histories; whole, the same ones hold."""

from __future__ import annotations

import pytest
from tests.simulation.breakages import BREAKAGES, WITHIN, found
from tests.simulation.history import run_plan


@pytest.mark.parametrize("name", BREAKAGES)
def test_a_broken_sequencer_is_found(name: str) -> None:
    outcome = found(name)
    assert outcome is not None, f"{WITHIN} histories do not show it"
    assert run_plan(outcome.plan).faults == []
