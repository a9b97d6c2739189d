"""A chain that the real pipeline wrote, built once and left alone; tests tamper with copies and ask for the verdict."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.pipeline import Pipeline, make_pipeline, pipeline_roles

from sealstream.layout import SegmentLimits, decode_entry
from sealstream.sealing import split_sealed

__all__ = ["Verdict", "make_pipeline", "pipeline_roles"]


class Verdict(NamedTuple):
    """What `sealstream verify STORE --json` said."""

    code: int
    report: dict[str, Any]

    @property
    def found(self) -> list[tuple[str, int | None, int | None]]:
        """Kind and entries of each fault, in order."""
        return [(f["kind"], f.get("first_seq"), f.get("last_seq")) for f in self.report["faults"]]

    @property
    def kinds(self) -> set[str]:
        """The kinds of fault."""
        return {fault["kind"] for fault in self.report["faults"]}

    def at(self, place: str) -> list[tuple[str, int | None, int | None]]:
        """The faults at one place."""
        return [found for found, where in zip(self.found, self.places, strict=True) if where == place]

    @property
    def places(self) -> list[str]:
        """Where each fault is."""
        return [fault["place"] for fault in self.report["faults"]]


class Built(NamedTuple):
    """The pipeline, whose processes have ended; `size` entries, all of them signed.

    `built_at`: when it was done. `paused_at`: a time in the middle, at which nothing was sealed for two seconds.
    """

    pipeline: Pipeline
    values: list[bytes]
    built_at: datetime
    paused_at: datetime

    @property
    def size(self) -> int:
        """How many entries there are."""
        return len(self.values)

    def seq_of(self, n: int) -> int:
        """The entry that holds event `n`."""
        wanted = f'"id":"{self.pipeline.event_id(n)}"'.encode()
        return next(seq for seq, value in enumerate(self.values) if wanted in value)

    def seq_at(self, raw_offset: int) -> int:
        """The entry that holds the event of this offset."""
        entries = (decode_entry(split_sealed(value).body).written for value in self.values)
        return next(w.seq for w in entries if w.kind == "event" and w.raw_offset == raw_offset)

    def verify(
        self, store: str, *options: str, state_dir: Path | None = None, after: timedelta = timedelta(0)
    ) -> Verdict:
        """The verdict of the command, reckoned from when the chain was built (and `after`)."""
        until = (self.built_at + after).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        state = str(state_dir or self.pipeline.folder / f"looked-never-before-{uuid.uuid4().hex}")
        said = self.pipeline.command(
            "verify", store, "--chain", self.pipeline.name, "--json", "--until", until, "--state-dir", state, *options
        )
        assert said.out, said.err
        return Verdict(said.code, json.loads(said.out))


def build(make_pipeline: Callable[..., Pipeline], entries: int, events: int) -> Built:
    """Run the real processes until `events` events (some refused beside them) are in every store, then stop them."""
    pipeline = make_pipeline(SegmentLimits(entries=entries, bytes=10_000_000, seconds=5))
    pipeline.start()
    half = events // 2
    pipeline.send([pipeline.event(n, producer="p") for n in range(half)])
    pipeline.send([b"not an event"] * 7)
    pipeline.wait_stored(pipeline.wait_sealed())
    time.sleep(1)
    paused_at = datetime.now(UTC)
    time.sleep(1)
    pipeline.send([pipeline.event(n, producer="p") for n in range(half, events)])
    pipeline.archive_all(events)
    pipeline.wait_quiet()
    codes = pipeline.stop("sequencer")  # first, so that its last words are signed and stored too
    pipeline.wait_stored(pipeline.size())
    assert set((codes | pipeline.stop()).values()) == {0}
    values = [record.value or b"" for record in pipeline.records(pipeline.topics.chain)]
    return Built(pipeline, values, datetime.now(UTC), paused_at)


@pytest.fixture(scope="session")
def built(make_pipeline: Callable[..., Pipeline]) -> Built:
    """1,000 events in segments of 200 entries. Read it, copy it, leave it as it is."""
    return build(make_pipeline, 200, 1_000)


@pytest.fixture
def command_settings(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`command_settings(KAFKA__PREFIX=...)`: the commands of this test read another store."""

    def change(**settings: str) -> None:
        for name, value in settings.items():
            monkeypatch.setenv(f"SEALSTREAM_{name}", value)

    return change
