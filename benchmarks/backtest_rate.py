"""How fast `sealstream anomaly backtest` is: `python benchmarks/backtest_rate.py [ENTRIES] [ROUNDS]`.

An archive of the company of examples/company is written once, 2,000 people from their first scored day on, without its
hash chain, which a backtest does not look at; then all detectors go over it, in as many processes as there are cores,
round after round. The clock runs from the call to the last alert. By itself, since it measures what it is given by
memory: on a machine whose memory others use, it is little more than half.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import groupby, islice
from pathlib import Path
from statistics import median

import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parents[1]))

from examples.company import Company
from examples.company.writing import stamp

from sealstream.anomalies import History, Trial, backtest
from sealstream.anomaly.detectors import DETECTORS
from sealstream.archive import ColumnMaker, sealed_table
from sealstream.events import canonical_event
from sealstream.layout.archive import SegmentName
from sealstream.layout.parquet import parquet_writer_options

PEOPLE, WARM_UP_DAYS, DAYS, SEED = 2_000, 28, 56, 1
IN_A_SEGMENT = 20_000


def entries(count: int) -> Iterator[tuple[str, bytes]]:
    """Days, and entries as they are sealed."""
    company = Company(SEED, PEOPLE, days=DAYS, warm_up=WARM_UP_DAYS, times=1)
    first = company.scored_from - WARM_UP_DAYS * 86_400
    for seq, each in enumerate(islice((each for each in company if each.at >= first), count)):
        at = stamp(each.at)
        written = (
            f',"written":{{"chain":"main","control_offset":-1,"kind":"event","raw_offset":{seq},"received_at":"{at}",'
            f'"seq":{seq},"sequenced_at":"{at}","v":1}}}}'
        )
        yield at[:10], canonical_event(each.event)[:-1] + written.encode()


def write(folder: Path, count: int) -> tuple[str, str]:
    """The archive's objects; the first day and the last."""
    maker, seq, days = ColumnMaker(), 0, []
    for day, of_day in groupby(entries(count), key=lambda each: each[0]):
        days.append(day)
        while bodies := [body for _, body in islice(of_day, IN_A_SEGMENT)]:
            hashes = b"".join(sha256(body).digest() for body in bodies)
            path = folder / SegmentName("main", day, seq, seq + len(bodies) - 1).object_key
            path.parent.mkdir(parents=True, exist_ok=True)
            table = maker.table(sealed_table(bodies, hashes, hashes))
            pq.write_table(table, path, row_group_size=4_096, **parquet_writer_options(4_096))
            seq += len(bodies)
    return days[0], days[-1]


def cpu_s() -> float:
    """Of this process and those that it has ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def main(count: int, rounds: int) -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory(prefix="sealstream-backtest-") as name:
        first, last = write(Path(name), count)
        since = datetime.fromisoformat(first).replace(tzinfo=UTC)
        until = datetime.fromisoformat(last).replace(tzinfo=UTC) + timedelta(days=1)
        history = History(("main",), since, until, archive=name)
        rates = []
        for _ in range(rounds):
            begun, used = time.perf_counter(), cpu_s()
            outcome = backtest(Trial(history, since, {}, {}, list(DETECTORS)), os.cpu_count() or 1)
            took, used = time.perf_counter() - begun, cpu_s() - used
            seen = sum(outcome.entries.values())
            rates.append(seen / took)
            print(
                f"{seen:,} entries, {len(outcome.present)} alerts: {took:.1f} s, {seen / took:,.0f} entries/s, "
                f"{used / seen * 1e6:.1f} us of processor time each"
            )
        print(f"median {median(rates):,.0f} entries/s ({min(rates):,.0f} to {max(rates):,.0f})")


if __name__ == "__main__":
    given = [int(each) for each in sys.argv[1:]]
    main(*(given + [1_050_000, 3][len(given) :]))
