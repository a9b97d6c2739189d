"""What an export is written as: NDJSON, the sealed entries verbatim; CSV for spreadsheets; Parquet for DuckDB.

The invariant: a writer holds no more than the batch at hand (Parquet: one row group). NDJSON and Parquet hold the
sealed bytes as the store has them, so that what was exported can be verified, and what was edited in a store shows; CSV
is for people, and no cell of it is a formula. Pure.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from sealstream.events import parse_timestamp
from sealstream.layout import decode_entry
from sealstream.layout.entries import HOT_COLUMNS
from sealstream.layout.parquet import PARQUET_COLUMNS, arrow_schema
from sealstream.search import Found

__all__ = ["CSV_COLUMNS", "WRITERS", "Writer", "WriterKind", "csv_cell"]

_GROUP_ROWS = 10_000
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")

CSV_COLUMNS = ("chain", *HOT_COLUMNS, "on_behalf_of", "reason", "old_values", "new_values", "metadata", "hash")


class Writer(Protocol):
    """Bytes for batches; perhaps none, and the rest at the end."""

    def write(self, batch: Sequence[Found]) -> bytes:
        """The bytes that this batch completes."""

    def end(self) -> bytes:
        """The last bytes."""


class WriterKind(NamedTuple):
    """How to make a writer, and what its bytes are called."""

    media_type: str
    make: Callable[[], Writer]


class _Ndjson:
    def write(self, batch: Sequence[Found]) -> bytes:
        return b"".join(found.sealed_value + b"\n" for found in batch)

    def end(self) -> bytes:
        return b""


class _Csv:
    """RFC 4180, with a head."""

    def __init__(self) -> None:
        self._begun = False

    def write(self, batch: Sequence[Found]) -> bytes:
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\r\n")
        if not self._begun:
            rows.writerow(CSV_COLUMNS)
            self._begun = True
        for found in batch:
            event = found.entry
            at_hand = event | event["written"] | {"hash": found.hash.hex()}
            rows.writerow([csv_cell(at_hand.get(name)) for name in CSV_COLUMNS])
        return text.getvalue().encode()

    def end(self) -> bytes:
        return self.write(())


class _Taken(io.RawIOBase):
    """A file that is only ever appended to, and gives away what was appended."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self._size = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._size

    def write(self, data: Any) -> int:
        part = bytes(data)
        self._parts.append(part)
        self._size += len(part)
        return len(part)

    def take(self) -> bytes:
        """What was written since the last time."""
        parts, self._parts = self._parts, []
        return b"".join(parts)


class _Parquet:
    """The archive's columns and the chain; a row group as soon as it is full."""

    def __init__(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._schema = pa.schema([pa.field("chain", pa.string(), False), *arrow_schema()])
        self._written = _Taken()
        self._writer = pq.ParquetWriter(pa.PythonFile(self._written, mode="w"), self._schema, compression="zstd")
        self._rows: list[dict[str, Any]] = []

    def write(self, batch: Sequence[Found]) -> bytes:
        self._rows += [_row(found) for found in batch]
        if len(self._rows) >= _GROUP_ROWS:
            self._write_group()
        return self._written.take()

    def end(self) -> bytes:
        if self._rows:
            self._write_group()
        self._writer.close()
        return self._written.take()

    def _write_group(self) -> None:
        import pyarrow as pa

        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
        self._rows = []


def _row(found: Found) -> dict[str, Any]:
    entry = decode_entry(found.body)
    row: dict[str, Any] = {"chain": found.chain, "body": found.body.decode()}
    row |= {"prev_hash": found.prev_hash, "hash": found.hash}
    for column in PARQUET_COLUMNS:
        if column.name not in row:
            own = column.name in ("seq", "kind", "sequenced_at")
            value = getattr(entry.written if own else entry, column.name)
            row[column.name] = parse_timestamp(value) if column.type == "timestamp" else value
    return row


def csv_cell(value: object) -> str:
    """A value as a cell that no spreadsheet takes for a formula: one that might begin one gets an apostrophe before."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return "'" + text if text.startswith(_FORMULA) else text


WRITERS = {
    "ndjson": WriterKind("application/x-ndjson", _Ndjson),
    "csv": WriterKind("text/csv; charset=utf-8", _Csv),
    "parquet": WriterKind("application/vnd.apache.parquet", _Parquet),
}
