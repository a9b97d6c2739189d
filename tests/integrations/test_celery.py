"""A real Celery worker with the prefork pool: who asked is known there, and what became of each task."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integrations.conftest import child_environment
from tests.long_runs import long_run
from tests.pipeline import wait_until

from sealstream.kafka import KafkaSettings
from sealstream.layout import ChainSettings

pytestmark = long_run

Events = Callable[[int], list[dict[str, Any]]]
APP = "tests.integrations.celery_app"


@pytest.fixture
def environment(kafka: KafkaSettings, chain: ChainSettings, tmp_path: Path) -> dict[str, str]:
    for name in ("queue", "control"):
        (tmp_path / name).mkdir()
    return child_environment(
        CELERY_FOLDER=str(tmp_path), SEALSTREAM_CHAIN=chain.name, SEALSTREAM_BOOTSTRAP=kafka.bootstrap
    )


@pytest.fixture
def worker(environment: dict[str, str], tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "celery", "-A", APP, "worker", "--pool", "prefork", "--concurrency", "2"]
    command += ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "ERROR"]
    with (tmp_path / "worker.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    yield process
    if process.poll() is None:
        process.terminate()
        process.wait(30)


def send(environment: dict[str, str], code: str) -> None:
    program = f"from {APP} import *\nfrom sealstream.client import bind, clear, context\n{code}\n"
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_tasks_and_who_asked_for_them(
    worker: subprocess.Popen[bytes], environment: dict[str, str], events: Events
) -> None:
    send(
        environment,
        """
with context(actor_id="ann", actor_type="admin", tenant="north", trace_id="t-1", reason="asked"):
    add.delay(1, 2)
    forbidden.delay()
    broken.delay()
    flaky.delay()
    quiet.delay()
    parent.delay()
for _ in range(6):
    who.delay()
""",
    )
    # add 3; forbidden 2, broken 2; flaky: start, retry, start, end; quiet 1; parent 2, and its chain 3 + 3; who 3 each
    found = events(3 + 2 + 2 + 4 + 1 + 2 + 6 + 18)
    told = Counter((event["action"], event["resource_id"], event["result"]) for event in found)
    assert told == {
        ("task.start", "add", "success"): 3,
        ("task.end", "add", "success"): 3,
        ("added", "3", "success"): 1,
        ("added", "2", "success"): 1,
        ("added", "7", "success"): 1,
        ("task.start", "forbidden", "success"): 1,
        ("task.end", "forbidden", "denied"): 1,
        ("task.start", "broken", "success"): 1,
        ("task.end", "broken", "failure"): 1,
        ("task.start", "flaky", "success"): 2,
        ("task.retry", "flaky", "failure"): 1,
        ("task.end", "flaky", "success"): 1,
        ("from quiet", "1", "success"): 1,
        ("task.start", "parent", "success"): 1,
        ("task.end", "parent", "success"): 1,
        ("task.start", "who", "success"): 6,
        ("task.end", "who", "success"): 6,
        ("who", "None", "success"): 6,
    }
    for event in found:
        nobody = event["resource_id"] in ("who", "None")
        assert (event["actor_id"], event["actor_type"]) == (("anonymous",) * 2 if nobody else ("ann", "admin"))
        if not nobody:
            assert (event["tenant"], event["trace_id"], event["reason"]) == ("north", "t-1", "asked")
    by_action = {(event["action"], event["resource_id"]): event for event in found}
    assert by_action["task.end", "broken"]["metadata"]["error"] == "ValueError"
    assert by_action["task.retry", "flaky"]["metadata"]["error"] == "ConnectionError"
    assert "secret text" not in str(found)
    producers = {event["producer_id"] for event in found}
    worker.terminate()
    assert worker.wait(30) == 0
    closed = [event for event in events(len(found) + len(producers)) if event["action"] == "producer.closed"]
    assert {event["producer_id"] for event in closed} >= producers  # each child has closed its stream


@pytest.mark.parametrize(
    ("task", "error"),
    [("dies", "WorkerLostError"), ("slow", "TimeLimitExceeded"), ("rejects", "Reject")],
)
def test_a_task_that_its_process_does_not_survive_has_one_end_and_no_good_one(
    worker: subprocess.Popen[bytes], environment: dict[str, str], raw: Callable[[], list[bytes]], task: str, error: str
) -> None:
    send(environment, f"with context(actor_id='ann', tenant='north'):\n    {task}.delay()")

    def ends() -> list[dict[str, Any]]:
        events = (json.loads(value) for value in raw())
        return [event for event in events if (event["action"], event["resource_id"]) == ("task.end", task)]

    wait_until(ends, 30, lambda: "no end")
    worker.terminate()
    assert worker.wait(30) == 0
    told = [(each["result"], each["metadata"]["error"], each["actor_id"], each.get("tenant")) for each in ends()]
    assert told == [("failure", error, "ann", "north")]
