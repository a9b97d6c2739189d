"""A month's report of a real chain: its numbers are the chain's, its queries give them again, its page is inert."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from tests.long_runs import long_run
from tests.pipeline import Pipeline, say, sql, wait_until

from sealstream.cli.settings import write_settings
from sealstream.layout import Retention, SegmentLimits
from sealstream.reports import PRIVILEGED, Asker, Period, PeriodReport, period_sections
from sealstream.reports.page import render
from sealstream.reports.pdf import find_chromium, print_pdf
from sealstream.reports.settings import ReportSection
from sealstream.search import parse

pytestmark = long_run

MONTH = datetime.now(UTC).strftime("%Y-%m")
OF_CLIENT = {"actor_id": "sealstream/client", "actor_type": "system", "result": "failure"}
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def pipeline(make_pipeline: Callable[..., Pipeline], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """300 events of one producer, of which one never came; two records that are refused; a hostile actor."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        made = make_pipeline(SegmentLimits(entries=100, bytes=10_000_000, seconds=3_600))
        made.send([made.event(n, producer="p", number=n + (n > 150)) for n in range(300)])
        made.send([b"no event", b"no event either"])
        made.send(
            [
                made.event(400, actor_id=HOSTILE, actor_type="admin", action="permission.grant", reason="\x1b[31m"),
                made.event(401, actor_id="broker", on_behalf_of="user-1", action="export"),
                made.event(402, **OF_CLIENT, action="audit.loss", metadata={"reason": "queue full", "count": 7}),
                made.event(403, **OF_CLIENT, action="producer.closed", metadata={"next": 9}),
                made.event(404, action="invoice.export", result="success"),
                made.event(405, action="patient.delete", result="success"),
            ]
        )
        made.start()
        wait_until(lambda: len(made.records(made.topics.deadletter)) == 2, 60, made.why)
        number = str(made.records(made.topics.deadletter)[0].offset)
        assert made.command("deadletter", "dismiss", number, "--reason", "a test", "--chain", made.name).code == 0
        made.wait_archived(300)
        made.wait_stored(made.wait_quiet())
        made.stop()
        yield made


@pytest.fixture(scope="module")
def told(pipeline: Pipeline) -> dict[str, Any]:
    said = pipeline.command("report", "--month", MONTH, "--chain", pipeline.name, "--json")
    assert said.code == 0, said.out + said.err
    document: dict[str, Any] = json.loads(said.out)
    return document


def figures(told: dict[str, Any]) -> dict[str, Any]:
    return {figure["label"]: figure["value"] for section in told["sections"] for figure in section["figures"]}


def tables(told: dict[str, Any]) -> dict[str, list[list[Any]]]:
    return {table["title"]: table["rows"] for section in told["sections"] for table in section["tables"]}


def test_the_numbers_are_the_chains(pipeline: Pipeline, told: dict[str, Any]) -> None:
    sealed = [entry for entry in pipeline.entries() if entry["written"]["kind"] == "event"]
    events = [event for event in sealed if event["actor_id"] != "sealstream/client"]
    found = figures(told)
    assert found["events"] == len(events) == len(sealed) - 2 == 304
    assert found["producers' statements of themselves"] == 2
    assert found["actors"] == len({event["actor_id"] for event in events})
    assert found["denied"] == sum(event["result"] == "denied" for event in events)
    assert found["failed"] == sum(event["result"] == "failure" for event in events)
    assert found["gaps noticed"] == 1
    assert found["records refused"] == 2
    assert (found["records dismissed"], found["records sent again, corrected"]) == (1, 0)
    assert found["events that producers dropped"] == 7
    assert (found["by administrators"], found["on behalf of another"]) == (1, 1)
    assert found["exports, by the action's name"] == 2
    assert found["deletions, by the action's name"] == 1
    assert found["rights, roles, accounts, by the action's name"] == 1
    assert found["segments archived"] >= 3
    actors = Counter(event["actor_id"] for event in events)
    assert {row[0]: row[1] for row in tables(told)["Busiest actors"]} == dict(actors)
    gap = next(row for row in tables(told)["What the log noticed"] if row[2] == "producer.gap")
    assert "151" in gap[3]


def test_each_query_gives_its_number_again(pipeline: Pipeline, told: dict[str, Any]) -> None:
    """Those about events: what is counted of the log itself grows by being asked."""
    asked = 0
    for section in told["sections"]:
        for figure in section["figures"]:
            words = shlex.split(figure["query"])[1:]
            if "--count-by" not in words or "kind:event" not in words[1].split():
                continue
            said = pipeline.command(*words, "--json")
            assert said.code == 0, said.err
            counts = json.loads(said.out)
            number = len(counts) if figure["label"] == "actors" else sum(count["entries"] for count in counts)
            assert number == figure["value"], figure
            asked += 1
    assert asked >= 8


def test_what_is_added_up_is_in_the_entries_that_its_query_prints(pipeline: Pipeline, told: dict[str, Any]) -> None:
    how: dict[str, Callable[[list[dict[str, Any]]], Any]] = {
        "records refused": lambda found: sum(
            item["last"] - item["first"] + 1
            for each in found
            for item in each["metadata"]["items"]
            if item["what"] == "refused"
        ),
        "records dismissed": lambda found: sum(len(each["metadata"]["letters"]) for each in found),
        "events that producers dropped": lambda found: sum(each["metadata"]["count"] for each in found),
        "the earliest lock ends": lambda found: min(each["metadata"]["retain_until"] for each in found)[:10],
        "the latest lock ends": lambda found: max(each["metadata"]["retain_until"] for each in found)[:10],
    }
    asked = {figure["label"]: figure for section in told["sections"] for figure in section["figures"]}
    for label, worked_out in how.items():
        said = pipeline.command(*shlex.split(asked[label]["query"])[1:])
        assert said.code == 0, said.err
        assert worked_out(json.loads(said.out)) == asked[label]["value"], label


def test_a_search_that_calls_an_action_privileged_is_one() -> None:
    assert ReportSection(privileged=PRIVILEGED).privileged == PRIVILEGED


@pytest.mark.skipif(not (find_chromium() and shutil.which("pdftotext")), reason="no Chromium or no pdftotext here")
def test_a_query_copied_from_paper_is_the_query(tmp_path: Path) -> None:
    """By a shell that prints its arguments instead of searching; a line's end within the search is as a space."""
    month, now = Period.parse("2026-11"), datetime.now(UTC)
    asker = Asker(Long(), "main", month, now)
    sections = period_sections(asker, month, verified={}, retention=Retention("soc2", 366))
    made = PeriodReport("main", "acme.example/main", "", month, now, "ann", "postgres", "", None, sections)
    page = tmp_path / "report.html"
    page.write_text(render(made))
    print_pdf(page, page.with_suffix(".pdf"))
    paper = subprocess.run(["pdftotext", "-nopgbrk", page.with_suffix(".pdf"), "-"], capture_output=True, check=True)
    text = paper.stdout.decode()
    copied = " ".join(text[text.index("\nQueries") :].split())
    for question in made.questions():
        words = question.words()
        shown = [*words[:3], "\\", *words[3:]] if words[1] == "search" else words
        assert " ".join(shown) in copied
    assert "`" not in text


def test_a_list_that_is_cut_off_is_whole_in_its_query(told: dict[str, Any]) -> None:
    queries = [figure["query"] for section in told["sections"] for figure in section["figures"]]
    queries += [table["query"] for section in told["sections"] for table in section["tables"]]
    searches = [query for query in queries if query.startswith("sealstream search")]
    assert len(searches) > 20
    assert all("--all" in shlex.split(query) for query in searches)


@pytest.mark.parametrize("query", ["kind:control", "sealed_after:2026-01-01 actor:ann", "chain:other", "reslut:denied"])
def test_a_privileged_action_is_a_search_for_events_and_nothing_else(query: str) -> None:
    with pytest.raises(ValidationError, match="by ann"):
        ReportSection(privileged={"by ann": query})
    assert ReportSection(privileged={"by ann": "actor:ann -action:read"}).privileged


def test_long_names_of_actors_are_no_hindrance() -> None:
    period = Period.parse(MONTH)
    ask = Asker(Long(), "main", period, datetime.now(UTC))
    sections = period_sections(ask, period, verified={}, retention=Retention("soc2", 366))
    busiest = next(table for section in sections for table in section.tables if table.title == "Busiest actors")
    assert len(busiest.rows) == 20
    assert busiest.left_out == 10


class Long:
    """A log of actors with the longest ids; each query that it is asked must be one."""

    def count_by(self, text: str, field: str) -> list[tuple[str, int]]:
        parse(text, now=datetime.now(UTC))
        return [(f"{n:0512d}", 30 - n) for n in range(30)] if field == "actor" else []

    def entries(self, text: str) -> Iterator[dict[str, Any]]:
        parse(text, now=datetime.now(UTC))
        yield from ()


def test_reading_for_a_report_is_recorded(pipeline: Pipeline, told: dict[str, Any]) -> None:
    reads = [json.loads(record.value or b"") for record in pipeline.records(pipeline.topics.control)]
    (read,) = [read for read in reads if read.get("metadata", {}).get("what") == "report"][:1]
    assert read["action"] == "log.read"
    assert read["metadata"]["rows"] == sum(len(rows) for rows in tables(told).values())


def test_the_archive_tells_the_same(pipeline: Pipeline, told: dict[str, Any]) -> None:
    archived = pipeline.progress().archive_size or 0
    wanted = [
        entry
        for entry in pipeline.entries()[:archived]
        if entry["written"]["kind"] == "event" and entry["actor_id"] != "sealstream/client"
    ]
    said = pipeline.command(
        "report", "--month", MONTH, "--chain", pipeline.name, "--json", "--source", "archive", "--verify", "none"
    )
    assert said.code == 0, said.err
    found = figures(json.loads(said.out))
    assert found["events"] == len(wanted) >= 200
    assert found["denied"] == sum(event["result"] == "denied" for event in wanted)


def test_all_days_of_the_month_are_there_and_add_up(told: dict[str, Any]) -> None:
    rows = tables(told)["The same in numbers"]
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    assert told["chain_began"][:10] <= rows[0][0][:10] <= rows[-1][0][:10] <= today
    assert sum(row[-1] for row in rows) == figures(told)["events"]
    assert all(sum(row[1:-1]) == row[-1] for row in rows)


def test_each_stores_verdict_stands_in_it(told: dict[str, Any]) -> None:
    verdicts = {row[0]: row[1] for row in tables(told)["Verdict by store"]}
    assert verdicts == dict.fromkeys(("kafka", "postgres", "archive"), "holds")
    assert told["verdict_holds"] is True
    assert "WORM-locked (write once" in told["verdict"]
    (notes,) = [section["notes"] for section in told["sections"] if section["title"] == "Verification"]
    assert any(note.startswith("self-signed: ") for note in notes)
    assert any("segment closes" in note for note in notes)
    assert told["checkpoint"].startswith(told["origin"])


def test_a_checkpoint_kept_elsewhere_is_held_against_the_log(
    pipeline: Pipeline, told: dict[str, Any], tmp_path: Path
) -> None:
    said = pipeline.command("verify", "postgres", "--chain", pipeline.name, "--state-dir", str(tmp_path))
    assert said.code == 0, said.out + said.err
    (kept,) = [path for path in tmp_path.rglob("*") if path.is_file() and told["origin"] in path.read_text()]
    kept.write_text("not a checkpoint")
    asked = ("report", "--month", MONTH, "--chain", pipeline.name, "--json", "--verify", "postgres")
    assert pipeline.command(*asked).code == 0
    assert pipeline.command(*asked, "--state-dir", str(tmp_path)).code != 0


def test_the_page_is_whole_and_can_do_nothing(pipeline: Pipeline, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    said = pipeline.command(
        "report", "--month", MONTH, "--chain", pipeline.name, "--verify", "none", "--file", str(file)
    )
    assert said.code == 0, said.err
    page = file.read_text()
    assert page.count("<svg") == 1
    assert HOSTILE not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "\x1b" not in page
    assert "Content-Security-Policy" in page
    assert "<script" not in page
    assert "Draft" in page
    assert "Nothing was verified" in page
    assert list(tmp_path.iterdir()) == [file]
    assert file.stat().st_mode & 0o777 == 0o600


def test_where_there_is_no_archive_none_is_asked(pipeline: Pipeline) -> None:
    config = pipeline.config.with_name("without-archive.toml")
    config.write_bytes(pipeline.config.read_bytes())
    write_settings(config, {"archive": {"bucket": ""}})
    said = say(config, "report", "--month", MONTH, "--chain", pipeline.name, "--json")
    assert said.code == 0, said.out + said.err
    assert [row[0] for row in tables(json.loads(said.out))["Verdict by store"]] == ["kafka", "postgres"]


def test_tampering_is_the_first_thing_that_it_says(pipeline: Pipeline, tmp_path: Path) -> None:
    sql(pipeline.admin_dsn, "ALTER TABLE audit_log DISABLE TRIGGER ALL")
    partition = sql(pipeline.admin_dsn, "SELECT tableoid::regclass::text FROM audit_log WHERE seq = 20")[0][0]
    sql(pipeline.admin_dsn, f"ALTER TABLE {partition} DISABLE TRIGGER ALL")
    before = sql(pipeline.admin_dsn, "UPDATE audit_log SET actor_id = 'nobody' WHERE seq = 20 RETURNING seq")
    assert len(before) == 1
    file = tmp_path / "report.html"
    said = pipeline.command(
        "report", "--month", MONTH, "--chain", pipeline.name, "--verify", "postgres", "--file", str(file)
    )
    assert said.code == 1
    assert "TAMPERING FOUND in postgres" in said.out
    page = file.read_text()
    assert page.index("TAMPERING FOUND") < page.index("In short")
    assert "edited" in page


@pytest.mark.parametrize("month", ["2026-13", "november", "2026-1", "99-01", "2026-11-01"])
def test_a_month_that_is_none_is_refused(pipeline: Pipeline, month: str) -> None:
    said = pipeline.command("report", "--month", month, "--chain", pipeline.name)
    assert said.code == 2
    assert "2026-11" in said.err


def test_a_month_to_come_is_refused(pipeline: Pipeline) -> None:
    said = pipeline.command("report", "--month", "2999-01", "--chain", pipeline.name)
    assert (said.code, "has not begun" in said.err) == (2, True)
