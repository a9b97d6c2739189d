"""A query on a figure that nobody serves is found."""

from __future__ import annotations

import pytest
from tests.deploy.queries import Series, faults_of


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ('up{job="a"} == 0 or lag{process!="b"} > 180 and increase(lag[1h]) > 0', []),
        ("lagg > 1", ["no process serves lagg"]),
        ('lag{proces="b"} > 1', ["lag has no label proces"]),
        ('sum(rate(lag{process!="c"}[5m])) > 1', ["lag has no process 'c': b"]),
        ('lag{process=~"b|c"} > 1', []),
        ("sum by (proces) (lag)", ["nothing in it has the label proces"]),
        ("lag and on (proces) lag", ["nothing in it has the label proces"]),
        ("max by (job, process) (lag) > 1", []),
        ("lag{process} > 1", ["'lag{process} > 1' is no query: "]),
        ("sum(", ["'sum(' is no query: "]),
    ],
)
def test_a_query_on_what_nobody_serves_is_named(expression: str, said: list[str]) -> None:
    found = faults_of(expression, [Series("lag", {"process": "b"})])
    assert len(found) == len(said)
    assert all(fault.startswith(start) for fault, start in zip(found, said, strict=True))
