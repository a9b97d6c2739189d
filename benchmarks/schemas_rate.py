"""How fast entries become documents of other people's schemas, beside the plain export: `python
benchmarks/schemas_rate.py [entries]`.

In memory, in one process, by its CPU time; the best of five rounds, the kinds in turn. What counts is what `search
--all` does with an entry that it has found: NDJSON, written into nothing.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from sealstream.events import canonical_event, new_event_id
from sealstream.mappings import SCHEMAS
from sealstream.sealing import Written, genesis_hash, seal
from sealstream.search import Found
from sealstream.search.writing import WRITERS, Writer, mapped_writer

LOG = "audit.example.com/acme"
TIME = "2026-11-24T03:00:00.000000Z"
BATCH = 1_000


class Nowhere:
    """Counts bytes."""

    def __init__(self) -> None:
        self.size_bytes = 0

    def write(self, data: bytes, /) -> None:
        self.size_bytes += len(data)

    def flush(self) -> None:
        pass


def found(count: int) -> list[Found]:
    """Requests of a clinic, sealed one behind the other."""
    entries: list[Found] = []
    prev_hash = genesis_hash(f"{LOG}/main")
    for seq in range(count):
        event = canonical_event(
            {
                "id": new_event_id(),
                "timestamp": TIME,
                "actor_id": f"user-{seq % 997}",
                "actor_type": "user",
                "action": "get:/patients/{id}" if seq % 2 else "patient.read",
                "resource_type": "patient_record",
                "resource_id": f"patient-{seq % 4999}",
                "result": "success",
                "ip_address": "10.0.0.7",
                "user_agent": "Mozilla/5.0 (X11; Linux x86_64)",
                "session_id": f"session-{seq % 997}",
                "metadata": {"http_status": 200, "duration_ms": 1.5},
            }
        )
        sealed = seal(event, Written("main", -1, "event", seq, TIME, seq, TIME), prev_hash)
        entries.append(Found("main", seq, 0, sealed.body, sealed.prev_hash, sealed.hash))
        prev_hash = sealed.hash
    return entries


def took(entries: list[Found], make: Callable[[Nowhere], Writer]) -> tuple[float, int]:
    """CPU seconds, and bytes written."""
    stream = Nowhere()
    begun = time.process_time()
    writer = make(stream)
    for at in range(0, len(entries), BATCH):
        writer.write(entries[at : at + BATCH])
    writer.end()
    return time.process_time() - begun, stream.size_bytes


def main(count: int) -> None:
    """Print the figures."""
    entries = found(count)
    kinds: dict[str, Callable[[Nowhere], Writer]] = {"as sealed": WRITERS["ndjson"]}
    for name in SCHEMAS:
        kinds[name] = lambda stream, name=name: mapped_writer("ndjson", stream, name, LOG)
    best: dict[str, tuple[float, int]] = {}
    for _ in range(5):
        for name, make in kinds.items():
            best[name] = min(best.get(name, (1e9, 0)), took(entries, make))
    plain_s, plain_bytes = best["as sealed"]
    for name, (seconds, size_bytes) in best.items():
        print(
            f"{name}: {count / seconds:,.0f} entries in a CPU second ({plain_s / seconds:.3f} of the plain export), "
            f"{size_bytes / count:,.0f} bytes each ({size_bytes / plain_bytes:.2f} times)"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
