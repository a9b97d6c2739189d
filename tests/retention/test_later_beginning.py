"""What is left of a chain may begin later than with entry 0: only when it says so itself. Pure."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from tests.retention.aged_chain import PCI, Aged, when

from sealstream.errors import ChainBroken, ChainStopped, Misconfigured
from sealstream.layout import ChainSettings, SegmentLimits
from sealstream.rebuild.later_beginning import check_beginning, said_gone
from sealstream.rebuild.spans import spans_between
from sealstream.sealing import EMPTY_RANGE, CompactRange, extend, new_signing_key, signer

LOG = "audit.example.com/tests"
LIMITS = SegmentLimits(12, 10_000_000, 300_000)


class Size(NamedTuple):
    compact_range: CompactRange

    @property
    def size(self) -> int:
        return self.compact_range.size


@pytest.fixture(scope="module")
def made() -> Aged:
    skey = new_signing_key(f"{LOG}/left")
    return Aged(ChainSettings("left", LOG, signer(skey).vkey, PCI, LIMITS), signer(skey), events=100, when=when)


def test_what_has_left_is_known_from_the_chains_own_statements_alone(made: Aged) -> None:
    assert said_gone(made.values) == 0
    before = len(made.values)
    made.say("2025-03")
    _, end = made.month_bounds("2025-03")
    assert said_gone(made.values) == said_gone(made.values[before:]) == end
    forged = made.values[-1].replace(b'"kind":"control"', b'"kind":"event"')
    assert said_gone([forged]) == 0
    for other in ({"last_seq": 2**53 - 1}, {"month": None}, {"retention": None}, {"month": f"{when(99):%Y-%m}"}):
        made.say("2025-03", **other)
        assert said_gone(made.values[-1:]) == 0, other


@pytest.mark.parametrize(
    ("gone", "ends", "why", "kind"),
    [
        (39, {50, 60, 70}, "nothing in it says that those before it were", ChainBroken),
        (40, {50, 70}, "no segment ends with entry 59", Misconfigured),
        (41, {50}, "whole segments", ChainStopped),
    ],
)
def test_what_can_not_be_gone_on_with_is_refused_with_what_to_do(
    made: Aged, gone: int, ends: set[int], why: str, kind: type[Exception]
) -> None:
    archived = [50, 60, 70] if len(ends) > 1 else [50]
    check_beginning(made.settings, 40, 40, {50, 60}, [50, 60, 70])  # the newest ends when something follows it
    with pytest.raises(kind, match=why):
        check_beginning(made.settings, 40, gone, ends, archived)


def test_an_archive_that_begins_later_is_compared_from_where_it_begins(made: Aged) -> None:
    trees = [extend(EMPTY_RANGE, made.hashes[:size]) for size in (24, 36, 48)]
    sizes = [Size(tree) for tree in trees]
    assert [span.first for span in spans_between(sizes)] == [0, 24, 36]  # type: ignore[arg-type]
    later = spans_between(sizes[1:], trees[0])  # type: ignore[arg-type]
    assert [span.first for span in later] == [24, 36]
    assert all(span.folds(made.hashes[span.first : span.stop]) for span in later)
    false = spans_between(sizes[1:], extend(EMPTY_RANGE, made.hashes[1:25]))  # type: ignore[arg-type]
    assert not false[0].folds(made.hashes[24:36])
    assert [span.first for span in spans_between(sizes, trees[0])] == [0, 24, 36]  # type: ignore[arg-type]
