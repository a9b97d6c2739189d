"""The archive's Parquet shape: a row's columns in their order, and how they are written.

`body` is the truth (UTF-8, without the seal), `prev_hash` and `hash` bind it, the hot columns are copies for queries.
Chain and date are not columns: they come from the object's path. Pure; pyarrow is imported where it is used, because
the thin install lacks it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sealstream.layout.entries import HOT_COLUMNS

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["BLOOM_COLUMNS", "PARQUET_COLUMNS", "ParquetColumn", "arrow_schema", "parquet_writer_options"]


class ParquetColumn(NamedTuple):
    """One column. `type`: `string`, `int64`, `timestamp` (microseconds, UTC) or `hash` (fixed 32 bytes)."""

    name: str
    type: str = "string"
    nullable: bool = False
    dictionary: bool = False
    """Few values, many rows: written with a dictionary. Where almost every value is another, that only costs."""


_SPECIAL = {
    "seq": ParquetColumn("seq", "int64"),
    "id": ParquetColumn("id"),
    "timestamp": ParquetColumn("timestamp", "timestamp"),
    "sequenced_at": ParquetColumn("sequenced_at", "timestamp"),
    "ip_address": ParquetColumn("ip_address", nullable=True, dictionary=True),
    "session_id": ParquetColumn("session_id", nullable=True, dictionary=True),
    "tenant": ParquetColumn("tenant", nullable=True, dictionary=True),
}

PARQUET_COLUMNS = (
    ParquetColumn("body"),
    ParquetColumn("prev_hash", "hash"),
    ParquetColumn("hash", "hash"),
    *(_SPECIAL.get(name, ParquetColumn(name, dictionary=True)) for name in HOT_COLUMNS),
)
BLOOM_COLUMNS = ("actor_id", "resource_id")


def arrow_schema() -> pa.Schema:
    """The columns as an Arrow schema."""
    import pyarrow as pa

    types = {
        "string": pa.string(),
        "int64": pa.int64(),
        "timestamp": pa.timestamp("us", "UTC"),
        "hash": pa.binary(32),
    }
    return pa.schema([pa.field(column.name, types[column.type], column.nullable) for column in PARQUET_COLUMNS])


def parquet_writer_options(group_rows: int) -> dict[str, Any]:
    """Keyword arguments of `pyarrow.parquet.ParquetWriter` beside the schema; `group_rows`: rows in a row group.

    zstd at pyarrow's level (higher ones were slower and not smaller on hashes and ids), sorted by seq, a page index,
    and bloom filters on actor and resource as large as a row group can have distinct values. Statistics of `body` and
    of the hashes would help no query. Encodings and data pages are those that every reader of Parquet knows.
    """
    import pyarrow.parquet as pq

    names = [column.name for column in PARQUET_COLUMNS]
    return {
        "compression": "zstd",
        "use_dictionary": [column.name for column in PARQUET_COLUMNS if column.dictionary],
        "write_statistics": [name for name in names if name not in ("body", "prev_hash", "hash")],
        "write_page_index": True,
        "sorting_columns": [pq.SortingColumn(names.index("seq"))],
        "bloom_filter_options": {name: {"ndv": max(group_rows, 1), "fpp": 0.05} for name in BLOOM_COLUMNS},
    }
