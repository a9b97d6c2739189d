"""The files of deploy/tables as their engines get them: statements, columns, and another address in place of S3's."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["TABLES", "columns", "partitions", "questions", "statements"]

TABLES = Path(__file__).parents[3] / "deploy/tables"
_ADDRESS = re.compile(r"s3a?://audit-archive")


def statements(file: str, folder: Path | None = None) -> list[str]:
    """Each statement without comments; the bucket is `folder` where one is given."""
    text = re.sub(r"^\s*--.*$", "", (TABLES / file).read_text(), flags=re.M)
    if folder is not None:
        text, count = _ADDRESS.subn(str(folder), text)
        assert count, f"{file} names no bucket"
    return [each.strip() for each in text.split(";\n") if each.strip()]


def questions() -> list[str]:
    """The questions, in their order."""
    return statements("questions.sql")


def columns(file: str) -> list[tuple[str, str]]:
    """Name and type (in lower case) of each column that the file's CREATE TABLE gives to the objects."""
    body = _created(file).split("(\n", 1)[1]
    found = []
    for line in body.splitlines():
        match = re.fullmatch(r'  [`"]?(\w+)[`"]? ([A-Za-z]+(?:\(\d\))?),?', line)
        if match is None:
            break
        found.append((match[1], match[2].lower()))
    return found


def partitions(file: str) -> str:
    """What follows the columns."""
    return _created(file).split("tenant", 1)[1]


def _created(file: str) -> str:
    (created,) = [each for each in statements(file) if re.match(r"CREATE (EXTERNAL )?TABLE", each)]
    return created
