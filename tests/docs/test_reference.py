"""The reference of all commands is what the command line says of itself."""

from __future__ import annotations

import importlib.util

from tests.docs.reader import ROOT


def test_the_reference_is_made_from_the_command_line() -> None:
    path = ROOT / "docs/reference/make.py"
    spec = importlib.util.spec_from_file_location("make_reference", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = path.with_name("cli.md").read_text()
    assert written == module.reference(), "make it anew: python docs/reference/make.py"
