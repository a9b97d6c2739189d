"""What an export is written as: NDJSON, the sealed entries verbatim; CSV for spreadsheets; Parquet for DuckDB and others.

The invariant: a writer holds no more than the batch at hand (Parquet: one row group). NDJSON and Parquet hold the sealed
bytes, so that what was exported can be verified; CSV is for people, and no cell of it is a formula. Pure.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, Protocol

from sealstream.layout.parquet import PARQUET_COLUMNS, arrow_schema
from sealstream.search import Found

__all__ = ["CSV_COLUMNS", "WRITERS", "WriterKind", "Writer", "csv_cell"]

_GROUP_ROWS = 10_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

CSV_COLUMNS = (
    "chain", "seq", "kind", "id", "timestamp", "sequenced_at", "actor_id", "actor_type", "on_behalf_of", "action",
    "resource_type", "resource_id", "result", "ip_address", "session_id", "tenant", "reason", "hash",
)  # fmt: skip
