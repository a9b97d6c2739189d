"""The doctor on activity whose time is over: a partition that is empty does not wait, and what was lost is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.anomaly.bench import WatchBench
from tests.anomaly.test_worker_ends import expire, sent
from tests.doctor.looking import failing, later, passing

from sealstream.access import person_at_this_machine
from sealstream.anomaly.worker_beginning import begin
from sealstream.anomaly.worker_handling import watches_of
from sealstream.doctor import System
from sealstream.kafka import KafkaSettings, set_offsets
from sealstream.layout.workers import worker_group


@pytest.mark.parametrize("partition", [0, 1])
def test_a_partition_whose_last_records_left_does_not_wait(
    kafka: KafkaSettings, tmp_path: Path, partition: int
) -> None:
    bench = WatchBench(kafka, tmp_path, partitions=1 + partition)
    begin(kafka, bench.prefix, watches_of({}))
    group, place = worker_group(bench.prefix), bench.places[partition]
    actor = ("user-1", "user-3")[partition]
    bench.places = [place]
    end = sent(bench, 1, actor=actor)
    seen = System(
        person_at_this_machine(), kafka, bench.prefix, (), {}, None, tmp_path, tmp_path / "tokens", tmp_path / "keys"
    )._replace(**later(minutes=20))
    assert set_offsets(kafka, group, {place: end - 2})
    assert "behind, the oldest for" in failing("watch.detectors", seen)
    assert set_offsets(kafka, group, {place: end - 1})
    expire(bench, place, end)
    assert "is 0 records" in passing("watch.detectors", seen)
    expire(bench, place, sent(bench, 1, actor=actor))
    assert f"no longer has the offset {end - 1}" in failing("watch.detectors", seen)
