"""Make cli.md, the reference of every command, from the command line itself, and the tables of ../schemas.md from the
mappings: `python docs/reference/make.py`.

Tests hold the files to what this makes.
"""

from __future__ import annotations

import re
from pathlib import Path

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
    SCHEMAS_PAGE.write_text(schemas_page(SCHEMAS_PAGE.read_text()))
