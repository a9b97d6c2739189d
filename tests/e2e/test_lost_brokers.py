"""Three brokers of which one is lost while events flow: only servers in containers have so many, and can lose one."""

from __future__ import annotations

from collections import Counter

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from tests.pipeline import Pipeline, wait_until
from tests.providers.provided import Faults, Provided

from sealstream.kafka.settings import client_config

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def faults(provided: Provided) -> Faults:
    if provided.faults is None:
        pytest.skip("`make test-containers` runs it: these servers have one broker")
    return provided.faults


def leader(pipeline: Pipeline) -> int | None:
    """The node that leads the chain's partition; None when nobody can say."""
    try:
        asked = AdminClient(client_config(pipeline.kafka, {})).list_topics(pipeline.topics.chain, timeout=10)
    except KafkaException:
        return None
    found = asked.topics[pipeline.topics.chain].partitions[0].leader
    return found if found > 0 else None


@pytest.mark.parametrize("fault", ["killed", "cut_off"])
def test_a_lost_leader_costs_time_and_nothing_else(pipeline: Pipeline, faults: Faults, fault: str) -> None:
    pipeline.start()
    pipeline.send(pipeline.event(n, producer="p") for n in range(500))
    pipeline.wait_stored(pipeline.wait_sealed())
    lost = leader(pipeline)
    assert lost is not None
    with getattr(faults, fault)(lost):
        wait_until(lambda: leader(pipeline) not in (None, lost), 90, pipeline.why)
        pipeline.send(pipeline.event(n, producer="p") for n in range(500, 1_500))
        pipeline.wait_stored(pipeline.wait_sealed(180), 180)
    pipeline.send(pipeline.event(n, producer="p") for n in range(1_500, 2_000))
    pipeline.wait_stored(pipeline.wait_sealed(180), 180)

    assert Counter(pipeline.stored_ids()) == Counter(pipeline.event_id(n) for n in range(2_000))
    for store in ("kafka", "postgres"):
        report = pipeline.verify(store)
        assert report.exit_code == 0, report.faults
    assert all(process.poll() is None for process in pipeline.running.values()), pipeline.why()
