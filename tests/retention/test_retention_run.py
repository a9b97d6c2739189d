"""`sealstream retention run` on a real chain that is older than its online time: killed, cheated, and done."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.long_runs import long_run
from tests.pipeline import Pipeline, sql
from tests.pipeline_past import seal_in_the_past
from tests.rebuild.killing import killed_until_it_ends

from sealstream.archive import ArchiveStore
from sealstream.layout import Retention, SegmentLimits
from sealstream.rebuild import Sources, reconcile
from sealstream.rebuild.months import Keeper
from sealstream.retention import PostgresExpiry
from sealstream.verify import FaultKind

pytestmark = long_run

PCI = Retention("pci", archive_days=732, online_days=366)
AGO = (520, 475, 430, 200)
EVENTS = 60


@pytest.fixture(scope="module")
def pipeline(make_pipeline: Callable[..., Pipeline], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """Three months whose online time is over, one that is not, and today."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        made = make_pipeline(SegmentLimits(entries=25, bytes=1_000_000, seconds=5), retention="pci")
        for part, days in enumerate(AGO):
            made.send(made.event(part * EVENTS + n) for n in range(EVENTS))
            seal_in_the_past(made, timedelta(days=days))
        made.start()
        made.send(made.event(1_000 + n) for n in range(30))
        made.wait_stored(made.wait_sealed())
        made.archive_all(2_000)
        yield made
        made.kill_all()


@pytest.fixture(scope="module")
def months(pipeline: Pipeline) -> list[str]:
    """All that the chain has, in order."""
    return sorted({entry["written"]["sequenced_at"][:7] for entry in pipeline.entries()})


def expiry(pipeline: Pipeline, keeper: Keeper, retention: Retention = PCI) -> PostgresExpiry:
    chain = pipeline.chain._replace(retention=retention)
    return PostgresExpiry(keeper, pipeline.reader_dsn, chain, pipeline.kafka, pipeline.archive, wait_s=30)


def retention(pipeline: Pipeline, command: str, *arguments: str) -> dict[str, Any]:
    said = pipeline.command("retention", command, pipeline.name, "--json", *arguments)
    assert said.code == 0, said.err
    found: dict[str, Any] = json.loads(said.out)
    return found


def said(pipeline: Pipeline, action: str) -> list[dict[str, Any]]:
    return [entry for entry in pipeline.entries() if entry["action"] == action]


def tables(pipeline: Pipeline) -> list[str]:
    query = "SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE inhparent = 'audit_log'::regclass"
    return sorted(row["relname"].removeprefix("audit_log_").replace("_", "-") for row in sql(pipeline.admin_dsn, query))


def faults(pipeline: Pipeline, store: str) -> list[str]:
    report = pipeline.verify(store)
    return [f"{f.kind} {f.seqs()} {f.place} {f.detail}" for f in report.faults if f.kind is not FaultKind.STALE]


def events(pipeline: Pipeline) -> int:
    found = pipeline.command("search", "kind:event", "--chain", pipeline.name, "--all", "--output", "ndjson")
    assert found.code == 0, found.err
    return len(found.out.splitlines())


def test_the_plan_shows_what_would_go_and_changes_nothing(pipeline: Pipeline, months: list[str]) -> None:
    shown = retention(pipeline, "plan", "--until", f"{datetime.now(UTC) + timedelta(days=300):%Y-%m-%d}")
    assert [(each["store"], each["month"]) for each in shown["goes"] if each["store"] == "postgres"] == [
        ("postgres", month) for month in months[:4]
    ]
    assert {each["stays"] for each in shown["goes"]} == {None}
    locks = [each for each in shown["goes"] if each["store"] == "archive"]
    assert [each["month"] for each in locks] == months[: len(locks)]
    assert locks
    text = pipeline.command("retention", "plan", pipeline.name).out
    assert "sealstream retention run" in text
    assert "since" in text
    assert tables(pipeline) == months


def test_a_chain_without_an_online_time_loses_no_month(pipeline: Pipeline, months: list[str]) -> None:
    with Keeper(pipeline.settings.postgres.keeper_dsn) as keeper:
        assert expiry(pipeline, keeper, Retention("hipaa", archive_days=2196)).due() == []
        assert [month.month for month in expiry(pipeline, keeper).due()] == months[:3]


def test_nothing_goes_that_the_archive_hides(pipeline: Pipeline, months: list[str], s3: Any) -> None:
    store = ArchiveStore(pipeline.archive, pipeline.name)
    key = next(store.segments()).name.object_key
    store.close()
    marker = s3.delete_object(Bucket=pipeline.archive.bucket, Key=key)["VersionId"]
    refused = pipeline.command("retention", "run", pipeline.name)
    s3.delete_object(Bucket=pipeline.archive.bucket, Key=key, VersionId=marker)
    assert refused.code == 1
    assert "1 delete markers" in refused.err
    assert tables(pipeline) == months
    assert said(pipeline, "store.expired") == []


def test_a_month_that_was_tampered_with_is_kept_as_evidence(pipeline: Pipeline, months: list[str]) -> None:
    def tamper(before: str, after: str) -> None:
        for statement in (
            "ALTER TABLE audit_log DISABLE TRIGGER ALL",
            f"UPDATE audit_log SET actor_id = '{after}' WHERE seq = 5 AND actor_id = '{before}'",
            "ALTER TABLE audit_log ENABLE ALWAYS TRIGGER append_only",
            "ALTER TABLE audit_log ENABLE ALWAYS TRIGGER no_truncate",
        ):
            sql(pipeline.admin_dsn, statement)

    actor = sql(pipeline.admin_dsn, "SELECT actor_id FROM audit_log WHERE seq = 5")[0]["actor_id"]
    tamper(actor, "nobody")
    refused = pipeline.command("retention", "run", pipeline.name)
    tamper("nobody", actor)
    assert refused.code == 1
    assert "are not those that were sealed" in refused.err
    assert tables(pipeline) == months
    assert said(pipeline, "store.expired") == []


def test_killed_at_any_moment_it_goes_on_and_says_it_once(pipeline: Pipeline, months: list[str]) -> None:
    def run() -> None:
        with Keeper(pipeline.settings.postgres.keeper_dsn) as keeper:
            each = expiry(pipeline, keeper)
            for month in each.due()[:1]:
                if month.month == months[0]:
                    each.expire(month)

    killed = killed_until_it_ends(run, 7, within=6)
    assert killed > 2
    assert tables(pipeline) == months[1:]
    statements = said(pipeline, "store.expired")
    assert [entry["metadata"]["month"] for entry in statements] == [months[0]]
    assert said(pipeline, "producer.conflict") == []
    assert faults(pipeline, "postgres") == []


def test_sealed_and_not_dropped_is_no_fault_and_is_gone_on_with(
    pipeline: Pipeline, months: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(PostgresExpiry, "_drop", killed)
    assert pipeline.command("retention", "run", pipeline.name).code == 130
    monkeypatch.undo()
    assert tables(pipeline) == months[1:]
    assert faults(pipeline, "postgres") == []
    done = retention(pipeline, "run")
    assert [each["month"] for each in done["left"]] == months[1:3]
    assert tables(pipeline) == months[3:]
    assert [entry["metadata"]["month"] for entry in said(pipeline, "store.expired")] == months[:3]
    assert retention(pipeline, "run") == {"chain": pipeline.name, "left": [], "stays": ""}


def test_afterwards_everything_holds_and_is_answered(pipeline: Pipeline, months: list[str]) -> None:
    for store in ("kafka", "postgres", "archive"):
        assert faults(pipeline, store) == []
    first = next(e["written"]["seq"] for e in pipeline.entries() if e["written"]["sequenced_at"][:7] == months[3])
    report = pipeline.verify("postgres")
    assert report.first_seq == first
    assert any(f"entries up to {first - 1} have left Postgres" in note for note in report.notes)
    compared = reconcile(pipeline.chain, Sources(pipeline.kafka, pipeline.reader_dsn, pipeline.archive))
    assert compared.differences == []
    assert events(pipeline) == len(AGO) * EVENTS + 30 + _ending_events(pipeline)
    status = pipeline.command("status")
    assert f"online from entry {first:,}" in status.out
    kept = json.loads(pipeline.command("chain", "retention", pipeline.name, "--json").out)
    assert kept["sealed"][0]["retention"]["online_days"] == 366


def _ending_events(pipeline: Pipeline) -> int:
    """Event 2,000, which ended a segment, if it was needed."""
    wanted = pipeline.event_id(2_000)
    return sum(entry["id"] == wanted for entry in pipeline.entries())


def test_a_month_that_somebody_took_is_told_and_comes_back(pipeline: Pipeline, months: list[str]) -> None:
    sql(pipeline.admin_dsn, f"DROP TABLE audit_log_{months[3].replace('-', '_')}")
    seqs = [e["written"]["seq"] for e in pipeline.entries() if e["written"]["sequenced_at"][:7] == months[3]]
    report = pipeline.verify("postgres")
    assert [(f.kind, f.first_seq, f.last_seq) for f in report.faults] == [(FaultKind.MISSING, seqs[0], seqs[-1])]
    repaired = pipeline.command("repair", "postgres", "--chain", pipeline.name)
    assert repaired.code == 0, repaired.err
    assert tables(pipeline) == months[3:]
    assert faults(pipeline, "postgres") == []


def test_an_extension_of_the_policy_keeps_what_is_there(pipeline: Pipeline, months: list[str]) -> None:
    assert pipeline.command("chain", "retention", pipeline.name, "hipaa", "--yes").code == 0
    done = pipeline.command("retention", "run", pipeline.name)
    assert done.code == 0
    assert "has no online time: no month ever leaves" in done.out
    pipeline.wait_stored(pipeline.wait_sealed())
    assert faults(pipeline, "postgres") == []
