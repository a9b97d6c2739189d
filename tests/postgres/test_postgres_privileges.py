"""What each role can't do, tried: nothing that was stored changes, whoever asks and whichever table they name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import asyncpg
import pytest

from sealstream.postgres.driver import Session
from sealstream.postgres.rows import encode_rows
from sealstream.postgres.stored import Batch, SinkStore, StoredNote
from sealstream.sealing import genesis_hash

PARTITION = "audit_log_2026_11"
CHANGES = [
    "UPDATE {} SET actor_id = 'nobody'",
    "UPDATE {} SET body = body WHERE seq = 1",
    "DELETE FROM {}",
    "DELETE FROM {} WHERE seq = 1",
    "TRUNCATE {}",
    "TRUNCATE {} CASCADE",
    "MERGE INTO {} t USING (SELECT 1) s ON t.seq = 1 WHEN MATCHED THEN UPDATE SET actor_id = 'x'",
    "MERGE INTO {} t USING (SELECT 1) s ON t.seq = 1 WHEN MATCHED THEN DELETE",
    "WITH gone AS (DELETE FROM {} RETURNING 1) SELECT count(*) FROM gone",
]


@pytest.fixture(scope="module")
def stored(migrated_for_module, make_chain):
    """A database with three entries, a segment's note and a checkpoint. No test of this module commits anything."""
    chain = make_chain("main").add_many(2)
    rows = encode_rows("main", chain.values, [sealed.hash for sealed in chain.sealed], genesis_hash(chain.origin))
    notes = [
        StoredNote(size, ends_segment, chain.note(size).value, chain.range_at(size).hashes, 9, 0)
        for size, ends_segment in ((2, True), (3, False))
    ]
    with Session(migrated_for_module.sink, "test") as session:
        store = SinkStore(session, "main")
        store.position()
        store.store(Batch(0, 3, 5, rows, notes))
    return migrated_for_module


def attempt(dsn: str, statement: str, *before: str) -> None:
    """Runs `statement` and undoes it again; whatever Postgres raises comes through."""

    async def run() -> None:
        connection = await asyncpg.connect(dsn)
        try:
            transaction = connection.transaction()
            await transaction.start()
            for preparation in before:
                await connection.execute(preparation)
            await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run())


@pytest.mark.parametrize("table", ["audit_log", PARTITION])
@pytest.mark.parametrize("statement", CHANGES)
@pytest.mark.parametrize("how", ["superuser", "replica", "owner"])
def test_triggers_refuse_every_change_even_to_the_mighty(stored, roles, table, statement, how):
    before = {
        "superuser": "SELECT 1",
        "replica": "SET LOCAL session_replication_role = replica",
        "owner": f"SET LOCAL ROLE {roles.owner}",
    }[how]
    with pytest.raises(asyncpg.RestrictViolationError, match="is refused: the audit log is append-only"):
        attempt(stored.admin, statement.format(table), before)


@pytest.mark.parametrize("role", ["sink", "reader", "keeper"])
@pytest.mark.parametrize(
    "statement",
    [change.format(table) for table in ("audit_log", PARTITION) for change in CHANGES]
    + [
        f"DROP TABLE {PARTITION}",
        "DROP TABLE audit_log",
        "DROP VIEW audit_event",
        "DROP FUNCTION audit_refuse() CASCADE",
        f"ALTER TABLE audit_log DETACH PARTITION {PARTITION}",
        "ALTER TABLE audit_log DISABLE TRIGGER append_only",
        f"ALTER TABLE {PARTITION} DISABLE TRIGGER ALL",
        "DROP TRIGGER append_only ON audit_log",
        "ALTER TABLE audit_log DROP CONSTRAINT audit_log_hash_check",
        "CREATE INDEX mine ON audit_log (seq)",
        "CREATE TABLE public.mine (a int)",
        "CREATE TRIGGER mine BEFORE INSERT ON audit_log FOR EACH ROW EXECUTE FUNCTION audit_refuse()",
        "CREATE RULE mine AS ON INSERT TO audit_log DO INSTEAD NOTHING",
        "SET ROLE {owner}",
        "SET session_replication_role = replica",
        "DELETE FROM audit_position",
        "DELETE FROM audit_checkpoint",
        "TRUNCATE audit_position",
        "TRUNCATE audit_checkpoint",
        "UPDATE audit_migration SET name = 'x'",
        "SELECT audit_refuse()",
        "ALTER ROLE {owner} LOGIN",
        f"INSERT INTO {PARTITION} SELECT * FROM {PARTITION}",
    ],
)
def test_no_role_that_logs_in_can_change_or_undo_anything(stored, roles, role, statement):
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        attempt(getattr(stored, role), statement.replace("{owner}", roles.owner))


@pytest.mark.parametrize("role", ["reader", "keeper"])
@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO audit_log SELECT * FROM audit_log",
        "INSERT INTO audit_position VALUES ('other', 0, 0)",
        "UPDATE audit_position SET next_seq = 9",
        "UPDATE audit_checkpoint SET size = 9",
        "SELECT audit_log_add_month(now())",
        "SELECT audit_log_last('main')",
    ],
)
def test_who_reads_does_not_write(stored, role, statement):
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        attempt(getattr(stored, role), statement)


@pytest.mark.parametrize("role", ["reader", "keeper"])
def test_readers_read_everything(stored, role):
    for table in ("audit_log", "audit_event", "audit_position", "audit_checkpoint", "audit_migration"):
        attempt(getattr(stored, role), f"SELECT * FROM {table}")


@pytest.mark.parametrize("what", ["*", "body", "actor_id", "prev_hash"])
def test_the_sink_can_not_read_what_people_did(stored, what):
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        attempt(stored.sink, f"SELECT {what} FROM audit_log")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        attempt(stored.sink, "SELECT * FROM audit_event")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_position SET next_seq = next_seq - 1",
        "UPDATE audit_checkpoint SET size = 2 WHERE NOT ends_segment",
        "UPDATE audit_checkpoint SET note = 'x' WHERE ends_segment",
    ],
)
def test_what_the_sink_may_move_moves_forward_only(stored, statement):
    for dsn in (stored.sink, stored.admin):
        with pytest.raises(asyncpg.RestrictViolationError, match="append-only"):
            attempt(dsn, statement)


@pytest.mark.parametrize(
    "statement", ["UPDATE audit_position SET chain = 'x'", "UPDATE audit_checkpoint SET chain = 'x'"]
)
def test_the_sink_can_not_rename_a_chain(stored, statement):
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        attempt(stored.sink, statement)


def test_the_owner_can_not_log_in(stored, dsn_for, roles, run_sql):
    run_sql(stored.admin, f"ALTER ROLE {roles.owner} PASSWORD 'x'", "SELECT 1")
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError, match="not permitted to log in"):
        attempt(dsn_for(stored.admin, roles.owner, "x"), "SELECT 1")


def test_nobody_else_has_any_right(stored, roles, run_sql):
    granted = run_sql(
        stored.admin,
        """
        WITH objects(acl) AS (
            SELECT relacl FROM pg_class WHERE relname LIKE 'audit%' AND relkind IN ('r', 'p', 'v')
            UNION ALL
            SELECT coalesce(proacl, acldefault('f', proowner)) FROM pg_proc WHERE proname LIKE 'audit%'
        ), grantees(name) AS (
            SELECT DISTINCT coalesce(nullif(a.grantee, 0)::regrole::text, 'PUBLIC') FROM objects, aclexplode(acl) a
        )
        SELECT string_agg(name, ' ' ORDER BY name) FROM grantees
        """,
    )
    assert granted.split() == sorted(roles)


def test_functions_that_run_as_the_owner_pin_their_search_path(stored, run_sql):
    unpinned = run_sql(
        stored.admin,
        "SELECT count(*) FROM pg_proc WHERE proname LIKE 'audit%' AND "
        "NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (proconfig), false)",
    )
    assert unpinned == 0


def test_a_table_in_the_sinks_own_temporary_schema_deceives_nobody(stored, session_of: Callable[[str], Session]):
    session = session_of(stored.sink)

    async def shadow(connection):
        await connection.execute("BEGIN")
        await connection.execute(
            "CREATE TEMP TABLE audit_log (chain text, seq bigint, body bytea, prev_hash bytea, hash bytea)"
        )
        await connection.execute(
            "CREATE FUNCTION pg_temp.date_trunc(text, timestamp) RETURNS timestamp RETURN now()::timestamp"
        )
        await connection.execute("SELECT public.audit_log_add_month('2031-05-05T00:00:00Z')")
        return await connection.fetchval("SELECT seq FROM public.audit_log_last('main')")

    assert session.run("shadowing", shadow) == 2
