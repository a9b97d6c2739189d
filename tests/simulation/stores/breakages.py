"""The sinks broken on purpose, one promise at a time: the simulation must find each.

Each is a mistake that somebody could make in a change that looks harmless.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from hashlib import sha256
from itertools import count
from typing import Any, NamedTuple

from tests.simulation.plan import Fault, Plan, draw_plan
from tests.simulation.stores.installing import HurriedTrimmer

import sealstream.archive.bucket as bucket
import sealstream.archive.putting as putting
import sealstream.archive.trimming as trimming
import sealstream.postgres.stored as stored
from sealstream.errors import Fenced
from sealstream.kafka import CommittedReader, end_offset

__all__ = ["BREAKAGES", "Broken"]


class PositionAfterwards(stored.SinkStore):
    """The position row is written in a transaction of its own, after the rows."""

    def store(self, batch: stored.Batch) -> None:
        months = [month for month in batch.rows.months if month not in self._months]

        async def rows(connection: Any) -> None:
            async with connection.transaction():
                for month in months:
                    await connection.execute(stored._ADD_MONTH, month)
                if batch.rows.data:
                    await stored.copy_rows(connection, [batch.rows.data])

        self._session.run("storing", rows)
        super().store(batch._replace(rows=batch.rows._replace(data=b"")))


class PositionBefore(stored.SinkStore):
    """The position row is written in a transaction of its own, before the rows."""

    def store(self, batch: stored.Batch) -> None:
        super().store(batch._replace(rows=batch.rows._replace(data=b"")))

        async def rows(connection: Any) -> None:
            async with connection.transaction():
                if batch.rows.data:
                    await stored.copy_rows(connection, [batch.rows.data])

        self._session.run("storing", rows)


class NeverFenced(stored.SinkStore):
    """A batch is stored without a look at whether what is stored is still what the sink knows."""

    def store(self, batch: stored.Batch) -> None:
        try:
            super().store(batch)
        except Fenced:
            (row,) = self._session.fetch("reading the position", stored._POSITION, self._chain)
            super().store(batch._replace(expected=row["next_seq"], next_seq=max(row["next_seq"], batch.next_seq)))


class TwoMoments(stored.SinkStore):
    """A start reads the position and the last row one after the other, as it once did."""

    def position(self) -> stored.Position:
        session, self._session = self._session, _WithoutTransactions(self._session)  # type: ignore[assignment]
        try:
            return super().position()
        finally:
            self._session = session


class _WithoutTransactions:
    """A session whose statements stand alone."""

    def __init__(self, session: Any) -> None:
        self._session = session

    def run(self, doing: str, work: Any) -> Any:
        return self._session.run(doing, lambda connection: work(_Alone(connection)))


class _Alone:
    def __init__(self, connection: Any) -> None:
        self.fetch, self.execute = connection.fetch, connection.execute

    def transaction(self, **_isolation: Any) -> _Alone:
        return self

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, *_raised: object) -> None:
        pass


def _open_at_the_end(kafka: Any, topic: str, _stored: Any) -> CommittedReader:
    """Segments' notes are read from the topic's end on after a start, not from behind the last that is stored."""
    return CommittedReader(kafka, topic, end_offset(kafka, topic, committed=True))


class WithoutCondition(bucket.Bucket):
    """`If-None-Match` is left out."""

    def put_once(self, key: str, body: bytes, retain_until: datetime) -> bool:
        with self._doing(f"putting {key}"):
            self.client.put_object(
                Bucket=self.settings.bucket,
                Key=key,
                Body=body,
                ObjectLockMode="COMPLIANCE",
                ObjectLockRetainUntilDate=retain_until,
            )
        return True


class ManifestFirst(putting.Putting):
    """The manifest is put before its object, with what the object is going to be."""

    def put(self, name: Any, data: bytes, fold: Any, segment: Any, start: Any, previous: bytes | None) -> putting.Kept:
        until = self._retain_until(fold, timedelta(days=1))
        ours = putting.describe(
            fold,
            self._chain,
            object_version="unknown",
            object_sha256=sha256(data).digest(),
            retain_until=until,
            checkpoint=segment.note,
            start_range=start.compact_range.hashes,
            previous_manifest_sha256=previous,
        ).to_bytes()
        if not self._bucket.stored(name.manifest_key).versions:
            self._bucket.put_once(name.manifest_key, ours, until)
        stored_manifest = self._bucket.stored(name.manifest_key)
        self._put_object(name, data, fold, segment, start, None)
        there, version = putting.oldest_manifest(self._bucket, stored_manifest)
        return putting.Kept(putting.parse_manifest(there), there, version)


class ShortLock(putting.Putting):
    """A lock ends a day after the put, whatever the chain's retention."""

    def _retain_until(self, fold: Any, at_least: timedelta) -> datetime:
        return (self._clock() + at_least + timedelta(seconds=1)).replace(microsecond=0)


class TrimsTooFar(HurriedTrimmer):
    """An input is trimmed up to its end instead of up to what the segment accounts for."""

    def _trim_input(self, topic: str, offset: int, holding: Any) -> None:
        newest = trimming.last_record(self._kafka, topic)
        if newest is not None:
            trimming.trim(self._kafka, topic, newest.offset + 1)


def _taken_for_sealed(*_arguments: Any) -> bool:
    return True


def _not_looked_at(*_arguments: Any) -> None:
    return None


class Broken(NamedTuple):
    """`seams`: what `run_plan` takes; `at`: faults (operation or kind, how) under which the mistake shows."""

    seams: Mapping[tuple[str, str], Any]
    at: tuple[tuple[str, str], ...] = ()
    alone: bool = False

    def plans(self, store: str, first_seed: int = 0) -> Iterator[Plan]:
        """Plans in which this store's sinks run, two unless `alone`, with more of these faults."""
        for seed in count(first_seed):
            rng = random.Random(f"broken {seed}")
            plan = draw_plan(seed)
            sinks = [f"{store}-sink"] if self.alone else [f"{store}-sink", f"{store}-sink-b"]
            others = [name for name in plan.processes if not name.startswith(store)]
            faults = [*plan.faults]
            for where, how in self.at * 2:
                at_s, seconds = round(rng.random() * plan.length_s, 3), round(3 * rng.random(), 2)
                if where in ("kill", "stop"):
                    faults.append(Fault(at_s, where, rng.choice(sinks), "", seconds))
                else:
                    faults.append(Fault(at_s, "effect", where, how, seconds if how == "slow" else 0.0))
            trims = plan.trims or rng.random() < 0.5
            yield plan._replace(processes=(*others, *sinks), faults=tuple(sorted(faults)), trims=trims)


BREAKAGES: Mapping[str, Broken] = {
    "postgres: the position in a transaction of its own, afterwards": Broken(
        {("sealstream.postgres.sink", "SinkStore"): PositionAfterwards}, (("kill", ""),)
    ),
    "postgres: the position in a transaction of its own, before": Broken(
        {("sealstream.postgres.sink", "SinkStore"): PositionBefore}, (("kill", ""),)
    ),
    "postgres: stored without a check against what is stored": Broken(
        {("sealstream.postgres.sink", "SinkStore"): NeverFenced}
    ),
    "postgres: a start reads two moments": Broken(
        {("sealstream.postgres.sink", "SinkStore"): TwoMoments}, (("postgres.read", "slow"),) * 4 + (("kill", ""),)
    ),
    "postgres: notes that came while the sink was down are passed over": Broken(
        {("sealstream.postgres.signed", "_open_behind"): _open_at_the_end}, (("kill", ""),)
    ),
    "archive: an object is put without a condition": Broken({("sealstream.archive.sink", "Bucket"): WithoutCondition}),
    "archive: the manifest before the object": Broken({("sealstream.archive.sink", "Putting"): ManifestFirst}),
    "archive: a lock that ends too soon": Broken({("sealstream.archive.sink", "Putting"): ShortLock}),
    "archive: an object is adopted unchecked": Broken(
        {("sealstream.archive.putting", "check_object"): _not_looked_at}, (("s3.put", "taken"),)
    ),
    "archive: the statement is skipped after a restart": Broken(
        {("sealstream.archive.sink", "sealed_already"): _taken_for_sealed},
        (("s3.lock.manifests", "kill_after"),),
        alone=True,
    ),
    "archive: inputs are trimmed too far": Broken({("sealstream.archive.sink", "Trimmer"): TrimsTooFar}),
}
