"""Two pipelines to be looked at: one that does what it should, and one that was let go."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
import pytest
from tests.pipeline import Pipeline, make_pipeline, pipeline_roles, wait_until

from sealstream.cli.settings import write_settings
from sealstream.events import canonical_event
from sealstream.layout import SegmentLimits

__all__ = ["make_pipeline", "pipeline_roles"]

_SEGMENTS = SegmentLimits(entries=40, bytes=10_000_000, seconds=3_600)


@pytest.fixture(scope="module")
def healthy(make_pipeline: Callable[..., Pipeline]) -> Iterator[Pipeline]:
    """Runs; failures, a failed login and an administrator are among its events; it has to be reviewed."""
    made = make_pipeline(_SEGMENTS)
    write_settings(made.config, {"reviews": {"every": "day"}})
    made.send([made.event(n, producer="p") for n in range(80)])
    made.send(
        [
            made.event(90, action="login", resource_type="account", result="failure"),
            made.event(91, actor_type="admin", action="role.grant"),
        ]
    )
    made.start()
    made.wait_archived(40)
    made.wait_stored(made.wait_sealed())
    yield made
    made.kill_all()


@pytest.fixture(scope="module")
def let_go(make_pipeline: Callable[..., Pipeline]) -> Pipeline:
    """Its applications say too little and too much, and one of its processes after the other was stopped."""
    made = make_pipeline(_SEGMENTS)
    read = {"result": "success", "action": "read"}
    made.send([made.event(n, producer="p", number=n + (n > 20), **read) for n in range(60)])
    made.send(
        [
            canonical_event({k: v for k, v in plain(made, 70).items() if k != "ip_address"}),
            made.event(71, **read, metadata={"paid_with": "4111 1111 1111 1111"}),
            made.event(72, **read, timestamp="2090-01-01T00:00:00.000000Z"),
            b"no event",
        ]
    )
    made.start()
    made.wait_archived(40)
    made.stop("archive-sink")
    made.send([made.event(n, **read) for n in range(100, 150)])
    made.wait_stored(made.wait_sealed())
    wait_until(lambda: len(made.records(made.topics.segments)) > 1, 60, made.why)
    made.stop()
    return made


def plain(pipeline: Pipeline, n: int) -> dict[str, object]:
    """The fields of an event."""
    fields: dict[str, object] = msgspec.json.decode(pipeline.event(n, result="success"))
    return fields
