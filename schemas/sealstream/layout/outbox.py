"""The outbox in an application's database: its tables' names, the SQL that makes them, the form of a waiting event.

A waiting event is canonical, with `OUTBOX_PRODUCER` and the number 0 as its producer and number; the relay replaces
them by the true ones. Pure but for reading the SQL, which is package data (`outbox.sql`).
"""

from __future__ import annotations

import re
from importlib import resources
from typing import NamedTuple

from sealstream.errors import Misconfigured

__all__ = ["DEFAULT_OUTBOX", "OUTBOX_PRODUCER", "OUTBOX_SPARE_BYTES", "OutboxTables"]

DEFAULT_OUTBOX = "sealstream_outbox"

OUTBOX_PRODUCER = "outbox"
"""Stands as the `producer_id` in an event that waits."""

OUTBOX_SPARE_BYTES = 128
"""What the true producer (two UUIDs) and number may add to a waiting event."""

_NAME = re.compile(r"(?:[a-z_][a-z0-9_]{0,62}\.)?[a-z_][a-z0-9_]{0,50}")
_VARIABLE = re.compile(r":(table|stream|relay|refused)\b")


class OutboxTables(NamedTuple):
    """`table` holds what waits; the others are the relay's."""

    table: str
    stream: str
    relay: str
    refused: str

    @classmethod
    def of(cls, table: str = DEFAULT_OUTBOX) -> OutboxTables:
        """The tables of the outbox with this name, or `schema.name`. Raises `Misconfigured`."""
        if not _NAME.fullmatch(table):
            raise Misconfigured(
                f"outbox table {table!r}: expected name or schema.name, of a-z, 0-9 and '_', the name at most 51 long"
            )
        return cls(table, f"{table}_stream", f"{table}_relay", f"{table}_refused")

    def create_sql(self) -> str:
        """Makes what is not there yet; for `sealstream outbox init` and for an application's own migrations."""
        return self.filled((resources.files(__package__) / "outbox.sql").read_text("utf-8"))

    def grant_sql(self, application: str | None, relay: str | None) -> str:
        """What the application's role and the relay's role need, and nothing else."""
        statements = []
        if application:
            statements.append(f'GRANT INSERT ON {self.table} TO "{application}";')
        if relay:
            statements.append(f'GRANT SELECT, INSERT, DELETE ON {self.table} TO "{relay}";')
            statements.append(
                f'GRANT SELECT, INSERT, UPDATE ON {self.stream}, {self.relay}, {self.refused} TO "{relay}";'
            )
        return "".join(f"{statement}\n" for statement in statements)

    def drop_sql(self) -> str:
        """The reverse of `create_sql`: what still waits is lost."""
        return f"DROP TABLE IF EXISTS {self.relay}, {self.refused}, {self.stream}, {self.table};\n"

    def insert_sql(self, placeholder: str) -> str:
        """What an application executes, with one parameter: the event's bytes."""
        return f"INSERT INTO {self.table} (event) VALUES ({placeholder})"

    def filled(self, sql: str) -> str:
        """`sql` with `:table`, `:stream`, `:relay` and `:refused` as names."""
        return _VARIABLE.sub(lambda match: str(getattr(self, match[1])), sql)
