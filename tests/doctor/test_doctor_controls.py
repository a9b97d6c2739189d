"""The table of controls, and that no check is there of which nobody has seen that it can fail."""

from __future__ import annotations

import ast
import json
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
from tests.long_runs import long_run
from tests.pipeline import say

from sealstream.cli.doctor_view import screen
from sealstream.cli.settings import write_settings
from sealstream.doctor import CHECKS, CONTROL_SETS, Diagnosis, Outcome, State, checks_of, control_state
from sealstream.doctor.page import render
from sealstream.doctor.table import markdown

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "doctor.md"
SETS = list(CONTROL_SETS.values())


def seen(helper: str) -> set[str]:
    """The ids of checks that a test of this folder gives to `failing` or `passing`."""
    ids = set()
    for file in HERE.glob("test_*.py"):
        for test in ast.walk(ast.parse(file.read_text())):
            if not (isinstance(test, ast.FunctionDef) and test.name.startswith("test_")):
                continue
            for node in ast.walk(test):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == helper:
                    assert isinstance(node.args[0], ast.Constant), f"{file.name}: {test.name}: a literal id is expected"
                    ids.add(str(node.args[0].value))
    return ids


def test_each_check_is_broken_by_a_test_that_sees_it_fail() -> None:
    assert seen("failing") == set(CHECKS)


def test_each_check_is_seen_to_pass_by_a_test() -> None:
    assert seen("passing") == set(CHECKS)


def test_each_check_speaks_for_some_control_and_each_control_names_checks_that_there_are() -> None:
    named = {check for each in SETS for control in each.controls for check in control.checks}
    assert named == set(CHECKS)
    assert len({(each.name, control.id) for each in SETS for control in each.controls}) == sum(
        len(each.controls) for each in SETS
    )
    for each in SETS:
        for control in each.controls:
            assert control.checks or control.remains, f"{control.id}: nothing is said of it"


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("checklist", [str(number) for number in range(1, 11)]),
        ("soc2", ["CC6.1", "CC7.2", "CC7.3"]),
        ("hipaa", ["164.312(b)", "164.308(a)(1)(ii)(D)", "164.312(c)(2)", "164.316(b)(2)(i)"]),
        ("iso27001", ["A.8.15", "A.8.16", "A.8.17"]),
        ("nist", [f"AU-{number}" for number in range(2, 13)]),
        ("gdpr", ["5(1)(e)", "17", "30", "32"]),
    ],
)
def test_a_set_has_the_controls_that_it_promises(name: str, ids: list[str]) -> None:
    assert [control.id for control in CONTROL_SETS[name].controls] == ids


def test_pci_has_each_of_10_2_to_10_7() -> None:
    ids = [control.id for control in CONTROL_SETS["pci"].controls]
    assert {each[:4] for each in ids} == {f"10.{number}" for number in range(2, 8)}
    assert all([*map(int, a.split("."))] < [*map(int, b.split("."))] for a, b in pairwise(ids))


def test_the_pages_table_is_that_of_the_program() -> None:
    begin, end = "<!-- controls: begin -->\n\n", "\n<!-- controls: end -->"
    told = PAGE.read_text().partition(begin)[2].partition(end)[0]
    assert told == markdown(), "python -m sealstream.doctor.table prints it"


def diagnosis(states: dict[str, State], chosen: str = "soc2") -> Diagnosis:
    """Where all pass but these."""
    sets = [CONTROL_SETS[chosen]]
    checks = checks_of(sets)
    outcomes = {
        check.id: Outcome(states.get(check.id, State.PASS), (f"evidence <b>{check.id}</b>",), f"mend {check.id}")
        for check in checks
    }
    return Diagnosis(
        datetime(2026, 11, 30, tzinfo=UTC), "ann@ward", "log.example.com", ["main"], sets, checks, outcomes
    )


def test_a_control_is_as_good_as_its_worst_check() -> None:
    fail, unknown = {"kafka.tls": State.FAIL}, {"kafka.tls": State.UNKNOWN}
    (access, *_) = CONTROL_SETS["soc2"].controls
    assert control_state(access, diagnosis({}).outcomes) is State.PASS
    assert control_state(access, diagnosis(unknown).outcomes) is State.UNKNOWN
    assert control_state(access, diagnosis(fail | {"postgres.tls": State.UNKNOWN}).outcomes) is State.FAIL
    assert diagnosis({}).exit_code == 0
    assert diagnosis(unknown).exit_code == 2
    assert diagnosis(fail | {"postgres.tls": State.UNKNOWN}).exit_code == 1


def test_what_has_no_check_is_not_testable_and_never_a_pass() -> None:
    found = diagnosis({}, "gdpr")
    states = {each["id"]: each["state"] for each in found.to_json()["controls"]}
    assert states["30"] == states["17"] == "not testable by software"
    assert states["32"] == "pass"


def test_the_page_shows_each_control_and_check_and_executes_nothing() -> None:
    page = render(diagnosis({"kafka.tls": State.FAIL, "chain.alive": State.UNKNOWN}))
    assert "<script" not in page
    assert "default-src 'none'" in page
    assert "evidence &lt;b&gt;kafka.tls&lt;/b&gt;" in page
    assert page.count("What to do: mend") == 2
    for control in CONTROL_SETS["soc2"].controls:
        assert f"<td>{control.id}</td>" in page
    assert page.count('class="check"') == len(checks_of([CONTROL_SETS["soc2"]]))


def test_people_are_shown_what_to_do_and_the_evidence_of_passes_only_when_they_ask() -> None:
    from rich.console import Console

    found = diagnosis({"kafka.tls": State.FAIL})
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115 - nothing is written
    console.print(screen(found, all_evidence=False))
    told = console.export_text()
    assert "to do: mend kafka.tls" in told
    assert "evidence <b>kafka.tls</b>" in told
    assert "evidence <b>chain.alive</b>" not in told
    console.print(screen(found, all_evidence=True))
    assert "evidence <b>chain.alive</b>" in console.export_text()


def test_the_list_asks_nothing_and_a_set_that_there_is_not_is_named(tmp_path: Path) -> None:
    said = say(tmp_path / "none.toml", "doctor", "--list", "--control", "hipaa")
    assert said.code == 0
    assert "164.312(c)(2)" in said.out
    assert "CC6.1" not in said.out
    wrong = say(tmp_path / "none.toml", "doctor", "--control", "sox")
    assert wrong.code == 2
    assert "expected one of checklist, soc2" in wrong.err


@long_run
def test_of_a_system_where_nobody_answers_everything_is_unknown_or_fails(tmp_path: Path) -> None:
    config = tmp_path / "sealstream.toml"
    nowhere = "postgresql://nobody:no@127.0.0.1:1/no"
    write_settings(
        config,
        {
            "kafka": {"bootstrap": "127.0.0.1:1"},
            "postgres": {"reader_dsn": nowhere, "sink_dsn": nowhere, "keeper_dsn": nowhere},
            "archive": {"endpoint_url": "http://127.0.0.1:1", "access_key": "a", "secret_key": "b"},
            "chains": {"main": {"vkey": "log+00000000+AAAA", "retention": "pci"}},
        },
    )
    said = say(config, "doctor", "--json", "--control", "checklist", "--timeout", "25")
    found = json.loads(said.out)
    assert said.code == found["exit_code"] == 1
    assert "not recorded in the log" in found["notes"][0]
    passing = {check["id"] for check in found["checks"] if check["state"] == "pass"}
    assert passing == {"retention.year"}  # the settings alone say it
