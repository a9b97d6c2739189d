"""An archive in a folder, as `sealstream archive copy` leaves it, of some days of a small company."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
import pytest
from examples.company import Company, Happened
from examples.company.writing import stamp

from sealstream.archive import ColumnMaker, sealed_table
from sealstream.events import canonical_event
from sealstream.layout.archive import SegmentName
from sealstream.layout.parquet import parquet_writer_options

_SEGMENT = 20_000


class Archived(NamedTuple):
    """Where it is, and what was put there."""

    folder: str
    company: Company
    happened: list[Happened]


@pytest.fixture(scope="session")
def archived(tmp_path_factory: pytest.TempPathFactory) -> Archived:
    folder = tmp_path_factory.mktemp("archive")
    company = Company(11, 150, days=4, warm_up=2, times=1)
    happened = [each for each in company if each.at >= company.scored_from - 2 * 86_400]
    maker = ColumnMaker()
    segment: list[bytes] = []
    for seq, each in enumerate(happened):
        sealed_at = stamp(each.at)
        written = (
            f',"written":{{"chain":"main","control_offset":-1,"kind":"event","raw_offset":{seq},'
            f'"received_at":"{sealed_at}","seq":{seq},"sequenced_at":"{sealed_at}","v":1}}}}'
        )
        segment.append(canonical_event(each.event)[:-1] + written.encode())
        following = stamp(happened[seq + 1].at)[:10] if seq + 1 < len(happened) else ""
        if len(segment) == _SEGMENT or following != sealed_at[:10]:
            _put(folder, SegmentName("main", sealed_at[:10], seq - len(segment) + 1, seq), segment, maker)
            segment = []
    maker.close()
    return Archived(str(folder), company, happened)


def _put(folder: Path, name: SegmentName, bodies: Sequence[bytes], maker: ColumnMaker) -> None:
    hashes = b"".join(sha256(body).digest() for body in bodies)  # nobody verifies this copy
    path = folder / name.object_key
    path.parent.mkdir(parents=True, exist_ok=True)
    table = maker.table(sealed_table(bodies, hashes, hashes))
    pq.write_table(table, path, row_group_size=4_096, **parquet_writer_options(4_096))
