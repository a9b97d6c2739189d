"""Verifying an archive, as a user does with a copy in a folder, against DuckDB's sha256 over the same Parquet files.

Ours recomputes every hash, link, root and signature, holds each body to the rules of an event and to canonical form,
and compares every column with the bytes; the report must say that all holds, else the figure counts for nothing. DuckDB
hashes each body once, with as many threads as there are cores. Both read files that the kernel has in its cache.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import duckdb
from bench_archive import archived_copy
from rows import REACHED, Row
from workbench import LONG, BenchChain, Workbench, profiled

from sealstream.verify import ChainIdentity, Verification, verify_archive


def verifying(chain: BenchChain, folder: Path, workers: int = os.cpu_count() or 1) -> tuple[int, float]:
    """Entries, and seconds."""
    settings = chain.settings
    asked = Verification(
        ChainIdentity(settings.name, settings.origin, settings.vkey), datetime.now(UTC), workers=workers
    )
    begun = time.perf_counter()
    report = verify_archive(folder, asked)
    took = time.perf_counter() - begun
    if report.exit_code or not report.entries:
        raise RuntimeError(f"verification says {report.verdict}: {report.faults[:3]}")
    return report.entries, took


def hashing(folder: Path) -> float:
    """Seconds that DuckDB takes."""
    connection = duckdb.connect(config={"threads": os.cpu_count() or 1})
    begun = time.perf_counter()
    connection.sql(f"SELECT max(sha256(body)) FROM '{folder}/entries/**/*.parquet'").fetchall()
    took = time.perf_counter() - begun
    connection.close()
    return took


def measure(bench: Workbench) -> list[Row]:
    """Verification's row."""
    bench.say("verify archive: preparing a copy")
    chain, folder = archived_copy(bench, LONG)
    hashing(folder)
    ours: list[float] = []
    bare: list[float] = []
    for number in bench.each_round("verify archive"):
        if number % 2:
            entries, took = verifying(chain, folder)
            bare.append(entries / hashing(folder))
        else:
            spent = hashing(folder)
            entries, took = verifying(chain, folder)
            bare.append(entries / spent)
        ours.append(entries / took)
    row = Row(
        "verify archive",
        "verify archive, a copy in a folder",
        "DuckDB's sha256 over the same Parquet on the same cores",
        "entries/s",
        goal=1,
        first_goal=0.5,
        ours=ours,
        baseline=bare,
        durability="both read only",
        remark=f"{entries:,} entries; `sealstream verify archive --folder`, with a process for each core",
        remedy="Each body is parsed, held to every rule of an event and written again in canonical form by Python "
        "code; only a compiled validator would bring it to the speed of the hash alone.",
    )
    if row.verdict == REACHED:
        return [row]
    return [replace(row, profile=profiled(lambda: verifying(chain, folder, workers=1)))]
