"""docs/client.md is right: its tables are the signatures and the rules of the code."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from sealstream.client import AuditClient, Stats
from sealstream.client.context import Context
from sealstream.events import FIELDS, MAX_EVENT_BYTES, MAX_NESTING

TEXT = (Path(__file__).parents[2] / "docs" / "client.md").read_text()
_FOR_TESTS = {"clock", "new_id", "producer_factory"}


def section(title: str) -> str:
    return TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def table(title: str) -> dict[str, list[str]]:
    """The section's first table: its rows' other cells, by the name in the first."""
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", section(title), re.MULTILINE)
    return {name: [cell.strip() for cell in cells.split("|")] for name, cells in rows}


def test_each_parameter_of_emit_is_in_the_page_with_its_default_and_its_limit() -> None:
    rows = table("`emit`")
    _self, *parameters = inspect.signature(AuditClient.emit).parameters.values()
    assert list(rows) == [parameter.name for parameter in parameters]
    for parameter in parameters:
        written_as, limit, default, says = rows[parameter.name]
        field = FIELDS[parameter.name]
        assert default == ("" if parameter.default is parameter.empty else f"`{parameter.default!r}`"), parameter.name
        assert limit == (f"{field.limit} bytes" if field.limit else ""), parameter.name
        assert ("Required" in says) == (parameter.default is parameter.empty)
        if field.choices:
            assert re.findall(r"`(\w+)`", written_as) == list(field.choices)
    assert f"{MAX_EVENT_BYTES:,} bytes and {MAX_NESTING} levels" in section("`emit`")


def test_each_setting_of_the_client_is_in_the_page_with_its_default() -> None:
    rows = table("`AuditClient`")
    parameters = inspect.signature(AuditClient).parameters
    assert list(rows) == list(parameters)
    for name, (default, _says) in rows.items():
        assert name in _FOR_TESTS or default == f"`{parameters[name].default!r}`"
    by_place = [name for name, each in parameters.items() if each.kind is each.POSITIONAL_OR_KEYWORD]
    assert by_place == ["chain", "bootstrap"]  # "the first two"


def test_what_can_be_bound_is_in_the_page() -> None:
    named = section("What is bound").rpartition("```")[2].partition("can be bound")[0]
    assert set(re.findall(r"`(\w+)`", named)) == set(Context.__annotations__)


def test_what_a_client_can_be_asked_in_the_end_is_in_the_page() -> None:
    calls = re.findall(r"^\| `(\w+)(?:\([^)]*\))?`(?:, `(\w+)`)? \|", section("The end of it"), re.MULTILINE)
    assert all(hasattr(AuditClient, name) for call in calls for name in call if name)
    counted = re.findall(r"`(\w+)`", re.search(r"^\| `stats\(\)` \|(.*)\|$", TEXT, re.MULTILINE)[1])  # type: ignore[index]
    assert [name for name in Stats._fields if name in counted] == counted
    for method in (AuditClient.flush, AuditClient.close):
        assert f"`{method.__name__}(timeout_s={inspect.signature(method).parameters['timeout_s'].default:g})`" in TEXT
