"""A chain whose beginning was destroyed at its end: it says so, goes on, answers, and comes back when stores are lost.

Real processes and commands; S3 enforces the locks of what is 800 days old, for some seconds.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.doctor.looking import passing, system_for
from tests.long_runs import long_run
from tests.pipeline import Pipeline, Said, sql, wait_until
from tests.pipeline_past import seal_in_the_past
from tests.runbooks.conftest import lose_topics, wait_ended

from sealstream.archive import ArchiveSink, ArchiveStore
from sealstream.cli import retention_destroy, sealed
from sealstream.events import control_statement, format_timestamp
from sealstream.kafka import start_offset, trim
from sealstream.layout import SegmentLimits
from sealstream.layout.archive import DESTROYED_ACTION
from sealstream.layout.chains import RETENTION_EXTENDED
from sealstream.layout.holds import HOLD_SET
from sealstream.rebuild import Sources, reconcile
from sealstream.verify import FaultKind, verify_kafka

pytestmark = [long_run, pytest.mark.timeout(600)]

AGO = (800, 475, 200)
EVENTS = 60
LATER = "2099-01-01"


@pytest.fixture(scope="module")
def pipeline(make_pipeline: Callable[..., Pipeline], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """A month that is over everywhere, one that is over online, one that is not, and today; all of it archived."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        patch.setattr(retention_destroy, "_CLOCKS_APART", timedelta(0))
        made = make_pipeline(SegmentLimits(entries=25, bytes=1_000_000, seconds=5), retention="pci")
        for part, days in enumerate(AGO):
            made.send(made.event(part * EVENTS + n) for n in range(EVENTS))
            if not part:
                made.send([hold()], made.topics.control)
            seal_in_the_past(made, timedelta(days=days))
        made.start("sequencer", "checkpointing", "postgres-sink")
        made.send(made.event(1_000 + n) for n in range(30))
        made.wait_stored(made.wait_sealed())
        archive_with_short_locks(made)
        made.start("archive-sink")
        made.archive_all(2_000)
        yield made
        made.kill_all()


def hold(own: str = "", **more: str) -> bytes:
    """A hold on days that will not come in this test, said in the month that will be destroyed."""
    own = own or str(uuid.uuid4())
    return said(HOLD_SET, {"hold": own, "reason": "a case", "first_day": LATER, **more})


def said(action: str, metadata: dict[str, Any]) -> bytes:
    """What anybody who may write to the control topic can have sealed."""
    return control_statement(
        action, id=str(uuid.uuid4()), timestamp=format_timestamp(datetime.now(UTC)), actor_id="counsel",
        actor_type="admin", resource_type="chain", resource_id="main", metadata=metadata,
    )  # fmt: skip


def archive_with_short_locks(pipeline: Pipeline) -> None:
    """What is older than the policy is locked for 20 s, as nobody may be locked for less than a day else."""
    behind = timedelta(days=1) - timedelta(seconds=20)
    sink = ArchiveSink(
        pipeline.kafka, pipeline.chain, pipeline.archive, clock=lambda: datetime.now(UTC) - behind, trim_every_s=None
    )
    begun, wanted = time.monotonic(), len(pipeline.records(pipeline.topics.segments))
    while sink.waiting_for is not None or len(segments(pipeline)) < wanted:
        sink.step()
        assert time.monotonic() - begun < 120
    sink.close()


def segments(pipeline: Pipeline) -> list[str]:
    store = ArchiveStore(pipeline.archive, pipeline.name)
    try:
        return [each.name.date for each in store.segments() if each.object.versions]
    finally:
        store.close()


def ask(pipeline: Pipeline, *arguments: str) -> Said:
    """A command as in a process of its own, which knows nothing of what another has read."""
    sealed._archived_bodies.cache_clear()
    return pipeline.command(*arguments)


def retention(pipeline: Pipeline, command: str, *arguments: str) -> dict[str, Any]:
    said = ask(pipeline, "retention", command, pipeline.name, "--json", *arguments)
    assert said.code == 0, said.err
    found: dict[str, Any] = json.loads(said.out)
    return found


def planned(pipeline: Pipeline, *arguments: str) -> list[dict[str, Any]]:
    """What the plan says of the archive."""
    return [each for each in retention(pipeline, "plan", *arguments)["goes"] if each["store"] == "archive"]


def faults(pipeline: Pipeline, *stores: str) -> list[str]:
    found = []
    for store in stores or ("kafka", "postgres", "archive"):
        online = store == "kafka"
        report = (
            verify_kafka(pipeline.kafka, pipeline.asked(), prefix=pipeline.prefix, online_days=366)
            if online
            else (pipeline.verify(store))
        )
        found += [
            f"{store}: {f.kind} {f.seqs()} {f.place} {f.detail}" for f in report.faults if f.kind is not FaultKind.STALE
        ]
    return found


def month(days: int) -> str:
    return f"{datetime.now(UTC) - timedelta(days=days):%Y-%m}"


def first_of(pipeline: Pipeline, days: int) -> int:
    rows = sql(pipeline.reader_dsn, "SELECT min(seq) AS seq FROM audit_log WHERE to_char(sequenced_at, 'YYYY-MM') = $1",
               month(days))  # fmt: skip
    return int(rows[0]["seq"])


@pytest.fixture(scope="module")
def begins(pipeline: Pipeline) -> dict[int, int]:
    """The first entry of each part, before anything has left."""
    return {days: first_of(pipeline, days) for days in AGO}


def test_the_plan_names_what_may_be_destroyed_and_by_which_command(pipeline: Pipeline, begins: dict[int, int]) -> None:
    wait_until(lambda: any("Postgres still has" in (each["stays"] or "") for each in planned(pipeline)), 60)
    shown = planned(pipeline)
    assert [(each["month"], each["first"], each["last"], each["how"]) for each in shown] == [
        (month(800), 0, begins[475] - 1, "sealstream retention destroy --really")
    ]
    later = f"{datetime.now(UTC) + timedelta(days=300):%Y-%m-%d}"
    ahead = planned(pipeline, "--until", later)
    assert [each["month"] for each in ahead] == [month(800), month(475)]


def test_a_hold_keeps_everything_until_the_archive_says_that_it_is_lifted(
    pipeline: Pipeline, begins: dict[int, int]
) -> None:
    said = pipeline.command("retention", "hold", "set", pipeline.name, "--reason", "a trial")
    assert said.code == 0, said.err
    again = pipeline.command("retention", "hold", "set", pipeline.name, "--reason", "a trial")
    assert "held already" in again.out, again
    pipeline.send([pipeline.event(1_800)])
    pipeline.archive_all(1_801)
    assert {each["stays"][:10] for each in retention(pipeline, "plan")["goes"] if each["stays"]} == {"legal hold"}
    kept = retention(pipeline, "run")
    assert kept["left"] == []
    assert "a trial" in kept["stays"]
    assert "is under the legal hold" in retention(pipeline, "destroy")["stops"]
    lifted = pipeline.command("retention", "hold", "lift", "a trial", pipeline.name, "--reason", "settled")
    assert lifted.code == 0, lifted.err
    assert "does not hold that yet" in lifted.out
    assert faults(pipeline) == []
    pipeline.send([pipeline.event(1_900)])
    pipeline.archive_all(1_901)
    applied = pipeline.command("retention", "hold", "apply", pipeline.name)
    assert applied.code == 0, applied.err
    assert " 0 released" not in applied.out
    assert faults(pipeline) == []
    standing = json.loads(pipeline.command("retention", "hold", "list", pipeline.name, "--json").out)
    assert [each["reason"] for each in standing] == ["a case"]


def destroyed_while_the_policy_is_extended(pipeline: Pipeline) -> Said:
    """The command, where the policy becomes longer as soon as it has looked what may go."""
    looked, ended = retention_destroy.in_force, retention_destroy.ended_segments
    with pytest.MonkeyPatch.context() as patch:

        def extended(*arguments: Any, **options: Any) -> Any:
            found = ended(*arguments, **options)
            patch.setattr(
                retention_destroy, "in_force", lambda *each: looked(*each)._replace(policy="6y", archive_days=2_196)
            )
            return found

        patch.setattr(retention_destroy, "ended_segments", extended)
        return ask(pipeline, "retention", "destroy", pipeline.name, "--really")


def test_what_is_over_is_listed_archived_and_then_deleted(pipeline: Pipeline, begins: dict[int, int]) -> None:
    first = retention(pipeline, "destroy")
    assert first["would_go"] == []
    assert "Postgres still has entries of it" in first["stops"]
    left = retention(pipeline, "run")["left"]
    assert [each["month"] for each in left] == [month(800), month(475)]
    wait_until(lambda: len(retention(pipeline, "destroy")["would_go"]) >= 3, 60)
    assert "retention destroy --really" in pipeline.command("retention", "plan", pipeline.name).out
    before = segments(pipeline)
    refused = destroyed_while_the_policy_is_extended(pipeline)
    assert refused.code == 2
    assert "the policy was changed meanwhile, to 6y" in refused.err
    assert segments(pipeline) == before
    assert retention(pipeline, "destroy")["said_by_entries"] == []
    done = retention(pipeline, "destroy", "--really", "--reason", "over")
    assert done["deleted_versions"] == 0
    assert len(done["waiting_for_the_archive"]) == 1
    assert segments(pipeline) == before
    (listed,) = planned(pipeline)
    assert listed["how"].endswith("listed in the chain already")
    pipeline.send([pipeline.event(2_001)])
    pipeline.archive_all(2_002)
    wait_until(lambda: retention(pipeline, "destroy", "--really")["deleted_versions"] > 0, 60)
    assert {date[:7] for date in segments(pipeline)}.isdisjoint({month(800)})
    assert faults(pipeline) == []
    assert pipeline.verify("archive").first_seq == begins[475]
    assert planned(pipeline) == []
    looked_at = system_for(pipeline)
    assert f"begins with entry {begins[475]:,}" in passing("archive.whole", looked_at)
    assert f"every entry from {begins[200]:,} on" in passing("retention.online", looked_at)
    passing("retention.promised", looked_at)


def test_entry_0_is_nowhere_and_every_command_knows_what_is_promised(
    pipeline: Pipeline, begins: dict[int, int]
) -> None:
    online = next(
        record.offset
        for record in pipeline.records(pipeline.topics.chain)
        if json.loads(record.value or b"")["written"]["seq"] == begins[475]
    )
    trim(pipeline.kafka, pipeline.topics.chain, online)
    kept = ask(pipeline, "chain", "retention", pipeline.name, "--json")
    assert kept.code == 0, kept.err
    assert {each["retention"]["archive_days"] for each in json.loads(kept.out)["sealed"]} == {732}
    assert retention(pipeline, "plan")["policy"]["online_days"] == 366
    assert retention(pipeline, "run")["left"] == []
    assert retention(pipeline, "destroy")["would_go"] == []
    assert "the chain promises pci" in passing("retention.promised", system_for(pipeline))
    (stands,) = json.loads(ask(pipeline, "retention", "hold", "list", pipeline.name, "--json").out)
    assert (stands["first_day"], stands["set_by_entry"]) == (LATER, None)
    assert faults(pipeline) == []


def test_what_is_left_is_answered_proved_and_equal(pipeline: Pipeline, begins: dict[int, int]) -> None:
    compared = reconcile(pipeline.chain, Sources(pipeline.kafka, pipeline.reader_dsn, pipeline.archive))
    assert compared.differences == []
    found = pipeline.command("search", "kind:event", "--chain", pipeline.name, "--all", "--output", "ndjson")
    assert found.code == 0, found.err
    seqs = [json.loads(line)["written"]["seq"] for line in found.out.splitlines()]
    assert begins[475] <= min(seqs) < begins[475] + 3  # the sequencer's own statement comes first
    shown = pipeline.command("show", f"{pipeline.name}/{begins[475] + 3}")  # of the archive, and held to a signature
    assert shown.code == 0, shown.err
    assert "by the chain's key, in the checkpoint over" in " ".join(shown.out.split())
    assert pipeline.command("show", f"{pipeline.name}/3").code != 0


def archive_what_is_open(pipeline: Pipeline, n: int) -> None:
    """As `archive_all`, where Kafka has other statements than segments."""
    size = pipeline.wait_sealed()
    pipeline.wait_stored(size)
    time.sleep(pipeline.chain.limits.seconds + 0.1)
    pipeline.send([pipeline.event(n)])
    pipeline.wait_archived(size)
    pipeline.wait_quiet()


def test_a_kafka_that_is_lost_comes_back_from_where_the_archive_begins(
    pipeline: Pipeline, begins: dict[int, int]
) -> None:
    pipeline.wait_quiet()
    assert set(pipeline.stop().values()) == {0}
    pipeline.start("checkpointing", "postgres-sink")
    pipeline.wait_stored(pipeline.size())
    pipeline.stop()
    before = pipeline.size()
    lose_topics(pipeline, pipeline.topics)
    restored = pipeline.command("restore", "kafka", "--chain", pipeline.name)
    assert restored.code == 0, restored.err
    assert f"the topic begins with entry {begins[475]:,}" in restored.out
    again = pipeline.command("restore", "kafka", "--chain", pipeline.name)
    assert "no entry is missing" in again.out, again
    first = pipeline.records(pipeline.topics.chain)[0]
    assert json.loads(first.value or b"")["written"]["seq"] == begins[475]
    assert first.offset > 0
    assert start_offset(pipeline.kafka, pipeline.topics.chain) == first.offset
    assert pipeline.size() == before

    pipeline.start("sequencer")
    assert wait_ended(pipeline, "sequencer") == 1
    pipeline.start("sequencer", accept_input_lost=True)
    pipeline.start("checkpointing", "postgres-sink", "archive-sink")
    pipeline.send(pipeline.event(3_000 + n) for n in range(30))
    archive_what_is_open(pipeline, 3_100)
    assert faults(pipeline) == []
    compared = reconcile(pipeline.chain, Sources(pipeline.kafka, pipeline.reader_dsn, pipeline.archive))
    assert compared.differences == []


def test_a_postgres_that_is_lost_comes_back_from_where_the_archive_begins(
    pipeline: Pipeline, begins: dict[int, int]
) -> None:
    archive_what_is_open(pipeline, 3_200)  # what is left without a checkpoint then is young
    pipeline.stop("postgres-sink")
    for statement in (
        "DROP TABLE audit_log_" + month(200).replace("-", "_"),
        "ALTER TABLE audit_checkpoint DISABLE TRIGGER ALL",
        "DELETE FROM audit_checkpoint",
        "ALTER TABLE audit_checkpoint ENABLE TRIGGER ALL",
    ):
        sql(pipeline.admin_dsn, statement)
    replayed = pipeline.command("replay", "postgres", "--from", "archive", "--chain", pipeline.name)
    assert replayed.code == 0, replayed.err
    assert pipeline.verify("postgres").first_seq == begins[475]
    assert faults(pipeline, "postgres") == []
    pipeline.start("postgres-sink")
    pipeline.wait_stored(pipeline.wait_sealed())
    left = retention(pipeline, "run")["left"]
    assert [each["month"] for each in left] == [month(475)]
    assert faults(pipeline) == []


def test_what_anybody_had_sealed_against_the_rules_changes_nothing(pipeline: Pipeline) -> None:
    (stands,) = json.loads(ask(pipeline, "retention", "hold", "list", pipeline.name, "--json").out)
    sealed_as_gone = next(entry["metadata"] for entry in pipeline.entries() if entry["action"] == DESTROYED_ACTION)
    beyond = {"policy": "stranger", "archive_days": 2**53 - 1}
    forged = [
        hold(stands["hold"], last_day="2099-01-01"),
        hold(stands["hold"], last_day="2099-02-31"),
        said(DESTROYED_ACTION, {name: each for name, each in sealed_as_gone.items() if name != "retention"}),
        said(DESTROYED_ACTION, sealed_as_gone | {"retention": beyond}),
        said(RETENTION_EXTENDED, {"from": sealed_as_gone["retention"], "to": beyond}),
    ]
    pipeline.send(forged, pipeline.topics.control)
    archive_what_is_open(pipeline, 4_000)  # the archive sink has come past them
    assert json.loads(ask(pipeline, "retention", "hold", "list", pipeline.name, "--json").out) == [stands]
    kept = ask(pipeline, "chain", "retention", pipeline.name, "--json")
    assert json.loads(kept.out)["in_force"]["archive_days"] == 732
    retention(pipeline, "plan")
    assert retention(pipeline, "run")["left"] == []
    assert retention(pipeline, "destroy")["would_go"] == []
    assert ask(pipeline, "retention", "hold", "apply", pipeline.name).code == 0
    assert "the chain promises pci" in passing("retention.promised", system_for(pipeline))
    assert {store: pipeline.verify(store).faults for store in ("postgres", "archive")} == {
        "postgres": [],
        "archive": [],
    }
