"""A spool that is broken on purpose is found within a few histories; whole, the same ones hold."""

from __future__ import annotations

from itertools import islice

import pytest
from tests.simulation.history import run_plan
from tests.simulation.spool_breakages import BREAKAGES

WITHIN = 15


@pytest.mark.parametrize("name", BREAKAGES)
def test_a_broken_spool_is_found(name: str) -> None:
    broken = BREAKAGES[name]
    for plan in islice(broken.plans(), WITHIN):
        if run_plan(plan, broken.seams).faults:
            assert run_plan(plan).faults == []
            return
    raise AssertionError(f"{WITHIN} histories do not show it")
