"""The first page of a search in Postgres, over as many entries as a year of a busy clinic has: a mix of questions.

Entries are sealed here, encoded by the sink's own code and copied in, over three months, with few actors who do much
and many who do little. Then each kind of question is asked again and again with other values, in a random order,
through `PostgresSource` on one connection, as the command and the API do it; what counts is all of it, from the query's
text to the entries in memory. The slowest kinds are named, not averaged away.

By itself: `python benchmarks/bench_search.py DSN [ENTRIES]` (a superuser's DSN; it makes a database and drops it).
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

import asyncpg
from bench_postgres import new_database
from rows import Row
from workbench import Workbench

from sealstream.events import canonical_event, format_timestamp, new_event_id
from sealstream.postgres import migrate
from sealstream.postgres.rows import encode_rows
from sealstream.postgres.stored import copy_rows
from sealstream.sealing import Written, genesis_hash, seal
from sealstream.search import PostgresSource, parse

__all__ = ["asking", "filled", "measure"]

CHAIN = "main"
BEGIN = datetime(2026, 9, 1, tzinfo=UTC)
SPAN = timedelta(days=88)
NOW = BEGIN + SPAN
ROUNDS = 40
_ACTIONS = [f"patient.{verb}" for verb in ("read", "write", "export", "merge")] + [
    f"{area}.{verb}"
    for area in ("invoice", "login", "report", "admin", "key")
    for verb in ("read", "approve", "check", "delete")
]
_CHUNK = 10_000


def _few_do_much(chance: random.Random, many: int) -> int:
    """0 often, many - 1 seldom."""
    return min(int(many * chance.random() ** 4), many - 1)


def _event(chance: random.Random, at: str) -> dict[str, Any]:
    return {
        "id": new_event_id(),
        "timestamp": at,
        "actor_id": f"user-{_few_do_much(chance, 5_000)}",
        "actor_type": "user",
        "action": _ACTIONS[_few_do_much(chance, len(_ACTIONS))],
        "resource_type": "patient_record" if chance.random() < 0.9 else f"kind-{chance.randrange(30)}",
        "resource_id": f"patient-{_few_do_much(chance, 100_000)}",
        "result": "success" if chance.random() < 0.97 else chance.choice(("denied", "failure")),
        "ip_address": f"10.{chance.randrange(4)}.{chance.randrange(256)}.{chance.randrange(256)}",
        "session_id": f"{chance.getrandbits(20):05x}",
        "tenant": f"clinic-{_few_do_much(chance, 50)}",
        "reason": "treatment",
        "user_agent": "Mozilla/5.0 (X11; Linux x86_64)",
        "source": {"service": "clinic", "version": "1.0.0", "host": f"web-{chance.randrange(4)}"},
        "metadata": {"http_status": 200, "duration_ms": chance.randrange(900)},
    }


def _encoded(count: int, seed: int = 7) -> Iterator[tuple[str, bytes, list[str]]]:
    """Rows for COPY, a chunk at a time."""
    chance = random.Random(seed)
    prev = genesis_hash(f"bench.example/{CHAIN}")
    for first in range(0, count, _CHUNK):
        values, hashes, begin = [], [], prev
        for seq in range(first, min(first + _CHUNK, count)):
            moment = BEGIN + SPAN * (seq / count)
            sealed_at = format_timestamp(moment)
            happened = format_timestamp(moment - timedelta(seconds=chance.random() * 5))
            kind = "control" if seq % 20_000 == 19_999 else "event"
            written = Written(CHAIN, -1, kind, seq, sealed_at, seq, sealed_at)
            entry = seal(canonical_event(_event(chance, happened)), written, prev)
            prev = entry.hash
            values.append(entry.to_bytes())
            hashes.append(entry.hash)
        rows = encode_rows(CHAIN, values, hashes, begin)
        yield CHAIN, rows.data, rows.months


def filled(dsn: str, count: int) -> float:
    """Fills a migrated database; the seconds that COPY itself took."""

    async def run() -> float:
        connection = await asyncpg.connect(dsn)
        took = 0.0
        for _chain, data, months in _encoded(count):
            for month in months:
                await connection.execute(f"SELECT audit_log_add_month('{month}-01T00:00:00Z')")
            begun = time.perf_counter()
            await copy_rows(connection, [data])
            took += time.perf_counter() - begun
        await connection.execute("VACUUM ANALYZE audit_log")  # as autovacuum does, sooner or later
        await connection.close()
        return took

    return asyncio.run(run())


def _questions(count: int) -> dict[str, Callable[[random.Random], str]]:
    def often(chance: random.Random) -> int:
        return _few_do_much(chance, 5_000)

    return {
        "newest": lambda _: "",
        "an actor": lambda c: f"actor:user-{often(c)}",
        "a rare actor": lambda c: f"actor:user-{c.randrange(4_500, 5_000)}",
        "actors by beginning": lambda c: f"actor:user-{c.randrange(10, 99)}*",
        "nobody": lambda c: f"actor:nobody-{c.randrange(99)}",
        "an actor's denials": lambda c: f"actor:user-{often(c)} result:denied after:30d",
        "a resource": lambda c: f"resource:patient_record/patient-{_few_do_much(c, 100_000)}",
        "resources by beginning": lambda c: f"resource:patient_record/patient-{c.randrange(1_000, 9_999)}*",
        "a kind of resource": lambda c: f"resource:kind-{c.randrange(30)}",
        "an action": lambda c: f"action:{_ACTIONS[_few_do_much(c, len(_ACTIONS))]}",
        "a rare action": lambda c: f"action:{c.choice(_ACTIONS[-4:])}",
        "actions by beginning": lambda c: f"action:{c.choice(('patient', 'key', 'admin'))}.*",
        "all but reading": lambda _: "-action:patient.read",
        "denied": lambda _: "result:denied",
        "all but success": lambda _: "-result:success before:2026-10-20",
        "an address": lambda c: f"ip:10.{c.randrange(4)}.{c.randrange(256)}.{c.randrange(256)}",
        "a small network": lambda c: f"ip:10.{c.randrange(4)}.{c.randrange(256)}.0/24",
        "a large network": lambda c: f"ip:10.{c.randrange(4)}.0.0/16",
        "the log's own": lambda _: "kind:control kind:log",
        "an id that is not there": lambda _: f"id:{new_event_id()}",
        "places": lambda c: f"seq:{(n := c.randrange(count))}..{n + 50}",
        "a week in the past": lambda c: (
            f"after:{c.randrange(62, 80)}d before:2026-09-29 tenant:clinic-{c.randrange(5)}"
        ),
        "a common tenant": lambda c: f"tenant:clinic-{c.randrange(5)}",
        "many things at once": lambda c: f"actor:user-{often(c)} -action:patient.read result:success tenant:clinic-0",
    }


def _patterns() -> dict[str, Callable[[random.Random], str]]:
    """Questions by patterns that begin anyhow, which no index helps with: told apart, and no part of the goal."""
    return {
        "a common end": lambda _: "action:*.read",
        "a rare end": lambda _: "action:*.delete",
        "a rare middle": lambda _: "actor:*-49*7*",
        "no such end": lambda _: "action:*.erase",
        "no such end, 14 days": lambda _: "action:*.erase after:14d",
        "no such end of an actor": lambda c: f"action:*.erase actor:user-{_few_do_much(c, 5_000)}",
        "a common middle, in bodies": lambda _: "user_agent:*Linux*",
        "no such middle, in bodies": lambda _: "user_agent:*curl*",
        "no such middle, 14 days": lambda _: "user_agent:*curl* after:14d",
        "a beginning and an end": lambda c: f"actor:user-{c.randrange(10, 99)}*7",
    }


def asking(
    dsn: str, kinds: dict[str, Callable[[random.Random], str]], rounds: int = ROUNDS
) -> tuple[list[float], dict[str, list[float]]]:
    """Milliseconds of each first page, all of them and by kind; and of each second page, as a kind of its own."""
    chance = random.Random(11)
    took: dict[str, list[float]] = {kind: [] for kind in (*kinds, "second page")}
    source = PostgresSource(dsn, [CHAIN])
    try:
        for kind in list(kinds):  # whatever a first question of its kind reads from disk
            source.page(parse(kinds[kind](chance), now=NOW))
        for _ in range(rounds):
            for kind in chance.sample(list(kinds), len(kinds)):
                text = kinds[kind](chance)
                begun = time.perf_counter()
                page = source.page(parse(text, now=NOW))
                took[kind].append((time.perf_counter() - begun) * 1000)
                if page.next is not None:
                    begun = time.perf_counter()
                    source.page(parse(text, now=NOW), after=page.next)
                    took["second page"].append((time.perf_counter() - begun) * 1000)
    finally:
        source.close()
    return sorted(ms for kind in kinds for ms in took[kind]), took


def quantile(values: list[float], at: float) -> float:
    """The smallest value that this share of all does not exceed."""
    return sorted(values)[min(int(len(values) * at), len(values) - 1)]


def measure(bench: Workbench) -> list[Row]:
    """The row of searching."""
    count = 4 * bench.events
    p99: list[float] = []
    slowest: list[str] = []
    with new_database(bench.endpoints.postgres_admin_dsn) as dsn:
        migrate(dsn)
        bench.say(f"filling a table with {count:,} entries to search in")
        filled(dsn, count)
        for _ in bench.each_round("search"):
            every, kinds = asking(dsn, _questions(count))
            p99.append(quantile(every, 0.99))
            worst = sorted(kinds, key=lambda kind: -quantile(kinds[kind], 0.99))[:3]
            slowest = [f"{kind} {quantile(kinds[kind], 0.99):.0f} ms" for kind in worst]
    return [
        Row(
            "search, first page",
            f"the first 100 of a search in Postgres over {count:,} entries in three months' tables, 99th percentile "
            f"over {len(_questions(count))} kinds of questions, {ROUNDS} of each",
            "",
            "ms",
            goal=100.0,
            ours=p99,
            at_most=True,
            remark=f"query parsed, answered, entries in memory; the slowest kinds: {', '.join(slowest)}",
            remedy="What no index helps with is answered by reading entries backwards in time until a page is full.",
        )
    ]


def main() -> None:
    """One run, told kind by kind."""
    admin, count = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 100_000
    with new_database(admin) as dsn:
        migrate(dsn)
        took = filled(dsn, count)
        print(f"{count:,} entries, COPY alone {count / took:,.0f} rows/s")
        every, kinds = asking(dsn, _questions(count))
        _tell(kinds)
        _tell({"all first pages": every})
        print("patterns that begin anyhow, and one that does not:")
        _tell(asking(dsn, _patterns(), rounds=5)[1])


def _tell(kinds: dict[str, list[float]]) -> None:
    for kind, values in sorted(kinds.items(), key=lambda item: -quantile(item[1], 0.99)):
        print(f"{kind:<26} median {median(values):8.1f}  p99 {quantile(values, 0.99):8.1f} ms  {len(values)}")


if __name__ == "__main__":
    main()
