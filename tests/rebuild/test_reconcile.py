"""Each kind of difference is found, named and placed; equal stores are equal; nothing else is told."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from confluent_kafka import Producer
from tests.pipeline import say
from tests.rebuild.long_runs import long_run

from sealstream.kafka import KafkaSettings, create_topics
from sealstream.layout import ChainTopics
from sealstream.rebuild import Reconciliation, Sources, Verified, reconcile


def compared(stores, *, kafka: bool = True, postgres: bool = True, archive: bool = True, **options) -> Reconciliation:
    sources = Sources(
        stores.kafka if kafka else None, stores.reader if postgres else None, stores.archive if archive else None
    )
    return reconcile(stores.settings, sources, **options)


def found(result: Reconciliation) -> list[tuple[str, str, int | None, int | None]]:
    return [(d.store, str(d.fault.kind), d.fault.first_seq, d.fault.last_seq) for d in result.differences]


def test_stores_that_hold_the_chain_are_equal(stores):
    result = compared(stores)
    assert found(result) == []
    assert result.signed_size == stores.made.size
    assert {store.name: store.stop for store in result.stores} == {
        "kafka": stores.made.size,
        "postgres": stores.made.size,
        "archive": stores.made.archived_size(),
    }
    assert result.notes == [f"archive is {stores.made.size - stores.made.archived_size()} entries behind"]


COLUMNS = {
    "kind": "'control'",
    "id": "'00000000-0000-0000-0000-0000000000ff'",
    '"timestamp"': "\"timestamp\" + interval '1 microsecond'",
    "actor_id": "'user-0 '",
    "actor_type": "'admin'",
    "action": "'write'",
    "resource_type": "'patient'",
    "resource_id": "''",
    "result": "CASE result WHEN 'success' THEN 'denied' ELSE 'success' END",
    "ip_address": "'10.0.0.7/24'",
    "session_id": "''",
    "tenant": "'other'",
    "hash": "sha256(hash)",
}


def test_a_changed_column_is_found_in_its_row(stores):
    rows = {column: 300 + 70 * n for n, column in enumerate(COLUMNS)}
    for column, seq in rows.items():
        stores.tamper(f"UPDATE audit_log SET {column} = {COLUMNS[column]} WHERE seq = {seq}")
    result = compared(stores, kafka=False)
    assert found(result) == [("postgres", "edited", seq, seq) for seq in rows.values()]
    for (column, seq), fault in zip(rows.items(), result.of("postgres"), strict=True):
        assert fault.place == f"audit_log seq {seq}"
        assert f"column {column.strip(chr(34))} says" in fault.detail


def test_an_edited_body_is_found_and_the_field_is_named(stores):
    stores.tamper(
        "UPDATE audit_log SET body = convert_to(replace(convert_from(body, 'UTF8'), 'treatment', 'curiosity'), 'UTF8') "
        "WHERE seq = 1234"
    )
    result = compared(stores)
    assert found(result) == [("postgres", "edited", 1234, 1234)]
    assert "reason says 'curiosity ü', the signed entry says 'treatment ü'" in result.of("postgres")[0].detail
    assert found(compared(stores, quick=True)) == [], "quick takes stored hashes at their word, and says so"


@long_run
def test_a_body_edited_together_with_its_hash_is_found_also_by_the_quick_look(stores):
    stores.tamper(
        "UPDATE audit_log SET body = body || ' ', hash = sha256('\\x00'::bytea || prev_hash || body || ' ') "
        "WHERE seq = 1234"
    )
    for quick in (False, True):
        assert ("postgres", "edited", 1234, 1234) in found(compared(stores, quick=quick))


@long_run
@pytest.mark.parametrize("body", [r"'\xff'", "'no json'", "''"])
def test_a_body_that_is_no_entry_is_told_and_hides_nothing_else(stores, body):
    stores.tamper(f"UPDATE audit_log SET body = {body}::bytea WHERE seq = 400")
    stores.tamper("UPDATE audit_log SET actor_id = 'nobody' WHERE seq = 401")
    assert found(compared(stores)) == [("postgres", "edited", 400, 400), ("postgres", "edited", 401, 401)]


def test_deleted_rows_are_missing_as_runs(stores):
    stores.tamper("DELETE FROM audit_log WHERE seq IN (5, 6, 7, 900) OR seq BETWEEN 1100 AND 1499")
    assert found(compared(stores)) == [
        ("postgres", "missing", 5, 7),
        ("postgres", "missing", 900, 900),
        ("postgres", "missing", 1100, 1499),
    ]


@long_run
def test_a_dropped_month_is_one_run(stores):
    first, stop = stores.made.month_bounds("2026-10")
    stores.sql("DROP TABLE audit_log_2026_10", "SELECT 1")
    assert found(compared(stores)) == [("postgres", "missing", first, stop - 1)]


@long_run
def test_a_tail_that_was_cut_off_is_rolled_back(stores):
    end = stores.made.size
    stores.tamper(f"DELETE FROM audit_log WHERE seq >= {end - 3}")
    assert found(compared(stores)) == [("postgres", "rolled back", end - 3, end - 1)]


@long_run
def test_inserted_rows_are_found_wherever_they_stand(stores):
    end = stores.made.size
    columns = (
        'chain, kind, id, "timestamp", actor_id, actor_type, action, resource_type, resource_id, result, body, '
        "prev_hash, hash"
    )
    for seq, at in ((end + 4, "sequenced_at"), (900, "sequenced_at + interval '40 days'")):
        stores.tamper(
            f"INSERT INTO audit_log ({columns}, seq, sequenced_at) "
            f"SELECT {columns}, {seq}, {at} FROM audit_log WHERE seq = 900"
        )
    kinds = found(compared(stores))
    assert ("postgres", "inserted", end, end + 4) in kinds
    assert ("postgres", "duplicated", 900, 900) in kinds


@long_run
def test_one_changed_entry_among_all_others_of_its_chain_needs_no_second_store_to_be_placed(stores):
    stores.tamper("UPDATE audit_log SET body = body || ' ' WHERE seq = 1000")
    result = compared(stores, kafka=False, archive=False)
    assert found(result) == [("postgres", "edited", 1000, 1000)]
    stores.tamper("UPDATE audit_log SET hash = sha256('\\x00'::bytea || prev_hash || body) WHERE seq = 1000")
    result = compared(stores, kafka=False, archive=False)
    assert found(result) == [("postgres", "edited", 1000, 1000)], "its neighbour was sealed behind the true one"


def test_a_single_store_tells_of_one_entry_that_is_gone_and_one_that_is_edited(stores):
    stores.tamper("DELETE FROM audit_log WHERE seq IN (700, 702)")
    stores.tamper("UPDATE audit_log SET body = body || ' ' WHERE seq = 701")
    stores.tamper(
        "UPDATE audit_log SET body = body || ' ', hash = sha256('\\x00'::bytea || prev_hash || body || ' ') "
        "WHERE seq = 710"
    )
    for quick in (False, True):
        result = compared(stores, kafka=False, archive=False, quick=quick)
        assert sorted(found(result)) == [
            ("postgres", "edited", 701, 701),
            ("postgres", "edited", 710, 710),
            ("postgres", "missing", 700, 700),
            ("postgres", "missing", 702, 702),
        ]


@long_run
def test_a_single_store_whose_entries_were_sealed_anew_is_forked(stores):
    """A forger with time: from 1000 to the last entry of its span, each seals the one before it."""
    stop = min(segment.end for segment in stores.made.segments if segment.end > 1000)
    stores.tamper(
        f"""DO $$ DECLARE r record; own bytea; BEGIN
        FOR r IN SELECT seq, prev_hash, body FROM audit_log WHERE seq >= 1000 AND seq < {stop} ORDER BY seq LOOP
            IF r.seq = 1000 THEN own := r.prev_hash; r.body := r.body || ' '; END IF;
            UPDATE audit_log SET body = r.body, prev_hash = own, hash = sha256('\\x00'::bytea || own || r.body)
            WHERE seq = r.seq;
            own := sha256('\\x00'::bytea || own || r.body);
        END LOOP; END $$"""
    )
    (fault,) = compared(stores, kafka=False, archive=False).of("postgres")
    assert fault.kind == "forked"
    assert fault.first_seq <= 1000 < fault.last_seq == stop - 1


@long_run
def test_a_forged_and_a_repeated_record_in_kafka_are_found(stores, kafka: KafkaSettings):
    """The chain's topic is another's, in which the same records were written, and some besides."""
    forged = stores.settings._replace(prefix=f"f-{stores.settings.name}")
    topics, real = ChainTopics.of(forged.name, forged.prefix), stores.made.values
    create_topics(kafka, topics.configs())
    values = [*real[:500], real[499], real[500].replace(b"treatment", b"curiosity"), *real[501:700], *real[702:]]
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 5})
    for value in values:
        producer.produce(topics.chain, value, partition=0)
    assert producer.flush(30) == 0
    sources = Sources(kafka, stores.reader, stores.archive)
    result = reconcile(forged, sources)
    assert found(result) == [
        ("kafka", "duplicated", 499, 499),
        ("kafka", "edited", 500, 500),
        ("kafka", "missing", 700, 701),
    ]
    assert [fault.place for fault in result.of("kafka")][:2] == [f"{topics.chain} offset {at}" for at in (500, 501)]


@long_run
def test_an_object_that_differs_in_a_copy_of_the_archive_is_found(stores, tmp_path: Path, archive_copy: Path):
    folder = archive_copy
    copied = sorted(folder.glob("entries/*/*/*.parquet"))
    verified = Verified(tmp_path / "objects.json")
    sources = Sources(None, stores.reader, folder)
    assert found(reconcile(stores.settings, sources, verified=verified)) == []
    shutil.copyfile(copied[3], copied[2])
    again = Verified(tmp_path / "objects.json")
    (difference,) = reconcile(stores.settings, sources, verified=again).differences
    assert (difference.store, str(difference.fault.kind)) == ("archive", "missing")
    copied[2].unlink()
    (difference,) = reconcile(stores.settings, sources, verified=again).differences
    assert (difference.store, str(difference.fault.kind)) == ("archive", "missing")


@long_run
def test_a_lagging_store_is_behind_and_not_different(stores):
    end = stores.made.size
    stores.tamper(f"DELETE FROM audit_log WHERE seq >= {end - 100}")
    stores.tamper("ALTER TABLE audit_position DISABLE TRIGGER ALL")
    stores.tamper(f"UPDATE audit_position SET next_seq = {end - 100}")
    stores.tamper("ALTER TABLE audit_checkpoint DISABLE TRIGGER ALL")
    stores.tamper(f"DELETE FROM audit_checkpoint WHERE size > {end - 100}")
    result = compared(stores)
    assert found(result) == []
    assert "postgres is 100 entries behind" in result.notes
    stores.tamper(f"UPDATE audit_log SET body = body || ' ' WHERE seq = {end - 101}")
    assert found(compared(stores)) == [("postgres", "edited", end - 101, end - 101)]


@long_run
def test_a_second_round_reads_kafka_from_where_the_first_held(stores):
    first = compared(stores)
    assert first.kafka_mark is not None
    assert first.kafka_mark.seq > 1_800
    second = compared(stores, kafka_behind=first.kafka_mark)
    assert found(second) == []
    spans = {store.name: store.spans for store in second.stores}
    assert spans["kafka"] < 3 < spans["postgres"]


@long_run
def test_the_command_tells_it_and_ends_with_its_code(stores, tmp_path: Path):
    command = ["reconcile", "--chain", stores.settings.name, "--state-dir", str(tmp_path / "state")]
    said = say(stores.config, *command)
    assert said.code == 0, said.err
    assert "equal" in said.out
    stores.tamper("DELETE FROM audit_log WHERE seq = 17")
    said = say(stores.config, *command, "--json")
    assert said.code == 1
    (difference,) = json.loads(said.out)["differences"]
    assert (difference["store"], difference["kind"], difference["first_seq"]) == ("postgres", "missing", 17)
    assert "repair postgres" in say(stores.config, *command).out
    assert say(stores.config, *command, "--store", "tape").code == 2
    assert say(stores.config, *command, "--every", "soon").code == 2


@long_run
def test_the_command_compares_again_and_again_until_it_is_ended(stores, tmp_path: Path):
    command = [
        sys.executable,
        "-m",
        "sealstream.cli.entry",
        "--config",
        str(stores.config),
        "reconcile",
        "--every",
        "1s",
    ]
    command += ["--every", "1s", "--json", "--chain", stores.settings.name, "--state-dir", str(tmp_path / "state")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        first = json.loads(process.stdout.readline())
        stores.tamper("UPDATE audit_log SET actor_id = 'nobody' WHERE seq = 1001")
        rounds = [first]
        while len(rounds) < 5 and rounds[-1]["verdict"] == "equal":
            rounds.append(json.loads(process.stdout.readline()))
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    finally:
        process.kill()
        process.wait()
    assert [(d["kind"], d["first_seq"]) for d in rounds[-1]["differences"]] == [("edited", 1001)]
    assert first["differences"] == []
    assert {store["name"]: store["spans"] for store in rounds[-1]["stores"]}["kafka"] < 3, "read from where it held"
