"""What an auditor does with the objects: DuckDB over a copy of the bucket, as it is."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import duckdb
import pytest

from sealstream.archive import ArchiveStore


@pytest.fixture
def folder(stage, tmp_path) -> Path:
    """A copy of the archive of a clinic's two days, as `aws s3 sync` makes it."""
    s = stage()
    for day in range(2):
        for index in range(40):
            s.chain.event(
                after_s=86_400 - 60 if day and not index else 1,
                actor_id="mallory" if index % 4 == 0 else f"nurse-{index % 3}",
                resource_id=f"patient-{index % 5}",
                result="denied" if index % 4 == 0 else "success",
                action="patient.read",
                reason=f"round {index}",
            )
    s.publish()
    s.archive_all()
    assert len({segment.name.date for segment in s.stored_segments()}) == 2
    store = ArchiveStore(s.bucket_settings, s.chain.name)
    for segment in store.segments():
        for stored in (segment.object, segment.manifest):
            path = tmp_path / stored.key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(store.read(stored.key, stored.counting()))
    store.close()
    return tmp_path


def test_duckdb_answers_the_three_questions(folder: Path) -> None:
    database = duckdb.connect()
    database.sql("SET TimeZone = 'UTC'")
    database.sql(f"""
        CREATE VIEW audit AS SELECT * FROM read_parquet('{folder}/entries/*/*/*.parquet', hive_partitioning = true)
    """)
    # One user's last 30 days
    rows = database.sql("""
        SELECT sequenced_at, action, resource_id, result FROM audit
        WHERE chain = 'main' AND date >= DATE '2026-10-26' AND actor_id = 'nurse-1' ORDER BY seq
    """).fetchall()
    assert len(rows) > 10
    assert {row[1] for row in rows} == {"patient.read"}
    # All access to one record, with reasons
    rows = database.sql("""
        SELECT actor_id, timestamp, body ->> '$.reason' FROM audit
        WHERE resource_type = 'patient' AND resource_id = 'patient-3' ORDER BY seq
    """).fetchall()
    assert len(rows) >= 12
    assert all(reason.startswith("round ") for *_, reason in rows)
    # Actors with more than five failed or denied attempts in 24 hours
    rows = database.sql("""
        SELECT actor_id, date, count(*) FROM audit WHERE result IN ('failure', 'denied')
        GROUP BY actor_id, date HAVING count(*) > 5 ORDER BY date
    """).fetchall()
    assert [row[0] for row in rows] == ["mallory", "mallory"]


def test_the_partitions_are_the_days_of_the_entries(folder: Path) -> None:
    found = duckdb.sql(f"""
        SELECT count(*), count(*) FILTER (WHERE date <> (sequenced_at AT TIME ZONE 'UTC')::DATE), min(seq), max(seq)
        FROM read_parquet('{folder}/entries/*/*/*.parquet', hive_partitioning = true)
    """).fetchall()
    ((rows, misplaced, first, last),) = found
    assert misplaced == 0
    assert (first, last) == (0, rows - 1)


def test_anybody_can_recompute_a_hash_in_sql(folder: Path) -> None:
    wrong = duckdb.sql(f"""
        SELECT count(*) FROM read_parquet('{folder}/entries/*/*/*.parquet')
        WHERE sha256('\\x00'::BLOB || prev_hash || encode(body)) <> lower(hex(hash))
    """).fetchall()
    assert wrong == [(0,)]


def test_the_archive_reads_from_its_copy_as_from_the_bucket(folder: Path) -> None:
    store = ArchiveStore(folder, "main")
    segments = list(store.segments())
    assert segments[0].name.first_seq == 0
    assert all(one.name.last_seq + 1 == other.name.first_seq for one, other in pairwise(segments))
    assert store.foreign == []
