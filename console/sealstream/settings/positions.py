"""The line of every key of a TOML document, which the standard library's parser does not tell.

Only for text that `tomllib` has accepted: so this scanner need not judge, only find where keys stand, and steps over
values (strings in all four forms, nested lists and tables, comments). Pure.
"""

from __future__ import annotations

import re
import tomllib

__all__ = ["key_lines"]

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY_PART = re.compile(r"""[ \t]*([A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')[ \t]*""")
_STRING = re.compile(
    r'"""(?:\\.|(?!""").)*"{3,5}|' r"'''(?:(?!''').)*'{3,5}|" r'"(?:[^"\\\n]|\\.)*"|' r"'[^'\n]*'", re.DOTALL
)
_PLAIN = re.compile(r"[^\s,\[\]{}#\"']+(?: [0-9:.Z+-]+)?")  # a date and a time may have one space between them

Path = tuple[str, ...]


def key_lines(text: str) -> dict[Path, int]:
    """The line (from 1) of each key and of each table's header; items of a list have their index as a part."""
    return _Scanner(text).document()


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text.replace("\r\n", "\n")
        self._at = 0
        self._lines: dict[Path, int] = {}
        self._items: dict[Path, int] = {}

    def document(self) -> dict[Path, int]:
        table: Path = ()
        while self._skip_blank():
            if self._text.startswith("[[", self._at):
                named = self._resolved(self._header(2))
                index = self._items[named] = self._items.get(named, -1) + 1
                table = (*named, str(index))
                self._note(table)
            elif self._text[self._at] == "[":
                table = self._resolved(self._header(1))
                self._note(table)
            else:
                self._pair(table)
        return self._lines

    def _header(self, brackets: int) -> Path:
        self._at += brackets
        path = self._key()
        self._at += brackets
        return path

    def _resolved(self, path: Path) -> Path:
        """A header below a list of tables speaks of its newest item."""
        resolved: Path = ()
        for count, part in enumerate(path, 1):
            resolved = (*resolved, part)
            if resolved in self._items and count < len(path):
                resolved = (*resolved, str(self._items[resolved]))
        return resolved

    def _pair(self, table: Path) -> None:
        line = self._line()
        path = (*table, *self._key())
        self._note(path, line)
        self._at += 1  # the '='
        self._value(path)

    def _value(self, path: Path) -> None:
        self._skip_blank()
        if self._text[self._at] in "[{":
            close = "]" if self._text[self._at] == "[" else "}"
            self._at += 1
            index = 0
            while self._skip_blank() and self._text[self._at] != close:
                if self._text[self._at] == ",":
                    self._at += 1
                elif close == "]":
                    self._note((*path, str(index)))
                    self._value((*path, str(index)))
                    index += 1
                else:
                    self._pair(path)
            self._at += 1
            return
        found = _STRING.match(self._text, self._at) or _PLAIN.match(self._text, self._at)
        assert found is not None  # tomllib has accepted the text
        self._at = found.end()

    def _key(self) -> Path:
        parts = []
        while True:
            found = _KEY_PART.match(self._text, self._at)
            assert found is not None
            self._at = found.end()
            word = found[1]
            parts.append(next(iter(tomllib.loads(f"{word} = 0"))) if word[0] in "\"'" else word)
            if self._text[self._at] != ".":
                return tuple(parts)
            self._at += 1

    def _note(self, path: Path, line: int | None = None) -> None:
        for length in range(1, len(path) + 1):
            self._lines.setdefault(path[:length], line or self._line())

    def _line(self) -> int:
        return self._text.count("\n", 0, self._at) + 1

    def _skip_blank(self) -> bool:
        """Whether something follows."""
        found = _BLANK.match(self._text, self._at)
        self._at = found.end() if found else self._at
        return self._at < len(self._text)
