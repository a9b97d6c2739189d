"""How fast `sealstream import` is, into a chain whose sequencer and Postgres sink run beside it: `python
benchmarks/import_rate.py [records]`.

Real servers, the real command, twice: the first run sends everything, the second (`--again`) asks the log about every
record and sends nothing. Records are of CloudTrail, as those in tests/importers, 1.4 KB each, in gzip files
of 2,000. Beside the rate stands that of a CPU's whole second, for machines that have something else to do.
"""

from __future__ import annotations

import gzip
import json
import resource
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

from sealstream.cli.chain import create_chain
from sealstream.cli.settings import load_settings, write_settings
from sealstream.cli.stores import migrate_postgres
from sealstream.devstack import Stack
from sealstream.devstack.ports import free_port

RECORDS_OF = Path(__file__).parents[1] / "tests" / "importers" / "stratus-red-team"
IN_A_FILE = 2_000


def make_trail(folder: Path, count: int) -> None:
    """So many records, each with an id of its own."""
    real = [record for file in sorted(RECORDS_OF.glob("*.json")) for record in json.loads(file.read_text())]
    for first in range(0, count, IN_A_FILE):
        size = min(IN_A_FILE, count - first)
        records = [real[n % len(real)] | {"eventID": str(uuid.uuid4())} for n in range(size)]
        (folder / f"{first:09}.json.gz").write_bytes(gzip.compress(json.dumps({"Records": records}).encode(), 1))


def command(config: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "sealstream.cli.entry", "--config", str(config), *arguments]


def timed(what: str, config: Path, *arguments: str) -> None:
    """Print what one run did, by the clock from the command's start to its end, and by the CPU time it took."""
    begun, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    run = subprocess.run(command(config, "import", *arguments, "--json"), stdout=subprocess.PIPE, text=True, check=True)
    took, now = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    done: dict[str, Any] = json.loads(run.stdout)
    print(
        f"{what}: {done['records']:,} records, {done['sent']:,} sent, {done['known']:,} known: "
        f"{done['records'] / took:,.0f} records/s, {done['records'] / cpu:,.0f} in a CPU second, "
        f"at most {now.ru_maxrss / 1024:.0f} MiB"
    )


def main(count: int) -> None:
    """Print the figures."""
    taken: set[int] = set()
    ports = {name: free_port(taken) for name in ("kafka", "postgres", "s3")}
    with tempfile.TemporaryDirectory(prefix="sealstream-import-") as name:
        folder = Path(name)
        (folder / "trail").mkdir()
        make_trail(folder / "trail", count)
        stack = Stack(folder / "data", ports=ports, progress=lambda _: None)
        running: list[subprocess.Popen[bytes]] = []
        try:
            endpoints = stack.start()
            config = folder / "sealstream.toml"
            dsn = endpoints.postgres_admin_dsn
            write_settings(
                config,
                {
                    "log": "bench.example",
                    "kafka": {"bootstrap": endpoints.kafka_bootstrap},
                    "postgres": {"admin_dsn": dsn, "sink_dsn": dsn, "reader_dsn": dsn},
                    "archive": {
                        "bucket": "bench",
                        "endpoint_url": endpoints.s3_endpoint_url,
                        "region": endpoints.s3_region,
                        "access_key": endpoints.s3_access_key,
                        "secret_key": endpoints.s3_secret_key,
                    },
                },
            )
            migrate_postgres(load_settings(config))
            create_chain(config, load_settings(config), "main", retention="1d")
            for process in ("sequencer", "checkpointing", "postgres-sink"):
                log = (folder / f"{process}.log").open("wb")
                running.append(
                    subprocess.Popen(command(config, "run", process, "--chain", "main"), stdout=log, stderr=log)
                )
            timed("read and mapped", config, "cloudtrail", str(folder / "trail"), "--dry-run")
            timed("first run", config, "cloudtrail", str(folder / "trail"))
            timed("second run", config, "cloudtrail", str(folder / "trail"), "--again")
        finally:
            for each in running:
                each.terminate()
                each.wait(30)
            stack.stop()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
