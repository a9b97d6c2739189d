"""A page's code blocks, and how each is run: shell lines as commands, Python as a program, TOML as settings.

Every fence has a language. `sh` holds commands that must succeed; `console` holds commands (`$ `) with what they say,
`...` for what varies, an exit code other than 0 as `# exit N`, and what a person does besides (`# stop postgres-sink`);
`python` runs; `js` is a program that the page's commands run, in the file that its first line names; `toml` is a
settings file; `json` is what the command before it answers; `yaml` are Sigma rules, or values of the Helm chart;
`sql` is asked as the reader; `properties` are what the tests of the settings tell their broker. `text` is what is seen,
not run: it may hold no command.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["LANGUAGES", "Block", "Line", "blocks_of", "console_lines", "shell_lines"]

LANGUAGES = ("sh", "console", "python", "js", "toml", "json", "properties", "sql", "text", "yaml")
_FENCE = re.compile(r"^```([^\n`]*)\n(.*?)^```", re.M | re.S)
_EXIT = re.compile(r"\s+# exit (\d+)$")
_COMMENT = re.compile(r"\s+#\s.*$")


class Block(NamedTuple):
    """One fence, and the line of the page where it begins."""

    page: str
    line: int
    language: str
    body: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


class Line(NamedTuple):
    """One command with what it must say and how it must end; or (`command` empty) what a person does besides."""

    command: str
    says: tuple[str, ...] = ()
    code: int = 0
    act: str = ""


def blocks_of(root: Path, page: Path) -> list[Block]:
    """All blocks of a page, in order."""
    text = page.read_text()
    name = str(page.relative_to(root))
    return [
        Block(name, text.count("\n", 0, found.start()) + 1, found[1].strip(), found[2])
        for found in _FENCE.finditer(text)
    ]


def shell_lines(body: str) -> Iterator[Line]:
    """The commands of an `sh` block; a backslash at its end joins a line with the next."""
    for line in body.replace("\\\n", " ").splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            yield Line(_without_comment(line.strip()))


def console_lines(body: str) -> Iterator[Line]:
    """The commands of a `console` block with what they say."""
    command, says, code = "", list[str](), 0
    for line in body.replace("\\\n", " ").splitlines():
        if line.startswith(("$ ", "# ")) and command:
            yield Line(command, tuple(says), code)
            command = ""
        if line.startswith("$ "):
            found = _EXIT.search(line)
            command, says, code = _without_comment(line[2:]), [], int(found[1]) if found else 0
        elif line.startswith("# "):
            yield Line("", act=line[2:].strip())
        elif line.strip() and line.strip() != "...":
            assert command, f"says something, but nothing was run: {line}"
            says.append(line.strip())
    if command:
        yield Line(command, tuple(says), code)


def _without_comment(line: str) -> str:
    """The line without a comment at its end; a `#` within quotes is none."""
    if found := _COMMENT.search(line):
        before = line[: found.start()]
        try:
            shlex.split(before)
        except ValueError:  # the `#` stands in quotes
            return line
        return before
    return line
