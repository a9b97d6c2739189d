"""`search`, `show` and `tail` with `--as`: entries in other people's schemas, from which they can be taken back."""

from __future__ import annotations

import json

import pytest
from tests.mappings.ocsf_judge import faults
from tests.pipeline import say
from tests.search.conftest import Searchable

from sealstream.cli.settings import load_settings
from sealstream.mappings import SCHEMAS, SchemaName, entry_of, mapped_entry

EVERY = pytest.mark.parametrize("schema", SCHEMAS)


@EVERY
def test_an_export_holds_every_entry_and_each_can_be_taken_back(searchable: Searchable, schema: SchemaName) -> None:
    words = ("-action:read", "result:denied", "--sort", "seq", "--all")
    wanted = say(searchable.config, "search", *words, "-o", "ndjson").out.encode().splitlines()
    said = say(searchable.config, "search", *words, "--as", schema)
    assert said.code == 0, said.err
    assert wanted
    assert [entry_of(schema, line) for line in said.out.encode().splitlines()] == wanted


def test_an_export_of_the_archive_is_what_the_official_schema_allows(searchable: Searchable) -> None:
    said = say(searchable.config, "search", "--source", "archive", "--all", "--as", "ocsf")
    lines = said.out.splitlines()
    assert len(lines) == len(searchable.archived())
    assert [fault for line in lines for fault in faults(json.loads(line))] == []


def test_json_is_one_array_and_a_file_is_written_whole(searchable: Searchable, tmp_path) -> None:
    file = tmp_path / "ecs.json"
    said = say(searchable.config, "search", "-n", "7", "--as", "ecs", "-o", "json", "--file", str(file))
    assert said.code == 0, said.err
    assert len({each["event"]["hash"] for each in json.loads(file.read_text())}) == 7
    assert json.loads(say(searchable.config, "search", "actor:nobody", "--as", "ecs", "--json").out) == []


@EVERY
def test_show_and_tail_speak_them_too(searchable: Searchable, schema: SchemaName) -> None:
    chain = searchable.chains[0]
    value = searchable.made[0].values[42]
    shown = say(searchable.config, "show", f"{chain}/42", "--as", schema).out.encode()
    assert entry_of(schema, shown) == value
    assert shown == mapped_entry(schema, value, load_settings(searchable.config).log) + b"\n"
    tailed = say(searchable.config, "tail", "--chain", chain, "-n", "3", "--as", schema).out.encode().splitlines()
    assert len([entry_of(schema, line) for line in tailed]) == 3


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--as", "ocsf", "-o", "csv"), "--as ocsf: expected --output json or ndjson, got csv"),
        (("--as", "ecs", "-o", "parquet"), "--as ecs: expected --output json or ndjson, got parquet"),
        (("--as", "ecs", "--count-by", "actor"), "--as ecs: is for entries; it does not go with --count-by"),
        (("--as", "cef"), "cef"),
    ],
)
def test_what_does_not_go_together_is_said(searchable: Searchable, words: tuple[str, ...], told: str) -> None:
    said = say(searchable.config, "search", *words)
    assert said.code == 2
    assert told in said.err
