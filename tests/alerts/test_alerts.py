"""Alerts worked off: listed, shown, acknowledged, judged, muted; each disposition an entry of the chain."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.long_runs import long_run
from tests.pipeline import Pipeline, Said, say

from sealstream.alerts import fold
from sealstream.cli import person_saying, saying
from sealstream.cli.muting import mutes_in_force
from sealstream.cli.settings import load_settings, write_settings
from sealstream.events import control_statement, format_timestamp
from sealstream.layout import Entry, SegmentLimits, WrittenFields
from sealstream.layout.alerts import Alert, alert_id

pytestmark = long_run

FIRST, SECOND, THIRD, OF_ADDRESS = (alert_id("d", "main", "actor", "u", str(n)) for n in range(4))


def facts(**more: Any) -> dict[str, Any]:
    return {
        "detector": "failed_login_burst",
        "subject_kind": "actor",
        "severity": "high",
        "confidence": 0.93,
        "summary": "17 failed logins of user-123 in 60 s from 2 addresses; usual is 0.2 an hour",
        "window": ["2026-11-02T09:00:00Z", "2026-11-02T09:00:59Z"],
        "incident": FIRST,
        "query": "chain:main actor:user-123 -result:success",
        "seen": {"failures": 17},
        "usual": {"failures_an_hour": 0.2},
        "seqs": [[4, 9], [12, 12]],
    } | more


def raised(identity: str, subject: str = "user-123", **more: Any) -> bytes:
    said = facts(**more)
    return control_statement(
        "alert.raised",
        id=identity,
        timestamp="2026-11-02T09:00:59.000000Z",
        actor_id="sealstream/anomaly",
        actor_type="system",
        resource_type=said["subject_kind"],
        resource_id=subject,
        metadata=said,
    )


# --- the book, purely -------------------------------------------------------------------------------------------------


def entry(seq: int, action: str, metadata: dict[str, Any], *, identity: str = "", at: int = 0, **more: Any) -> Entry:
    moment = format_timestamp(datetime(2026, 11, 2, 9, 0, tzinfo=UTC) + timedelta(minutes=at or seq))
    return Entry(
        identity or f"e{seq}", moment, more.get("by", "ann"), "admin", action, more.get("kind", "actor"),
        more.get("subject", "user-123"), "success",
        WrittenFields(more.get("chain", "main"), seq, "control", -1, seq, moment, 1), metadata=metadata,
    )  # fmt: skip


def mute(seq: int, **more: Any) -> Entry:
    until = format_timestamp(datetime(2026, 11, 2, 10, 0, tzinfo=UTC))
    return entry(seq, "alert.muted", {"mute": f"m{seq}", "until": until, "reason": "a drill"} | more)


def test_the_last_judgement_counts_and_all_of_them_stay() -> None:
    book = fold(
        [
            entry(0, "alert.raised", facts(), identity=FIRST),
            entry(1, "alert.acknowledged", {"alert": FIRST, "note": "looking"}),
            entry(2, "alert.closed", {"alert": FIRST, "as": "benign", "reason": "a drill"}, by="bob"),
            entry(3, "alert.closed", {"alert": FIRST, "as": "true-positive", "reason": "it was not"}),
            entry(4, "alert.acknowledged", {"alert": FIRST}),
            entry(5, "alert.closed", {"alert": SECOND, "as": "benign", "reason": "never raised"}),
        ]
    )
    (case,) = book.cases.values()
    assert (case.state, case.verdict, len(case.said), case.is_work) == ("closed", "true-positive", 4, False)


def test_a_mute_until_a_day_that_is_none_mutes_nothing_and_hides_no_other() -> None:
    book = fold(
        [
            mute(0, until="2026-99-99T99:99:99.000000Z"),
            mute(1, detector="failed_login_burst", subject="user-123"),
            entry(2, "alert.raised", facts(), identity=FIRST),
        ]
    )
    assert list(book.mutes) == ["m1"]
    assert book.cases[FIRST].muted_by is not None


def test_what_is_muted_when_it_is_raised_is_nobodys_work() -> None:
    book = fold(
        [
            entry(0, "alert.raised", facts(), identity=FIRST),
            mute(1, detector="failed_login_burst", subject="user-123"),
            entry(2, "alert.raised", facts(), identity=SECOND),
            entry(3, "alert.raised", facts(), identity=THIRD, subject="user-9"),
            entry(4, "alert.unmuted", {"mute": "m1", "reason": "over"}),
            entry(5, "alert.raised", facts(), identity=OF_ADDRESS),
        ]
    )
    assert {key: case.is_work for key, case in book.cases.items()} == {
        FIRST: True, SECOND: False, THIRD: True, OF_ADDRESS: True,
    }  # fmt: skip
    late = fold([mute(1, detector="failed_login_burst"), entry(2, "alert.raised", facts(), identity=FIRST, at=61)])
    assert late.cases[FIRST].is_work


def test_an_incident_is_as_bad_as_its_worst_alert_and_as_open() -> None:
    book = fold(
        [
            entry(0, "alert.raised", facts(), identity=FIRST),
            entry(1, "alert.raised", facts(severity="critical"), identity=SECOND),
            entry(2, "alert.closed", {"alert": FIRST, "as": "benign", "reason": "r"}),
            entry(3, "alert.raised", facts(incident=THIRD), identity=THIRD),
        ]
    )
    first, second = book.incidents()
    assert ([case.id for case in first.cases], first.severity, first.state) == ([FIRST, SECOND], "critical", "open")
    assert (second.id, second.severity) == (THIRD, "high")


def test_an_alert_that_is_sealed_twice_and_a_word_from_another_chain_change_nothing() -> None:
    book = fold(
        [
            entry(0, "alert.raised", facts(), identity=FIRST),
            entry(1, "alert.raised", facts(severity="low"), identity=FIRST),
            entry(2, "alert.closed", {"alert": FIRST, "as": "benign", "reason": "r"}, chain="other"),
        ]
    )
    assert (book.cases[FIRST].severity, book.cases[FIRST].state) == ("high", "open")


# --- the commands, on a chain -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def watched(make_pipeline: Callable[..., Pipeline]) -> Iterator[Pipeline]:
    """Some events, and four alerts: two of one actor's incident, one of another actor, one of an address."""
    pipeline = make_pipeline(SegmentLimits(entries=500, bytes=1_000_000, seconds=3_600))
    pipeline.send([pipeline.event(n) for n in range(20)])
    pipeline.start("sequencer", "checkpointing", "postgres-sink")
    statements = [
        raised(FIRST),
        raised(SECOND, severity="critical", detector="privilege_change_then_use"),
        raised(THIRD, "user-9", severity="low", incident=THIRD),
        raised(OF_ADDRESS, "10.9.9.9", subject_kind="address", detector="password_spray", incident=OF_ADDRESS),
    ]
    pipeline.send(statements, topic=pipeline.topics.control)
    pipeline.wait_stored(pipeline.wait_sealed())
    yield pipeline
    pipeline.kill_all()


def alerts(pipeline: Pipeline, *arguments: str) -> Said:
    return pipeline.command("alerts", *arguments)


def listed(pipeline: Pipeline, *arguments: str) -> list[dict[str, Any]]:
    said = alerts(pipeline, "list", "--json", *arguments)
    assert said.code == 0, said.err
    return [json.loads(line) for line in said.out.splitlines()]


def statements(pipeline: Pipeline, action: str) -> list[dict[str, Any]]:
    return [each for each in pipeline.entries() if each["action"] == action]


def test_alerts_are_listed_and_that_they_were_read_is_in_the_log(watched: Pipeline) -> None:
    assert [each["id"] for each in listed(watched)] == [FIRST, SECOND, THIRD, OF_ADDRESS]
    assert [each["id"] for each in listed(watched, "--severity", "critical")] == [SECOND]
    assert [each["id"] for each in listed(watched, "--subject", "10.9.9.9")] == [OF_ADDRESS]
    assert listed(watched, "--all", "--until", "2026-01-01") == []
    assert [each["id"] for each in listed(watched, "--detector", "failed_login_burst", "-n", "1")] == [THIRD]
    said = alerts(watched, "list")
    assert "17 failed logins of user-123" in said.out
    assert FIRST[:8] in said.out
    (incident, *_) = [json.loads(line) for line in alerts(watched, "list", "--incidents", "--json").out.splitlines()]
    assert (incident["incident"], incident["severity"], len(incident["alerts"])) == (FIRST, "critical", 2)
    watched.wait_sealed()
    reads = [each for each in statements(watched, "log.read") if each["metadata"]["what"] == "alerts"]
    assert {each["metadata"]["rows"] for each in reads} >= {4, 1}


def test_an_alert_explains_itself(watched: Pipeline) -> None:
    said = alerts(watched, "show", FIRST[:8])
    assert said.code == 0, said.err
    for words in (
        "17 failed logins of user-123 in 60 s from 2 addresses; usual is 0.2 an hour",
        "failures 17",
        "4..9, 12",
        "sealstream search 'chain:main actor:user-123 -result:success'",
        f"with {SECOND[:8]} (privilege_change_then_use)",
        f"next: sealstream alerts ack {FIRST[:8]}",
    ):
        assert words in said.out, words


def test_who_looks_into_it_and_how_it_was_judged_is_sealed(watched: Pipeline) -> None:
    said = alerts(watched, "ack", FIRST[:8], SECOND[:8], "--by", "ann")
    assert said.code == 0, said.err
    assert len(statements(watched, "alert.acknowledged")) == 2
    again = alerts(watched, "ack", FIRST[:8], "--by", "ann")
    assert "is acknowledged already" in again.out
    assert len(statements(watched, "alert.acknowledged")) == 2
    closing = ("close", FIRST[:8], "--as", "benign", "--reason", "a drill of ours", "--by", "ann")
    assert alerts(watched, *closing).code == 0
    assert "closed so already" in alerts(watched, *closing).out
    (closed,) = statements(watched, "alert.closed")
    assert closed["metadata"] == {"alert": FIRST, "as": "benign", "reason": "a drill of ours", "by": "ann"}
    assert closed["resource_id"] == FIRST
    assert FIRST not in {each["id"] for each in listed(watched)}
    (shown,) = [each for each in listed(watched, "--all") if each["id"] == FIRST]
    assert (shown["state"], shown["verdict"], len(shown["said"])) == ("closed", "benign", 2)


def test_a_kill_before_it_is_sealed_leaves_it_to_the_same_command(
    watched: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    judging = ("close", THIRD[:8], "--as", "false-positive", "--reason", "r")
    with monkeypatch.context() as patch:
        patch.setattr(person_saying, "say_until_sealed", killed)
        with pytest.raises(KeyboardInterrupt):
            raise_from(watched, *judging)
    assert alerts(watched, *judging).code == 0
    assert len([each for each in statements(watched, "alert.closed") if each["metadata"]["alert"] == THIRD]) == 1
    assert list((watched.folder / "pending").iterdir()) == []


def killed(*arguments: Any, **options: Any) -> dict[str, int]:
    saying.say_until_sealed(*arguments, **options)
    raise KeyboardInterrupt


def raise_from(pipeline: Pipeline, *arguments: str) -> None:
    if alerts(pipeline, *arguments).code == 130:
        raise KeyboardInterrupt


def test_a_mute_takes_alerts_off_the_list_until_it_ends(watched: Pipeline) -> None:
    muting = ("mute", "--chain", watched.name, "--subject", "user-77", "--until", "8h", "--reason", "a migration")
    assert alerts(watched, *muting).code == 0
    (mute_,) = [json.loads(line) for line in alerts(watched, "mutes", "--json").out.splitlines()]
    assert (mute_["subject"], mute_["detector"], mute_["reason"]) == ("user-77", "", "a migration")
    settings = load_settings(watched.config)
    is_muted = mutes_in_force(settings)
    assert is_muted(alert_of("user-77", watched.name))
    assert not is_muted(alert_of("user-78", watched.name))
    one, two = (alert_id("d", "main", "actor", "user-77", str(n)) for n in range(2))
    watched.send([raised(one, "user-77", incident=one)], topic=watched.topics.control)
    watched.wait_sealed()
    assert one not in {each["id"] for each in listed(watched)}
    assert one in {each["id"] for each in listed(watched, "--all")}
    assert "muted" in alerts(watched, "show", one[:8]).out
    assert alerts(watched, "unmute", mute_["id"][:8], "--reason", "it is over").code == 0
    watched.send([raised(two, "user-77", incident=two)], topic=watched.topics.control)
    watched.wait_sealed()
    assert two in {each["id"] for each in listed(watched)}
    assert not mutes_in_force(settings)(alert_of("user-77", watched.name))


def test_a_detector_is_known_by_the_rules_and_by_what_it_raised(watched: Pipeline, tmp_path: Path) -> None:
    rule = "title: T\nname: night_export\nlogsource: {product: sealstream}\n"
    (tmp_path / "rule.yml").write_text(f"{rule}detection: {{s: {{action: export}}, condition: s}}\n")
    gone = alert_id("gone", "main", "actor", "user-5", "0")
    watched.send([raised(gone, "user-5", incident=gone, detector="sigma_rule that is gone")], watched.topics.control)
    watched.wait_stored(watched.wait_sealed())
    assert [each["id"] for each in listed(watched, "--detector", "sigma_rule that is gone")] == [gone]
    refused = alerts(watched, "list", "--detector", "sigma_night_export")
    assert (refused.code, "there is no detector sigma_night_export" in refused.err) == (2, True)
    with_rules = tmp_path / "sealstream.toml"
    shutil.copy(watched.config, with_rules)
    write_settings(with_rules, {"anomaly": {"sigma_rules": str(tmp_path)}})
    said = say(with_rules, "alerts", "list", "--detector", "sigma_night_export")
    assert (said.code, said.out) == (0, "no alert is left to do\n"), said.err
    assert "did you mean sigma_night_export?" in say(with_rules, "alerts", "list", "--detector", "night_export").err


def alert_of(subject: str, chain: str) -> Alert:
    window = ("2026-11-02T09:00:00Z", "2026-11-02T09:00:00Z")
    return Alert(FIRST, "failed_login_burst", "actor", subject, chain, "high", 0.9, "s", window, "q", FIRST)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["show", "abc"], "too short"),
        (["show", "00000000"], "no alert begins with"),
        (["list", "--severity", "huge"], "low, medium, high, critical"),
        (["list", "--since", "yesterday"], "expected 8h, 7d"),
        (["list", "--chain", "gone"], "gone"),
        (["list", "--detector", "mass-raed"], "there is no detector mass-raed: did you mean mass_read?"),
        (["mute", "--detector", "silense", "--until", "8h", "--reason", "r", "--chain", "{chain}"], "mean silence?"),
        (["mute", "--detector", "foo", "--until", "8h", "--reason", "r", "--chain", "{chain}"], "there are failed_"),
        (["mute", "--detector", "", "--until", "8h", "--reason", "r"], "name --detector, --subject, or both"),
        (["mute", "--subject", "x", "--until", "367d", "--reason", "r"], "--until 367d is more than 366 days ahead"),
        (["mute", "--subject", "x", "--until", "9999-01-01", "--reason", "r"], "more than 366 days ahead"),
        (["close", "{first}", "--as", "fine", "--reason", "r"], "true-positive, false-positive, benign"),
        (["close", "{first}", "--as", "benign", "--reason", " "], "--reason is empty"),
        (["mute", "--until", "8h", "--reason", "r"], "name --detector, --subject, or both"),
        (["mute", "--subject", "x", "--until", "2020-01-01", "--reason", "r"], "is over"),
        (["unmute", "000000", "--reason", "r"], "no mutes begin with"),
    ],
)
def test_a_wrong_argument_is_one_clear_sentence(watched: Pipeline, arguments: list[str], told: str) -> None:
    said = alerts(watched, *(each.format(first=FIRST[:8], chain=watched.name) for each in arguments))
    assert said.code == 2
    assert told in said.err
