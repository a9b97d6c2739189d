"""Real workers on a real broker: what they find is found once, whatever is sent and whatever happens to them."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest
from tests.anomaly.bench import Story, WatchBench, freeze, logins
from tests.anomaly.test_worker_handling import NOT_UNDERSTOOD
from tests.long_runs import long_run

from sealstream.kafka import KafkaSettings, set_offsets
from sealstream.layout.alerts import decode_alert
from sealstream.layout.workers import worker_group

pytestmark = long_run


@pytest.fixture
def bench(kafka: KafkaSettings, tmp_path: Path) -> Iterator[WatchBench]:
    made = WatchBench(kafka, tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def watched(kafka: KafkaSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchBench]:
    """One that runs through several tests, each of which has actors of its own."""
    made = WatchBench(kafka, tmp_path_factory.mktemp("watched"))
    made.start("anomaly", "--metrics-port", "0")
    yield made
    made.close()


def raised(bench: WatchBench, subject: str) -> list[bytes]:
    return [alert for alert in bench.alerts() if decode_alert(alert).subject == subject]


def test_an_attack_is_raised_once_in_both_topics(watched: WatchBench) -> None:
    watched.send(logins("mallory", 12))
    watched.wait_done()
    (alert,) = raised(watched, "mallory")
    assert decode_alert(alert).summary.startswith("8 failed logins of mallory")
    assert sum(json.loads(each)["resource_id"] == "mallory" for each in watched.statements()) == 1
    watched.check()


def test_what_comes_again_and_what_comes_late_raises_nothing(watched: WatchBench) -> None:
    attack = logins("eve", 12, first_seq=1_000)
    watched.send(attack)
    watched.send(attack)
    watched.send(reversed(attack[:6]))
    watched.send([*attack[-1:], *attack[:1]])
    watched.wait_done()
    assert len(raised(watched, "eve")) == 1
    watched.check()


def test_a_second_told_in_parts_is_counted_once(watched: WatchBench) -> None:
    whole = logins("trudy", 1, first_seq=2_000)[0]
    for count in range(1, 8):  # one failure less than a burst, told seven times
        cell = msgspec.structs.replace(whole.cells[0], count=count, seqs=[[2_000, 1_999 + count]])
        watched.send([msgspec.structs.replace(whole, cells=[cell])])
    watched.wait_done()
    assert raised(watched, "trudy") == []
    watched.check()


def test_what_was_aborted_is_never_seen(watched: WatchBench) -> None:
    watched.send(logins("nobody", 12, first_seq=3_000), commit=False)
    watched.send(logins("somebody", 2, first_seq=4_000))
    watched.send(logins("nobody", 12, first_seq=3_000), commit=False)
    watched.wait_done()
    assert raised(watched, "nobody") == []
    assert b"nobody" not in watched.stored()
    assert b"somebody" in watched.stored()


def test_what_can_t_be_understood_is_passed_over_and_told(watched: WatchBench) -> None:
    worker = watched.worker()
    first = 5_000
    for key, value in NOT_UNDERSTOOD:
        watched.send_raw([(watched.topics.activity, value, key), (watched.topics.addresses, value, key)])
    watched.send(logins("oscar", 12, first_seq=first))
    watched.wait_done()
    assert len(raised(watched, "oscar")) == 1
    assert watched.log(lines=1_000).count("can't be understood: passed over") == 2 * len(NOT_UNDERSTOOD)
    assert watched.worker() == worker
    watched.check()


def test_an_alert_whose_chain_has_no_topic_holds_up_no_other(watched: WatchBench) -> None:
    lost = [msgspec.structs.replace(each, chain="gone") for each in logins("peggy", 12)]
    watched.send([*lost, *logins("victor", 12, first_seq=6_000)])
    watched.wait_done()
    assert len(raised(watched, "peggy")) == len(raised(watched, "victor")) == 1
    said = [json.loads(each)["resource_id"] for each in watched.statements()]
    assert ("peggy" in said, "victor" in said) == (False, True)


def test_nobody_else_can_say_where_a_group_with_members_goes_on(watched: WatchBench) -> None:
    watched.wait_done()
    assert not set_offsets(watched.kafka, worker_group(watched.prefix), dict.fromkeys(watched.places, 0))
    assert watched.done()


def test_its_figures_and_probes_say_how_it_goes(watched: WatchBench) -> None:
    (url,) = set(re.findall(r'"url": "(http[^"]+)/metrics"', watched.log(lines=1_000)))
    with urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:
        assert json.load(answer)["ready"] is True
    with urllib.request.urlopen(f"{url}/metrics", timeout=5) as answer:
        told = dict(re.findall(r"^(sealstream_\w+)\{[^}]*\} (\S+)$", answer.read().decode(), re.MULTILINE))
    assert float(told["sealstream_alerts_raised_total"]) >= len(watched.alerts())
    assert float(told["sealstream_malformed_records_total"]) >= len(NOT_UNDERSTOOD)
    assert float(told["sealstream_anomaly_worker_partitions"]) == len(watched.places)


def test_sigterm_ends_both_in_time(watched: WatchBench) -> None:
    worker, begun = watched.worker(), time.monotonic()
    assert watched.stop(timeout_s=10) == 0
    assert time.monotonic() - begun < 10
    assert not worker.is_running()


@long_run
def test_a_killed_worker_is_replaced_and_goes_on_from_its_states(bench: WatchBench) -> None:
    story = Story(7)
    bench.start()
    for second in story.seconds(30):
        bench.send(second)
    bench.wait(lambda: bool(bench.stored()))
    killed = bench.worker()
    killed.kill()
    for second in story.seconds(30):
        bench.send(second)
    bench.wait_done()
    assert bench.worker().pid != killed.pid
    assert bench.check() > 0


@long_run
def test_a_worker_that_stands_is_ended_and_another_started(bench: WatchBench) -> None:
    bench.write_settings(silent_s=4, still_s=30)
    bench.start()
    bench.send(logins("user-1", 4))
    bench.wait_done()
    hung = bench.worker()
    freeze(hung)
    bench.send(logins("user-1", 12)[4:])
    bench.wait_done()
    assert not psutil.pid_exists(hung.pid)
    assert "has said nothing for" in bench.log(lines=200)
    assert bench.check() == 1


def test_a_worker_does_not_outlive_its_parent(bench: WatchBench) -> None:
    bench.start()
    worker = bench.worker()
    bench.kill()
    psutil.wait_procs([worker], timeout=5)
    assert not worker.is_running()


@long_run
def test_workers_that_come_go_and_are_killed_find_what_a_run_without_faults_finds(kafka: KafkaSettings) -> None:
    from tests.anomaly.faults import run

    assert run(kafka, seconds=40, seed=11).alerts > 0
