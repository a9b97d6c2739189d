"""How found entries are written as files: JSON, NDJSON, CSV, Parquet; one batch in memory at a time.

All but CSV hold the sealed bytes, so that what was written can be verified; JSON and NDJSON can hold them within other
people's schemas. CSV is for spreadsheets: what one would compute has an apostrophe before it. Whoever opens the stream
closes it; a crash leaves what was written so far.
"""

from __future__ import annotations

import csv
import io
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from sealstream.errors import NotCanonical
from sealstream.mappings import SchemaName, mapped_entry
from sealstream.search.found import Found

__all__ = ["MAPPED", "WRITERS", "ByteStream", "Shape", "Writer", "csv_cell", "csv_rows", "mapped_writer", "shaped"]

Shape = Callable[[Found], bytes]
"""What an entry is written as."""

_COMPUTED = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
# Where lists are separated by semicolons, a spreadsheet ends a cell there, or at a tab, or at a line break, although it
# is quoted: a quotation mark that does not begin what the spreadsheet takes for a cell is none to it.
_COMPUTED_WITHIN = re.compile(r'[;\t\r\n](?:[^\S\t\r\n]|")*(?=[=+\-@\uff1d\uff0b\uff0d\uff20])')
_EVENT_CELLS = (
    "id", "timestamp", "actor_id", "actor_type", "on_behalf_of", "action", "resource_type", "resource_id", "result",
    "ip_address", "session_id", "tenant", "reason", "user_agent", "trace_id", "source", "changed_fields", "old_values",
    "new_values", "metadata",
)  # fmt: skip
_CSV_COLUMNS = ("chain", "seq", "kind", "sequenced_at", *_EVENT_CELLS, "hash")


class ByteStream(Protocol):
    """What is written into."""

    def write(self, data: bytes, /) -> object:
        """Some bytes."""

    def flush(self) -> object:
        """Everything that was written is passed on."""


class Writer(ABC):
    """Writes batches to an open stream; `end` once after the last."""

    @abstractmethod
    def write(self, batch: Sequence[Found]) -> None:
        """One batch."""

    def end(self) -> None:  # noqa: B027 - most formats have nothing there
        """What stands behind the last entry."""


def _sealed(found: Found) -> bytes:
    return found.sealed_value


class _Ndjson(Writer):
    """Sealed entries, one a line, byte for byte; or what `shape` makes of them."""

    def __init__(self, stream: ByteStream, shape: Shape = _sealed) -> None:
        self._stream = stream
        self._shape = shape

    def write(self, batch: Sequence[Found]) -> None:
        self._stream.write(b"".join(self._shape(found) + b"\n" for found in batch))


class _Json(Writer):
    """One array of the same."""

    def __init__(self, stream: ByteStream, shape: Shape = _sealed) -> None:
        self._stream = stream
        self._shape = shape
        self._begun = False

    def write(self, batch: Sequence[Found]) -> None:
        for found in batch:
            self._stream.write((b",\n" if self._begun else b"[\n") + self._shape(found))
            self._begun = True

    def end(self) -> None:
        self._stream.write(b"\n]\n" if self._begun else b"[]\n")


class _Csv(Writer):
    """RFC 4180; objects and lists as JSON; absent is empty."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._begun = False

    def write(self, batch: Sequence[Found]) -> None:
        text = io.StringIO(newline="")
        rows = csv_rows(text)
        if not self._begun:
            rows.writerow(_CSV_COLUMNS)
            self._begun = True
        for found in batch:
            entry, written = found.entry, found.entry["written"]
            values = [found.chain, found.seq, written["kind"], written["sequenced_at"]]
            rows.writerow([csv_cell(value) for value in (*values, *map(entry.get, _EVENT_CELLS), found.hash.hex())])
        self._stream.write(text.getvalue().encode())

    def end(self) -> None:
        if not self._begun:
            self.write([])


class _Parquet(Writer):
    """The archive's own columns and the chain: `body`, `prev_hash` and `hash` can be verified by whoever gets it."""

    def __init__(self, stream: ByteStream) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        from sealstream.archive import ColumnMaker
        from sealstream.layout.parquet import arrow_schema

        self._maker = ColumnMaker()
        own = arrow_schema()
        self._schema = pa.schema([pa.field("chain", pa.string(), False), *own])
        self._writer = pq.ParquetWriter(stream, self._schema, compression="zstd")

    def write(self, batch: Sequence[Found]) -> None:
        import pyarrow as pa

        from sealstream.archive import sealed_table

        if not batch:
            return
        joined = [b"".join(hashes) for hashes in zip(*((found.prev_hash, found.hash) for found in batch), strict=True)]
        table = self._maker.table(sealed_table([found.body for found in batch], *joined))
        chains = pa.array([found.chain for found in batch])
        self._writer.write_table(pa.Table.from_arrays([chains, *table.columns], schema=self._schema))

    def end(self) -> None:
        self._writer.close()
        self._maker.close()


def csv_rows(text: io.StringIO) -> Any:
    """A writer of rows, every cell quoted: some programs separate by commas, semicolons and tabs at once."""
    return csv.writer(text, quoting=csv.QUOTE_ALL)


def csv_cell(value: Any) -> str:
    """A cell that no spreadsheet computes: an apostrophe before what begins like a formula, or would when cut."""
    if value is None:
        return ""
    if isinstance(value, dict | list):
        value = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    text = _COMPUTED_WITHIN.sub(r"\g<0>'", str(value))
    return f"'{text}" if text.startswith(_COMPUTED) else text


WRITERS: dict[str, Callable[[ByteStream], Writer]] = {
    "json": _Json,
    "ndjson": _Ndjson,
    "csv": _Csv,
    "parquet": _Parquet,
}
MAPPED: dict[str, Callable[[ByteStream, Shape], Writer]] = {"json": _Json, "ndjson": _Ndjson}
"""The formats that other people's schemas can be written in."""


def shaped(schema: SchemaName, log: str) -> Shape:
    """An entry in other people's schema. `log`: the log's name. What it makes raises `NotCanonical`, with the place."""

    def shape(found: Found) -> bytes:
        try:
            return mapped_entry(schema, found.sealed_value, log)
        except NotCanonical as error:
            raise NotCanonical(f"{found.place}: {error}; run `sealstream verify all`") from error

    return shape


def mapped_writer(form: str, stream: ByteStream, schema: SchemaName, log: str) -> Writer:
    """What writes `json` or `ndjson` of another schema into a stream."""
    return MAPPED[form](stream, shaped(schema, log))
