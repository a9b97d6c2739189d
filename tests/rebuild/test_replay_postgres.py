"""Postgres is rebuilt whole, from the archive or from Kafka, beside the live one; its sink goes on behind it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.pipeline import as_role, say, sql
from tests.rebuild.killing import killed_until_it_ends
from tests.rebuild.long_runs import long_run

from sealstream.cli.settings import write_settings
from sealstream.errors import InputLost
from sealstream.kafka import create_topics, last_record, start_offset, trim
from sealstream.layout import ChainTopics
from sealstream.layout.tables import Roles
from sealstream.postgres import PostgresSink
from sealstream.rebuild import PostgresTarget, replay_postgres
from sealstream.verify import FaultKind, Verification, verify_postgres

MONTHS = ["2026-08", "2026-09", "2026-10", "2026-11"]


def faults(stores) -> list[str]:
    report = verify_postgres(stores.reader, Verification(stores.identity, datetime.now(UTC)))
    return [f"{fault.kind} {fault.seqs()}" for fault in report.faults if fault.kind is not FaultKind.STALE]


def follow(stores, settings=None) -> int:
    """The sink takes over, and stores what there is; the entry that comes next."""
    with PostgresSink(stores.kafka, settings or stores.settings, stores.sink, wait_s=0.5) as sink:
        while sink.step():
            pass
        return sink.next_seq


@pytest.fixture
def emptied(stores, make_database: Callable[..., str], rebuild_template: str, pipeline_roles: Roles):
    """The same chain, with a database that has never seen it."""
    dsn = make_database(rebuild_template)
    dsns = {f"{short}_dsn": as_role(dsn, role) for short, role in pipeline_roles.logins().items()}
    write_settings(stores.config, {"postgres": dsns})
    return stores._replace(admin=dsn, sink=dsns["sink_dsn"], reader=dsns["reader_dsn"], keeper=dsns["keeper_dsn"])


@pytest.fixture
def trimmed(emptied):
    """The chain's topics hold the notes, and only the entries that are not archived yet."""
    made, prefix = emptied.made, f"x-{emptied.settings.name}"
    create_topics(emptied.kafka, ChainTopics.of(made.settings.name, prefix).configs())
    topics = made.publish(emptied.kafka, prefix)
    archived = made.archived_size()
    trim(emptied.kafka, topics.chain, archived + (archived - 1) // 20_000)
    assert start_offset(emptied.kafka, topics.chain) == archived
    return emptied, made.settings._replace(prefix=prefix)


def test_the_archive_alone_gives_a_lost_database_back_and_the_sink_goes_on(trimmed):
    stores, settings = trimmed
    target = PostgresTarget(stores.keeper, stores.reader)
    with pytest.raises(InputLost, match="does not begin with entry 0"):
        replay_postgres(settings, target, None, stores.kafka, from_kafka=True)
    done = replay_postgres(settings, target, stores.archive, stores.kafka, from_kafka=False)
    assert [item.month for item in done.months] == MONTHS
    assert sql(stores.reader, "SELECT next_seq FROM audit_position")[0]["next_seq"] == stores.made.archived_size()
    assert faults(stores) == []
    assert follow(stores, settings) == stores.made.size
    assert faults(stores) == []
    rows = sql(stores.reader, "SELECT body, prev_hash, hash FROM audit_log ORDER BY seq")
    assert len(rows) == stores.made.size
    assert [row["hash"] for row in rows] == stores.made.hashes


@long_run
def test_kafka_is_not_needed_when_the_archive_has_all_that_postgres_had(emptied):
    target = PostgresTarget(emptied.keeper, emptied.reader)
    done = replay_postgres(emptied.settings, target, emptied.archive, None, from_kafka=False)
    assert done.months[-1].stop == emptied.made.archived_size()
    assert done.unsealed
    assert faults(emptied) == []


@long_run
def test_kafka_rebuilds_a_database_in_place_whatever_it_held(stores):
    stores.tamper("UPDATE audit_log SET actor_id = 'nobody', hash = sha256('x') WHERE seq % 3 = 0")
    stores.sql("DROP TABLE audit_log_2026_09", "SELECT 1")
    said = say(stores.config, "replay", "postgres", "--from", "kafka", "--chain", stores.settings.name,
               "--state-dir", str(stores.config.parent / "state"))  # fmt: skip
    assert said.code == 0, said.err
    assert said.out.count("are built, verified and swapped in") == 4
    assert faults(stores) == []
    assert follow(stores) == stores.made.size
    kept = "SELECT count(*) AS n FROM pg_class WHERE relname LIKE 'audit_replaced%' AND relkind = 'r'"
    assert sql(stores.admin, kept)[0]["n"] == 0
    newest = last_record(stores.kafka, ChainTopics.of(stores.settings.name).control)
    assert b'"reason":"replayed from kafka"' in (newest.value or b"")


@long_run
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("source", ["archive", "kafka"])
def test_a_replay_that_is_killed_again_and_again_ends_well(emptied, tmp_path: Path, source: str, seed: int):
    def replay() -> None:
        said = say(emptied.config, "replay", "postgres", "--from", source, "--chain", emptied.settings.name,
                   "--state-dir", str(tmp_path / "state"))  # fmt: skip
        assert said.code == 0, said.err

    assert killed_until_it_ends(replay, seed) > 0
    assert faults(emptied) == []
    assert follow(emptied) == emptied.made.size
    assert list((tmp_path / "state").glob("*")) == [], "nothing is left of a replay that has ended"
