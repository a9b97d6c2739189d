"""One of each kind of record that must be refused, by itself, in the raw topic and in the control topic."""

from __future__ import annotations

import json
import random
import uuid
from typing import Any

__all__ = ["poisoned_controls", "poisoned_events"]


def _event(rng: random.Random, **more: Any) -> dict[str, Any]:
    fields = {
        "id": str(uuid.UUID(int=rng.getrandbits(128), version=4)),
        "timestamp": "2026-11-24T03:00:00.000000Z",
        "actor_id": "poison",
        "actor_type": "user",
        "action": "read",
        "resource_type": "record",
        "resource_id": "r",
        "result": "success",
    }
    return {name: value for name, value in {**fields, **more}.items() if value is not ...}


def _json(members: Any) -> bytes:
    return json.dumps(members, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(
        "utf-8", "surrogatepass"
    )


def poisoned_events(rng: random.Random) -> list[bytes]:
    """Invalid events of every kind; none of them may be sealed, none may harm its neighbours."""
    good = _json(_event(rng))
    deep: Any = 1
    for _ in range(40):
        deep = {"d": deep}
    return [
        b"",
        b"{",
        b"null",
        b"[]",
        b"\xff\xfe\x00",
        b"\xef\xbb\xbf" + good,
        b"[" * 100_000,
        rng.randbytes(300),
        good[:-1],
        good + good,
        good.replace(b"{", b'{"action":"write",', 1),
        _json(_event(rng, action=...)),
        _json(_event(rng, action="")),
        _json(_event(rng, result="maybe")),
        _json(_event(rng, timestamp="2026-02-30T00:00:00Z")),
        _json(_event(rng, timestamp="2026-11-24T03:00:00")),
        _json(_event(rng, id="not-a-uuid")),
        _json(_event(rng, written={"seq": 0})),
        _json(_event(rng, unknown=1)),
        _json(_event(rng, ip_address="300.1.1.1")),
        _json(_event(rng, actor_id="x" * 513)),
        _json(_event(rng, actor_id="a\0b")),
        _json(_event(rng, metadata={"s": "\ud800"})),
        _json(_event(rng, metadata=deep)),
        _json(_event(rng, metadata={"n": 2**53})),
        _json(_event(rng)).replace(b"{", b'{"metadata":{"n":1e400},', 1),
        _json(_event(rng, producer_id="p")),
        _json(_event(rng, producer_id="p", producer_seq=-1)),
        _json(_event(rng, metadata={"x": "y" * 70_000})),
        _json(_event(rng, prev_hash="0" * 64, hash="0" * 64)),
    ]


def poisoned_controls(rng: random.Random) -> list[bytes]:
    """Control records that claim what only the log says, or say what no schema allows."""
    system = {"actor_type": "system", "actor_id": "sealstream/forger"}
    return [
        b"{",
        _json(_event(rng, **system, action="chain.created", metadata={"origin": "x"})),
        _json(_event(rng, **system, action="input.passed", metadata={"topic": "raw", "items": []})),
        _json(_event(rng, **system, action="input.lost", metadata={"topic": "raw"})),
        _json(_event(rng, **system, action="segment.archived", metadata={"object": 1})),
        _json(_event(rng, **system, action="producer.gap", metadata={"producer_id": "p", "ranges": [[5, 1]]})),
    ]
