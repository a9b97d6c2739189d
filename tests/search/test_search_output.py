"""How entries are written: nothing of an entry is taken for more than text."""

from __future__ import annotations

import csv
import io
from contextlib import suppress

import pytest

from sealstream.cli.harmless import harmless
from sealstream.cli.search_output import count_rows, csv_cell, destination
from sealstream.cli.showing import changes
from sealstream.errors import Misconfigured, NotCanonical
from sealstream.search import Count, Found
from sealstream.search.writing import shaped


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d"])
def test_a_cell_is_never_a_formula(begin):
    assert csv_cell(f"{begin}cmd|' /C calc'!A0") == f"'{begin}cmd|' /C calc'!A0"


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize(
    "text", ["x;=HYPERLINK(1)", 'x;"=1+1', "x\t@SUM(1)", "x\n=1+1;y", "x; +1", ";-1", '";=1";=1', "x\r\n\u3000\uff1d1"]
)
def test_whatever_separates_lists_where_it_is_opened_no_part_is_a_formula(text, delimiter):
    rows = csv.reader(
        io.StringIO(count_rows([Count(text, 1)], "reason", "csv").decode(), newline=""), delimiter=delimiter
    )
    cells = [cell for row in rows for cell in row]
    assert cells
    assert not [cell for cell in cells if cell.lstrip(' \u3000"').startswith(("=", "+", "-", "@", "\uff1d"))]


def test_every_cell_is_quoted():
    assert count_rows([Count("a;b", 3)], "reason", "csv") == b'"reason","entries"\r\n"a;b","3"\r\n'


def test_other_cells_are_what_they_are():
    assert [csv_cell(value) for value in ("a=b", 7, None, ["=x"], {"é": 1})] == ["a=b", "7", "", '["=x"]', '{"é":1}']


def test_control_characters_are_shown_and_not_obeyed():
    assert harmless("a\x1b[2J\x07\u202eb\nü") == "a\\x1b[2J\\x07\\u202eb\\nü"


def test_a_file_is_written_whole_for_its_owner_alone_or_not_at_all(tmp_path):
    file = tmp_path / "found.json"
    with destination(file, "json") as (stream, terminal):
        stream.write(b"[]\n")
        assert not file.exists()
    assert (file.read_bytes(), file.stat().st_mode & 0o777, terminal) == (b"[]\n", 0o600, False)
    with suppress(KeyboardInterrupt), destination(file, "json") as (stream, _):
        stream.write(b"[1")
        raise KeyboardInterrupt
    assert [each.read_bytes() for each in tmp_path.iterdir()] == [b"[]\n"]
    with pytest.raises(Misconfigured, match="can't be written"), destination(tmp_path / "no" / "f", "json"):
        pass


def test_an_altered_entry_has_no_document_and_its_place_is_told():
    altered = Found("main", 7, 0, b'{"actor_id":5}', b"\0" * 32, b"\1" * 32)
    with pytest.raises(NotCanonical, match=r"main/7: not a sealed entry.*run `sealstream verify all`"):
        shaped("ecs", "audit.example.com")(altered)


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
