"""Make cli.md, the reference of every command, from the command line itself, events.md from the JSON Schemas, and the
tables of ../schemas.md from the mappings: `python docs/reference/make.py`.

Tests hold the files to what this makes.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import typer
from typer.cli import get_docs_for_click

from sealstream.cli.main import app
from sealstream.mappings import cloudevents, ecs, ocsf
from sealstream.mappings.ocsf_members import MEMBERS

_HEAD = """# Every command

Made from the command line by `make.py` beside this file; `sealstream COMMAND --help` says the same in colour.

"""


def reference() -> str:
    """The page."""
    command = typer.main.get_command(app)
    command.commands = {name: each for name, each in command.commands.items() if not each.hidden}  # type: ignore[attr-defined]
    text = get_docs_for_click(obj=command, ctx=typer.Context(command, info_name="sealstream"), name="sealstream")
    text = re.sub(r"</?(?:span|strong|b|i|em)\b[^<>\n]*>", "", text)  # colours, which help texts may have
    text = re.sub(r"^```console\n\$ (.*)\n```$", r"`\1`", text, flags=re.M)  # how it is called, nothing to run
    text = re.sub(r"^#", "##", text, flags=re.M)
    return _HEAD + re.sub(r"[ \t]+$", "", text, flags=re.M).rstrip() + "\n"


_EVENTS_HEAD = """# Events and statements

Made from the JSON Schemas by `make.py` beside this file. An application's event is what
[event.schema.json](../../schemas/sealstream/events/event.schema.json) allows; what the log says of itself is
[statements.schema.json](../../schemas/sealstream/events/statements.schema.json).

## Members of an event

A member with a * must be there. What may be null may be left out. Texts hold no NUL; lengths are in characters.

"""
_STATEMENTS_HEAD = """
## Statements of the log

What the log, its commands and its clients say, by `action`. Kind `log`: said by whoever seals. `control`: sent through
the control topic. `event`: said by a client of its own events, in the raw topic. Members are those of `metadata`; one
with a * must be there, and others may stand beside them.

"""


def events_page() -> str:
    """The page of members and statements."""
    event, statements = (
        json.loads((SCHEMAS / name).read_text()) for name in ("event.schema.json", "statements.schema.json")
    )
    required = set(event["required"])
    members = [
        (f"`{name}`{'*' if name in required else ''}", _kind(each), each.get("description", ""))
        for name, each in event["properties"].items()
    ]
    for parent in ("source", "signature"):
        inner = event["properties"][parent]
        members += [
            (
                f"`{parent}.{name}`{'*' if name in inner.get('required', ()) else ''}",
                _kind(each),
                each.get("description", ""),
            )
            for name, each in inner["properties"].items()
        ]
    said = [
        (f"`{action}`", each["x-kind"], _statement_members(each), each["description"])
        for action, each in statements["$defs"].items()
    ]
    return (
        _EVENTS_HEAD
        + _table(("member", "what", "meaning"), members)
        + _STATEMENTS_HEAD
        + _table(("action", "kind", "members", "meaning"), said)
    )


def _kind(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(f"`{each}`" for each in schema["enum"])
    types = schema.get("type", "any value")
    name = " or ".join(types) if isinstance(types, list) else types
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    return f"{name}, {least} to {most}" if most else name


def _statement_members(schema: dict[str, Any]) -> str:
    metadata = schema.get("properties", {}).get("metadata", {})
    if not isinstance(metadata, dict):  # any value, or none
        return ""
    required = metadata.get("required", ())
    return ", ".join(f"`{name}`{'*' if name in required else ''}" for name in metadata.get("properties", {}))


SCHEMAS = Path(__file__).parents[2] / "schemas/sealstream/events"
SCHEMAS_PAGE = Path(__file__).parents[1] / "schemas.md"


def schemas_page(page: str) -> str:
    """The page with its tables made anew, each between its marks."""
    for name, table in _tables().items():
        marks = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        page = re.sub(
            f"{marks[0]}.*?{marks[1]}",
            lambda _, table=table, marks=marks: f"{marks[0]}\n\n{table}\n{marks[1]}",
            page,
            flags=re.S,
        )
    return page


def _tables() -> dict[str, str]:
    classes = [
        (
            f"{each.caption} ({each.uid})",
            each.when,
            ", ".join(f"{caption} {at}" for at, caption in each.activities.items()),
        )
        for each in ocsf.CLASSES
    ]
    members = [
        (f"{each.caption} ({each.uid})", f"`{name}`", says) for each in ocsf.CLASSES for name, says in MEMBERS[each.uid]
    ]
    return {
        "ocsf classes": _table(("class", "for", "activities"), classes),
        "ocsf": _table(("attribute", "is"), [(f"`{row.path}`", row.says) for row in ocsf.ROWS]),
        "ocsf members": _table(("class", "attribute", "is"), members),
        "ecs": _table(("field", "is"), [(f"`{row.path}`", row.says) for row in ecs.ROWS]),
        "cloudevents": _table(("attribute", "is"), [(f"`{row.path}`", row.says) for row in cloudevents.ROWS]),
    }


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    return "".join(f"| {' | '.join(each)} |\n" for each in (heads, ("---",) * len(heads), *rows))


if __name__ == "__main__":
    Path(__file__).with_name("cli.md").write_text(reference())
    Path(__file__).with_name("events.md").write_text(events_page())
    SCHEMAS_PAGE.write_text(schemas_page(SCHEMAS_PAGE.read_text()))
