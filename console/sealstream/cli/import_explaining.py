"""`sealstream import --explain`: what becomes of the first records, field by field; nothing is sent."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from rich.table import Table

from sealstream.cli.context import out
from sealstream.cli.harmless import harmless, told
from sealstream.cli.import_sources import SourceFile
from sealstream.errors import InvalidEvent
from sealstream.events import FIELDS
from sealstream.importers import BrokenFile, Composer, Importer, LeftOut, Record, Unreadable, records_of

__all__ = ["explain"]

_RECORDS = 10
_WIDTH = 100


def explain(importer: Importer, files: Iterable[SourceFile], *, as_json: bool) -> None:
    """Print the first ten records as what they become: an event, a record that is left out, or a refusal."""
    shown: list[dict[str, Any]] = []
    for file in files:
        composer = Composer(importer, file.modified)
        try:
            for found in records_of(file.chunks(), importer):
                shown.append(_explained(file.name, composer, found))
                if len(shown) == _RECORDS:
                    break
        except BrokenFile as error:
            shown.append({"file": file.name, "refused": str(error)})
        if len(shown) >= _RECORDS:
            break
    if as_json:
        print(json.dumps(shown, indent=2, ensure_ascii=False))
        return
    for each in shown:
        _print(each, importer)
    if not shown:
        out.print("no records")


def _explained(file: str, composer: Composer, found: Record | Unreadable) -> dict[str, Any]:
    place: dict[str, Any] = {"file": file, "line": found.line, "record": found.number}
    if isinstance(found, Unreadable):
        return place | {"refused": found.why}
    try:
        event = composer.event(found)
    except InvalidEvent as error:
        return place | {"refused": error.reason}
    if isinstance(event, LeftOut):
        return place | {"left_out": event.why}
    return place | {"event": json.loads(event.value)}


def _print(each: dict[str, Any], importer: Importer) -> None:
    place = f"{each['file']}:{each['line']} (record {each['record']})" if "line" in each else each["file"]
    if "event" not in each:
        why = f"refused: {each['refused']}" if "refused" in each else f"left out: {each['left_out']}"
        out.print(told(f"{place}  {why}", "yellow"), soft_wrap=True)
        return
    out.print(told(place, "bold"), soft_wrap=True)
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 2))
    event = each["event"]
    metadata = event.pop("metadata", {})
    for name in FIELDS:
        if name in event:
            table.add_row(told(name), told(_short(event[name])), told(importer.from_.get(name, ""), "dim"))
    for name, value in metadata.items():
        key = f"metadata.{name}"
        table.add_row(told(key), told(_short(value)), told(importer.from_.get(key, ""), "dim"))
    out.print(table)


def _short(value: object) -> str:
    text = harmless(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 3]}..."
