"""deploy/tables/duckdb.sql and the questions, asked of an archive that the real sink wrote."""

from __future__ import annotations

from pathlib import Path

import duckdb
from tests.deploy.tables.asked import expected_answers
from tests.deploy.tables.conftest import Lake
from tests.deploy.tables.tables import questions, statements
from tests.long_runs import long_run

from sealstream.layout.parquet import PARQUET_COLUMNS

pytestmark = long_run


def opened(folder: Path) -> duckdb.DuckDBPyConnection:
    database = duckdb.connect()
    for statement in statements("duckdb.sql", folder):
        database.execute(statement)
    return database


def test_duckdb_answers_what_auditors_ask(lake: Lake) -> None:
    database = opened(lake.folder)
    answers = [[tuple(map(str, row)) for row in database.execute(each).fetchall()] for each in questions()]
    wanted = expected_answers(lake)
    assert [len(each) for each in answers] == [len(each) for each in wanted]
    for got, own in zip(answers, wanted, strict=True):
        assert got == own


def test_every_entry_is_a_row_with_its_seal_and_its_day(lake: Lake) -> None:
    rows = opened(lake.folder).execute("SELECT seq, body, prev_hash, hash, date FROM sealstream.entries ORDER BY seq")
    entries = lake.entries
    found = rows.fetchall()
    assert len(found) == len(entries)
    for (seq, body, prev_hash, own_hash, date), (decoded, sealed) in zip(found, entries, strict=True):
        assert (seq, body.encode(), prev_hash, own_hash) == (
            decoded.written.seq,
            sealed.body,
            sealed.prev_hash,
            sealed.hash,
        )
        assert str(date) == decoded.written.sequenced_at[:10]


def test_what_has_no_column_is_in_the_body(lake: Lake) -> None:
    asked = "SELECT json_extract_string(body, '$.reason') FROM sealstream.entries WHERE kind = 'event'"
    reasons = {row[0] for row in opened(lake.folder).execute(asked).fetchall()}
    assert "round 7, Zoë’s" in reasons


def test_a_new_day_is_there_at_once(lake: Lake) -> None:
    database = opened(lake.folder)
    count = "SELECT count(*), max(date) FROM sealstream.entries"
    before = database.execute(count).fetchone()
    lake.grow()
    after = database.execute(count).fetchone()
    assert before is not None
    assert after is not None
    assert after[0] == len(lake.entries) > before[0]
    assert after[1] > before[1]


def test_the_view_has_no_column_that_the_objects_lack(lake: Lake) -> None:
    described = opened(lake.folder).execute("DESCRIBE sealstream.entries").fetchall()
    assert [row[0] for row in described] == [column.name for column in PARQUET_COLUMNS] + ["chain", "date"]
