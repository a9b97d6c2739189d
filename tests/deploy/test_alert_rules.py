"""The alert rules of deploy/prometheus: whole, each with a page that exists, each tried on made figures.

That each figure and label in them is served stands in tests/health, beside the processes that serve them.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.deploy.queries import PROMTOOL, RULE_TESTS, RULES, promtool

from sealstream import errors
from sealstream.errors import ChainStopped

ROOT = Path(__file__).parents[2]
GROUPS = yaml.safe_load(RULES.read_text())["groups"]
ALERTS: dict[str, dict[str, Any]] = {rule["alert"]: rule for group in GROUPS for rule in group["rules"]}
ALARMS = {rule["alert"]: rule for group in GROUPS if group["name"] == "sealstream-alarms" for rule in group["rules"]}


def run_promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = promtool()
    if program is None:
        pytest.skip(PROMTOOL)
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=200, check=False)


def test_prometheus_takes_the_rules() -> None:
    said = run_promtool("check", "rules", str(RULES))
    assert said.returncode == 0, said.stdout + said.stderr
    assert f"{len(ALERTS)} rules found" in said.stdout + said.stderr


def test_each_alert_fires_when_it_should_and_is_silent_when_not() -> None:
    said = run_promtool("test", "rules", str(RULE_TESTS))
    assert said.returncode == 0, said.stdout + said.stderr


def test_an_alert_that_does_not_fire_is_found(tmp_path: Path) -> None:
    (tmp_path / RULES.name).write_text(
        RULES.read_text().replace('up{job="sealstream"} == 0', 'up{job="sealstream"} == 2')
    )
    tests = yaml.safe_load(RULE_TESTS.read_text())
    tests["tests"] = [each for each in tests["tests"] if each["name"] == "a process that does not answer"]
    (tmp_path / RULE_TESTS.name).write_text(yaml.safe_dump(tests))
    said = run_promtool("test", "rules", str(tmp_path / RULE_TESTS.name))
    assert said.returncode == 1
    assert "SealstreamDown" in said.stdout + said.stderr


def test_each_alert_is_tried_both_ways() -> None:
    fires, silent = set[str](), set[str]()
    for test in yaml.safe_load(RULE_TESTS.read_text())["tests"]:
        for case in test["alert_rule_test"]:
            (fires if case["exp_alerts"] else silent).add(case["alertname"])
    assert fires == silent == ALERTS.keys()


def test_each_name_is_given_once() -> None:
    assert sum(len(group["rules"]) for group in GROUPS) == len(ALERTS)


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_how_urgent_it_is_what_is_wrong_and_which_page_helps(name: str) -> None:
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert rule["annotations"].keys() == {"summary", "runbook"}
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    text = (ROOT / page).read_text()
    headings = [re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-") for line in re.findall(r"^#+ (.*)$", text, re.M)]
    assert not anchor or anchor in headings


def test_each_alarm_has_one_alert_with_the_page_that_it_names_itself() -> None:
    kinds = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, ChainStopped)]
    assert len(kinds) >= 6
    for kind in kinds:
        matching = {name for name, rule in ALARMS.items() if matches(rule["expr"], kind.__name__)}
        assert len(matching) == 1, (kind, matching)
        page = ALARMS[matching.pop()]["annotations"]["runbook"]
        assert page == (kind.runbook if kind is not ChainStopped else "docs/runbooks/README.md")
    assert [name for name, rule in ALARMS.items() if matches(rule["expr"], "Misconfigured")] == [
        "SealstreamChainStopped"
    ]


def matches(expression: str, kind: str) -> bool:
    """Whether the first selector of the expression takes an alarm of this kind."""
    found = re.search(r'kind(=~|!~|=)"([^"]*)"', expression)
    assert found, expression
    same = re.fullmatch(found[2], kind) is not None
    return not same if found[1] == "!~" else same
