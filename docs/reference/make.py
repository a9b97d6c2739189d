"""Make cli.md, the reference of every command, from the command line itself: `python docs/reference/make.py`.

A test holds the file to what this makes.
"""

from __future__ import annotations

import re
from pathlib import Path

import typer
from typer.cli import get_docs_for_click

from sealstream.cli.main import app

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


if __name__ == "__main__":
    Path(__file__).with_name("cli.md").write_text(reference())
