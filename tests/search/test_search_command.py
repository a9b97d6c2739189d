"""`sealstream search`, `show` and `tail`, as a person types them."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
from tests.long_runs import long_run
from tests.pipeline import Said, say
from tests.search.conftest import NOW, Searchable

from sealstream.cli.settings import load_settings
from sealstream.cli.tailing import follow, last_found
from sealstream.sealing import entry_hash
from sealstream.search import Found, parse

pytestmark = long_run


@pytest.fixture
def search(searchable: Searchable):
    """`search(*arguments)`: what `sealstream search` says."""
    return lambda *arguments: say(searchable.config, "search", *arguments)


def documents(said: Said) -> list[dict]:
    assert said.code == 0, said.err
    return [json.loads(line) for line in said.out.splitlines()]


def test_a_query_is_typed_as_it_is_meant(search, searchable):
    said = search("-action:read", "actor:user-1*", "result:denied", "--output", "ndjson", "--sort", "seq", "--all")
    wanted = [
        value.decode()
        for made in searchable.made
        for value in made.values
        if (entry := json.loads(value))["actor_id"].startswith("user-1")
        and entry["action"] != "read"
        and entry["result"] == "denied"
    ]
    assert wanted
    assert said.out.splitlines() == wanted
    assert documents(search("result:denied actor:user-1* -action:read", "--sort", "seq", "--output=ndjson")) == [
        json.loads(value) for value in wanted
    ]


def test_a_table_says_what_there_is_and_how_to_go_on(search):
    said = search("action:login", "-n", "3")
    lines = said.out.splitlines()
    assert lines[0].split() == ["place", "when", "(UTC)", "who", "action", "resource", "result", "from"]
    assert len(lines) == 4
    assert all("login" in line for line in lines[1:])
    cursor = said.err.split("--after ")[1].strip()
    second = search("action:login", "-n", "3", "--after", cursor)
    assert not set(second.out.splitlines()[1:]) & set(lines[1:])
    assert search("actor:nobody").err == "sealstream: nothing was found\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["actr:user-1"], "  actr:user-1\n  ^^^^\nunknown key \"actr\": did you mean actor?\n"),
        (["action:read", "-reslut:x"], "  action:read -reslut:x\n               ^^^^^^\nunknown key \"reslut\": did"),
        (["result:deny"], "  result:deny\n         ^^^^\n\"deny\" is no result: did you mean result:denied?"),
        (["chain:x"], "there is no chain \"x\""),
        (["--sort", "time"], "--sort time: expected -timestamp"),
        (["--having", ">5"], "say what to count with --count-by"),
        (["--count-by", "actr"], "did you mean actor?"),
        (["--count-by", "actor", "--having", "many"], "expected a comparison and a number"),
        (["--after", "nonsense"], "expected one that a page of this search gave"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_at_its_place_with_what_was_meant(search, arguments, told):
    said = search(*arguments)
    assert said.code == 2
    assert told in said.err
    assert said.out == ""


def test_a_cursor_of_another_search_is_refused(search):
    cursor = search("action:login", "-n", "1").err.split("--after ")[1].strip()
    assert "it was given by another search" in search("action:read", "-n", "1", "--after", cursor).err
    assert "sorted by -timestamp, not by seq" in search("action:login", "--sort", "seq", "--after", cursor).err


def test_counts_answer_who_fails_too_often(search, searchable):
    said = search("result:denied", "--count-by", "actor", "--having", ">5", "--json")
    counts = json.loads(said.out)
    assert counts
    assert all(count["entries"] > 5 for count in counts)
    denied = [e["actor_id"] for e in searchable.entries() if e["result"] == "denied"]
    assert {count["actor"]: count["entries"] for count in counts} == {
        actor: denied.count(actor) for actor in set(denied) if denied.count(actor) > 5
    }
    table = search("result:denied", "--count-by", "actor", "--having", ">5").out.splitlines()
    assert table[0].split() == ["actor", "entries"]
    assert len(table) == 1 + len(counts)


def test_counts_that_were_cut_off_say_so(search):
    said = search("--count-by", "action", "-n", "2", "--json")
    assert len(json.loads(said.out)) == 2
    assert said.err == "sealstream: there are more: --all for all of them\n"
    every = search("--count-by", "action", "--all", "--json")
    assert json.loads(every.out)[:2] == json.loads(said.out)
    assert search("--count-by", "action", "-n", str(len(json.loads(every.out))), "--json").err == ""


def test_a_spreadsheet_computes_nothing_of_what_it_is_given(search, searchable, tmp_path):
    file = tmp_path / "november.csv"
    said = search("--all", "--output", "csv", "--file", str(file))
    assert said.code == 0
    rows = list(csv.DictReader(io.StringIO(file.read_bytes().decode())))
    assert len(rows) == len(searchable.entries())
    assert said.err == f"sealstream: {len(rows)} entries written to {file}\n"
    assert "'=cmd()" in {row["actor_id"] for row in rows}
    assert not [cell for row in rows for cell in row.values() if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    by_id = {entry["id"]: entry for entry in searchable.entries()}
    for row in rows:
        entry = by_id[row["id"]]
        assert row["seq"] == str(entry["written"]["seq"])
        assert json.loads(row["metadata"] or "null") == entry.get("metadata")


def test_a_parquet_file_holds_what_was_sealed(search, searchable, tmp_path):
    file = tmp_path / "found.parquet"
    assert search("resource:patient_record", "--all", "--sort", "seq", "-o", "parquet", "--file", str(file)).code == 0
    rows = pq.read_table(file).to_pylist()
    assert [(row["chain"], row["seq"]) for row in rows] == [
        (e["written"]["chain"], e["written"]["seq"])
        for e in searchable.entries()
        if e["resource_type"] == "patient_record"
    ]
    assert all(entry_hash(row["prev_hash"], row["body"].encode()) == row["hash"] for row in rows)


def test_a_search_that_fails_leaves_the_file_that_was_there(search, tmp_path):
    file = tmp_path / "kept.json"
    file.write_text("what was there")
    assert search("reason:*", "--timeout", "0.1", "--after", "x", "--json", "--file", str(file)).code == 2
    assert file.read_text() == "what was there"
    assert list(tmp_path.iterdir()) == [file]


def test_json_is_one_document(search):
    assert json.loads(search("actor:nobody", "--json").out) == []
    assert len(json.loads(search("-n", "7", "--json").out)) == 7


def test_the_archive_is_asked_by_name(search, searchable):
    said = search("--source", "archive", "--all", "--output", "ndjson", "--sort", "seq")
    assert [json.loads(line) for line in said.out.splitlines()] == searchable.archived()


def test_who_finds_nothing_by_a_comma_is_told_how_it_is_written(search, searchable):
    told = (
        "sealstream: the comma in action:read,write is part of its value: for either of these write action:read action:"
    )
    assert search("action:read,write").err.splitlines() == ["sealstream: nothing was found", f"{told}write"]
    for more in (["--json"], ["--all", "-o", "ndjson"], ["--count-by", "actor"]):
        said = search("action:read,write", *more)
        assert said.code == 0
        assert said.err == f"{told}write\n"
    tailed = say(searchable.config, "tail", "--chain", searchable.chains[0], "action:read,write")
    assert tailed.err == f"{told}write\n"
    assert search("action:read", "action:write,none", "-n", "1", "--json").err.count("comma") == 0


def test_show_prints_an_entry_and_whether_its_seal_and_signature_hold(searchable):
    chain = searchable.chains[0]
    for place, covered in ((f"{chain}/42", True), (f"{chain}/{searchable.made[0].size - 1}", True)):
        said = say(searchable.config, "show", place)
        assert said.code == 0, said.err
        assert said.out.startswith(place)
        assert "holds: the hash was computed again" in said.out
        assert ("signed    by the chain's key" in said.out) == covered
    value = searchable.made[0].values[42]
    by_id = say(searchable.config, "show", json.loads(value)["id"], "--json")
    assert by_id.out.encode() == value + b"\n"
    from_archive = say(searchable.config, "show", f"{chain}/42", "--source", "archive")
    assert "signed    by the chain's key, in the checkpoint over" in from_archive.out


def test_show_says_what_is_not_there(searchable):
    missing = say(searchable.config, "show", "11111111-1111-4111-8111-111111111111")
    assert missing.code == 2
    assert "there is no entry 11111111-1111-4111-8111-111111111111 in Postgres or the archive" in missing.err
    assert "expected its id (a UUID), or chain/seq such as main/4711" in say(searchable.config, "show", "4711").err


def test_tail_shows_the_last_that_are_found(searchable):
    chain = searchable.chains[0]
    said = say(searchable.config, "tail", "--chain", chain, "-n", "5", "--json", "-action:read", "result:denied")
    wanted = [
        value
        for value in searchable.made[0].values
        if (entry := json.loads(value))["action"] != "read" and entry["result"] == "denied"
    ]
    assert said.out.encode().splitlines() == wanted[-5:]


def test_following_gives_each_entry_once_from_where_it_begins(searchable):
    chain, settings = searchable.chains[1], load_settings(searchable.config)
    query = parse("-action:read", now=NOW)
    end, _looked, last = last_found(settings, chain, query, 7)
    earlier = end - 60
    followed: list[Found] = []
    for batch in follow(settings, chain, query, earlier, say=print):
        followed += batch
        if followed[-1].seq >= last[-1].seq:
            break
    assert followed[-7:] == last
    seqs = [found.seq for found in followed]
    assert seqs == sorted(set(seqs))
    assert all(found.entry["action"] != "read" for found in followed)


def test_who_stops_to_read_hears_no_complaint(searchable):
    command = [sys.executable, "-m", "sealstream.cli.entry", "--config", str(searchable.config), "search", "--all"]
    process = subprocess.Popen([*command, "-o", "ndjson"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    assert process.wait(30) == 141
