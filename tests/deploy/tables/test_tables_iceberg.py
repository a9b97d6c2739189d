"""deploy/tables/iceberg.py: a table over objects that stay as they are, on an archive that the real sink wrote."""

from __future__ import annotations

import shutil
import subprocess
import sys
from datetime import UTC, date, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from tests.deploy.tables.conftest import Lake
from tests.deploy.tables.tables import TABLES
from tests.long_runs import long_run

pytestmark = [long_run]


@pytest.fixture(autouse=True)
def _installed() -> None:
    pytest.importorskip("pyiceberg", reason="pyiceberg is not installed: `make lake` installs it")


def run(lake: Lake, where: Path, *more: str, chain: str = "main") -> subprocess.CompletedProcess[str]:
    """The script, as a person runs it."""
    arguments = ["--archive", f"file://{lake.folder}", "--chain", chain, "--warehouse", f"file://{where}/warehouse"]
    arguments += ["--catalog", f"sqlite:///{where}/catalog.db", *more]
    return subprocess.run(
        [sys.executable, str(TABLES / "iceberg.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def files(folder: Path) -> dict[str, str]:
    return {str(path): sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def table(where: Path) -> Any:
    from pyiceberg.catalog.sql import SqlCatalog

    catalog = SqlCatalog("sealstream", uri=f"sqlite:///{where}/catalog.db", warehouse=f"file://{where}/warehouse")
    return catalog.load_table("sealstream.entries_main")


def test_the_table_has_every_entry_and_no_object_was_touched(lake: Lake, tmp_path: Path) -> None:
    before, segments = files(lake.folder), len(lake.stage.chain.segments)
    made = run(lake, tmp_path)
    assert made.returncode == 0, made.stderr
    assert made.stdout == f"sealstream.entries_main: {segments} objects added, {segments} in the table\n"
    assert files(lake.folder) == before
    rows = table(tmp_path).scan().to_arrow().sort_by("seq").to_pylist()
    assert [(row["seq"], row["body"].encode(), row["prev_hash"], row["hash"]) for row in rows] == [
        (decoded.written.seq, sealed.body, sealed.prev_hash, sealed.hash) for decoded, sealed in lake.entries
    ]
    assert rows[0]["sequenced_at"].tzinfo is not None


def test_a_query_for_a_day_reads_that_days_objects_alone(lake: Lake, tmp_path: Path) -> None:
    assert run(lake, tmp_path).returncode == 0
    day = datetime(2026, 11, 25, tzinfo=UTC)
    planned = [each.file for each in table(tmp_path).scan(f"sequenced_at >= '{day.isoformat()}'").plan_files()]
    names = [each.file_path for each in planned]
    assert names
    assert all("date=2026-11-25" in name for name in names)
    assert len(names) < len(lake.stage.chain.segments)
    assert {each.partition[0] for each in planned} == {(date(2026, 11, 25) - date(1970, 1, 1)).days}
    actor = table(tmp_path).scan("actor_id = 'user-123'").to_arrow()
    assert actor.num_rows == sum(decoded.actor_id == "user-123" for decoded, _ in lake.entries)


def test_what_is_new_is_added_and_nothing_twice(lake: Lake, tmp_path: Path) -> None:
    assert run(lake, tmp_path).returncode == 0
    held = len(lake.stage.chain.segments)
    assert run(lake, tmp_path).stdout.endswith(f": 0 objects added, {held} in the table\n")
    lake.grow()
    now = len(lake.stage.chain.segments)
    assert run(lake, tmp_path).stdout.endswith(f": {now - held} objects added, {now} in the table\n")
    assert table(tmp_path).scan().to_arrow().num_rows == len(lake.entries)


def test_what_was_destroyed_is_taken_out_and_the_rest_is_read(lake: Lake, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(lake.folder, copy)
    at = ("--archive", f"file://{copy}")
    assert run(lake, tmp_path, *at).returncode == 0
    first, *rest = sorted(copy.rglob("*.parquet"))
    first.unlink()
    made = run(lake, tmp_path, *at)
    assert made.returncode == 0, made.stderr
    said = f": 0 objects added, 1 taken out that the archive has no more, {len(rest)} in the table\n"
    assert made.stdout.endswith(said)
    begins = int(rest[0].name[:20].split("-")[0].split(".")[0])
    rows = table(tmp_path).scan().to_arrow().sort_by("seq").to_pylist()
    assert [row["seq"] for row in rows] == list(range(begins, len(lake.entries)))
    assert run(lake, tmp_path, *at).stdout.endswith(f": 0 objects added, {len(rest)} in the table\n")


def test_it_says_what_can_not_be(lake: Lake, tmp_path: Path) -> None:
    nothing = run(lake, tmp_path, chain="other")
    assert nothing.returncode != 0
    assert "other" in nothing.stderr.splitlines()[-1]
    within = run(lake, tmp_path, "--warehouse", f"file://{lake.folder}/iceberg")
    assert within.returncode == 2
    assert "name another place" in within.stderr
