"""How long `sealstream reconcile` takes to find one differing entry among many, by store and by level.

    python benchmarks/bench_reconcile.py --stack .sealstream --entries 1000000

A chain of so many entries is made in the three stores of a stack that runs (`make up`), one row is changed as a
superuser, and each store is compared alone, then all at once. Beside the wall clock stands the processor time that this
process and the database's own backends used: on a machine that does other work it is what can be compared. Standalone,
and no part of `make bench`: making the chain takes longer than all that is measured.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

sys.path.insert(0, str(Path(__file__).parents[1]))

import boto3
from tests.pipeline import as_role, sql
from tests.rebuild.made_chain import MadeChain, fill_postgres

from sealstream.archive import ArchiveSettings
from sealstream.devstack import Endpoints, endpoints_of
from sealstream.kafka import KafkaSettings, create_topics
from sealstream.layout import ChainSettings, ChainTopics, Retention, SegmentLimits
from sealstream.layout.tables import Roles
from sealstream.postgres import migrate
from sealstream.rebuild import Sources, Verified, reconcile
from sealstream.sealing import new_signing_key, signer

LOG = "audit.example.com/bench"
TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Make the chain, measure, print a table, and drop the database."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument(
        "--stack", type=Path, default=Path(".sealstream"), help="the data directory of a running stack"
    )
    options.add_argument("--entries", type=int, default=1_000_000)
    given = options.parse_args()
    stack = endpoints_of(given.stack)
    name = f"b{uuid.uuid4().hex[:10]}"
    roles = Roles.of(name)
    sql(stack.postgres_admin_dsn, f"CREATE DATABASE {name}")
    try:
        measure(stack, name, roles, given.entries)
    finally:
        sql(stack.postgres_admin_dsn, f"DROP DATABASE {name} WITH (FORCE)")
        for role in roles:
            sql(stack.postgres_admin_dsn, f"DROP ROLE IF EXISTS {role}")


def measure(stack: Endpoints, name: str, roles: Roles, entries: int) -> None:
    """The chain in the three stores, and the table."""
    skey = new_signing_key(f"{LOG}/{name}")
    limits = SegmentLimits(100_000, 67_108_864, 300_000_000)
    settings = ChainSettings(name, LOG, signer(skey).vkey, Retention("soc2", archive_days=366), limits)
    kafka = KafkaSettings(stack.kafka_bootstrap)
    access = {"access_key": stack.s3_access_key, "secret_key": stack.s3_secret_key}
    bucket = ArchiveSettings(f"t-{name}", endpoint_url=stack.s3_endpoint_url, region=stack.s3_region, **access)
    client = boto3.client(
        "s3", endpoint_url=bucket.endpoint_url, region_name=bucket.region,
        aws_access_key_id=bucket.access_key, aws_secret_access_key=bucket.secret_key,
    )  # fmt: skip
    client.create_bucket(Bucket=bucket.bucket, ObjectLockEnabledForBucket=True)
    create_topics(kafka, ChainTopics.of(name).configs())
    step = timedelta(seconds=2_600_000 / entries)
    begin = datetime(2026, 10, 1, tzinfo=UTC)
    made = MadeChain(
        settings, signer(skey), events=entries, when=lambda n: begin + n * step, bucket=bucket, filler=" x" * 60
    )
    made.publish(kafka)
    dsn = urlunsplit(urlsplit(stack.postgres_admin_dsn)._replace(path=f"/{name}"))
    migrate(dsn, roles=roles, passwords=dict.fromkeys(roles.logins(), "of-the-tests"))
    fill_postgres(kafka, settings, as_role(dsn, roles.sink))
    sql(dsn, "ANALYZE audit_log")
    reader = as_role(dsn, roles.reader)
    size = sum(map(len, made.values)) / made.size
    print(f"{made.size:,} entries of {size:.0f} bytes in {len(made.segments)} segments; {os.cpu_count()} cores\n")
    print("| what | wall s | processor s, reconcile | processor s, Postgres | wall us/entry | found |")
    print("|---|---|---|---|---|---|")
    seq = made.size // 2
    sql(dsn, "ALTER TABLE audit_log DISABLE TRIGGER ALL")
    sql(dsn, f"UPDATE audit_log SET actor_id = 'nobody', body = body || ' ' WHERE seq = {seq}")
    with tempfile.TemporaryDirectory() as folder:
        verified = Verified(Path(folder) / "objects.json")
        rounds = [
            ("Postgres, quick: stored hashes", Sources(None, reader, None), True),
            ("Postgres: bodies hashed, columns compared", Sources(None, reader, None), False),
            ("Kafka", Sources(kafka, None, None), False),
            ("archive, first time", Sources(None, None, bucket), False),
            ("archive, seen before", Sources(None, None, bucket), False),
            ("all three at once, archive seen before", Sources(kafka, reader, bucket), False),
            ("Postgres quick and archive, seen before", Sources(None, reader, bucket), True),
        ]
        for what, sources, quick in rounds:
            ours, theirs = cpu_of_self(), cpu_of_postgres(postmaster_of(dsn))
            begun = time.monotonic()
            result = reconcile(settings, sources, quick=quick, workers=os.cpu_count() or 1, verified=verified)
            wall = time.monotonic() - begun
            ours, theirs = cpu_of_self() - ours, cpu_of_postgres(postmaster_of(dsn)) - theirs
            found = [f"{d.store} {d.fault.kind} {d.fault.seqs()}" for d in result.differences]
            print(
                f"| {what} | {wall:.1f} | {ours:.1f} | {theirs:.1f} | {wall / made.size * 1e6:.1f} | "
                f"{', '.join(found) or '-'} |",
                flush=True,
            )


def cpu_of_self() -> float:
    """Processor seconds of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def postmaster_of(dsn: str) -> int:
    """The server's own process, parent of all its backends."""
    (row,) = sql(dsn, "SHOW data_directory")
    return int((Path(row["data_directory"]) / "postmaster.pid").read_text().split()[0])


def cpu_of_postgres(postmaster: int) -> float:
    """Processor seconds of the server and of all its backends that have ended (their parent has inherited them)."""
    fields = Path(f"/proc/{postmaster}/stat").read_text().rpartition(")")[2].split()
    return sum(int(fields[index]) for index in (11, 12, 13, 14)) / TICKS


if __name__ == "__main__":
    main()
