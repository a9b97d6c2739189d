"""Rows of the archive: from bodies to columns, and from Parquet back to bytes and hashes, at the speed of columns.

DuckDB takes the hot columns out of the JSON bodies: three times as fast as decoding them one by one, and beside
Python's lock. The invariant: a table made here is a function of bodies and hashes alone, so whoever has the bodies can
tell whether an object's columns say what they say. Pure: memory in, memory out; what is malformed raises
`NotCanonical`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from sealstream.errors import NotCanonical
from sealstream.layout import HOT_COLUMNS
from sealstream.layout.parquet import PARQUET_COLUMNS, arrow_schema

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

__all__ = ["ColumnMaker", "leaf_hashes", "open_parquet", "raw_hashes", "read_groups", "read_rows", "sealed_table"]

SEALED_COLUMNS = ("body", "prev_hash", "hash")
_WRITTEN = ("seq", "kind", "sequenced_at")
_TYPES = {"seq": "BIGINT"}


class ColumnMaker:
    """Makes whole rows out of sealed ones. Holds one DuckDB connection: for one thread at a time; `close()` it."""

    def __init__(self) -> None:
        import duckdb

        self._schema = arrow_schema()
        self._duckdb = duckdb.connect(":memory:", config={"threads": 1, "memory_limit": "256MB"})
        event = ",".join(f'"{name}":"VARCHAR"' for name in HOT_COLUMNS if name not in _WRITTEN)
        written = ",".join(f'"{name}":"{_TYPES.get(name, "VARCHAR")}"' for name in _WRITTEN)
        shape = f'{{{event},"written":{{{written}}}}}'
        picked = ", ".join(f"e.written.{name}" if name in _WRITTEN else f"e.{name}" for name in HOT_COLUMNS)
        self._query = f"SELECT {picked} FROM (SELECT json_transform(body, '{shape}') AS e FROM bodies)"

    def table(self, sealed: pa.Table) -> pa.Table:
        """The rows of the archive for a table of `body`, `prev_hash`, `hash`, in the order that they have there."""
        import duckdb
        import pyarrow as pa

        self._duckdb.register("bodies", sealed.select(["body"]))
        try:
            hot = self._duckdb.sql(self._query).to_arrow_table()
            columns = [
                (sealed if field.name in SEALED_COLUMNS else hot)[field.name].cast(field.type) for field in self._schema
            ]
        except (duckdb.Error, pa.ArrowException) as error:
            raise NotCanonical(f"an entry's body is not as it must be: {error}") from error
        finally:
            self._duckdb.unregister("bodies")
        for column, values in zip(PARQUET_COLUMNS, columns, strict=True):
            if values.null_count and not column.nullable:
                raise NotCanonical(f"an entry's body has no {column.name}, or not as it must be")
        return pa.Table.from_arrays(columns, schema=self._schema)

    def close(self) -> None:
        """Gives DuckDB's memory back."""
        self._duckdb.close()


def sealed_table(bodies: Sequence[bytes], prev_hashes: bytes, hashes: bytes) -> pa.Table:
    """`body`, `prev_hash`, `hash` as a table; the hashes as 32 bytes each, joined. Raises `NotCanonical`: not UTF-8."""
    import pyarrow as pa

    try:
        body = pa.array(bodies, pa.binary()).cast(pa.string())
    except pa.ArrowException as error:
        raise NotCanonical(f"an entry's body is not UTF-8: {error}") from error
    columns = [body, *(_hash_array(joined, len(bodies)) for joined in (prev_hashes, hashes))]
    return pa.table(columns, names=list(SEALED_COLUMNS))


def _hash_array(joined: bytes, rows: int) -> pa.Array[Any]:
    import pyarrow as pa

    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(32), rows, [None, pa.py_buffer(joined)])


def open_parquet(data: bytes, *, encoded: Sequence[str] = ()) -> pq.ParquetFile:
    """The Parquet file in these bytes; raises `NotCanonical` when it is none, or lacks a column of the archive.

    `encoded`: text columns that are read as dictionaries.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(pa.BufferReader(data), read_dictionary=list(encoded))
        names = file.schema_arrow.names
    except (pa.ArrowException, OSError, ValueError) as error:
        raise NotCanonical(f"not a Parquet file that can be read: {error}") from error
    missing = [column.name for column in PARQUET_COLUMNS if column.name not in names]
    if missing:
        raise NotCanonical(f"a Parquet file without the column {missing[0]}")
    return file


def read_groups(
    data: bytes | pq.ParquetFile, columns: Sequence[str] | None = None, *, encoded: Sequence[str] = ()
) -> Iterator[pa.Table]:
    """The rows of a Parquet object, a table for each row group, so that memory stays flat; columns as in the schema.

    Whatever encoding, row groups or Arrow types another writer chose, the tables have the archive's own types; text
    columns that are `encoded` come as dictionaries, each value once. Raises `NotCanonical` for what is no such object.
    """
    import pyarrow as pa

    schema = arrow_schema()
    names = list(schema.names if columns is None else columns)
    wanted = pa.schema([schema.field(name) for name in names])
    file = open_parquet(data, encoded=encoded) if isinstance(data, bytes) else data
    for group in range(file.num_row_groups):
        try:
            table = file.read_row_group(group, columns=names, use_threads=False).select(names)
            if encoded:
                read = [_as_wanted(table[name], wanted.field(name).type, name in encoded) for name in names]
                table = pa.table(read, names=names)
            else:
                table = table.cast(wanted).combine_chunks()
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            raise NotCanonical(f"row group {group} can't be read: {error}") from error
        for name in names:
            if table[name].null_count and not wanted.field(name).nullable:
                raise NotCanonical(f"row group {group} has no {name} in some row")
        yield table


def _as_wanted(column: pa.ChunkedArray[Any], kind: pa.DataType, is_encoded: bool) -> pa.ChunkedArray[Any]:
    import pyarrow as pa

    if is_encoded:
        if column.type != pa.dictionary(pa.int32(), kind):
            column = column.cast(kind).dictionary_encode()
        column = column if column.num_chunks == 1 else column.unify_dictionaries()
    elif column.type != kind:
        column = column.cast(kind)
    return column if column.num_chunks == 1 else pa.chunked_array([column.combine_chunks()])


def read_rows(data: bytes | pq.ParquetFile, columns: Sequence[str] = SEALED_COLUMNS) -> Iterator[tuple[Any, ...]]:
    """Row by row, `columns` in this order: text and hashes as bytes, times as microseconds since 1970, null as None."""
    for table in read_groups(data, columns):
        yield from zip(*(_values(table[name]) for name in columns), strict=True)


def _values(column: pa.ChunkedArray[Any]) -> list[Any]:
    """A column as Python values, the cheapest way: bytes are several times as quick as str."""
    import pyarrow as pa

    if pa.types.is_string(column.type):
        column = column.cast(pa.binary())
    elif pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    values: list[Any] = column.to_pylist()
    return values


def raw_hashes(table: pa.Table, name: str) -> bytes:
    """The hashes of column `prev_hash` or `hash`, 32 bytes each, joined."""
    parts = []
    for chunk in table[name].chunks:
        buffer = chunk.buffers()[1]
        if len(chunk) and buffer is not None:
            parts.append(buffer.slice(chunk.offset * 32, len(chunk) * 32).to_pybytes())
    return b"".join(parts)


def leaf_hashes(table: pa.Table) -> list[bytes]:
    """Each row's hash, recomputed: SHA-256(0x00 || prev_hash || body). What it claims is in column `hash`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    parts: list[Any] = [pa.scalar(b"\0"), table["prev_hash"].cast(pa.binary()), table["body"].cast(pa.binary()), b""]
    leaves = pc.binary_join_element_wise(*parts)  # the last part is the separator
    return [sha256(leaf).digest() for leaf in leaves.to_pylist()]
