"""Which faults strike the stores and their sinks in a history: drawn from the plan's dice."""

from __future__ import annotations

import random
from typing import NamedTuple

from tests.simulation.stores import postgres_model, s3_model

__all__ = ["StoreFault", "draw_store_fault"]

_POSTGRES = (
    "postgres.connect",
    "postgres.read",
    "postgres.write",
    "postgres.copy",
    "postgres.commit",
    "postgres.commit",
)
_S3 = ("s3.put", "s3.put", "s3.put.manifests", "s3.list", "s3.get", "s3.lock", "s3.lock.manifests", "s3.check")
_GENERAL = ("before", "after", "slow", "kill_before", "kill_after")


class StoreFault(NamedTuple):
    """`kind`: effect (of the operation `where`), postgres or s3 (the server as a whole: `how`)."""

    kind: str
    where: str
    how: str
    seconds: float


def draw_store_fault(rng: random.Random, stores: list[str]) -> StoreFault:
    """One fault of the servers behind these sinks (`postgres-sink`, `archive-sink`)."""
    postgres = [name for name in stores if name.startswith("postgres")]
    archive = [name for name in stores if name.startswith("archive")]
    if postgres and (not archive or rng.random() < 0.5):
        if rng.random() < 0.3:
            how = rng.choice(("restart", "restore", "fill_disk", "run_out_of_connections"))
            return StoreFault("postgres", "", how, round(rng.choice((0.5, 3, 8)) * (0.5 + rng.random()), 2))
        where = rng.choice(_POSTGRES)
        return _effect(rng, where, postgres_model.FAULTS.get(where, ()))
    drawn = rng.random()
    if drawn < 0.08:
        return StoreFault("effect", "s3.put", "taken", 0.0)
    if drawn < 0.35:
        if rng.random() < 0.2:
            return StoreFault("s3", "", "hide", 0.0)
        how = rng.choice(s3_model.TROUBLES)
        return StoreFault("s3 trouble", "", how, round(rng.choice((0.5, 3, 8)) * (0.5 + rng.random()), 2))
    where = rng.choice(_S3)
    return _effect(rng, where, s3_model.FAULTS.get(where.removesuffix(".manifests"), ()))


def _effect(rng: random.Random, where: str, own: tuple[str, ...]) -> StoreFault:
    how = rng.choice(own) if own and rng.random() < 0.4 else rng.choice(_GENERAL)
    seconds = rng.choice((0.2, 3, 20)) * rng.random() if how in ("slow", "late", "half open") else 0.0
    return StoreFault("effect", where, how, round(seconds, 2))
