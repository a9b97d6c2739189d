"""The reference of all commands is what the command line says of itself, and that of mappings what they say."""

from __future__ import annotations

import importlib.util
from types import ModuleType

from tests.docs.reader import ROOT

PATH = ROOT / "docs/reference/make.py"


def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_reference", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_made_from_the_command_line() -> None:
    written = PATH.with_name("cli.md").read_text()
    assert written == maker().reference(), "make it anew: python docs/reference/make.py"


def test_the_reference_of_events_is_made_from_the_schemas() -> None:
    written = PATH.with_name("events.md").read_text()
    assert written == maker().events_page(), "make it anew: python docs/reference/make.py"
    assert "| `actor_id`* | string, 1 to 512 |" in written
    assert "| `chain.created` | log | `origin`" in written


def test_the_tables_of_other_schemas_are_made_from_the_mappings() -> None:
    module = maker()
    written = module.SCHEMAS_PAGE.read_text()
    assert written.count("<!-- ") == 2 * len(module._tables())
    assert written == module.schemas_page(written), "make it anew: python docs/reference/make.py"
