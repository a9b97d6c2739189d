"""Puts the stores' models where the sinks meet their servers, and nothing else: the sinks' own lines run as they are.

`Stores(world).driver()` is for `shims.installed`: what stands in the place of asyncpg's `connect` and of the function
that makes a boto3 client, and in most histories the archive's codec (see `light_objects`). One world at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from functools import cache
from itertools import count
from typing import Any

import asyncpg
from tests.simulation.stores.light_objects import (
    LightBuilder,
    LightMaker,
    check_light_object,
    ends_of_light_object,
    light_rows,
)
from tests.simulation.stores.postgres_model import PostgresServer
from tests.simulation.stores.s3_model import S3Server
from tests.simulation.world import World

from sealstream.archive.bucket import connect
from sealstream.archive.building import ObjectBuilder
from sealstream.archive.checking import check_object, ends
from sealstream.archive.columns import ColumnMaker, read_rows
from sealstream.archive.trimming import Trimmer
from sealstream.layout.tables import Migration, migrations

__all__ = ["BUCKET", "DSN", "Stores"]

DSN = "postgresql://sealstream_sink@simulated/audit"
BUCKET = "audit-archive"
INPUT_S = 3.0
KEPT_ENTRIES = 40
"""No fewer than a sequencer of small memory remembers (30)."""


class Stores:
    """The two servers of one world. `real_objects`: Parquet objects as in production, slow."""

    def __init__(self, world: World, *, real_objects: bool = False) -> None:
        self.world = world
        self.real_objects = real_objects
        self.postgres = PostgresServer(world)
        self.s3 = S3Server(world)
        self.s3.make_bucket(BUCKET)
        LightMaker.salts = count()

    def rows_of(self, archived: bytes) -> Iterable[tuple[bytes, bytes, bytes]]:
        """Body, prev_hash and hash of each entry in an object of the archive."""
        return read_rows(archived) if self.real_objects else light_rows(archived)

    def driver(self) -> Mapping[Any, Any]:
        """Real object to its model."""
        replaced: dict[Any, Any] = {
            asyncpg: _Asyncpg(self.postgres),
            migrations: _migrations_once,
            connect: self.s3.client,
            Trimmer: HurriedTrimmer,
        }
        if not self.real_objects:
            replaced |= {
                ColumnMaker: LightMaker,
                ObjectBuilder: LightBuilder,
                check_object: check_light_object,
                ends: ends_of_light_object,
            }
        return replaced


@cache
def _migrations_once() -> list[Migration]:
    """Read once: every start of a sink reads and hashes the files."""
    return migrations()


class HurriedTrimmer(Trimmer):
    """Trims what is some seconds old, where the product keeps a week: a history is a minute."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        more: Any = {"input_days": INPUT_S / 86_400, "kept_entries": KEPT_ENTRIES}
        super().__init__(*arguments, **options, **more)

    def _trim_chain(self, archived: int, online: timedelta) -> Iterator[None]:
        return super()._trim_chain(archived, timedelta(seconds=INPUT_S))


class _Asyncpg:
    """`asyncpg` with another `connect`."""

    def __init__(self, server: PostgresServer) -> None:
        self.connect = server.connect

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncpg, name)
