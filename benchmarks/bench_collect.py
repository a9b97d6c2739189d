"""The collector: requests a second and their p99, next to a bare Starlette endpoint that only produces to Kafka.

32 connections, each of which sends its next request when the last is answered, from a process of their own; the same
bodies to both, one event each, and then 100 events in NDJSON. Both run all the time and are asked in turns, for a
second or two each, so that what else the machine does meets both. Ours proves the key, holds each event to the rules,
puts who was authenticated into it and answers with its id; both answer when Kafka has acknowledged.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import psutil
from rows import Row
from workbench import Workbench, example_event

from sealstream.collect import ACTOR_TYPES, Key, KeyFile, new_key
from sealstream.devstack.ports import free_port

CONNECTIONS = 32
_WARM_UP_S = 1.5
_WINDOWS = 5  # of each round: ours and bare follow each other closely
_OF_CLIENTS = ("producer_id", "producer_seq")


def bodies(count: int, events: int) -> list[bytes]:
    """Requests' bodies of so many events each, as other languages write them: compact, and not canonical."""
    made = []
    for number in range(count):
        fields = [example_event(number * events + each) for each in range(events)]
        told = [{name: value for name, value in each.items() if name not in _OF_CLIENTS} for each in fields]
        lines = [json.dumps(each, separators=(",", ":")) for each in told]
        made.append("\n".join(lines).encode())
    return made


class Connection(asyncio.Protocol):
    """Sends the next request when the last one is answered, until `until`; milliseconds go into `took`."""

    def __init__(self, requests: list[bytes], turn: Iterator[int], until: float, took: list[float]) -> None:
        self._requests, self._turn, self._until, self._took = requests, turn, until, took
        self._held = b""
        self._sent = 0.0
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._next()

    def data_received(self, data: bytes) -> None:
        self._held += data
        head, end, body = self._held.partition(b"\r\n\r\n")
        if not end or len(body) < int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]):
            return
        if b" 202 " not in head[:20]:
            self.ended.set_exception(RuntimeError(f"expected 202, got {self._held[:300]!r}"))
            return
        self._took.append((time.perf_counter() - self._sent) * 1000)
        self._held = b""
        self._next()

    def _next(self) -> None:
        self._sent = time.perf_counter()
        if self._sent < self._until:
            self._transport.write(self._requests[next(self._turn) % len(self._requests)])
        else:
            self._transport.close()
            self.ended.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_exception(error or RuntimeError("the connection was closed"))


async def ask(port: int, requests: list[bytes], seconds: float, turn: Iterator[int]) -> tuple[float, list[float]]:
    """Requests a second, and each one's milliseconds."""
    took: list[float] = []
    begun = time.perf_counter()
    made = [
        await asyncio.get_running_loop().create_connection(
            lambda: Connection(requests, turn, begun + seconds, took), "127.0.0.1", port
        )
        for _ in range(CONNECTIONS)
    ]
    await asyncio.gather(*(connection.ended for _, connection in made))
    return len(took) / (time.perf_counter() - begun), took


class Served(NamedTuple):
    """A server that listens."""

    port: int
    process: psutil.Process

    def cpu_s(self) -> float:
        """Seconds of processor time that it has used."""
        times = self.process.cpu_times()
        return float(times.user + times.system)


@contextmanager
def served(which: str, bench: Workbench, keys: Path) -> Iterator[Served]:
    """The server, once it listens."""
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
        yield Served(port, psutil.Process(process.pid))
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
    seconds = 1.0 if bench.events <= 20_000 else 2.0
    rows = []
    for events, kind, goal in ((1, "application/json", 0.6), (100, "application/x-ndjson", None)):
        head = (
            f"POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {shown}\r\nContent-Type: {kind}\r\n"
        )
        requests = [
            f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
            for body in bodies(20_000 if events == 1 else 500, events)
        ]
        turn = itertools.count()
        rates: dict[str, list[float]] = {"ours": [], "bare": []}
        tails: dict[str, list[float]] = {"ours": [], "bare": []}
        costs: dict[str, list[float]] = {"ours": [], "bare": []}
        with served("ours", bench, keys.path) as ours, served("bare", bench, keys.path) as bare:
            both = {"ours": ours, "bare": bare}
            for server in both.values():  # warm, and connected to Kafka
                asyncio.run(ask(server.port, requests, _WARM_UP_S, turn))
            for number in bench.each_round(f"collector, {events} a request"):
                for window in range(_WINDOWS):
                    for which in ("bare", "ours") if (number + window) % 2 == 0 else ("ours", "bare"):
                        before = both[which].cpu_s()
                        rate, took = asyncio.run(ask(both[which].port, requests, seconds, turn))
                        costs[which].append((both[which].cpu_s() - before) / len(took) * 1000)
                        rates[which].append(rate)
                        tails[which] += took
        p99 = ", ".join(f"{which} {statistics.quantiles(found, n=100)[98]:.1f} ms" for which, found in tails.items())
        cpu = ", ".join(f"{which} {statistics.median(found):.2f} ms" for which, found in costs.items())
        what = "one event" if events == 1 else f"{events} events (NDJSON)"
        rows.append(
            Row(
                f"collector, {what} a request",
                f"`sealstream collect`, {what} a request: key, rules, stamp, verdicts, acknowledged by Kafka",
                "a bare Starlette endpoint that produces the same bytes, the same server and producer",
                "requests/s",
                goal=goal,
                ours=rates["ours"],
                baseline=rates["bare"],
                durability="both: acks=all, idempotent, answered after the acknowledgement",
                remark=f"{CONNECTIONS} connections; p99: {p99}; processor time of the server for a request: {cpu}",
            )
        )
    return rows
