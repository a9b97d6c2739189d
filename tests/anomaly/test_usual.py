"""Rates, levels and sizes that forget, held against river's statistics."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from river import stats

from sealstream.anomaly.baseline import Baseline, Judging
from sealstream.anomaly.usual import Level, Rate, Sizes

JUDGING = Judging(
    width_s=600,
    least=10,
    factor=3.0,
    quantile=0.99,
    deviations=6.0,
    peak_factor=1.5,
    min_buckets=20,
    min_days=2,
    half_life_days=30.0,
    fading=0.02,
)


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=200), st.sampled_from([0.01, 0.05, 0.3, 0.5]))
def test_a_level_is_rivers_mean_and_variance(values: list[int], fading: float) -> None:
    mean, variance, level = stats.EWMean(fading), stats.EWVar(fading), Level()
    for value in values:
        mean.update(value)
        variance.update(value)
        level.add(value, fading)
    assert level.mean == pytest.approx(mean.get(), rel=1e-9, abs=1e-9)
    # river takes the mean of squares less the square of the mean, which loses digits that ours keeps
    assert level.variance == pytest.approx(variance.get(), rel=1e-6, abs=1e-12 * max(values) ** 2 + 1e-9)


@pytest.mark.parametrize("part", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("seed", range(3))
def test_sizes_know_a_quantile_as_river_does(part: float, seed: int) -> None:
    chance, sizes, quantile = random.Random(seed), Sizes(), stats.Quantile(part)
    values = [math.ceil(chance.lognormvariate(3, 1)) for _ in range(20_000)]
    for value in values:
        sizes.add(value, 0, 30.0)
        quantile.update(value)
    exact = sorted(values)[math.ceil(part * len(values)) - 1]
    assert exact <= sizes.quantile(part) <= 1.2 * exact
    assert sizes.quantile(part) == pytest.approx(quantile.get(), rel=0.25)


def test_sizes_forget_where_rivers_quantile_does_not() -> None:
    sizes, quantile = Sizes(), stats.Quantile(0.5)
    for day in range(400):
        for _ in range(10):
            sizes.add(100 if day < 200 else 10, day, 30.0)
            quantile.update(100 if day < 200 else 10)
    assert sizes.quantile(0.5) <= 12
    assert quantile.get() > 12


@given(st.lists(st.tuples(st.integers(1, 10**9), st.integers(0, 40)), min_size=1, max_size=200))
def test_sizes_stay_few_and_a_quantile_is_never_below_the_exact_one(values: list[tuple[int, int]]) -> None:
    sizes, day = Sizes(), 0
    for value, days in values:
        day += days
        sizes.add(value, day, 10**6)
    assert len(sizes.weights) <= 121
    ordered = sorted(value for value, _ in values)
    for part in (0.01, 0.5, 0.9, 1.0):
        assert sizes.quantile(part) >= ordered[math.ceil(part * len(ordered)) - 1] * (1 - 1e-9)


def test_a_rate_is_events_an_hour_and_fades() -> None:
    rate = Rate()
    assert rate.an_hour(1_000_000) == 0
    for hour in range(24 * 40):
        rate.add(1_000_000 + hour * 3_600, 3)
    now = 1_000_000 + 24 * 40 * 3_600
    assert rate.an_hour(now) == pytest.approx(3, rel=0.03)
    assert rate.an_hour(now + 7 * 86_400) == pytest.approx(1.5, rel=0.03)


def test_a_newcomers_first_hour_is_spread_over_a_day() -> None:
    rate = Rate()
    rate.add(1_000_000, 12)
    assert rate.an_hour(1_000_001) == pytest.approx(0.5, rel=0.1)


def test_a_rate_takes_seconds_out_of_order() -> None:
    one, other = Rate(), Rate()
    for second in (100, 101, 102, 103):
        one.add(second, 1)
    for second in (101, 100, 103, 102):
        other.add(second, 1)
    assert one.an_hour(200) == pytest.approx(other.an_hour(200), rel=1e-3)


def counted(values: list[int]) -> Baseline:
    baseline = Baseline()
    for number, value in enumerate(values, 1_000):
        baseline.moved(number * 600 * 12, JUDGING)
        baseline.count = value
    baseline.moved((1_000 + len(values)) * 600 * 12, JUDGING)
    return baseline


def limit_of(baseline: Baseline) -> int:
    baseline.above(0, "main", (), JUDGING)
    return baseline.limit


def test_there_is_no_limit_before_there_is_a_history() -> None:
    assert limit_of(counted([5] * 19)) == 0
    assert limit_of(counted([5] * 40)) == 15


def test_a_flood_teaches_no_more_than_twice_the_limit() -> None:
    baseline = counted([5] * 200)
    baseline.count = 10**6
    baseline.above(0, "main", (), JUDGING)
    baseline.moved(10**9, JUDGING)
    assert baseline.peak == 30
    assert limit_of(baseline) <= 45


def test_what_lasts_becomes_usual_within_some_buckets() -> None:
    baseline, reached = counted([5] * 200), 0
    for number in range(60):
        baseline.count = 200
        reached += baseline.above(0, "main", (), JUDGING) <= 1
        baseline.moved((2_000 + number) * 7_200, JUDGING)
    assert reached >= 50


def test_a_late_second_falls_into_the_open_bucket() -> None:
    baseline = counted([5] * 40)
    number = baseline.number
    assert not baseline.moved(number * 600 - 1, JUDGING)
    assert baseline.number == number


def test_below_half_of_the_limit_nothing_is_kept() -> None:
    baseline = counted([5] * 40)
    baseline.count = 7
    assert baseline.above(0, "main", [[1, 1]], JUDGING) == 0
    assert baseline.seqs == {}
    baseline.count = 8
    assert baseline.above(0, "main", [[2, 2]], JUDGING) == pytest.approx(8 / 15)
    assert baseline.seqs == {"main": [[2, 2]]}
