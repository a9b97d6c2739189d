"""How found entries are written: table, JSON, NDJSON, CSV, Parquet; one batch in memory at a time.

A file is written beside its place and renamed when all of it is there: a search that fails or is stopped leaves what
was there before. What a terminal or a spreadsheet would take for more than text is made harmless: control characters
are shown, and a CSV cell that a spreadsheet would compute begins with an apostrophe.
"""

from __future__ import annotations

import csv
import io
import json
import os
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from sealstream.cli.context import out
from sealstream.errors import Misconfigured
from sealstream.search import Count, Found

__all__ = [
    "FORMATS",
    "ByteStream",
    "Writer",
    "count_rows",
    "csv_cell",
    "destination",
    "entry_cells",
    "harmless",
    "writer",
]

FORMATS = ("table", "json", "ndjson", "csv", "parquet")

_WIDEST = 40
_COMPUTED = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_HEADINGS = ("place", "when (UTC)", "who", "action", "resource", "result", "from")
_RESULT_STYLE = {"success": "green", "failure": "yellow", "denied": "red"}
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


class _Table(Writer):
    """Columns as wide as the first batch needs. On a terminal long texts are cut; elsewhere nothing is."""

    def __init__(self, stream: ByteStream, *, terminal: bool) -> None:
        self._stream = stream
        self._terminal = terminal
        self._widths: list[int] = []

    def write(self, batch: Sequence[Found]) -> None:
        rows = [[self._shown(cell) for cell in entry_cells(found)] for found in batch]
        if not self._widths and rows:
            self._widths = [max(map(cell_len, column)) for column in zip(_HEADINGS, *rows, strict=True)]
            self._line(list(_HEADINGS), "bold")
        for row in rows:
            self._line(row)

    def _shown(self, cell: str) -> str:
        if self._terminal and cell_len(cell) > _WIDEST:
            return set_cell_size(cell, _WIDEST - 1).rstrip() + "…"
        return cell

    def _line(self, cells: list[str], style: str = "") -> None:
        padded = [cell + " " * (width - cell_len(cell)) for cell, width in zip(cells, self._widths, strict=True)]
        if not self._terminal:
            self._stream.write(("  ".join(padded).rstrip() + "\n").encode())
            return
        line = Text("  ", style=style).join(
            Text(cell, style=_RESULT_STYLE.get(cell.strip(), "") if at == 5 else "") for at, cell in enumerate(padded)
        )
        out.print(line, soft_wrap=True)


class _Ndjson(Writer):
    """Sealed entries, one a line, byte for byte."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream

    def write(self, batch: Sequence[Found]) -> None:
        self._stream.write(b"".join(found.sealed_value + b"\n" for found in batch))


class _Json(Writer):
    """One array of sealed entries."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._begun = False

    def write(self, batch: Sequence[Found]) -> None:
        for found in batch:
            self._stream.write((b",\n" if self._begun else b"[\n") + found.sealed_value)
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
        rows = csv.writer(text)
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


def writer(form: str, stream: ByteStream, *, terminal: bool) -> Writer:
    """What writes this format into a stream."""
    if form == "table":
        return _Table(stream, terminal=terminal)
    others: dict[str, Callable[[ByteStream], Writer]] = {
        "json": _Json,
        "ndjson": _Ndjson,
        "csv": _Csv,
        "parquet": _Parquet,
    }
    return others[form](stream)


@contextmanager
def destination(file: Path | None, form: str) -> Iterator[tuple[ByteStream, bool]]:
    """Where to write, and whether a terminal shows it. A file is renamed into its place when all went well."""
    if file is None:
        terminal = sys.stdout.isatty()
        if terminal and form == "parquet":
            raise Misconfigured("Parquet is not for a terminal: name a file with --file, or pipe it somewhere")
        with _standard_output() as stream:
            yield stream, terminal
        return
    try:
        handle, beside = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    except OSError as error:
        raise Misconfigured(f"--file {file}: can't be written: {error}") from error
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream, False
            stream.flush()
            os.fsync(stream.fileno())
        Path(beside).replace(file)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise


@contextmanager
def _standard_output() -> Iterator[ByteStream]:
    """Standard output as bytes, also where a test has put text in its place."""
    sys.stdout.flush()
    binary: io.BufferedIOBase | None = getattr(sys.stdout, "buffer", None)
    if binary is not None:
        yield _Borrowed(binary)
        binary.flush()
        return
    collected = io.BytesIO()
    yield _Borrowed(collected)
    sys.stdout.write(collected.getvalue().decode())


class _Borrowed(io.RawIOBase):
    """A stream that is somebody else's to close."""

    def __init__(self, stream: io.BufferedIOBase) -> None:
        self._stream = stream

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        """All of it: an unbuffered stream takes what it can, and says how much that was."""
        left = memoryview(data)
        while left:
            left = left[self._stream.write(left) or 0 :]
        return len(data)

    def flush(self) -> None:
        self._stream.flush()


# --- cells ------------------------------------------------------------------------------------------------------------


def entry_cells(found: Found) -> list[str]:
    """An entry as one line of a table."""
    entry = found.entry
    who = entry["actor_id"]
    if "on_behalf_of" in entry:
        who += f" for {entry['on_behalf_of']}"
    return [
        found.place,
        entry["timestamp"][:19].replace("T", " "),
        harmless(who),
        harmless(entry["action"]),
        harmless(f"{entry['resource_type']}/{entry['resource_id']}"),
        entry["result"],
        entry.get("ip_address", ""),
    ]


def harmless(text: str) -> str:
    """Text in which nothing moves a terminal's cursor or turns its direction: what could is shown as its escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def csv_cell(value: Any) -> str:
    """A cell that no spreadsheet computes: an apostrophe before what begins like a formula."""
    if value is None:
        return ""
    if isinstance(value, dict | list):
        value = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    text = str(value)
    return f"'{text}" if text.startswith(_COMPUTED) else text


def count_rows(counts: Iterable[Count], key: str, form: str) -> bytes:
    """Counts as a table, JSON, NDJSON or CSV."""
    if form in ("json", "ndjson"):
        lines = [json.dumps({key: value, "entries": entries}, ensure_ascii=False) for value, entries in counts]
        if form == "ndjson":
            return "".join(f"{line}\n" for line in lines).encode()
        return ("[\n" + ",\n".join(lines) + "\n]\n" if lines else "[]\n").encode()
    if form == "csv":
        text = io.StringIO(newline="")
        rows = csv.writer(text)
        rows.writerow((key, "entries"))
        rows.writerows((csv_cell(value), entries) for value, entries in counts)
        return text.getvalue().encode()
    shown = [("(none)" if value is None else harmless(value), f"{entries:,}") for value, entries in counts]
    widths = [max(map(cell_len, column)) for column in zip((key, "entries"), *shown, strict=True)]
    lines = [
        f"{value}{' ' * (widths[0] - cell_len(value))}  {entries:>{widths[1]}}"
        for value, entries in ((key, "entries"), *shown)
    ]
    return "".join(f"{line}\n" for line in lines).encode()
