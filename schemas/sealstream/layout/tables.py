"""Names and shapes in Postgres: tables, their columns in COPY's order, roles, and the numbered migrations.

Pure but for reading the migrations, which are package data (`postgres/NNNN_name.sql`); a file that was released never
changes, a later one is added. Everything stands in the schema `public` and is named with it, so that no search_path
can put another table in its place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256
from importlib import resources
from typing import NamedTuple

from sealstream.errors import Misconfigured
from sealstream.layout.entries import HOT_COLUMNS

__all__ = [
    "AUDIT_CHECKPOINT",
    "AUDIT_EVENT",
    "AUDIT_LOG",
    "AUDIT_MIGRATION",
    "AUDIT_POSITION",
    "LOG_COLUMNS",
    "SCHEMA",
    "Migration",
    "Roles",
    "migrations",
]

SCHEMA = "public"
AUDIT_LOG = "audit_log"
AUDIT_EVENT = "audit_event"
AUDIT_POSITION = "audit_position"
AUDIT_CHECKPOINT = "audit_checkpoint"
AUDIT_MIGRATION = "audit_migration"

LOG_COLUMNS = ("chain", *HOT_COLUMNS, "body", "prev_hash", "hash")
"""`audit_log` in the order in which rows are copied into it."""

_PREFIX = re.compile(r"[a-z_][a-z0-9_]{0,39}")
_FILE = re.compile(r"([0-9]{4})_([a-z0-9_]+)\.sql")
_VARIABLE = re.compile(r':"([a-z]+)"')


class Roles(NamedTuple):
    """Who may do what. `owner` owns everything and can't log in; the others log in and own nothing."""

    owner: str
    sink: str
    reader: str
    keeper: str

    @classmethod
    def of(cls, prefix: str = "sealstream") -> Roles:
        """The four roles `<prefix>_owner`, ... (roles belong to a whole cluster of databases)."""
        if not _PREFIX.fullmatch(prefix):
            raise Misconfigured(f"role prefix {prefix!r}: expected 1 to 40 of a-z, 0-9 and '_', not beginning with 0-9")
        return cls(*(f"{prefix}_{role}" for role in cls._fields))

    def logins(self) -> Mapping[str, str]:
        """The roles that log in, by their short names: sink, reader, keeper."""
        return {role: name for role, name in self._asdict().items() if role != "owner"}


class Migration(NamedTuple):
    """One numbered step. `digest`: SHA-256 of the file, by which a changed file is told from the one applied.

    `undo`: the SQL of `NAME.undo.sql`, that takes the step back; empty: nothing does.
    """

    number: int
    name: str
    sql: str
    digest: bytes
    undo: str = ""

    def for_roles(self, roles: Roles) -> str:
        """The SQL with `:"sink"` and the like, psql's spelling of a variable, replaced by the roles' names."""
        return _VARIABLE.sub(lambda found: f'"{getattr(roles, found[1])}"', self.sql)


def migrations() -> list[Migration]:
    """All migrations in their order, numbered from 1 without gaps."""
    listed = []
    folder = resources.files("sealstream.layout").joinpath("postgres")
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        named = _FILE.fullmatch(file.name)
        if named is None:
            continue
        data, name = file.read_bytes(), file.name.removesuffix(".sql")
        back = folder.joinpath(f"{name}.undo.sql")
        undo = back.read_text() if back.is_file() else ""
        listed.append(Migration(int(named[1]), name, data.decode(), sha256(data).digest(), undo))
    if [migration.number for migration in listed] != list(range(1, len(listed) + 1)):
        raise Misconfigured(f"migrations are not numbered 1, 2, 3, ...: {[migration.name for migration in listed]}")
    return listed
