"""How entries are written: nothing of an entry is taken for more than text."""

from __future__ import annotations

import pytest

from sealstream.cli.harmless import harmless
from sealstream.cli.search_output import csv_cell
from sealstream.cli.showing import changes


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d"])
def test_a_cell_is_never_a_formula(begin):
    assert csv_cell(f"{begin}cmd|' /C calc'!A0") == f"'{begin}cmd|' /C calc'!A0"


def test_other_cells_are_what_they_are():
    assert [csv_cell(value) for value in ("a=b", 7, None, ["=x"], {"é": 1})] == ["a=b", "7", "", '["=x"]', '{"é":1}']


def test_control_characters_are_shown_and_not_obeyed():
    assert harmless("a\x1b[2J\x07\u202eb\nü") == "a\\x1b[2J\\x07\\u202eb\\nü"


def test_old_and_new_values_are_a_diff():
    old, new = {"phone": "1", "name": "Ann", "gone": True}, {"phone": "2", "name": "Ann", "email": "a@b"}
    assert changes(old, new, ["phone", "photo"]) == [
        ("+", "email: a@b"),
        ("-", "gone: true"),
        (" ", "name: Ann"),
        ("-", "phone: 1"),
        ("+", "phone: 2"),
        (" ", "photo: changed, its values were not reported"),
    ]
