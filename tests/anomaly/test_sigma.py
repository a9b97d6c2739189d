"""Sigma rules on activity: what they find, and what is said of those that can't run."""

from __future__ import annotations

import os
from pathlib import Path
from textwrap import dedent

import pytest

from sealstream.anomaly.sigma import Rules, SigmaFolder, read_rules
from sealstream.anomaly.watching import Subject, Watch
from sealstream.layout.activity import Activity, AddressActivity, AddressCell, Cell
from sealstream.layout.alerts import Alert

DELETES = """
title: A record was deleted
name: record_deleted
logsource: {product: sealstream}
detection:
  selection:
    action|endswith: .delete
    resource_type: [patient_record, invoice]
  maintenance:
    actor_id|startswith: svc-
  condition: selection and not maintenance
level: high
"""
FAILED = """
title: A login failed
name: login_failed
logsource: {product: sealstream}
detection:
  selection: {action: login, result: failure}
  condition: selection
"""


def rules(*documents: str) -> Rules:
    found = read_rules({"rules.yml": "---\n".join(documents)})
    assert found.faults == []
    return found


def cell(action: str = "read", seq: int = 0, **more: object) -> Cell:
    fields: dict[str, object] = {
        "resource_type": "patient_record",
        "result": "success",
        "actor_type": "user",
        "count": 1,
        "seqs": [[seq, seq]],
    }
    return Cell(action=action, **(fields | more))  # type: ignore[arg-type]


def activity(at: int, *cells: Cell, actor: str = "user-1") -> Activity:
    return Activity("main", f"2026-11-02T09:{at // 60:02}:{at % 60:02}Z", actor, list(cells))


def alerts(found: Rules, *records: Activity) -> list[Alert]:
    watch = Watch([each for each in found.detectors if each.subject == "actor"], Activity)
    subjects: dict[str, Subject[Activity]] = {}
    raised = []
    for record in records:
        subject = watch.decode(watch.encode(subjects.get(record.actor_id, Subject())))
        raised += watch.see(subject, record)
        subjects[record.actor_id] = subject
    return raised


def test_an_event_rule_raises_one_alert_an_episode() -> None:
    found = rules(DELETES)
    raised = alerts(
        found,
        activity(0, cell("invoice.delete", 4, resource_type="invoice")),
        activity(9, cell("invoice.delete", 5, resource_type="invoice")),
        activity(20, cell("invoice.read", 6, resource_type="invoice")),
        activity(30, cell("patient.DELETE", 7), actor="user-2"),
        activity(40, cell("patient.delete", 8), actor="svc-cleanup"),
        activity(50, cell("patient.delete", 9, resource_type="note"), actor="user-3"),
    )
    assert [(alert.subject, alert.severity, alert.rule, alert.detector) for alert in raised] == [
        ("user-1", "high", "record_deleted", "sigma_record_deleted"),
        ("user-2", "high", "record_deleted", "sigma_record_deleted"),
    ]
    assert raised[0].summary == "A record was deleted: 1 entry of user-1 (invoice.delete)"
    assert raised[0].seqs == [[4, 4]]


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("ip_address|cidr: 10.0.0.0/8", True),
        ("ip_address|cidr: 10.1.0.0/16", False),
        ("action|re: ^patient\\.(read|write)$", True),
        ("action|re: ^read", False),
        ("action: p?tient.*", True),
        ("action|cased: Patient.read", False),
        ("action|contains|all: [pat, ead]", True),
        ("action|contains|all: [pat, write]", False),
        ("tenant: null", True),
        ("ip_address: null", False),
        ("ip_address|exists: true", True),
        ("tenant|exists: true", False),
        ("actor_type: USER", True),
        ("actor_id: 'user-\\*'", False),
    ],
)
def test_values_are_compared_as_sigma_says(condition: str, holds: bool) -> None:
    rule = f"""
title: t
logsource: {{product: sealstream}}
detection:
  selection:
    {condition}
  condition: 1 of sel*
"""
    raised = alerts(rules(rule), activity(0, cell("patient.read", ip_address="10.0.0.7")))
    assert bool(raised) is holds


def correlated(kind: str, condition: str, names: str = "login_failed", group: str = "actor_id") -> str:
    return f"""
title: Correlated
name: correlated
correlation:
  type: {kind}
  rules: [{names}]
  group-by: [{group}]
  timespan: 1m
  {condition}
level: critical
"""


def with_failed(kind: str, condition: str, names: str = "login_failed", group: str = "actor_id") -> str:
    return f"{FAILED}---{correlated(kind, condition, names, group)}"


def failed(at: int, count: int = 1, **more: object) -> Activity:
    return activity(at, cell("login", at, result="failure", count=count, **more))


def test_entries_are_counted_within_their_span() -> None:
    found = rules(FAILED, correlated("event_count", "condition: {gte: 5}"))
    assert [each.name for each in found.detectors] == ["sigma_correlated"]  # the base rule alone raises nothing
    assert alerts(found, failed(0, 2), failed(30, 2), failed(61, 2)) == []
    (alert,) = alerts(found, failed(0, 2), failed(30, 2), failed(59, 1), failed(65, 9))
    assert (alert.summary, alert.seen) == ("Correlated: 5 entries of user-1 in 60 s", {"entries": 5})
    assert alert.seqs == [[0, 0], [30, 30], [59, 59]]


def test_different_values_are_counted() -> None:
    found = rules(FAILED, correlated("value_count", "condition: {field: ip_address, gt: 2}"))
    same = [failed(n, ip_address=f"10.0.0.{n % 2}") for n in range(8)]
    assert alerts(found, *same) == []
    (alert,) = alerts(found, *[failed(n, ip_address=f"10.0.0.{n}") for n in range(4)])
    assert alert.seen == {"ip_address": 3}
    resources = rules(FAILED, correlated("value_count", "condition: {field: resource_id, gte: 3}"))
    assert len(alerts(resources, failed(0, 3, resources=["a", "b"]), failed(1, resources=["c"]))) == 1


SUCCEEDED = FAILED.replace("login_failed", "login_succeeded").replace("failure", "success").replace("failed", "worked")


def succeeded(at: int) -> Activity:
    return activity(at, cell("login", at))


def test_rules_that_follow_each_other_are_found_in_their_order() -> None:
    both = "login_failed, login_succeeded"
    in_turn = rules(FAILED, SUCCEEDED, correlated("temporal_ordered", "condition: {gte: 1}", both))
    assert alerts(in_turn, succeeded(0), failed(5)) == []
    assert alerts(in_turn, failed(0), succeeded(61)) == []
    assert len(alerts(in_turn, failed(0), succeeded(40))) == 1
    any_order = rules(FAILED, SUCCEEDED, correlated("temporal", "condition: {gte: 1}", both))
    assert len(alerts(any_order, succeeded(0), failed(5))) == 1
    assert alerts(any_order, succeeded(0), failed(70)) == []


def test_an_addresss_actors_are_counted() -> None:
    found = rules(FAILED, correlated("value_count", "condition: {field: actor_id, gte: 3}", group="ip_address"))
    watch: Watch[AddressActivity] = Watch(found.detectors, AddressActivity)  # type: ignore[arg-type]
    subject: Subject[AddressActivity] = Subject()
    raised = []
    for n in range(4):
        record = AddressActivity(
            "main", f"2026-11-02T09:00:{n:02}Z", "10.9.9.9", [AddressCell(f"user-{n}", "login", "failure", 1, [[n, n]])]
        )
        raised += watch.see(subject, record)
    (alert,) = raised
    assert (alert.subject_kind, alert.subject, alert.seqs) == ("address", "10.9.9.9", [[0, 2]])


@pytest.mark.parametrize(
    ("document", "place", "reason"),
    [
        ("title: [", "title", "is no YAML"),
        ("just words", "just", "is no rule"),
        (DELETES.replace("product: sealstream", "product: windows"), "windows", "expected sealstream"),
        (DELETES.replace("actor_id|startswith", "user_agent|startswith"), "user_agent", "is no field of activity"),
        (DELETES.replace("not maintenance", "not maintenence"), "maintenence", "maintenence"),
        (DELETES.replace("action|endswith", "action|endwith"), "endwith", "endwith"),
        (DELETES.replace("level: high", "level: huge"), "huge", "huge"),
        (DELETES.replace("actor_id|startswith: svc-", "actor_id|re: (?=a)b"), "(?=a)", "(?=a)b"),
        (with_failed("event_count", "condition: {lt: 5}"), "{lt", "expected gte or gt"),
        (with_failed("event_count", "condition: {gte: 5}", "nobody"), "nobody", "nobody"),
        (with_failed("event_count", "condition: {gte: 5}", group="tenant"), "[tenant]", "group-by names tenant"),
        (with_failed("value_avg", "condition: {field: x, gte: 5}"), "value_avg", "can't be run"),
        (with_failed("value_count", "condition: {field: user_agent, gte: 5}"), "user_agent", "user_agent"),
        (with_failed("event_count", "condition: {gte: 5}").replace("1m", "1x"), "1x", "1x"),
        (
            DELETES + "---" + correlated("event_count", "condition: {gte: 5}", "record_deleted", "ip_address"),
            "[ip_address]",
            "resource_type, which is not kept by address",
        ),
        (
            with_failed("event_count", "aliases: {who: {login_failed: actor_id}}\n  condition: {gte: 5}"),
            "aliases",
            "aliases can't be run",
        ),
        (DELETES + "---" + DELETES, "name: record_deleted", "another rule called record_deleted"),
    ],
)
def test_a_wrong_rule_is_named_with_its_line_and_the_others_run(document: str, place: str, reason: str) -> None:
    found = read_rules({"wrong.yml": document, "right.yml": FAILED.replace("login_failed", "right")})
    assert "sigma_right" in {each.name for each in found.detectors}
    faults = [str(each) for each in found.faults]
    line = max(number for number, text in enumerate(document.splitlines(), 1) if place in text)
    assert len(faults) == 1, faults
    assert faults[0].startswith(f"wrong.yml:{line}: "), faults
    assert reason in faults[0], faults


def test_a_wrong_pattern_is_said_once_and_by_us_alone(capfd: pytest.CaptureFixture[str]) -> None:
    for modifier in ("re", "re|i"):
        (fault,) = read_rules({"wrong.yml": DELETES.replace("startswith: svc-", f"{modifier}: (a")}).faults
        assert fault.reason == "Regular expression '(a' is invalid: missing ): (a"
    assert capfd.readouterr().err == ""


def test_a_folder_is_read_again_when_a_rule_was_written(tmp_path: Path) -> None:
    folder = SigmaFolder(tmp_path)
    assert folder.changed()
    assert folder.load() == Rules([], [])
    assert not folder.changed()
    (tmp_path / "team").mkdir()
    rule = tmp_path / "team" / "deletes.yml"
    rule.write_text(dedent(DELETES))
    assert folder.changed()
    assert [each.name for each in folder.load().detectors] == ["sigma_record_deleted"]
    rule.write_text("title: [")
    os.utime(rule, ns=(1, 1))
    assert folder.changed()
    assert [str(each)[:18] for each in folder.load().faults] == ["team/deletes.yml:1"]
    rule.unlink()
    assert folder.changed()
    assert SigmaFolder(tmp_path / "gone").load().faults[0].reason == "there is no such folder of Sigma rules"


def test_what_a_correlation_remembers_stays_small() -> None:
    counting = rules(FAILED, correlated("event_count", "condition: {gte: 500000}").replace("1m", "7d"))
    (detector,) = counting.detectors
    state = detector.state()
    for n in range(0, 7 * 86_400, 20):
        state, findings = detector.detect(state, failed(n % 3_600), 1_700_000_000 + n)  # type: ignore[arg-type]
        assert not findings
    assert len(state.counts) <= 2_881  # type: ignore[union-attr]
    assert len(state.seqs) <= 51  # type: ignore[union-attr]
