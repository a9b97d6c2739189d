"""`sealstream chain create --declared` makes what settings declare, once; what has lived is not begun again."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.pipeline import Pipeline

from sealstream.kafka import topic_ids
from sealstream.kafka.settings import TopicMissing
from sealstream.layout import ChainTopics, SegmentLimits


@pytest.fixture(scope="module")
def lived(make_pipeline: Callable[..., Pipeline]) -> Pipeline:
    """A chain with entries in Postgres."""
    pipeline = make_pipeline(SegmentLimits(entries=100, bytes=10_000_000, seconds=3_600))
    pipeline.send([pipeline.event(n) for n in range(10)])
    pipeline.start("sequencer", "checkpointing", "postgres-sink")
    pipeline.wait_stored(pipeline.wait_sealed())
    pipeline.kill_all()
    return pipeline


def there(pipeline: Pipeline, prefix: str) -> bool:
    try:
        topic_ids(pipeline.kafka, ChainTopics.of(pipeline.name, prefix))
    except TopicMissing:
        return False
    return True


def test_a_declared_chain_is_made_without_its_key_and_nothing_is_written(
    make_pipeline: Callable[..., Pipeline], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = make_pipeline()
    settings, prefix = pipeline.config.read_text(), f"{pipeline.prefix}-d"
    (pipeline.folder / "keys" / f"{pipeline.name}.key").unlink()
    monkeypatch.setenv("SEALSTREAM_KAFKA__PREFIX", prefix)
    assert not there(pipeline, prefix)
    for _ in range(2):
        said = pipeline.command("chain", "create", pipeline.name, "--declared")
        assert said.code == 0, said.err
        assert there(pipeline, prefix)
    assert pipeline.config.read_text() == settings
    assert not list((pipeline.folder / "keys").iterdir())


def test_a_chain_that_has_lived_is_not_begun_a_second_time(lived: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    assert lived.command("chain", "create", lived.name, "--declared").code == 0  # its topics are there
    prefix = f"{lived.prefix}-lost"
    monkeypatch.setenv("SEALSTREAM_KAFKA__PREFIX", prefix)
    said = lived.command("chain", "create", lived.name, "--declared")
    assert said.code == 2
    assert "Postgres holds" in said.err
    assert "docs/runbooks/lost-kafka.md" in said.err
    assert not there(lived, prefix)


def test_where_nobody_can_say_whether_it_has_lived_nothing_is_made(
    lived: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = f"{lived.prefix}-unknown"
    monkeypatch.setenv("SEALSTREAM_KAFKA__PREFIX", prefix)
    monkeypatch.setenv("SEALSTREAM_POSTGRES__READER_DSN", "postgresql://nobody:x@127.0.0.1:1/nothing")
    assert lived.command("chain", "create", lived.name, "--declared").code != 0
    monkeypatch.setenv("SEALSTREAM_POSTGRES__READER_DSN", "")
    monkeypatch.setenv("SEALSTREAM_ARCHIVE__BUCKET", "")
    said = lived.command("chain", "create", lived.name, "--declared")
    assert said.code == 2
    assert "no store is named" in said.err
    assert not there(lived, prefix)
