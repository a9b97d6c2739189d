"""How found entries are written: table, JSON, NDJSON, CSV, Parquet; one batch in memory at a time.

A file is written beside its place and renamed when all of it is there: a search that fails or is stopped leaves what
was there before. What a terminal or a spreadsheet would take for more than text is made harmless: control characters
are shown, and a CSV cell that a spreadsheet would compute begins with an apostrophe.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from sealstream.cli.context import out
from sealstream.cli.harmless import HarmlessStream, harmless
from sealstream.cli.whole_file import whole_file
from sealstream.errors import Misconfigured
from sealstream.mappings import SchemaName
from sealstream.search import Count, Found
from sealstream.search.writing import WRITERS, ByteStream, Writer, csv_cell, csv_rows, mapped_writer

__all__ = [
    "FORMATS",
    "ByteStream",
    "Writer",
    "count_rows",
    "csv_cell",
    "destination",
    "entry_cells",
    "writer",
]

FORMATS = ("table", "json", "ndjson", "csv", "parquet")

_WIDEST = 40
_HEADINGS = ("place", "when (UTC)", "who", "action", "resource", "result", "from")
_RESULT_STYLE = {"success": "green", "failure": "yellow", "denied": "red"}


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


def writer(form: str, stream: ByteStream, *, terminal: bool, schema: SchemaName | None = None, log: str = "") -> Writer:
    """What writes this format into a stream. `schema`: other people's, for `json` and `ndjson`, with the log's name."""
    if schema is not None:
        return mapped_writer(form, stream, schema, log)
    if form == "table":
        return _Table(stream, terminal=terminal)
    return WRITERS[form](stream)


@contextmanager
def destination(file: Path | None, form: str) -> Iterator[tuple[ByteStream, bool]]:
    """Where to write, and whether a terminal shows it. A file is renamed into its place when all went well."""
    if file is None:
        terminal = sys.stdout.isatty()
        if terminal and form == "parquet":
            raise Misconfigured("Parquet is not for a terminal: name a file with --file, or pipe it somewhere")
        with _standard_output() as stream:
            if not terminal:
                yield stream, False
                return
            shown = HarmlessStream(stream)
            yield shown, True
            shown.end()
        return
    with ExitStack() as held:
        try:
            written = held.enter_context(whole_file(file))
        except OSError as error:
            raise Misconfigured(f"--file {file}: can't be written: {error}") from error
        yield written, False


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
        harmless(entry["result"]),
        harmless(entry.get("ip_address", "")),
    ]


def count_rows(counts: Iterable[Count], key: str, form: str) -> bytes:
    """Counts as a table, JSON, NDJSON or CSV."""
    if form in ("json", "ndjson"):
        lines = [json.dumps({key: value, "entries": entries}, ensure_ascii=False) for value, entries in counts]
        if form == "ndjson":
            return "".join(f"{line}\n" for line in lines).encode()
        return ("[\n" + ",\n".join(lines) + "\n]\n" if lines else "[]\n").encode()
    if form == "csv":
        text = io.StringIO(newline="")
        rows = csv_rows(text)
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
