"""Who looks after a worker ends one that gets nowhere, and no other. The workers here only say what they are told."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.anomaly.bench import CHAIN, WatchBench, logins, read_all
from tests.long_runs import long_run

from sealstream.anomaly.warming import warm_up_from
from sealstream.anomaly.worker_beginning import begin
from sealstream.anomaly.worker_handling import Kind, watches_of
from sealstream.anomaly.worker_order import Order, Ordered
from sealstream.anomaly.worker_watchdog import Patience, Restarts, WorkerWatchdog
from sealstream.anomaly.worker_writing import BatchWriter
from sealstream.errors import InputLost, Unavailable
from sealstream.kafka import KafkaSettings, committed_offsets, end_offsets, set_offsets
from sealstream.layout import Figures, figures
from sealstream.layout.activity import Activity
from sealstream.layout.workers import worker_group

PATIENT = Patience(start_s=20, silent_s=20, still_s=2, look_every_s=0.3)

TALKS = """
import argparse, json, os, time
given = argparse.ArgumentParser()
given.add_argument("--pipe", type=int); given.add_argument("--parent", type=int)
pipe = given.parse_args().pipe
places, recovers = {places!r}, {recovers!r}
for n in range(10**6):
    report = dict(ready=True, places=places, recovered=n if recovers else 0, records=7, alerts=2)
    os.write(pipe, json.dumps(report).encode() + b"\\n")
    time.sleep(0.1)
"""


@pytest.fixture
def bench(kafka: KafkaSettings, tmp_path: Path) -> Iterator[WatchBench]:
    made = WatchBench(kafka, tmp_path)
    yield made
    made.close()


def watchdog(
    bench: WatchBench, *, recovers: bool = False, says: str = TALKS, tally: Figures | None = None
) -> WorkerWatchdog:
    places = begin(bench.kafka, bench.prefix, watches_of({}))
    program = says.format(places=[list(each) for each in places], recovers=recovers)
    return WorkerWatchdog(
        bench.kafka,
        worker_group(bench.prefix),
        places,
        [sys.executable, "-c", program],
        tally or Figures(),
        patience=PATIENT,
    )


def stepped(dog: WorkerWatchdog, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            dog.step()
    finally:
        dog.close()


def test_a_worker_that_talks_while_its_offset_stands_is_ended(bench: WatchBench) -> None:
    dog = watchdog(bench)
    bench.send(logins("user-1", 3))
    with pytest.raises(Unavailable, match=r"partition \d, has records from offset 0 on, which nobody has handled"):
        stepped(dog, 30)


@long_run
def test_a_partition_may_wait_while_the_worker_empties_another(bench: WatchBench) -> None:
    dog, group = watchdog(bench), worker_group(bench.prefix)
    bench.send([record for n in range(12) for record in logins(f"user-{n}", 20)])
    full, *others = sorted(end_offsets(bench.kafka, bench.places).items(), key=lambda each: -each[1])
    assert any(end for _, end in others)
    try:
        begun, done = time.monotonic(), 0
        while time.monotonic() < begun + 4 * PATIENT.still_s:
            dog.step()
            if time.monotonic() > begun + done * PATIENT.still_s / 4:
                done += 1
                assert set_offsets(bench.kafka, group, {full[0]: done})
        with pytest.raises(Unavailable, match="which nobody has handled"):
            stepped(dog, 8 * PATIENT.still_s)
    finally:
        dog.close()


@long_run
def test_nobody_is_judged_by_what_was_aborted_nor_by_markers_nor_while_it_recovers(bench: WatchBench) -> None:
    bench.send(logins("user-1", 3), commit=False)
    tally = Figures()
    stepped(watchdog(bench, tally=tally), 6)
    assert tally.value(figures.WATCHED) == 7
    assert tally.value(figures.WORKER_READY) == 1
    bench.send(logins("user-1", 3))
    stepped(watchdog(bench, recovers=True), 6)


def test_a_worker_that_says_nothing_or_ends_is_told(bench: WatchBench) -> None:
    dog = watchdog(bench, says="raise SystemExit(7) # {places} {recovers}")
    with pytest.raises(Unavailable, match="exit code 7"):
        stepped(dog, 20)


def test_starts_that_do_not_last_come_at_growing_pauses() -> None:
    restarts = Restarts()
    restarts.begin()
    begun = time.monotonic()
    refused = 0
    for _ in range(2):
        while True:
            try:
                restarts.begin()
            except Unavailable:
                refused += 1
                time.sleep(0.05)
            else:
                break
    assert time.monotonic() - begun > 2.5
    assert refused


def test_an_offset_that_no_longer_exists_is_an_alarm_until_a_person_decides(bench: WatchBench) -> None:
    group = worker_group(bench.prefix)
    places = begin(bench.kafka, bench.prefix, watches_of({}))
    assert committed_offsets(bench.kafka, group, places) == dict.fromkeys(places, 0)
    ahead = {place: end + 5 for place, end in end_offsets(bench.kafka, places).items()}
    assert set_offsets(bench.kafka, group, {places[1]: ahead[places[1]]})
    with pytest.raises(InputLost, match=f"{places[1].topic}, partition 1, no longer has the offset 5"):
        begin(bench.kafka, bench.prefix, watches_of({}))
    begin(bench.kafka, bench.prefix, watches_of({}), accept_input_lost=True)
    assert committed_offsets(bench.kafka, group, places) == dict.fromkeys(places, 0)


def test_history_stands_where_its_subjects_records_come_and_is_read_but_once(bench: WatchBench) -> None:
    asked: list[Kind] = []

    def history(kind: Kind) -> Iterator[Activity]:
        asked.append(kind)
        if kind == "actor":
            for n in range(40):
                yield from logins(f"user-{n}", 2)

    warm_up = warm_up_from(watches_of({}), history)
    for _ in range(2):
        begin(bench.kafka, bench.prefix, watches_of({}), warm_up=warm_up)
    assert asked == ["actor", "address"]
    bench.send([record for n in range(40) for record in logins(f"user-{n}", 2)])
    states, records = (
        {record.key: partition for partition, record in by_partition(bench, topic)}
        for topic in (bench.states.actors, bench.topics.activity)
    )
    assert states == records
    assert len(set(states.values())) > 1
    assert bench.stored() == bench.expected()[1]


def by_partition(bench: WatchBench, topic: str) -> list[tuple[int, object]]:
    return [(n, record) for n in range(4) for record in read_all(bench.kafka, topic, [n])]


def test_an_alert_that_the_chain_holds_is_not_raised_again(bench: WatchBench) -> None:
    alerts = _alerts(2)
    asked: list[set[str]] = []

    def known(ids: object) -> set[str]:
        asked.append(set(ids))  # type: ignore[call-overload]
        return {alerts[0].id}

    writer = BatchWriter(bench.kafka, bench.prefix, known)
    written = writer.write(alerts, [alerts[0].id], [])
    writer.close()
    assert (written.raised, written.known) == (1, 1)
    assert asked == [{alerts[0].id}]
    assert len(bench.alerts()) == len(bench.statements()) == 1


def test_an_alert_is_raised_where_nobody_can_say_whether_it_was(
    bench: WatchBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sealstream.anomaly.worker_writing._ASK_FOR_S", 0.5)

    def away(ids: object) -> set[str]:
        raise Unavailable("no answer from Postgres")

    alerts = _alerts(1)
    writer = BatchWriter(bench.kafka, bench.prefix, away)
    assert writer.write(alerts, [alerts[0].id], []).raised == 1
    writer.close()


def test_what_faust_leaves_out_or_gives_too_early_is_not_taken(bench: WatchBench) -> None:
    begin(bench.kafka, bench.prefix, watches_of({}))
    bench.send(logins("user-1", 5))
    bench.send(logins("user-1", 5), commit=False)
    bench.send(logins("user-1", 9)[5:])
    (place,) = {place for place, end in end_offsets(bench.kafka, bench.places).items() if end}
    offsets = [0, 1, 2, 3, 4, 12, 13, 14, 15]  # 5, 11: markers; 6 to 10: aborted
    now = [0.0]

    def order() -> Order:
        made = Order(bench.kafka, worker_group(bench.prefix), lambda: now[0])
        made.begin(bench.places)
        return made

    def taken(by: Order, *given: int) -> list[int]:
        found = by.in_order([Ordered(place, offset) for offset in given])
        return [offset for offset, is_next in zip(given, found, strict=True) if is_next]

    assert taken(order(), *offsets) == offsets
    assert taken(order(), *offsets[:3], *offsets) == offsets
    assert taken(order(), *offsets[1:], *offsets) == offsets
    assert taken(order(), *offsets[:4], *offsets[5:], *offsets[3:]) == offsets
    late = order()
    assert taken(late, *offsets[1:]) == []
    now[0] = 60
    with pytest.raises(Unavailable, match="left out the record at offset 0"):
        taken(late, *offsets[3:])


def _alerts(count: int) -> list:  # type: ignore[type-arg]
    watch, found = watches_of({})["actor"], []
    from sealstream.anomaly.watching import Subject

    for n in range(count):
        subject = Subject()  # type: ignore[var-annotated]
        for record in logins(f"user-{n}", 12):
            found += watch.see(subject, record)
    assert {alert.chain for alert in found} == {CHAIN}
    return found
