r"""Text from outside as a person's terminal may see it: nothing in it moves a cursor, or turns a direction.

Whoever can write an event, a dead letter or a bucket's object chooses its bytes, and a terminal obeys some of them. The
invariant: what is printed for a person goes through here; what goes into a pipe or a file stays as it is, byte for
byte. Pure.
"""

from __future__ import annotations

import codecs
import io
import re
from typing import Any

from rich.text import Text

from sealstream.search.writing import ByteStream

__all__ = ["HarmlessStream", "harmless", "harmless_lines", "told"]

# C0 but for tab, newline and the return before one; DEL and C1; what turns a line's direction or breaks it unseen.
_OBEYED = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]|\r(?!\n)"
)


def harmless(text: str) -> str:
    """Of one line or cell: each character that does not print is shown as its escape, a newline too."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def harmless_lines(text: str) -> str:
    r"""Of several lines: those that a terminal obeys become `\u001b`, so that JSON stays the JSON that it is."""
    return _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def told(text: str, style: str = "") -> Text:
    """A cell or a line for the console: no markup, no escape."""
    return Text(harmless(text), style=style)


class HarmlessStream(io.RawIOBase):
    """Bytes on their way to a terminal, through `harmless_lines`. What is no UTF-8 is shown as escapes."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._held = ""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        """All of it, but for a character or a line's end that is not whole yet."""
        text = self._held + self._decoder.decode(bytes(data))
        self._held = "\r" if text.endswith("\r") else ""
        self._stream.write(harmless_lines(text.removesuffix(self._held)).encode(errors="backslashreplace"))
        return len(data)

    def flush(self) -> None:
        self._stream.flush()

    def end(self) -> None:
        """What was held back."""
        self._stream.write(harmless_lines(self._held + self._decoder.decode(b"", final=True)).encode())
        self._held = ""
        self._stream.flush()
