"""Sinks that are broken on purpose are found within a few histories, and whole ones hold in the very same."""

from __future__ import annotations

from itertools import islice

import pytest
from tests.simulation.history import run_plan
from tests.simulation.stores.breakages import BREAKAGES

WITHIN = 15
SIGNS = {"postgres": ("Postgres", "postgres-sink"), "archive": ("archive", "begins at")}


@pytest.mark.parametrize("name", BREAKAGES)
def test_a_broken_sink_is_found(name: str) -> None:
    broken = BREAKAGES[name]
    store = name.split(":", maxsplit=1)[0]
    for plan in islice(broken.plans(store), WITHIN):
        faults = run_plan(plan, broken.seams).faults
        if any(sign in fault for fault in faults for sign in SIGNS[store]):
            assert run_plan(plan).faults == []
            return
    raise AssertionError(f"{WITHIN} histories do not show it")
