"""A partition in which nothing came for a week is empty: that alone is no alarm, and what was lost still is one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from tests.anomaly.bench import WatchBench, logins
from tests.anomaly.test_worker_watchdog import stepped, watchdog
from tests.long_runs import long_run

from sealstream.anomaly.worker_batches import Batches
from sealstream.anomaly.worker_beginning import begin, lost_places
from sealstream.anomaly.worker_handling import Taken, watches_of
from sealstream.anomaly.worker_order import Order, Ordered
from sealstream.errors import InputLost, Unavailable
from sealstream.kafka import (
    KafkaSettings,
    Place,
    committed_offsets,
    end_offset,
    end_offsets,
    first_offsets,
    set_offsets,
)
from sealstream.layout.workers import worker_group


@pytest.fixture
def bench(kafka: KafkaSettings, tmp_path: Path) -> Iterator[WatchBench]:
    made = WatchBench(kafka, tmp_path, partitions=1)
    yield made
    made.close()


def expire(bench: WatchBench, place: Place, before: int) -> None:
    """As when the last segment's time is over."""
    client = AdminClient({"bootstrap.servers": bench.kafka.bootstrap})
    for answer in client.delete_records([TopicPartition(*place, before)]).values():
        answer.result(30)
    assert first_offsets(bench.kafka, [place]) == {place: before}


def sent(bench: WatchBench, count: int, *, commit: bool = True, actor: str = "user-1") -> int:
    """So many records more of one actor, in one transaction; the end behind its marker."""
    bench.send(logins(actor, count), commit=commit)
    place = bench.places[0]
    bench.wait(
        lambda: (
            end_offsets(bench.kafka, [place])[place]
            == end_offset(bench.kafka, place.topic, committed=False, partition=place.partition)
        )
    )
    return end_offset(bench.kafka, place.topic, committed=False, partition=place.partition)


def committed(bench: WatchBench) -> int:
    return committed_offsets(bench.kafka, worker_group(bench.prefix), bench.places)[bench.places[0]]


def test_no_alarm_where_only_the_marker_behind_what_was_handled_is_gone(bench: WatchBench) -> None:
    dog, place = watchdog(bench), bench.places[0]
    end = sent(bench, 3)
    assert set_offsets(bench.kafka, worker_group(bench.prefix), {place: end - 1})
    expire(bench, place, end)
    stepped(dog, 5)
    begin(bench.kafka, bench.prefix, watches_of({}))
    assert committed(bench) == end
    sent(bench, 1)
    begin(bench.kafka, bench.prefix, watches_of({}))


@pytest.mark.parametrize("handled_to", ["its last record", "the end"])
def test_one_record_that_is_gone_is_told(bench: WatchBench, handled_to: str) -> None:
    begin(bench.kafka, bench.prefix, watches_of({}))
    place, end = bench.places[0], sent(bench, 3)
    goes_on_at = end if handled_to == "the end" else end - 1
    assert set_offsets(bench.kafka, worker_group(bench.prefix), {place: goes_on_at})
    expire(bench, place, sent(bench, 1))
    with pytest.raises(InputLost, match=f"no longer has the offset {goes_on_at}"):
        begin(bench.kafka, bench.prefix, watches_of({}))


def test_a_record_whose_marker_is_still_there_is_told(bench: WatchBench) -> None:
    begin(bench.kafka, bench.prefix, watches_of({}))
    place, end = bench.places[0], sent(bench, 1)
    expire(bench, place, end - 1)
    with pytest.raises(InputLost, match="no longer has the offset 0"):
        begin(bench.kafka, bench.prefix, watches_of({}))
    assert lost_places({place: 0}, {place: 1}, {place: 2}) == [place]
    assert lost_places({place: 0}, {place: 2}, {place: 2}) == [place]


def test_a_quiet_partition_goes_on_behind_markers_and_aborted_records_and_a_waiting_one_does_not(
    bench: WatchBench,
) -> None:
    begin(bench.kafka, bench.prefix, watches_of({}))
    place = bench.places[0]
    order = Order(bench.kafka, worker_group(bench.prefix))
    order.begin(bench.places)
    sent(bench, 3)
    end = sent(bench, 4, commit=False)
    assert [order.at_end() for _ in range(3)] == [{}, {}, {}]
    assert order.in_order([Ordered(place, offset) for offset in range(3)]) == [True] * 3
    assert [order.at_end() for _ in range(3)] == [{}, {place: end}, {}]
    assert set_offsets(bench.kafka, worker_group(bench.prefix), {place: end})
    expire(bench, place, end)
    begin(bench.kafka, bench.prefix, watches_of({}))
    sent(bench, 1)
    assert order.in_order([Ordered(place, end)]) == [True]


def test_nothing_is_done_behind_a_batch_that_was_given_up(bench: WatchBench, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(bench.kafka, bench.prefix, watches_of({}))
    sent(bench, 2)
    ours = [True]
    batches = Batches(bench.kafka, bench.prefix, watches_of({}), lambda: ours[0])
    records = [Taken("actor", 0, offset, b"user-1", b"{}") for offset in range(2)]

    def away(*_: object) -> None:
        raise Unavailable("no broker")

    assert batches.begin(bench.places)
    with monkeypatch.context() as broken:
        broken.setattr(batches._writer, "write", away)
        ours[0] = False
        assert batches.do(records[:1]) is None
    ours[0] = True
    assert batches.do(records[1:]) is None
    assert [batches.at_end(), batches.at_end()] == [{}, {}]
    assert batches.begin(bench.places)
    done = batches.do(records)
    assert done is not None
    assert done.goes_on_at == {bench.places[0]: 2}
    batches.close()


@long_run
def test_a_worker_goes_on_behind_the_markers_of_a_quiet_partition_and_outlives_its_end(bench: WatchBench) -> None:
    bench.start()
    end = sent(bench, 3)
    bench.wait(lambda: bool(bench.stored()) and committed(bench) == end)
    expire(bench, bench.places[0], end)
    worker = bench.worker()
    time.sleep(6)
    sent(bench, 2)
    bench.wait(lambda: committed(bench) > end)
    assert bench.worker() == worker
    assert bench.stop() == 0
