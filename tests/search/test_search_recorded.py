"""Who searched, and what: in the control topic before anything is shown, from the command line and from the API."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from tests.long_runs import long_run
from tests.pipeline import say, wait_until
from tests.search.conftest import Searchable
from tests.web.conftest import start_service

from sealstream.kafka import read_until_end
from sealstream.layout import ChainTopics

pytestmark = long_run


def reads(searchable: Searchable, chain: str) -> list[dict[str, Any]]:
    topic = ChainTopics.of(chain).control
    values = [json.loads(record.value or b"") for batch in read_until_end(searchable.kafka, topic) for record in batch]
    return [value for value in values if value["action"] == "log.read"]


def newest(searchable: Searchable, chain: str, number: int = 1) -> list[dict[str, Any]]:
    return [read["metadata"] for read in reads(searchable, chain)[-number:]]


def test_a_search_is_recorded_in_each_chain_that_it_reads(searchable: Searchable) -> None:
    first, second = searchable.chains
    said = say(searchable.config, "search", "result:denied", "-action:read", "-n", "40", "--json")
    shown = [entry["written"]["chain"] for entry in json.loads(said.out)]
    for chain in (first, second):
        assert newest(searchable, chain) == [
            {
                "what": "search",
                "store": "postgres",
                "phase": "whole",
                "query": "result:denied -action:read",
                "rows": shown.count(chain),
            }
        ]
    before = len(reads(searchable, second))
    say(searchable.config, "search", f"chain:{first}", "-n", "1")
    assert len(reads(searchable, second)) == before


def test_counts_and_single_entries_are_recorded(searchable: Searchable) -> None:
    first, second = searchable.chains
    counted = say(searchable.config, "search", "--count-by", "actor", "--having", ">9", "--json", "--chain", first)
    (read,) = newest(searchable, first)
    assert (read["query"], read["rows"]) == ("--count-by actor --having >9", len(json.loads(counted.out)))
    say(searchable.config, "show", f"{first}/42")
    (read,) = newest(searchable, first)
    assert (read["what"], read["query"], read["rows"], read["store"]) == ("show", f"{first}/42", 1, "postgres")
    say(searchable.config, "show", "11111111-1111-4111-8111-111111111111")
    for chain in (first, second):
        (read,) = newest(searchable, chain)
        assert (read["what"], read["rows"]) == ("show", 0)


def test_everything_that_is_found_is_an_export_with_two_ends(searchable: Searchable) -> None:
    first, _ = searchable.chains
    said = say(searchable.config, "search", "--all", "-o", "ndjson", "--chain", first, "actor:user-1")
    begin, end = newest(searchable, first, 2)
    assert (begin["what"], begin["phase"], begin["query"]) == ("export", "begin", "actor:user-1")
    assert (end["phase"], end["rows"], end["outcome"]) == ("end", len(said.out.splitlines()), "complete")


def test_a_chain_that_is_followed_is_recorded_until_ctrl_c(searchable: Searchable) -> None:
    first, _ = searchable.chains
    before = len(reads(searchable, first))
    command = [sys.executable, "-m", "sealstream.cli.entry", "--config", str(searchable.config), "tail"]
    process = subprocess.Popen(
        [*command, "-f", "-n", "3", "--json", "--chain", first],
        stdout=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # also where a shell ignores it
    )
    assert process.stdout is not None
    try:
        for _ in range(3):
            assert process.stdout.readline()
            assert newest(searchable, first)[0]["phase"] == "begin"
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(30) == 130
    finally:
        process.kill()
    begin, end = reads(searchable, first)[before:]
    assert end["metadata"]["begin_id"] == begin["id"]
    assert (end["metadata"]["rows"], end["metadata"]["outcome"]) == (3, "cut short")


@pytest.mark.parametrize(
    "arguments",
    [
        ["search", "actor:user-1"],
        ["search", "--all", "-o", "ndjson"],
        ["search", "--count-by", "actor"],
        ["show", "CHAIN/42"],
    ],
)
def test_nothing_is_shown_without_a_record(
    searchable: Searchable, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEALSTREAM_KAFKA__PREFIX", "gone")
    said = say(searchable.config, *(word.replace("CHAIN", searchable.chains[0]) for word in arguments))
    assert (said.code, said.out) == (2, "")
    assert "nothing is shown" in said.err


def test_the_api_answers_from_both_stores_what_the_command_line_does(searchable: Searchable) -> None:
    made = say(searchable.config, "tokens", "create", "both", "--chain", "*", "--role", "exporter")
    assert made.code == 0, made.err
    url, process = start_service(SimpleNamespace(config=searchable.config, folder=searchable.config.parent))  # type: ignore[arg-type]
    try:
        with httpx.Client(base_url=url, headers={"authorization": f"Bearer {made.out.strip()}"}, timeout=60) as client:
            for source in ("postgres", "archive", "auto"):
                query = {"q": "resource:patient_record", "source": source, "sort": "seq"}
                page = client.get("/v1/search", params={**query, "limit": "30"}).json()
                same = say(
                    searchable.config, "search", query["q"], "--source", source, "--sort", "seq", "-n", "30", "--json"
                )
                assert page["entries"] == json.loads(same.out), source
                further = client.get("/v1/search", params={**query, "limit": "30", "after": page["next"]}).json()
                assert further["entries"][0]["written"]["seq"] > page["entries"][-1]["written"]["seq"]
                exported = client.get("/v1/export", params=query).text.splitlines()
                assert [json.loads(line) for line in exported[:60]] == page["entries"] + further["entries"]
            wait_until(lambda: newest(searchable, searchable.chains[1])[0]["phase"] == "end", 10)
            listed = searchable.archived()
            place = f"/v1/chains/{searchable.chains[0]}/entries/{listed[3]['written']['seq']}"
            assert client.get(place, params={"source": "archive"}).json() == listed[3]
    finally:
        process.terminate()
        assert process.wait(15) == 0
