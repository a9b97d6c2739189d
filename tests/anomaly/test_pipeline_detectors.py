"""The pipeline's own detectors: silence, missing numbers, dead letters, late checkpoints, sinks that lag."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealstream.anomaly.detectors import PIPELINE_DETECTORS
from sealstream.anomaly.pipeline import (
    ChainObserved,
    DeadLettersObserved,
    GapObserved,
    Observation,
    PipelineKept,
    PipelineWatch,
    SinkObserved,
)
from sealstream.anomaly.watching import chosen
from sealstream.errors import NotCanonical
from sealstream.layout.alerts import Alert
from sealstream.search.parsing import parse

BEGIN = 1_790_000_000
HOUR, DAY = 3_600, 86_400
WATCH = PipelineWatch(chosen(PIPELINE_DETECTORS, {}))


def watched(seen: Iterable[Observation], *, stored: bool = False, **thresholds: Any) -> list[Alert]:
    watch = PipelineWatch(chosen(PIPELINE_DETECTORS, thresholds)) if thresholds else WATCH
    kept, alerts = PipelineKept(), []
    for each in seen:
        alerts += watch.see(kept, each)
        if stored:
            kept = watch.decode(watch.encode(kept))
    for alert in alerts:
        parse(alert.query, now=datetime.now(UTC))
        assert alert.subject_kind == "pipeline"
        assert alert.window[0] <= alert.window[1]
    return alerts


def chain(
    after_s: int, size: int, sealed_after_s: int, *, unsigned: int = 0, signed_s: int | None = None
) -> ChainObserved:
    signed = BEGIN + sealed_after_s if signed_s is None else BEGIN + signed_s
    return ChainObserved(
        chain="main",
        at_s=BEGIN + after_s,
        size=size,
        sealed_s=BEGIN + sealed_after_s,
        signed_size=size - unsigned,
        signed_s=signed,
    )


def test_silence_is_told_once_and_again_when_it_is_long() -> None:
    seen = [chain(after_s, 500, 0) for after_s in range(0, 7_200, 10)]
    first, second = watched(seen)
    assert (first.detector, first.severity, second.severity) == ("silence", "high", "critical")
    assert first.summary == (
        "chain main has sealed nothing for 3 min, since 2026-09-21T14:13:20Z; usual is an entry, or a heartbeat, every "
        "60 s"
    )
    assert (first.seqs, first.incident, second.incident) == ([[499, 499]], first.id, first.id)
    assert first.query.startswith("chain:main sealed_after:2026-09-21T14:13:20Z")


@pytest.mark.parametrize(("silent_s", "alerts"), [(180, 0), (181, 1)])
def test_three_minutes_are_silence(silent_s: int, alerts: int) -> None:
    assert len(watched([chain(silent_s, 500, 0)])) == alerts


def test_heartbeats_and_an_empty_chain_are_no_silence() -> None:
    beats = [chain(60 * number + 30, 500 + number, 60 * number) for number in range(1_000)]
    empty = ChainObserved(chain="new", at_s=BEGIN, size=0, sealed_s=0, signed_size=0, signed_s=0)
    assert watched([*beats, empty]) == []


def test_each_silence_is_another_alert() -> None:
    seen = [chain(400, 500, 0), chain(500, 501, 490), chain(900, 501, 490)]
    alerts = watched(seen)
    assert len({alert.id for alert in alerts}) == len(alerts) == 2


def test_a_late_checkpoint_is_told_once_with_the_entries_that_wait() -> None:
    seen = [chain(10 * number, 500 + number, 10 * number, unsigned=number + 4, signed_s=-7) for number in range(100)]
    (alert,) = watched(seen)
    assert (alert.detector, alert.query, alert.seqs) == ("checkpoint_late", "chain:main seq:496..512", [[496, 512]])
    assert alert.summary.startswith("17 entries wait for a checkpoint of chain main, for 2 min; the newest covers 496")


def test_checkpoints_that_come_are_not_late_whatever_still_waits() -> None:
    assert watched([chain(60 * number, 500 + number, 60 * number, unsigned=1) for number in range(1, 500)]) == []


def test_a_chain_that_was_never_signed() -> None:
    moments = range(BEGIN, BEGIN + 200, 10)
    (alert,) = watched(
        ChainObserved(chain="main", at_s=at_s, size=9, sealed_s=at_s, signed_size=0, signed_s=0) for at_s in moments
    )
    assert "there is none yet" in alert.summary


def gap(after_s: int, missing: int = 1, seq: int = 7, producer: str = "p-1") -> GapObserved:
    return GapObserved(chain="main", at_s=BEGIN + after_s, seq=seq, producer_id=producer, missing=missing)


def test_missing_numbers_are_told_and_those_that_follow_belong_to_them() -> None:
    alerts = watched([gap(0, 3), gap(60, 2, 8, "p-2"), gap(3 * HOUR, 200, 9)])
    assert [alert.severity for alert in alerts] == ["medium", "high"]
    assert alerts[0].summary == "3 numbers of p-1 missing in chain main within 1 s; usual is none"
    assert alerts[0].query.startswith("chain:main kind:log action:producer.gap ")
    assert alerts[0].seqs == [[7, 7]]


def test_all_producers_are_counted_whose_numbers_are_missing() -> None:
    gaps = [gap(number, 1, number, f"p-{number}") for number in range(20)]
    (alert,) = watched(gaps, producer_gap={"missing": 20})
    assert alert.summary.startswith("20 numbers of p-0, p-1, p-2 and 17 more missing in chain main within 20 s")
    assert alert.seen == {"missing": 20, "producers": 20}


def test_gaps_that_come_all_the_time_become_usual() -> None:
    alerts = watched([gap(number * 600, 5) for number in range(30 * 144)])
    assert 1 <= len(alerts) <= 12
    assert alerts[-1].window[1] < "2026-10-03"


def letters(after_s: int, refused: int) -> DeadLettersObserved:
    return DeadLettersObserved(chain="main", at_s=BEGIN + after_s, refused=refused)


@pytest.mark.parametrize(("refused", "alerts"), [(9, 0), (10, 1), (5_000, 1)])
def test_ten_refused_records_in_an_hour_are_told(refused: int, alerts: int) -> None:
    found = watched([letters(0, 300), letters(60, 300 + refused), letters(120, 300 + refused)])
    assert len(found) == alerts


def test_what_was_refused_before_anybody_looked_is_not_new() -> None:
    assert watched([letters(0, 100_000), letters(60, 100_000)]) == []


def test_a_counter_that_begins_anew_counts_on() -> None:
    (alert,) = watched([letters(0, 500), letters(60, 4), letters(120, 12)])
    assert alert.seen == {"refused": 12}


def test_a_producer_that_is_always_refused_becomes_usual() -> None:
    alerts = watched([letters(number * 300, number * 2) for number in range(20 * 288)])
    assert alerts[-1].window[1] < "2026-10-01"


def sink(after_s: int, lag_s: float, name: str = "postgres-sink") -> SinkObserved:
    return SinkObserved(chain="main", at_s=BEGIN + after_s, sink=name, stored=100, size=180, lag_s=lag_s)


def test_a_sink_that_lags_is_told_once_until_it_has_caught_up() -> None:
    lags = [*range(0, 900, 30), *[290] * 100, *range(280, 0, -10)]
    (alert,) = watched([sink(number * 30, lag) for number, lag in enumerate(lags)])
    assert (alert.subject, alert.query, alert.seqs) == ("main/postgres-sink", "chain:main seq:100..179", [[100, 179]])
    assert alert.summary.startswith("postgres-sink is 6 min behind chain main, 80 entries wait; usual is ")


@pytest.mark.parametrize(
    ("name", "lag_s", "alerts"), [("postgres-sink", 300, 0), ("postgres-sink", 301, 1), ("archive-sink", 1_700, 0)]
)
def test_each_sink_has_its_limit(name: str, lag_s: float, alerts: int) -> None:
    assert len(watched([sink(0, lag_s, name)])) == alerts


def test_a_sink_that_lags_again_later_is_another_alert() -> None:
    alerts = watched([sink(0, 400), sink(60, 0), sink(2 * HOUR, 400)])
    assert len({alert.id for alert in alerts}) == len(alerts) == 2


def test_thresholds_are_set_by_name() -> None:
    assert len(watched([sink(0, 40)], sink_lagging={"lag_s": 30})) == 1


@given(
    st.lists(
        st.one_of(
            st.builds(chain, st.integers(0, DAY), st.integers(1, 50), st.integers(0, 500), unsigned=st.integers(0, 1)),
            st.builds(gap, st.integers(0, DAY), st.integers(1, 50)),
            st.builds(letters, st.integers(0, DAY), st.integers(0, 500)),
            st.builds(sink, st.integers(0, DAY), st.floats(0, 5_000)),
        ),
        max_size=40,
    )
)
def test_a_stored_state_changes_nothing(made: list[Observation]) -> None:
    seen, sealed_s = [], BEGIN
    for each in sorted(made, key=lambda each: each.at_s):
        if isinstance(each, ChainObserved):
            sealed_s = min(max(sealed_s, each.sealed_s), each.at_s)
            seen.append(msgspec.structs.replace(each, sealed_s=sealed_s))
        else:
            seen.append(each)
    alerts = watched(seen, stored=True)
    assert alerts == watched(seen)
    assert len({alert.id for alert in alerts}) == len(alerts)


def test_what_is_kept_stays_small() -> None:
    watch, kept = PipelineWatch(chosen(PIPELINE_DETECTORS, {})), PipelineKept()
    for number in range(20_000):
        watch.see(kept, gap(number * 37, number % 60 + 1, number * 3, f"producer-{number}" + "x" * 400))
        watch.see(kept, letters(number * 37, number * 5))
    assert len(watch.encode(kept)) < 16_384


def test_what_is_no_state_is_refused() -> None:
    watch = PipelineWatch(chosen(PIPELINE_DETECTORS, {}))
    with pytest.raises(NotCanonical, match="not what is known of the pipeline"):
        watch.decode(b"{")
    assert watch.decode(watch.encode(PipelineKept())).incidents == {}
    assert msgspec.json.decode(watch.encode(PipelineKept()))
