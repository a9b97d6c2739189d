"""The command that prints or writes the JSON Schema files.

    python -m sealstream.events.schema            prints both
    python -m sealstream.events.schema --write    writes event.schema.json and statements.schema.json beside this file

A crash while writing leaves an old or a torn file in a work tree; a test compares them with the code.
"""

from __future__ import annotations

import sys
from pathlib import Path

from sealstream.events.json_schemas import schema_texts


def main(arguments: list[str]) -> None:
    """Print the schemas, or write them beside this module."""
    for name, text in schema_texts().items():
        if arguments == ["--write"]:
            Path(__file__).with_name(name).write_text(text, encoding="utf-8")
        else:
            print(text, end="")


if __name__ == "__main__":
    main(sys.argv[1:])
