"""An input topic is deleted and made again: the sequencer must stop, and go on when an operator has decided so.

What was in the topic is sealed before it is deleted, so that the decision loses nothing: whoever deletes a topic that
holds unsealed records loses them, and no log can help it. The old records are kept for the judge.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from confluent_kafka.admin import AdminClient

from sealstream.kafka import create_topics

if TYPE_CHECKING:
    from tests.faults.bench import Bench

__all__ = ["recreate_input"]


def recreate_input(bench: Bench, kind: str) -> Iterator[float]:
    """Delete, make again, see the alarm, decide."""
    pipeline, sequencer = bench.pipeline, bench.process("sequencer")
    for application in bench.applications.values():
        application.pause()
    archive_sink = bench.process("archive-sink")
    archive_sink.kill()  # it writes control records: none may be on its way
    pipeline.wait_sealed()
    topic = pipeline.topics.raw if kind == "raw" else pipeline.topics.control
    bench.keep_records(kind)
    admin = AdminClient({"bootstrap.servers": pipeline.kafka.bootstrap, "log_level": 0})
    admin.delete_topics([topic])[topic].result(20)
    yield 1.0
    configs = [each for each in pipeline.topics.configs() if each.name == topic]
    for _ in range(20):
        try:
            create_topics(pipeline.kafka, configs, replication=3)
        except Exception:  # noqa: BLE001 - the deletion takes its time
            yield 0.5
        else:
            break
    for application in bench.applications.values():
        application.resume()
    for _ in range(500):  # an input that is silent while the other is not is looked at once a minute
        if sequencer.alarm:
            break
        if sequencer.pid is None or "was recreated" in sequencer.last_words(3):
            yield 0.2
            continue
        yield 0.2
    assert sequencer.alarm, f"the sequencer did not stop when {topic} was recreated: {sequencer.last_words()}"
    bench.expected_alarms += 1
    size = bench.watcher.size
    yield 2.0
    assert bench.watcher.size == size, "the chain grew after the alarm"
    sequencer.start("--accept-input-lost")
    archive_sink.start()
