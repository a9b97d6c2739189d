"""Every table has the archive's columns, in their order, with the types that its engine has for them."""

from __future__ import annotations

import re

import pytest
import sqlglot
from sqlglot import ErrorLevel, exp
from tests.deploy.tables.tables import TABLES, columns, partitions, statements

from sealstream.layout.archive import ENTRIES, archive_prefix
from sealstream.layout.parquet import PARQUET_COLUMNS

TYPES = {
    "athena.sql": {"string": "string", "int64": "bigint", "timestamp": "timestamp", "hash": "binary"},
    "trino.sql": {"string": "varchar", "int64": "bigint", "timestamp": "timestamp(6)", "hash": "varbinary"},
    "spark.sql": {"string": "string", "int64": "bigint", "timestamp": "timestamp", "hash": "binary"},
}


@pytest.mark.parametrize("file", TYPES)
def test_the_columns_are_the_objects_own(file: str) -> None:
    own = [(column.name, TYPES[file][column.type]) for column in PARQUET_COLUMNS]
    found = columns(file)
    assert found[: len(own)] == own
    assert [name for name, _ in found[len(own) :]] in ([], ["chain", "date"])


@pytest.mark.parametrize("file", ["athena.sql", "trino.sql", "spark.sql"])
def test_chain_and_date_come_from_the_folder(file: str) -> None:
    text = partitions(file)
    assert re.search(r"chain.*date", text, re.S)
    if file != "spark.sql":
        place = archive_prefix(ENTRIES, "${chain}", "${date}")
        assert f"s3://audit-archive/{place}'" in text


def test_the_view_for_duckdb_names_the_same_columns() -> None:
    (view,) = [each for each in statements("duckdb.sql") if "VIEW" in each]
    named = re.findall(r"^  (\w+),?$", view.split("FROM")[0], re.M)
    assert named == [column.name for column in PARQUET_COLUMNS] + ["chain", "date"]


@pytest.mark.parametrize("engine", ["athena", "trino", "spark", "duckdb"])
def test_its_engine_can_parse_it(engine: str) -> None:
    """By sqlglot's dialect of each: what it does not know becomes a `Command`, unread."""
    own = (TABLES / f"{engine}.sql").read_text()
    questions = (TABLES / "questions.sql").read_text()
    made, asked = (sqlglot.parse(text, read=engine, error_level=ErrorLevel.RAISE) for text in (own, questions))
    unread = [str(each.this) for each in made if isinstance(each, exp.Command)]
    assert unread == {"spark": ["SET", "MSCK REPAIR"]}.get(engine, [])
    assert len([each for each in made if isinstance(each, exp.Create)]) == 2
    assert [type(each) for each in asked] == [exp.Select] * 3


def test_every_file_is_tried_by_a_test() -> None:
    assert {path.name for path in TABLES.iterdir()} == {*TYPES, "duckdb.sql", "questions.sql", "iceberg.py"}
