"""`config check` on a server that refuses: what it says there is what its cures look for."""

from __future__ import annotations

import pytest

from sealstream.cli.check_postgres import check_role


@pytest.mark.parametrize(
    ("change", "undo", "said", "to_do"),
    [
        ("CONNECTION LIMIT 0", "CONNECTION LIMIT -1", "[53300]", "CONNECTION LIMIT -1`"),
        ("NOLOGIN", "LOGIN", "[28000]", "LOGIN`"),
    ],
)
def test_a_role_that_may_not_connect_is_told_how_it_may(migrated, roles, run_sql, change, undo, said, to_do):
    run_sql(migrated.admin, f"ALTER ROLE {roles.sink} {change}", "SELECT 1")
    try:
        (found,) = check_role("sink", migrated.sink)
    finally:
        run_sql(migrated.admin, f"ALTER ROLE {roles.sink} {undo}", "SELECT 1")
    assert (found.state, said in found.said) == ("wrong", True), found
    assert f"`ALTER ROLE {roles.sink} {to_do}" in found.to_do
    assert [each.state for each in check_role("sink", migrated.sink)].count("wrong") == 0


def test_a_wrong_password_and_a_wrong_database_name_the_setting(migrated):
    head, _, at = migrated.sink.partition("@")
    (password,) = check_role("sink", f"{head}x@{at}")
    assert ("[28P01]" in password.said, "postgres.sink_dsn" in password.to_do) == (True, True), password
    (database,) = check_role("sink", f"{migrated.sink}_none")
    assert ("[3D000]" in database.said, "CREATE DATABASE" in database.to_do) == (True, True), database
