"""The collector: requests a second and their p99, next to a bare Starlette endpoint that only produces to Kafka.

32 connections, each of which sends its next request when the last is answered, from a process of their own; the same
bodies to both, one event each, and then 100 events in NDJSON. Ours proves the key, holds each event to the rules, puts
who was authenticated into it and answers with its id; both answer when Kafka has acknowledged.
"""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from rows import Row
from workbench import Workbench, example_event

from sealstream.collect import ACTOR_TYPES, Key, KeyFile, new_key
from sealstream.devstack.ports import free_port

CONNECTIONS = 32
_WARM_UP_S = 1.0
_OF_CLIENTS = ("producer_id", "producer_seq")


def bodies(count: int, events: int) -> list[bytes]:
    """Requests' bodies of so many events each, as other languages write them: not canonical."""
    made = []
    for number in range(count):
        fields = [example_event(number * events + each) for each in range(events)]
        lines = [json.dumps({k: v for k, v in each.items() if k not in _OF_CLIENTS}) for each in fields]
        made.append("\n".join(lines).encode())
    return made


async def ask(port: int, requests: list[bytes], seconds: float) -> tuple[float, list[float]]:
    """Requests a second, and each one's milliseconds, sorted."""
    begun = time.perf_counter()
    counted_from, until = begun + _WARM_UP_S, begun + _WARM_UP_S + seconds
    took: list[float] = []
    turn = iter(range(10**9))

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (sent := time.perf_counter()) < until:
            writer.write(requests[next(turn) % len(requests)])
            head = await reader.readuntil(b"\r\n\r\n")
            if b" 202 " not in head[:20]:
                raise RuntimeError(f"expected 202, got {head[:200]!r}")
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            if sent >= counted_from:
                took.append((time.perf_counter() - sent) * 1000)
        writer.close()

    await asyncio.gather(*(one() for _ in range(CONNECTIONS)))
    return len(took) / seconds, sorted(took)


@contextmanager
def served(which: str, bench: Workbench, keys: Path) -> Iterator[int]:
    """The server's port, once it listens."""
    port, topic = free_port(set()), bench.new_chain().topics.raw
    script = Path(__file__).with_name("collect_server.py")
    command = [sys.executable, str(script), which, bench.kafka.bootstrap, topic, str(port), str(keys)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the server of {which} does not listen") from None
                time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(15)


def measure(bench: Workbench) -> list[Row]:
    """The rows of the collector."""
    keys = KeyFile(bench.folder / "collect-keys.json")
    key_id, shown, digest = new_key()
    made = Key(
        id=key_id,
        name="bench",
        sha256=digest,
        chain="main",
        actor_types=ACTOR_TYPES,
        created_at=datetime.now(UTC),
        created_by="bench",
    )
    keys.change(lambda kept: [*kept, made])
    seconds = 3.0 if bench.events <= 20_000 else 8.0
    rows = []
    for events, kind, goal in ((1, "application/json", 0.6), (100, "application/x-ndjson", None)):
        head = (
            f"POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {shown}\r\nContent-Type: {kind}\r\n"
        )
        requests = [
            f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
            for body in bodies(20_000 if events == 1 else 500, events)
        ]
        rates: dict[str, list[float]] = {"ours": [], "bare": []}
        tails: dict[str, list[float]] = {"ours": [], "bare": []}
        for number in bench.each_round(f"collector, {events} a request"):
            for which in ("bare", "ours") if number % 2 == 0 else ("ours", "bare"):
                with served(which, bench, keys.path) as port:
                    rate, took = asyncio.run(ask(port, requests, seconds))
                rates[which].append(rate)
                tails[which].append(took[len(took) * 99 // 100])
        p99 = ", ".join(f"{which} {sorted(found)[len(found) // 2]:.1f} ms" for which, found in tails.items())
        what = "one event" if events == 1 else f"{events} events (NDJSON)"
        rows.append(
            Row(
                f"collector, {what} a request",
                "`sealstream collect`: key, rules, stamp, verdicts, acknowledged by Kafka",
                "a bare Starlette endpoint that produces the same bytes, the same server and producer",
                "requests/s",
                goal=goal,
                ours=rates["ours"],
                baseline=rates["bare"],
                durability="both: acks=all, idempotent, answered after the acknowledgement",
                remark=f"{CONNECTIONS} connections; p99: {p99}",
            )
        )
    return rows
