"""A day of a real chain reviewed by command: begun, killed, worked off, refused, signed once, and listed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.long_runs import long_run
from tests.pipeline import Pipeline, Said
from tests.pipeline_past import seal_in_the_past

from sealstream.cli import person_saying, review_files, saying
from sealstream.cli.settings import write_settings
from sealstream.events import control_statement
from sealstream.layout import SegmentLimits
from sealstream.layout.alerts import alert_id
from sealstream.reports import Period
from sealstream.reviews import review_id

pytestmark = long_run

AGO = timedelta(days=1)
LEFT, JUDGED = (alert_id("d", "main", "actor", "u", str(n)) for n in range(2))
CHEAP = ("--verify", "postgres")


def raised(identity: str) -> bytes:
    facts = {
        "detector": "failed_login_burst", "subject_kind": "actor", "severity": "high", "confidence": 0.9,
        "summary": "17 failed logins", "window": ["2026-11-02T09:00:00Z", "2026-11-02T09:00:59Z"], "incident": identity,
    }  # fmt: skip
    return control_statement(
        "alert.raised", id=identity, timestamp="2026-11-02T09:00:59.000000Z", actor_id="sealstream/anomaly",
        actor_type="system", resource_type="actor", resource_id="user-1", metadata=facts,
    )  # fmt: skip


@pytest.fixture(scope="module")
def pipeline(make_pipeline: Callable[..., Pipeline], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """Of yesterday: 20 events, a refused record, two alerts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        made = make_pipeline(SegmentLimits(entries=500, bytes=1_000_000, seconds=3_600))
        write_settings(made.config, {"reviews": {"every": "day"}})
        made.send([*(made.event(n) for n in range(20)), b"no event"])
        made.send([raised(LEFT), raised(JUDGED)], topic=made.topics.control)
        seal_in_the_past(made, AGO)
        made.start("sequencer", "checkpointing", "postgres-sink")
        made.send([made.event(100)])
        made.wait_stored(made.wait_sealed())
        yield made
        made.kill_all()


@pytest.fixture(scope="module")
def day(pipeline: Pipeline) -> Period:
    return Period.parse(pipeline.entries()[0]["written"]["sequenced_at"][:10])


def review(pipeline: Pipeline, command: str, *arguments: str) -> Said:
    return pipeline.command("review", command, "--chain", pipeline.name, *arguments)


def said(pipeline: Pipeline, action: str) -> list[dict[str, Any]]:
    return [entry for entry in pipeline.entries() if entry["action"] == action]


def files(pipeline: Pipeline, day: Period) -> tuple[Path, Path]:
    place = pipeline.folder / "reviews" / f"review-{pipeline.name}-{day}.json"
    return place, place.with_suffix(".html")


def dying(function: Callable[..., Any], call: int = 1) -> Callable[..., Any]:
    """The same, but that the process ends behind this call of it."""
    calls = iter(range(1, 100))

    def killed(*arguments: Any, **options: Any) -> Any:
        answer = function(*arguments, **options)
        if next(calls) == call:
            raise KeyboardInterrupt
        return answer

    return killed


def test_a_review_that_is_killed_at_any_write_is_begun_once(
    pipeline: Pipeline, day: Period, monkeypatch: pytest.MonkeyPatch
) -> None:
    document, page = files(pipeline, day)
    lines: list[tuple[Any, str, int]] = [
        (review_files, "write_whole", 1),  # the page is there, the document is not
        (review_files, "write_whole", 2),  # both are, and no statement names them
        (saying, "write_whole", 1),  # what will be said is written down
        (saying, "produce", 1),  # it is sent
        (person_saying, "say_until_sealed", 1),  # and sealed
    ]
    for module, name, call in lines:
        with monkeypatch.context() as patch:
            patch.setattr(module, name, dying(getattr(module, name), call))
            assert review(pipeline, "start", *CHEAP).code == 130, name
    begun = review(pipeline, "start", *CHEAP)
    assert begun.code == 0, begun.err
    assert "alerts left to do" in begun.out
    assert str(page) in begun.out
    (started,) = said(pipeline, "review.started")
    sha256 = hashlib.sha256(document.read_bytes()).hexdigest()
    assert started["metadata"] == {
        "review": review_id(pipeline.chain.origin, day),
        "period": str(day),
        "first": f"{day.first}T00:00:00.000000Z",
        "before": f"{day.after}T00:00:00.000000Z",
        "document_sha256": sha256,
        "size": started["metadata"]["size"],
    }
    told = json.loads(document.read_bytes())
    figures = told["figures"]
    assert (figures["events"], figures["alerts"], figures["alerts_left_to_do"], figures["refused"]) == (20, 2, 2, 1)
    assert figures["verification"] == {"postgres": "holds"}
    assert told["page_sha256"] == hashlib.sha256(page.read_bytes()).hexdigest()
    assert page.stat().st_mode & 0o777 == 0o600
    assert f"Review of {pipeline.name}, {day}" in page.read_text()
    assert "started already with this document" in review(pipeline, "start", *CHEAP).out
    assert len(said(pipeline, "review.started")) == 1
    assert list((pipeline.folder / "pending").iterdir()) == []


def test_what_nobody_has_signed_in_time_is_said_by_status_and_list(pipeline: Pipeline, day: Period) -> None:
    assert "due" in review(pipeline, "list").out
    write_settings(pipeline.config, {"reviews": {"due_days": 0}})
    pipeline.wait_stored(pipeline.wait_sealed())
    told = json.loads(pipeline.command("status", "--json", "--timeout", "30").out)
    (words,) = [each["words"] for each in told["findings"] if each["about"] == "reviews"]
    assert f"the review of {day} is overdue for" in words
    (late,) = [each for each in told["chains"] if each["chain"] == pipeline.name]
    assert [each["period"] for each in late["late_reviews"]] == [str(day)]
    assert "overdue" in review(pipeline, "list").out


def test_what_can_not_be_signed_is_refused_in_one_sentence(pipeline: Pipeline, day: Period) -> None:
    document, page = files(pipeline, day)
    today, before = datetime.now(UTC).date(), day.previous
    assert f"{today} is not over" in review(pipeline, "sign", "--note", "n", "--period", str(today)).err
    assert "--note is empty" in review(pipeline, "sign", "--note", " ").err
    assert "there is no" in review(pipeline, "sign", "--note", "n", "--period", str(before)).err
    assert "has not begun" in review(pipeline, "start", "--period", "2999-01").err
    open_alerts = review(pipeline, "sign", "--note", "n")
    assert (open_alerts.code, "2 alerts" in open_alerts.err, "--with-open-alerts" in open_alerts.err) == (2, True, True)
    for file in (document, page):
        right = file.read_bytes()
        file.write_bytes(right.replace(b"20", b"21", 1))
        changed = review(pipeline, "sign", "--note", "n", "--with-open-alerts")
        assert (changed.code, "was changed" in changed.err) == (2, True), changed.err
        file.write_bytes(right)
    assert "no statement names it" not in review(pipeline, "show").out
    assert said(pipeline, "review.signed") == []


def test_who_judged_an_alert_since_looks_again_and_signs_once(
    pipeline: Pipeline, day: Period, monkeypatch: pytest.MonkeyPatch
) -> None:
    document, _ = files(pipeline, day)
    closing = ("close", JUDGED[:8], "--as", "benign", "--reason", "a drill", "--chain", pipeline.name)
    assert pipeline.command("alerts", *closing).code == 0
    moved = review(pipeline, "sign", "--note", "looked", "--with-open-alerts")
    assert (moved.code, "alerts left to do: 2 then, 1 now" in moved.err) == (2, True), moved.err
    assert "alerts: benign: 0 then, 1 now" in review(pipeline, "show").out
    assert review(pipeline, "start", *CHEAP).code == 0
    assert len(said(pipeline, "review.started")) == 2
    signing = ("--note", "one drill, one to come", "--with-open-alerts", "--by", "the board")
    for module, name in ((saying, "write_whole"), (saying, "produce"), (person_saying, "say_until_sealed")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, dying(getattr(module, name)))
            assert review(pipeline, "sign", *signing, "--period", str(day)).code == 130, name
    assert review(pipeline, "sign", *signing, "--period", str(day)).code == 0
    again = review(pipeline, "sign", "--note", "another", "--period", str(day))
    assert "signed already with this document" in again.out
    (signed,) = said(pipeline, "review.signed")
    metadata = signed["metadata"]
    assert metadata["document_sha256"] == hashlib.sha256(document.read_bytes()).hexdigest()
    assert (metadata["note"], metadata["by"], metadata["open_alerts"]) == ("one drill, one to come", "the board", 1)
    assert (metadata["figures"]["benign"], metadata["figures"]["events"]) == (1, 20)
    assert metadata["size"] > 20
    assert signed["actor_type"] == "admin"
    assert list((pipeline.folder / "pending").iterdir()) == []


def test_what_was_signed_is_listed_shown_and_no_longer_missed(pipeline: Pipeline, day: Period) -> None:
    pipeline.wait_stored(pipeline.wait_sealed())
    listed = [json.loads(line) for line in review(pipeline, "list", "--json").out.splitlines()]
    states = {each["period"]: each["state"] for each in listed}
    assert states[str(day)] == "signed"
    assert states[str(datetime.now(UTC).date())] == "running"
    assert str(day.previous) not in states  # the chain began later
    signatures = next(each["signatures"] for each in listed if each["period"] == str(day))
    assert (signatures[0]["note"], signatures[0]["open_alerts"]) == ("one drill, one to come", 1)
    shown = review(pipeline, "show", "--period", str(day))
    assert "the stores say the same now" in shown.out
    assert "with 1 alerts left to do: one drill, one to come" in shown.out
    document = json.loads(review(pipeline, "show", "--period", str(day), "--json").out)
    assert (document["changes"], document["is_of_a_review"]) == ([], True)
    reads = {
        entry["metadata"]["query"] for entry in said(pipeline, "log.read") if entry["metadata"]["what"] == "review"
    }
    told = json.loads(pipeline.command("status", "--json", "--timeout", "30").out)
    assert [each for each in told["findings"] if each["about"] == "reviews"] == []
    assert {f"start {day}", f"show {day}", f"sign {day}", "list"} <= reads


def test_a_day_that_the_store_has_not_reached_is_not_begun(
    pipeline: Pipeline, make_pipeline: Callable[..., Pipeline]
) -> None:
    behind = make_pipeline(SegmentLimits(entries=500, bytes=1_000_000, seconds=3_600))
    behind.send([behind.event(1)])
    seal_in_the_past(behind, AGO)
    behind.start("postgres-sink")
    begun = behind.entries()[0]["written"]["sequenced_at"][:10]
    refused = review(behind, "start", "--period", begun, *CHEAP)
    assert refused.code != 0
    assert "its figures may still grow" in refused.err
    behind.kill_all()
