"""Records in the bytes of a file: JSON documents one a line or over many, CSV, lines of text; plain or gzip.

Lines are read as they come, in flat memory. A JSON document that goes over several lines is held whole, up to
`MAX_DOCUMENT_BYTES`. The invariant: what can't be read comes as `Unreadable` in its place, and does not stop what can
be read behind it; only a broken gzip stream, a broken document over several lines, or one that ends nowhere ends what
can be read of it. Behind a broken line, a record that begins and ends in one line is read again. Pure but for the
iteration over what is given.
"""

from __future__ import annotations

import csv
import itertools
import json
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NoReturn

import msgspec

from sealstream.errors import SealstreamError
from sealstream.importers.records import Importer, Record, Unreadable
from sealstream.importers.unpacking import MAX_DOCUMENT_BYTES, BrokenFile, gunzipped
from sealstream.sealing import canonical_json

__all__ = ["records_of"]

_LARGE = 2**16
_LOOKED_AT = 64  # lines, until one is a document of its own
_LINES_OF_A_ROW = 1_000  # of CSV: more mean that a quote is missing
_NOT_READ = (msgspec.MsgspecError, ValueError, RecursionError)  # ValueError: bytes that are no UTF-8
_decode = msgspec.json.Decoder().decode
_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def records_of(chunks: Iterable[bytes], importer: Importer) -> Iterator[Record | Unreadable]:
    """All records of a file in their order. `chunks`: its bytes, plain or gzip. Raises `BrokenFile`."""
    if importer.form == "json":
        # Of a torn document, unlike of a torn line of text, it shows which records are whole.
        told = _ToTheBreak(_lines(gunzipped(chunks), torn=True))
        if importer.within is None:
            yield from _json(told, importer.lists)
        else:
            begin = list(itertools.islice(told, 1))
            whole = itertools.chain(begin, told)
            rows = any(_names_column(raw, importer.within) for _, raw in begin)
            for found in _csv(whole, importer.delimiter) if rows else _json(whole, importer.lists):
                yield _inner(found, importer.within)
        if told.broken is not None:
            raise told.broken
        return
    lines = _lines(gunzipped(chunks))
    if importer.form == "csv":
        yield from _csv(lines, importer.delimiter)
    else:
        number = 0
        for line, raw in lines:
            if raw.strip():
                number += 1
                yield Record(line, number, raw.decode("utf-8", "backslashreplace"), raw)


class _ToTheBreak:
    """Lines up to where the file is broken, and then why."""

    def __init__(self, lines: Iterator[tuple[int, bytes]]) -> None:
        self._lines = lines
        self.broken: BrokenFile | None = None

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        return self

    def __next__(self) -> tuple[int, bytes]:
        try:
            return next(self._lines)
        except BrokenFile as error:
            self.broken = error
            raise StopIteration from None


def _lines(chunks: Iterable[bytes], *, torn: bool = False) -> Iterator[tuple[int, bytes]]:
    """Lines with their numbers, without their ends; the last one may have none. `torn`: so may one that is cut off."""
    held: list[bytes] = []
    size = line = 0
    coming, broken = iter(chunks), None
    while True:
        try:
            chunk = next(coming, None)
        except BrokenFile as error:
            if not torn:
                raise
            chunk, broken = None, error
        if chunk is None:
            break
        pieces = chunk.split(b"\n")
        for piece in pieces[:-1]:
            line += 1
            yield line, b"".join((*held, piece)).removesuffix(b"\r") if held else piece.removesuffix(b"\r")
            held, size = [], 0
        if pieces[-1]:
            held.append(pieces[-1])
            size += len(pieces[-1])
            if size > MAX_DOCUMENT_BYTES:
                raise BrokenFile(f"line {line + 1} is longer than {MAX_DOCUMENT_BYTES:,} bytes")
    if held:
        yield line + 1, b"".join(held).removesuffix(b"\r")
    if broken is not None:
        raise broken


def _names_column(raw: bytes, name: str) -> bool:
    """Whether a file that begins with this line is CSV with such a column."""
    return name.encode() in raw and raw.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] not in (b"{", b"[")


def _inner(found: Record | Unreadable, within: str) -> Record | Unreadable:
    """The record that stands as text in this member of the one that was found; itself where it has none."""
    if isinstance(found, Unreadable) or not isinstance(found.value, dict):
        return found
    text = found.value.get(within)
    if not isinstance(text, str):
        return found
    inner = _record(text.strip().encode("utf-8", "surrogatepass"), None, found.line, found.number)
    return inner._replace(why=f"{within} is {inner.why}") if isinstance(inner, Unreadable) else inner


# --- JSON ---------------------------------------------------------------------------------------------------------


def _json(lines: Iterator[tuple[int, bytes]], lists: Sequence[str]) -> Iterator[Record | Unreadable]:
    looked_at: list[tuple[int, bytes]] = []
    for line, raw in lines:
        if raw.strip():
            looked_at.append((line, raw if looked_at else raw.removeprefix(b"\xef\xbb\xbf")))
        if looked_at and (len(looked_at) == _LOOKED_AT or _goes_on(looked_at[0][1]) or _is_document(looked_at[-1][1])):
            break
    if any(_is_document(raw) for _, raw in looked_at):
        number = 0
        for line, raw in itertools.chain(looked_at, lines):
            if raw.strip():
                for found in _in_document(raw, lists, line, number):
                    number += 1
                    yield found
        return
    if not looked_at:
        return
    whole, size, before = [], 0, looked_at[0][0]
    for line, raw in itertools.chain(looked_at, lines):
        whole += [b"\n"] * (line - before) + [raw]
        before = line
        size += len(raw) + 1
        if size > MAX_DOCUMENT_BYTES:
            raise BrokenFile(
                f"a JSON document over several lines is larger than {MAX_DOCUMENT_BYTES:,} bytes: one record a line "
                "has no such bound (jq -c '.[]')"
            )
    yield from _in_document(b"".join(whole), lists, looked_at[0][0], 0)


def _goes_on(raw: bytes) -> bool:
    """Whether a document begins in this line that ends in another; what is left of one whose beginning is cut off
    begins none.
    """
    return raw.lstrip()[:1] in (b"[", b"{") and raw.rstrip().endswith((b"[", b"{", b",", b":"))


def _is_document(raw: bytes) -> bool:
    try:
        return isinstance(_decode(raw), dict | list)
    except _NOT_READ:
        return isinstance(_loads(raw), dict | list)


def _in_document(data: bytes, lists: Sequence[str], line: int, number: int) -> Iterator[Record | Unreadable]:
    """The records of one document: itself, the items of a list, or those of a member that holds a list of them."""
    try:
        if data.lstrip()[:1] == b"[":
            yield from _items(data, _decode_list(data), line, number)
            return
        if lists and len(data) > _LARGE:  # not all of it as Python's objects at once
            members = _decode_members(data)
            found = next((name for name in lists if bytes(memoryview(members.get(name, b""))[:1]) == b"["), None)
            if found is not None:
                yield from _items(data, _decode_list(members[found]), line, number)
                return
        value = _decode(data)
        if isinstance(value, dict) and (member := _list_in(value, lists)):
            yield from _items(data, _decode_list(_decode_members(data)[member]), line, number)
            return
    except _NOT_READ:
        value = _loads(data)
        if isinstance(value, list) or (isinstance(value, dict) and _list_in(value, lists)) or value is _NOTHING:
            yield from _one_by_one(data, lists, line, number)
            return
    yield _record(data.strip(), value, line, number + 1)


def _list_in(value: dict[str, Any], lists: Sequence[str]) -> str | None:
    return next((name for name in lists if isinstance(value.get(name), list)), None)


def _items(data: bytes, raws: list[msgspec.Raw], line: int, number: int) -> Iterator[Record | Unreadable]:
    position = 0
    for each in raws:
        raw = bytes(each).strip()
        start = data.find(raw, position)
        line += data.count(b"\n", position, start)
        number += 1
        yield _record(raw, None, line, number)
        line += raw.count(b"\n")
        position = start + len(raw)


def _record(raw: bytes, value: Any, line: int, number: int) -> Record | Unreadable:
    if value is None:
        try:
            value = _decode(raw)
        except _NOT_READ:
            value = _loads(raw)
            if value is _NOTHING:
                return Unreadable(line, number, _why_not(raw))
            return Record(line, number, value, raw)
    return Record(line, number, value, raw, _canonical(raw, value))


def _canonical(raw: bytes, value: Any) -> bytes | None:
    """The value's RFC 8785 form; None where it would not say all: where a name occurs twice in an object, fewer quotes
    are written than were read.
    """
    try:
        canonical = canonical_json(value)
    except (SealstreamError, ValueError, RecursionError):
        return None
    return canonical if b"\\u0022" not in raw and raw.count(b'"') == canonical.count(b'"') else None


_NOTHING = object()


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _loads(raw: bytes | str) -> Any:
    """By a parser that takes lone surrogates and numbers of any size; `_NOTHING` when it is no JSON for it either."""
    try:
        return json.loads(raw, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return _NOTHING


def _why_not(raw: bytes) -> str:
    try:
        json.loads(raw, parse_constant=_refuse)
    except RecursionError:
        return "not JSON that can be read: it is nested too deep"
    except UnicodeDecodeError as error:
        return f"not JSON: byte {error.start + 1} is no UTF-8"
    except json.JSONDecodeError as error:
        return f"not JSON: {error.msg} at character {error.pos + 1}"
    except ValueError as error:
        return f"not JSON: {error}"
    return "not JSON"


_SPACE = re.compile(r"[ \t\r\n]*")


def _one_by_one(data: bytes, lists: Sequence[str], line: int, number: int) -> Iterator[Record | Unreadable]:
    """What can be read of documents of which one is broken, cut off, or followed by another."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        yield Unreadable(line + data.count(b"\n", 0, error.start), number + 1, _why_not(data))
        return
    decoder = json.JSONDecoder(parse_constant=_refuse)
    opens = re.compile(r"\[" + "".join(rf'|\{{\s*"{re.escape(name)}"\s*:\s*\[' for name in lists))
    position = _after_space(text, 0)
    counted = inside = 0
    while position < len(text):
        found = opens.match(text, position) if not inside else None
        if found:
            inside, position = (1 if found[0] == "[" else 2), _after_space(text, found.end())
            continue
        if inside and text[position] in "],":
            if text[position] == "]":
                position = _after_space(text, position + 1)
                if inside == 2:
                    rest = text.find("}", position)
                    position = len(text) if rest < 0 else rest + 1
                inside = 0
            else:
                position += 1
            position = _after_space(text, position)
            continue
        line += text.count("\n", counted, position)
        counted = position
        number += 1
        try:
            _, end = decoder.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            where = error.pos if isinstance(error, json.JSONDecodeError) else position
            why = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            broken = line + text.count("\n", position, where)
            again = None if inside else _next_whole_line(text, position)
            lost = "; the rest of the document can't be read" if again is None and b"\n" in data else ""
            yield Unreadable(broken, number, f"not JSON: {why}{lost}")
            if again is None:
                return
            position = again
            continue
        yield _record(text[position:end].encode("utf-8", "surrogatepass"), None, line, number)
        position = _after_space(text, end)


def _next_whole_line(text: str, position: int) -> int | None:
    """Where the next line begins that is a record by itself: one that is not indented, so it is no part of another."""
    while (position := text.find("\n", position) + 1) > 0:
        if text.startswith("{", position) and _loads(text[position : _end_of_line(text, position)]) is not _NOTHING:
            return position
    return None


def _end_of_line(text: str, position: int) -> int:
    end = text.find("\n", position)
    return len(text) if end < 0 else end


def _after_space(text: str, position: int) -> int:
    found = _SPACE.match(text, position)
    return found.end() if found else position


# --- CSV ----------------------------------------------------------------------------------------------------------


class _Told:
    """Lines as texts; those of a row that was none are told again, without the first."""

    def __init__(self, lines: Iterator[tuple[int, bytes]]) -> None:
        self._lines = lines
        self._again: deque[tuple[int, str]] = deque()
        self.taken: list[tuple[int, str]] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if len(self.taken) == _LINES_OF_A_ROW:
            raise csv.Error(f"a row goes over more than {_LINES_OF_A_ROW:,} lines: a quote is missing, or one too many")
        if self._again:
            self.taken.append(self._again.popleft())
        else:
            line, raw = next(self._lines)
            text = raw.decode("utf-8", "backslashreplace")
            self.taken.append((line, (text.removeprefix("\ufeff") if line == 1 else text) + "\n"))
        return self.taken[-1][1]

    def back(self) -> None:
        """All but the first of what was taken for this row come again."""
        self._again.extendleft(reversed(self.taken[1:]))


def _csv(lines: Iterator[tuple[int, bytes]], delimiter: str) -> Iterator[Record | Unreadable]:
    told = _Told(lines)
    rows = csv.reader(told, delimiter=delimiter, strict=True)
    names: list[str] | None = None
    number = 0
    while True:
        told.taken = []
        why = None
        try:
            row = next(rows, None)
        except csv.Error as error:
            row, why = [], f"not CSV: {error}"
        if row is None:
            return
        line = told.taken[0][0]
        if why is None and not row:
            continue
        if names is None and why is None:
            names = row
            if len(set(names)) < len(names):
                raise BrokenFile(f"line {line}: two columns have one name: {', '.join(names)}")
            continue
        number += 1
        if why is None and names is not None and len(row) != len(names):
            why = f"has {len(row)} columns: expected {len(names)}, as the first line"
        if why is not None or names is None:
            yield Unreadable(line, number, str(why))
            told.back()
            rows = csv.reader(told, delimiter=delimiter, strict=True)
            continue
        value = dict(zip(names, row, strict=True))
        canonical = canonical_json(value)
        yield Record(line, number, value, canonical, canonical)
