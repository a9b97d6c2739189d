"""What a database administrator can do, on copies of a database that the real sink wrote: found, placed and named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from tests.pipeline import as_role, sql
from tests.verify.conftest import Built

from sealstream.layout.tables import Roles
from sealstream.sealing import entry_hash, split_sealed

TABLES = ("audit_position", "audit_checkpoint")


@pytest.fixture
def copy(
    built: Built, postgres_admin_dsn: str, pipeline_roles: Roles, command_settings: Callable[..., None]
) -> Iterator[str]:
    """The superuser's DSN of a copy, which the commands of this test read."""
    server = urlsplit(postgres_admin_dsn)
    name = f"{built.pipeline.name}_copy"
    sql(postgres_admin_dsn, f"CREATE DATABASE {name} TEMPLATE {built.pipeline.name}")
    dsn = urlunsplit(server._replace(path=f"/{name}"))
    command_settings(POSTGRES__READER_DSN=as_role(dsn, pipeline_roles.reader))
    yield dsn
    sql(postgres_admin_dsn, f"DROP DATABASE {name} WITH (FORCE)")


def as_superuser(dsn: str, statement: str, *arguments: Any) -> None:
    """With every trigger off, which a superuser can."""
    months = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'audit_log'::regclass"
    for table in (*TABLES, *(row[0] for row in sql(dsn, months))):
        sql(dsn, f"ALTER TABLE {table} DISABLE TRIGGER ALL")
    sql(dsn, statement, *arguments)


def test_an_untouched_copy_holds(built: Built, copy: str) -> None:
    verdict = built.verify("postgres")
    assert (verdict.code, verdict.found) == (0, [])
    assert verdict.report["entries"] == built.size


def test_an_edited_column(built: Built, copy: str) -> None:
    seq = built.seq_of(502)
    as_superuser(copy, "UPDATE audit_log SET result = 'success', actor_id = 'nobody' WHERE seq = $1", seq)
    verdict = built.verify("postgres")
    assert (verdict.code, verdict.found) == (1, [("edited", seq, seq)] * 2)
    assert set(verdict.places) == {f"audit_log seq {seq}"}


def test_an_edited_body(built: Built, copy: str) -> None:
    seq = built.seq_of(502)
    body = split_sealed(built.values[seq]).body.replace(b'"treatment"', b'"curiosity"')
    as_superuser(copy, "UPDATE audit_log SET body = $2 WHERE seq = $1", seq, body)
    verdict = built.verify("postgres")
    assert (verdict.code, verdict.found) == (1, [("edited", seq, seq)])


@pytest.mark.parametrize("end", [b"]", b"", b"}}"])
def test_a_body_with_another_end(built: Built, copy: str, end: bytes) -> None:
    seq = built.seq_of(502)
    body = split_sealed(built.values[seq]).body[:-1] + end
    as_superuser(copy, "UPDATE audit_log SET body = $2 WHERE seq = $1", seq, body)
    verdict = built.verify("postgres")
    assert (verdict.code, verdict.kinds) == (1, {"edited"})
    assert {found[1:] for found in verdict.found} == {(seq, seq)}


def test_an_edited_body_with_the_hash_that_fits_it(built: Built, copy: str) -> None:
    seq = built.seq_of(502)
    sealed = split_sealed(built.values[seq])
    body = sealed.body.replace(b'"treatment"', b'"curiosity"')
    forged = entry_hash(sealed.prev_hash, body)
    as_superuser(copy, "UPDATE audit_log SET body = $2, hash = $3 WHERE seq = $1", seq, body, forged)
    verdict = built.verify("postgres")
    assert (verdict.code, verdict.found) == (1, [("edited", seq, seq)])


@pytest.mark.parametrize("rows", [1, 250])
def test_deleted_rows(built: Built, copy: str, rows: int) -> None:
    first = built.seq_of(502)
    as_superuser(copy, "DELETE FROM audit_log WHERE seq BETWEEN $1 AND $2", first, first + rows - 1)
    verdict = built.verify("postgres")
    assert (verdict.code, verdict.found) == (1, [("missing", first, first + rows - 1)])


def test_a_hole_does_not_hide_an_edit_before_or_behind_it(built: Built, copy: str) -> None:
    first = built.seq_of(500)
    as_superuser(copy, "DELETE FROM audit_log WHERE seq BETWEEN $1 AND $2", first, first + 9)
    edit = "UPDATE audit_log SET body = convert_to(replace(convert_from(body, 'UTF8'), 'treatment', 'x'), 'UTF8')"
    as_superuser(copy, f"{edit} WHERE seq IN ($1, $2)", first - 200, first + 300)
    verdict = built.verify("postgres")
    assert verdict.code == 1
    assert verdict.found == [
        ("edited", first - 200, first - 200),
        ("missing", first, first + 9),
        ("edited", first + 300, first + 300),
    ]


def test_a_tail_that_was_cut_off(built: Built, copy: str) -> None:
    end = built.size - 50
    as_superuser(copy, "DELETE FROM audit_log WHERE seq >= $1", end)
    as_superuser(copy, "UPDATE audit_position SET next_seq = $1", end)
    verdict = built.verify("postgres")
    assert verdict.code == 1
    assert verdict.found == [("rolled back", end, built.size - 1)]


def test_a_store_rolled_back_with_its_notes_is_found_by_the_verifiers_own_checkpoint(
    built: Built, copy: str, tmp_path: Path
) -> None:
    assert built.verify("postgres", state_dir=tmp_path).code == 0  # keeps what it saw
    roll_back(copy, 400)
    assert built.verify("postgres").code == 0, "a verifier that never looked before can't know"
    verdict = built.verify("postgres", state_dir=tmp_path)
    assert (verdict.code, verdict.found) == (1, [("rolled back", 400, built.size - 1)])
    assert "this verifier's own" in verdict.report["faults"][0]["detail"]


def test_a_store_rolled_back_with_its_notes_is_stale_after_three_minutes(built: Built, copy: str) -> None:
    roll_back(copy, 400)
    verdict = built.verify("postgres", after=timedelta(minutes=4))
    assert (verdict.code, verdict.found) == (2, [("stale", None, None)])


def roll_back(dsn: str, size: int) -> None:
    """As if the store had never come further than a segment's end."""
    as_superuser(dsn, "DELETE FROM audit_log WHERE seq >= $1", size)
    as_superuser(dsn, "DELETE FROM audit_checkpoint WHERE size > $1", size)
    as_superuser(dsn, "UPDATE audit_position SET next_seq = $1", size)


def test_an_inserted_row(built: Built, copy: str) -> None:
    """A copy of an entry, with another month's time: no unique index minds it."""
    seq = built.seq_of(502)
    columns = "chain, seq, kind, id, timestamp, {} sequenced_at, actor_id, actor_type, action, resource_type, "
    columns += "resource_id, result, ip_address, session_id, tenant, body, prev_hash, hash"
    as_superuser(copy, "SELECT audit_log_add_month(now() + interval '40 days')")
    insert = f"INSERT INTO audit_log ({columns.format('')}) SELECT {columns.format('now() + interval $$40 days$$ AS')}"
    as_superuser(copy, f"{insert} FROM audit_log WHERE seq = $1", seq)
    verdict = built.verify("postgres")
    assert verdict.code == 1
    assert verdict.found == [("duplicated", seq, seq), ("edited", seq, seq)]  # twice, once with a column that is not so


def test_rows_that_changed_places(built: Built, copy: str) -> None:
    seq = built.seq_of(502)
    for number, becomes in ((seq, 1_000_000), (seq + 1, seq), (1_000_000, seq + 1)):
        as_superuser(copy, "UPDATE audit_log SET seq = $2 WHERE seq = $1", number, becomes)
    verdict = built.verify("postgres")
    assert verdict.code == 1
    assert ("reordered", seq, seq) in verdict.found
    assert "missing" not in verdict.kinds


def test_a_forged_note(built: Built, copy: str) -> None:
    size = sql(copy, "SELECT size FROM audit_checkpoint WHERE ends_segment ORDER BY size LIMIT 1")[0]["size"]
    note = sql(copy, "SELECT note FROM audit_checkpoint WHERE size = $1", size)[0]["note"]
    forged = note.replace(note.split(b"\n")[2], note.split(b"\n")[2][::-1])
    as_superuser(copy, "UPDATE audit_checkpoint SET note = $2 WHERE size = $1", size, forged)
    verdict = built.verify("postgres")
    assert (verdict.code, verdict.found) == (1, [("unsigned", None, None)])
    assert verdict.places == [f"audit_checkpoint size {size}"]


def test_a_false_compact_range(built: Built, copy: str) -> None:
    size = sql(copy, "SELECT size FROM audit_checkpoint WHERE ends_segment ORDER BY size LIMIT 1")[0]["size"]
    as_superuser(
        copy,
        "UPDATE audit_checkpoint SET compact_range = overlay(compact_range placing '\\x00' from 1) WHERE size = $1",
        size,
    )
    verdict = built.verify("postgres")
    assert (verdict.code, verdict.found) == (1, [("edited", size - 1, size - 1)])


@pytest.mark.parametrize(("more", "kind"), [(5, "missing"), (-5, "inserted")])
def test_a_position_that_does_not_count_the_rows(built: Built, copy: str, more: int, kind: str) -> None:
    as_superuser(copy, "UPDATE audit_position SET next_seq = next_seq + $1", more)
    verdict = built.verify("postgres")
    first, last = (built.size, built.size + 4) if more > 0 else (built.size - 5, built.size - 1)
    assert (verdict.code, verdict.found) == (1, [(kind, first, last)])


def test_beginning_in_the_middle_still_finds_what_is_behind(built: Built, copy: str) -> None:
    since = built.paused_at.isoformat().replace("+00:00", "Z")
    early, late = built.seq_of(100), built.seq_of(902)
    for seq in (early, late):
        as_superuser(copy, "UPDATE audit_log SET actor_id = 'nobody' WHERE seq = $1", seq)
    verdict = built.verify("postgres", "--since", since)
    assert early < verdict.report["first_seq"] <= built.seq_of(500)
    assert (verdict.code, verdict.found) == (1, [("edited", late, late)])


INSERTED_COLUMNS = (
    'chain, kind, id, "timestamp", sequenced_at, actor_id, actor_type, action, resource_type, resource_id, result, '
    "ip_address, session_id, tenant, body, prev_hash, hash"
)


def test_a_row_below_entry_zero_that_only_questions_would_find(built: Built, copy: str) -> None:
    for (name,) in sql(
        copy, "SELECT conname FROM pg_constraint WHERE contype = 'c' AND conrelid = 'audit_log'::regclass"
    ):
        sql(copy, f'ALTER TABLE audit_log DROP CONSTRAINT "{name}"')
    insert = (
        f"INSERT INTO audit_log (seq, {INSERTED_COLUMNS}) SELECT -5, {INSERTED_COLUMNS} FROM audit_log WHERE seq = $1"
    )
    as_superuser(copy, insert, built.seq_of(502))
    verdict = built.verify("postgres")
    assert (verdict.code, verdict.found) == (1, [("inserted", -5, -5)])


def test_rows_of_a_chain_that_nobody_made(built: Built, copy: str) -> None:
    stranger = INSERTED_COLUMNS.replace("chain", "'ghost'", 1)
    insert = f"INSERT INTO audit_log (seq, {INSERTED_COLUMNS}) SELECT seq, {stranger} FROM audit_log WHERE seq = $1"
    as_superuser(copy, insert, built.seq_of(502))
    verdict = built.verify("postgres")
    assert (verdict.code, verdict.found) == (1, [("inserted", None, None)])
    assert "ghost" in verdict.report["faults"][0]["detail"]


@pytest.mark.parametrize("column", ["body", "prev_hash", "hash"])
def test_a_row_without_its_bytes_blinds_nothing_else(built: Built, copy: str, column: str) -> None:
    seq = built.seq_of(502)
    sql(copy, f"ALTER TABLE audit_log ALTER COLUMN {column} DROP NOT NULL")
    as_superuser(copy, f"UPDATE audit_log SET {column} = NULL WHERE seq = $1", seq)
    as_superuser(copy, "UPDATE audit_log SET result = 'failure' WHERE seq = $1", seq + 200)
    verdict = built.verify("postgres")
    assert verdict.code == 1
    assert ("edited", seq, seq) in verdict.found
    assert ("edited", seq + 200, seq + 200) in verdict.found


def test_a_note_without_its_bytes_is_none(built: Built, copy: str) -> None:
    sql(copy, "ALTER TABLE audit_checkpoint ALTER COLUMN note DROP NOT NULL")
    as_superuser(copy, "UPDATE audit_checkpoint SET note = NULL WHERE size = (SELECT min(size) FROM audit_checkpoint)")
    verdict = built.verify("postgres")
    assert (verdict.code, verdict.found) == (1, [("unsigned", None, None)])
