"""The module's HCL as python-hcl2 reads it: blocks by kind and name, and what each expression refers to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import hcl2

__all__ = ["Block", "Module", "modules"]

_IS_BLOCK = "__is_block__"
_NOT_OURS = {_IS_BLOCK, "__comments__", "__inline_comments__"}
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')
_INTERPOLATION = re.compile(r"(?<!\$)\$\{([^}]*)\}")
_REFERENCE = re.compile(
    r"(?<![\w.\"-])(?:data\.)?(?:var|local|module|each|path|aws_[a-z0-9_]+)(?:\.[a-z][\w-]*)?(?:(?:\.[A-Za-z_][\w-]*)|(?:\[[^\]]*\]))*"
)


class Block(NamedTuple):
    """A resource, data source, variable, output or module call. `type` empty where there is none."""

    kind: str
    type: str
    name: str
    body: dict[str, Any]

    @property
    def arguments(self) -> dict[str, Any]:
        """What is set, without blocks."""
        return {name: value for name, value in self.body.items() if name not in _NOT_OURS and not is_blocks(value)}


class Module(NamedTuple):
    """A folder with .tf files."""

    folder: Path
    blocks: list[Block]
    locals: dict[str, Any]

    def of(self, kind: str) -> list[Block]:
        return [block for block in self.blocks if block.kind == kind]

    def expressions(self) -> Iterator[str]:
        """Every text that can refer to something, wherever it stands."""
        for block in self.blocks:
            yield from _texts(block.body)
        yield from _texts(self.locals)

    def references(self) -> set[str]:
        """All that is referred to, as `var.name`, `aws_s3_bucket.archive.id`, `data.aws_region.current.id`."""
        return {found for text in self.expressions() for found in references_in(text)}


def is_blocks(value: Any) -> bool:
    """Whether this is what a block (or several of one name) is read as."""
    return (
        isinstance(value, list) and bool(value) and all(isinstance(each, dict) and _IS_BLOCK in each for each in value)
    )


def references_in(text: str) -> set[str]:
    """What an expression refers to, indexes left out; the words of strings are none, what is in their ${} is."""
    code = _INTERPOLATION.sub(lambda found: f'"+({found[1]})+"', text) if text.startswith('"') else text
    code = code.removeprefix("${").removesuffix("}") if text.startswith("${") else code
    code = _STRING.sub(lambda found: " ".join(f"({each})" for each in _INTERPOLATION.findall(found[1])) or "''", code)
    return {re.sub(r"\[[^\]]*\]", "", found) for found in _REFERENCE.findall(code) if "." in found}


@cache
def modules(root: Path) -> dict[str, Module]:
    """Each folder of this one that has .tf files, by its path within."""
    folders = sorted({path.parent for path in root.rglob("*.tf") if ".terraform" not in path.parts})
    return {str(folder.relative_to(root)): _read(folder) for folder in folders}


def _read(folder: Path) -> Module:
    blocks: list[Block] = []
    known: dict[str, Any] = {}
    for path in sorted(folder.glob("*.tf")):
        with path.open() as file:
            document = hcl2.load(file)
        for kind, found in document.items():
            if kind in _NOT_OURS:
                continue
            for each in found:
                if kind == "locals":
                    known |= {name: value for name, value in each.items() if name not in _NOT_OURS}
                    continue
                blocks += _blocks(kind, each)
    return Module(folder, blocks, known)


def _blocks(kind: str, found: dict[str, Any]) -> list[Block]:
    if kind in ("resource", "data"):
        return [
            Block(kind, type_.strip('"'), name.strip('"'), body)
            for type_, named in found.items()
            if type_ not in _NOT_OURS
            for name, body in named.items()
            if name not in _NOT_OURS
        ]
    if kind == "terraform":
        return [Block(kind, "", "", found)]
    return [Block(kind, "", name.strip('"'), body) for name, body in found.items() if name not in _NOT_OURS]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, each in value.items():
            if name not in _NOT_OURS:
                yield from ([name] if "${" in name else [])
                yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
