"""Processes that fork, and processes that end: each in a process of its own, as an application is."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from sealstream.kafka import KafkaSettings
from sealstream.layout import ChainSettings

Sent = Callable[[], list[dict[str, Any]]]

BEGIN = """
import os, sys, threading, time
from sealstream.client import AuditClient
client = AuditClient(sys.argv[1], sys.argv[2])
def emit(what, times=1):
    for n in range(times):
        assert client.emit(what, resource_type="r", resource_id=str(n)) is not None
"""


def run(kafka: KafkaSettings, chain: ChainSettings, script: str) -> None:
    code = BEGIN + textwrap.dedent(script)
    command = [sys.executable, "-W", "error", "-c", code, chain.name, kafka.bootstrap]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env={**os.environ})
    assert (done.returncode, done.stderr) == (0, "")


def streams(events: list[dict[str, Any]]) -> list[list[str]]:
    """Each producer's actions in order, after a look at its numbers."""
    by_producer = defaultdict(list)
    for event in events:
        by_producer[event["producer_id"]].append(event)
    for own in by_producer.values():
        assert [event["producer_seq"] for event in own] == list(range(len(own)))
        assert own[-1]["metadata"] == {"next": len(own)}
    return sorted([event["action"] for event in own] for own in by_producer.values())


def test_a_process_that_just_ends_has_sent_everything(kafka: KafkaSettings, chain: ChainSettings, sent: Sent) -> None:
    run(kafka, chain, "emit('read', 3)")
    assert streams(sent()) == [["read", "read", "read", "producer.closed"]]


def test_a_child_sends_its_own_events_and_never_its_parents(
    kafka: KafkaSettings, chain: ChainSettings, sent: Sent
) -> None:
    run(
        kafka,
        chain,
        """
        emit("parent", 500)  # most are still in memory when the process forks
        for _ in range(3):
            if os.fork() == 0:
                emit("child", 2)
                assert client.stats().emitted == 2
                sys.exit(0)  # as a gunicorn worker ends
        emit("parent", 500)
        for _ in range(3):
            assert os.wait()[1] == 0
        """,
    )
    child = ["child", "child", "producer.closed"]
    assert streams(sent()) == [child, child, child, ["parent"] * 1000 + ["producer.closed"]]


def test_a_client_made_before_the_fork_and_used_only_after_it(
    kafka: KafkaSettings, chain: ChainSettings, sent: Sent
) -> None:
    run(
        kafka,
        chain,
        """
        if os.fork() == 0:
            emit("child")
            if os.fork() == 0:
                emit("grandchild")
                sys.exit(0)
            assert os.wait()[1] == 0
            sys.exit(0)
        assert os.wait()[1] == 0
        """,
    )
    assert streams(sent()) == [["child", "producer.closed"], ["grandchild", "producer.closed"]]


def test_children_that_leave_without_a_word_do_not_hang(kafka: KafkaSettings, chain: ChainSettings, sent: Sent) -> None:
    run(
        kafka,
        chain,
        """
        emit("parent", 10)
        for _ in range(5):
            if os.fork() == 0:
                sys.exit(0)
        for _ in range(5):
            assert os.wait()[1] == 0
        """,
    )
    assert streams(sent()) == [["parent"] * 10 + ["producer.closed"]]


def test_forks_while_other_threads_emit(kafka: KafkaSettings, chain: ChainSettings, sent: Sent) -> None:
    run(
        kafka,
        chain,
        """
        import warnings
        warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of forks beside threads: our very case
        going = True
        def work():
            while going:
                if client.stats().pending < 20_000:  # Kafka may be slow here, and the queue has its bounds
                    emit("parent", 20)
                time.sleep(0.001)
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(15):
            if os.fork() == 0:
                emit("child", 5)
                stats = client.close(60)
                if stats.delivered != 6:
                    print(stats, file=sys.stderr, flush=True)
                os._exit(0)
            time.sleep(0.01)
        results = [os.wait()[1] for _ in range(15)]
        going = False
        for thread in threads:
            thread.join()
        assert results == [0] * 15
        """,
    )
    own = streams(sent())
    assert own[:15] == [["child"] * 5 + ["producer.closed"]] * 15
    assert len(own) == 16


def test_multiprocessing_workers_have_sent_everything_when_they_end(
    kafka: KafkaSettings, chain: ChainSettings, sent: Sent
) -> None:
    run(
        kafka,
        chain,
        """
        import multiprocessing, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        emit("parent")
        context = multiprocessing.get_context("fork")
        workers = [context.Process(target=emit, args=("worker", 3)) for _ in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
            assert worker.exitcode == 0
        """,
    )
    worker = ["worker"] * 3 + ["producer.closed"]
    assert streams(sent()) == [["parent", "producer.closed"], worker, worker]


def test_a_killed_process_leaves_its_numbers_open(kafka: KafkaSettings, chain: ChainSettings, sent: Sent) -> None:
    run(
        kafka,
        chain,
        """
        child = os.fork()
        if child == 0:
            emit("read", 3)
            assert client.flush(60) == 0, client.stats()
            emit("lost", 1)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        """,
    )
    events = [event for event in sent() if event["actor_id"] != "sealstream/client"]
    assert [event["action"] for event in events][:3] == ["read"] * 3
    producer = events[0]["producer_id"]
    assert not [e for e in sent() if e["producer_id"] == producer and e["action"] == "producer.closed"]
