"""`migrate`: brings a database to this release's schema by numbered SQL files, each in a transaction of its own.

Repeatable, and safe when several start it at once (an advisory lock of the database lets one work). Applied files are
written down with their SHA-256 in `audit_migration`, in the file's own transaction: a crash leaves whole steps, and the
next run goes on behind them. A file that was changed after it had been applied is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import asyncpg

from sealstream.errors import Misconfigured
from sealstream.layout.tables import AUDIT_MIGRATION, SCHEMA, Migration, Roles, migrations
from sealstream.postgres.driver import Session
from sealstream.postgres.roles import ensure_roles

__all__ = ["check_schema", "migrate", "migrate_back"]

_LOCK = 0x5EA1_57EA  # of this database; any number that nobody else takes
_TABLE = f"{SCHEMA}.{AUDIT_MIGRATION}"
_OLDEST = 16
"""Of PostgreSQL: before it a member of a role always had that role's rights."""
_APPLIED = f"SELECT number, name, digest FROM {_TABLE}"


def migrate(
    admin_dsn: str,
    *,
    roles: Roles | None = None,
    passwords: Mapping[str, str] | None = None,
    steps: int | None = None,
) -> list[str]:
    """Applies what is missing, and returns the names of the files that were applied.

    `admin_dsn`: a superuser, or the database's owner with CREATEROLE. `passwords` by short role name (sink, reader,
    keeper): set; roles not named keep theirs, and a new one has none. `steps`: only the files numbered up to this.
    Raises `Misconfigured` when the database isn't UTF-8, or has a migration that this release lacks or knows otherwise.
    """
    roles = roles or Roles.of()
    wanted = migrations()[:steps]
    with Session(admin_dsn, "sealstream migrate") as session:

        async def work(connection: asyncpg.Connection[Any]) -> list[str]:
            await _check_database(connection)
            await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
            await ensure_roles(connection, roles, passwords or {})
            await _prepare(connection, roles)
            async with connection.transaction():
                await connection.execute(f'SET LOCAL ROLE "{roles.owner}"')
                applied = _known(await connection.fetch(_APPLIED), migrations())
            done = []
            for migration in wanted:
                if migration.number not in applied:
                    await _apply(connection, migration, roles)
                    done.append(migration.name)
            return done

        return session.run("migrating the database", work)


def migrate_back(admin_dsn: str, to: int, *, roles: Roles | None = None) -> list[str]:
    """Takes back what was applied behind the file numbered `to`, the newest first; the names of the files taken back.

    For the release before, which refuses a database with migrations that it does not know. Each step is a transaction
    of its own. Raises `Misconfigured`, with nothing taken back, when there is a file among them that can't be.
    """
    roles = roles or Roles.of()
    with Session(admin_dsn, "sealstream migrate") as session:

        async def work(connection: asyncpg.Connection[Any]) -> list[str]:
            await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
            async with connection.transaction():
                await connection.execute(f'SET LOCAL ROLE "{roles.owner}"')
                applied = _known(await connection.fetch(_APPLIED), migrations())
            doomed = [each for each in reversed(migrations()) if each.number in applied and each.number > to]
            if lasting := [each.name for each in doomed if not each.undo]:
                raise Misconfigured(f"{', '.join(lasting)} can't be taken back: nothing was changed")
            for migration in doomed:
                async with connection.transaction():
                    await connection.execute(f'SET LOCAL ROLE "{roles.owner}"')
                    await connection.execute(migration.undo)
                    await connection.execute(f"DELETE FROM {_TABLE} WHERE number = $1", migration.number)
            return [migration.name for migration in doomed]

        return session.run("migrating the database back", work)


def check_schema(session: Session) -> None:
    """Raises `Misconfigured` unless the database has this release's migrations, all of them and no other."""
    try:
        rows = session.fetch("reading the schema's version", _APPLIED)
    except Misconfigured as error:
        raise Misconfigured(
            f"the database has no Sealstream schema, or not for this role: run `sealstream migrate` ({error})"
        ) from error
    missing = [migration.name for migration in migrations() if migration.number not in _known(rows, migrations())]
    if missing:
        raise Misconfigured(f"the database lacks {', '.join(missing)}: run `sealstream migrate`")


async def _check_database(connection: asyncpg.Connection[Any]) -> None:
    if connection.get_server_version() < (_OLDEST, 0):
        version = await connection.fetchval("SHOW server_version")
        raise Misconfigured(f"this is PostgreSQL {version}: expected {_OLDEST} or newer")
    encoding = await connection.fetchval("SHOW server_encoding")
    if encoding != "UTF8":
        raise Misconfigured(f"the database's encoding is {encoding}: expected UTF8, since events hold any text")


async def _prepare(connection: asyncpg.Connection[Any], roles: Roles) -> None:
    """What only an administrator can give: the owner its place, the others a way in."""
    async with connection.transaction():
        database = await connection.fetchval("SELECT quote_ident(current_database())")
        await connection.execute(
            f'GRANT USAGE, CREATE ON SCHEMA {SCHEMA} TO "{roles.owner}";'
            f'GRANT USAGE ON SCHEMA {SCHEMA} TO "{roles.sink}", "{roles.reader}", "{roles.keeper}";'
            f'GRANT CONNECT ON DATABASE {database} TO "{roles.sink}", "{roles.reader}", "{roles.keeper}";'
            f"REVOKE CREATE ON SCHEMA {SCHEMA} FROM PUBLIC"
        )
        if await connection.fetchval("SELECT to_regclass($1)", _TABLE) is None:
            await connection.execute(f'SET LOCAL ROLE "{roles.owner}"')
            await connection.execute(
                f"CREATE TABLE {_TABLE} (number integer PRIMARY KEY, name text NOT NULL, digest bytea NOT NULL, "
                "applied_at timestamptz NOT NULL DEFAULT now())"
            )


def _known(rows: list[asyncpg.Record], wanted: list[Migration]) -> set[int]:
    """The numbers that were applied. Raises `Misconfigured` for one that this release does not know as it was."""
    ours = {migration.number: migration for migration in wanted}
    for row in rows:
        migration = ours.get(row["number"])
        if migration is None:
            raise Misconfigured(
                f"the database has migration {row['name']}, which this release lacks: install a newer one"
            )
        if migration.digest != row["digest"]:
            raise Misconfigured(
                f"migration {row['name']} was changed after it had been applied: expected SHA-256 "
                f"{row['digest'].hex()}, got {migration.digest.hex()}; a change belongs in a new file"
            )
    return {row["number"] for row in rows}


async def _apply(connection: asyncpg.Connection[Any], migration: Migration, roles: Roles) -> None:
    async with connection.transaction():
        await connection.execute(f'SET LOCAL ROLE "{roles.owner}"')
        await connection.execute(migration.for_roles(roles))
        await connection.execute(
            f"INSERT INTO {_TABLE} (number, name, digest) VALUES ($1, $2, $3)",
            migration.number,
            migration.name,
            migration.digest,
        )
