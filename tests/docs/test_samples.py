"""A sample that is no longer so is found."""

from __future__ import annotations

import pytest
from tests.docs.samples import differences

SAMPLE = {"entries": [{"action": "write", "...": "...", "hash": "a0..."}], "damaged": [], "next": "Wz...", "size": 3}
REAL = {"entries": [{"action": "write", "seq": 7, "hash": "ff"}], "damaged": [], "next": "xyz", "size": 3}


def test_an_answer_like_the_sample_has_no_differences() -> None:
    assert differences(SAMPLE, REAL) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"next": None}, "the answer.next is None: expected a text"),
        ({"size": 4}, "the answer.size is 4: expected 3"),
        ({"size": "3"}, "the answer.size is '3': expected something like 3"),
        ({"more": 1}, "the answer has more, which the sample does not show"),
        ({"entries": []}, "the answer.entries is empty: expected items"),
        ({"entries": [{"action": "read", "hash": "f"}]}, "the answer.entries[0].action is 'read': expected 'write'"),
        ({"entries": [{"action": "write"}]}, "the answer.entries[0] has no hash"),
        ({"damaged": {}}, "the answer.damaged is {}: expected something like []"),
    ],
)
def test_what_is_not_like_the_sample_is_named(changed: dict[str, object], said: str) -> None:
    assert differences(SAMPLE, {**REAL, **changed}) == [said]
