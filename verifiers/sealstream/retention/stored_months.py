"""Which months Postgres holds of a chain. Reads only."""

from __future__ import annotations

import re
from typing import NamedTuple

from sealstream.layout.tables import AUDIT_LOG, SCHEMA
from sealstream.postgres.driver import Session

__all__ = ["StoredMonth", "stored_months"]

_TABLES = (
    f"SELECT c.relname AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
    f"WHERE i.inhparent = '{SCHEMA}.{AUDIT_LOG}'::regclass ORDER BY c.relname"
)
_BOUNDS = (
    f"SELECT min(seq) AS low, max(seq) AS high FROM {SCHEMA}.{AUDIT_LOG} WHERE chain = $1 "
    "AND sequenced_at >= $2::text::timestamptz AND sequenced_at < $2::text::timestamptz + interval '1 month'"
)
_NAME = re.compile(rf"{AUDIT_LOG}_([0-9]{{4}})_([0-9]{{2}})")


class StoredMonth(NamedTuple):
    """A month (`YYYY-MM`) that has entries of the chain: `first` to `last`."""

    month: str
    first: int
    last: int


def stored_months(session: Session, chain: str) -> list[StoredMonth]:
    """The months that have any entry of the chain, in order of time."""
    months = []
    for table in session.fetch("listing months", _TABLES):
        named = _NAME.fullmatch(table["name"])
        if named is None:
            continue
        month = f"{named[1]}-{named[2]}"
        (row,) = session.fetch(f"looking at month {month}", _BOUNDS, chain, f"{month}-01T00:00:00Z")
        if row["low"] is not None:
            months.append(StoredMonth(month, row["low"], row["high"]))
    return months
