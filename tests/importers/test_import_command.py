"""`sealstream import`: whatever happens to the command, each record is in the chain once."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.importers.conftest import STRATUS
from tests.importers.trails import Trail, new_key, pkcs1
from tests.long_runs import long_run
from tests.pipeline import Pipeline, Said, say

from sealstream.cli.import_known import KnownEvents
from sealstream.cli.import_progress import ImportProgress
from sealstream.errors import Unavailable
from sealstream.importers import IMPORTERS, Composer, Event, Record, records_of
from sealstream.kafka import end_offset

pytestmark = long_run

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@pytest.fixture(scope="module")
def pipeline(make_pipeline: Callable[..., Pipeline]) -> Iterator[Pipeline]:
    made = make_pipeline()
    made.start("sequencer", "checkpointing", "postgres-sink")
    yield made
    made.kill_all()


@pytest.fixture
def aws(s3_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """What boto3 finds: the tests' S3."""
    for name, value in {
        "AWS_ENDPOINT_URL": s3_settings["endpoint_url"],
        "AWS_DEFAULT_REGION": s3_settings["region"],
        "AWS_ACCESS_KEY_ID": s3_settings["access_key"],
        "AWS_SECRET_ACCESS_KEY": s3_settings["secret_key"],
    }.items():
        monkeypatch.setenv(name, value)


def trail(path: Path, count: int, first: int = 0) -> Path:
    """A file of CloudTrail records, as CloudTrail delivers them."""
    record = json.loads((STRATUS / "aws.initial-access.console-login-without-mfa.json").read_text())[0]
    records = [
        record | {"eventID": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{path.name}/{first + n}"))} for n in range(count)
    ]
    path.write_bytes(gzip.compress(json.dumps({"Records": records}).encode()))
    return path


def imported(pipeline: Pipeline, *arguments: str, config: Path | None = None) -> dict[str, Any]:
    said = say(config or pipeline.config, "import", *arguments, "--chain", pipeline.name, "--json")
    assert said.code == 0, said.err
    found: dict[str, Any] = json.loads(said.out)
    return found


def elsewhere(pipeline: Pipeline, folder: Path) -> Path:
    """The same settings on a machine that has never imported anything."""
    shutil.copytree(pipeline.folder, folder, ignore=shutil.ignore_patterns("*.log", "imports"))
    return folder / pipeline.config.name


def sealed_ids(pipeline: Pipeline) -> list[str]:
    pipeline.wait_stored(pipeline.wait_sealed())
    return pipeline.stored_ids()


def test_a_second_run_adds_nothing_wherever_it_runs(pipeline: Pipeline, tmp_path: Path) -> None:
    before = len(sealed_ids(pipeline))
    first = imported(pipeline, "cloudtrail", str(STRATUS))
    assert (first["records"], first["sent"], first["known"], first["refused"]) == (31, 31, 0, 0)
    assert first["files_passed_over"] == 2  # the licence and the notice
    ids = sealed_ids(pipeline)[before:]
    records = [r for file in sorted(STRATUS.glob("*.json")) for r in json.loads(file.read_text())]
    assert ids == [record["eventID"] for record in records]
    entry = next(entry for entry in pipeline.entries() if entry["id"] == records[0]["eventID"])
    assert entry["metadata"]["source"] == records[0]
    assert entry["timestamp"][:19] == records[0]["eventTime"][:19]

    assert imported(pipeline, "cloudtrail", str(STRATUS))["files_done_before"] == 5
    assert imported(pipeline, "cloudtrail", str(STRATUS), "--again")["known"] == 31
    other = elsewhere(pipeline, tmp_path / "other")
    second = imported(pipeline, "cloudtrail", str(STRATUS), config=other)
    assert (second["sent"], second["known"]) == (0, 31)
    assert len(sealed_ids(pipeline)) == before + 31
    assert not any(entry["action"] == "producer.conflict" for entry in pipeline.entries())


@long_run
def test_what_waits_for_the_sequencer_is_not_sent_again(pipeline: Pipeline, tmp_path: Path) -> None:
    before = len(sealed_ids(pipeline))
    file = str(trail(tmp_path / "waiting.json.gz", 40))
    pipeline.stop("sequencer", "postgres-sink")
    try:
        assert imported(pipeline, "cloudtrail", file)["sent"] == 40
        assert imported(pipeline, "cloudtrail", file, config=elsewhere(pipeline, tmp_path / "a"))["known"] == 40
        pipeline.start("sequencer")
        pipeline.wait_sealed()  # in the chain, and not in Postgres
        assert imported(pipeline, "cloudtrail", file, config=elsewhere(pipeline, tmp_path / "b"))["known"] == 40
    finally:
        pipeline.start(*({"sequencer", "postgres-sink"} - pipeline.running.keys()))
    assert len(sealed_ids(pipeline)) == before + 40


def test_another_record_with_the_same_id_is_no_repeat(pipeline: Pipeline, tmp_path: Path) -> None:
    file = trail(tmp_path / "twice.json.gz", 1)
    assert imported(pipeline, "cloudtrail", str(file))["sent"] == 1
    record = json.loads(gzip.decompress(file.read_bytes()))["Records"][0]
    (tmp_path / "changed.json").write_text(json.dumps([record | {"eventName": "CheckMfa"}, record]))
    changed = imported(pipeline, "cloudtrail", str(tmp_path / "changed.json"))
    assert (changed["sent"], changed["known"]) == (1, 1)
    sealed_ids(pipeline)
    both = [entry for entry in pipeline.entries() if entry["id"] == record["eventID"]]
    assert [entry["action"] for entry in both] == ["signin:ConsoleLogin", "signin:CheckMfa"]
    assert imported(pipeline, "cloudtrail", str(tmp_path / "changed.json"), "--again")["sent"] == 0


@long_run
def test_a_killed_import_goes_on_and_a_stopped_one_ends_in_order(pipeline: Pipeline, tmp_path: Path) -> None:
    before = sealed_ids(pipeline)
    folder = tmp_path / "trail"
    folder.mkdir()
    for number in range(3):
        trail(folder / f"{number}.json.gz", 4_000)
    command = [sys.executable, "-m", "sealstream.cli.entry", "--config", str(pipeline.config), "import", "cloudtrail"]
    command += [str(folder), "--chain", pipeline.name]
    notes = pipeline.folder / "imports"
    for end in (signal.SIGKILL, signal.SIGINT):
        size = sum(file.stat().st_size for file in notes.glob("*.jsonl"))
        running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 60
        while sum(file.stat().st_size for file in notes.glob("*.jsonl")) == size and time.monotonic() < deadline:
            time.sleep(0.01)
        running.send_signal(end)
        _, err = running.communicate(timeout=60)
        assert running.returncode == (130 if end == signal.SIGINT else -end), err
        assert "Traceback" not in err
    last = imported(pipeline, "cloudtrail", str(folder))
    assert last["sent"] <= 12_000 - 5_000
    ids = sealed_ids(pipeline)[len(before) :]
    assert len(ids) == len(set(ids)) == 12_000


def test_a_bad_line_is_said_with_file_and_line_and_stops_nothing(pipeline: Pipeline, tmp_path: Path) -> None:
    file = tmp_path / "trail.jsonl"
    record = json.loads((STRATUS / "aws.initial-access.console-login-without-mfa.json").read_text())[0]
    good = [json.dumps(record | {"eventID": str(uuid.uuid4())}) for _ in range(2)]
    without_time = json.dumps({key: value for key, value in record.items() if key != "eventTime"})
    file.write_text("\n".join([good[0], "{oops", without_time, good[1]]))
    said: Said = pipeline.command("import", "cloudtrail", str(file), "--chain", pipeline.name)
    assert said.code == 1
    assert f"{file}:2 (record 2): not JSON" in said.err
    assert f"{file}:3 (record 3): eventTime is missing" in said.err
    assert "4 records of 1 file: 2 events sent" in said.out
    # It is said again until it is mended, and what stands behind it is not sent again.
    again = pipeline.command("import", "cloudtrail", str(file), "--chain", pipeline.name)
    assert (again.code, again.err) == (1, said.err)
    assert "4 records of 1 file: 0 events sent to chain" in again.out
    assert "2 in the log already" in again.out
    file.write_text("\n".join([*good, json.dumps(record | {"eventID": str(uuid.uuid4())})]))
    assert imported(pipeline, "cloudtrail", str(file))["sent"] == 1
    assert imported(pipeline, "cloudtrail", str(file))["files_done_before"] == 1


def test_objects_of_s3_are_read(pipeline: Pipeline, tmp_path: Path, s3: S3Client, aws: None) -> None:
    bucket = f"t-{uuid.uuid4().hex[:16]}"
    s3.create_bucket(Bucket=bucket)
    two = trail(tmp_path / "object.json.gz", 3).read_bytes()
    s3.put_object(Bucket=bucket, Key="AWSLogs/1/CloudTrail/eu/1_CloudTrail_eu_1.json.gz", Body=two)
    s3.put_object(Bucket=bucket, Key="AWSLogs/1/CloudTrail-Digest/eu/1_CloudTrail-Digest_eu.json.gz", Body=b"no log")
    assert imported(pipeline, "cloudtrail", f"s3://{bucket}/AWSLogs/")["sent"] == 3
    again = imported(pipeline, "cloudtrail", f"s3://{bucket}/AWSLogs/")
    assert (again["sent"], again["files_done_before"], again["files_passed_over"]) == (0, 1, 1)
    said = pipeline.command("import", "cloudtrail", f"s3://{bucket}-none/x", "--chain", pipeline.name)
    assert said.code == 2
    assert "NoSuchBucket" in said.err


def test_of_a_trail_only_what_its_digests_vouch_for_is_imported(
    pipeline: Pipeline, tmp_path: Path, s3: S3Client, aws: None
) -> None:
    key = new_key()
    bucket = f"t-{uuid.uuid4().hex[:16]}"
    trail_ = Trail(6, lambda _hour: key, bucket=bucket)
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "a.der").write_bytes(pkcs1(key))
    changed = trail_.logs[2][0]
    trail_.put(changed, gzip.compress(trail_.content(changed).replace(b"Describe", b"Terminate")))
    s3.create_bucket(Bucket=bucket)
    for name, (data, signature) in trail_.objects.items():
        s3.put_object(Bucket=bucket, Key=name, Body=data, Metadata={"signature": signature} if signature else {})
        (tmp_path / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "copy" / name).write_bytes(data)
    given = ["--keys", str(tmp_path / "keys"), "--chain", pipeline.name]
    said = pipeline.command("import", "cloudtrail", "--validate", f"s3://{bucket}/", *given)
    assert said.code == 1
    assert f"invalid: s3://{bucket}/{changed} was changed" in said.err
    assert "6 of 6 digests and 11 of 12 log files are as CloudTrail delivered them" in said.out
    assert "11 records of 11 files: 11 events sent" in said.out
    # A copy has no signatures: nothing can be said of the newest digest, and of what it names.
    said = pipeline.command("import", "cloudtrail", "--validate", str(tmp_path / "copy"), *given, "--json")
    assert said.code == 1
    found = json.loads(said.out)
    assert (found["sent"], found["known"], found["validation"]["valid_digests"]) == (0, 9, 5)


def test_standard_input(pipeline: Pipeline, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sealstream.cli.entry", "--config", str(pipeline.config), "import", "cloudtrail"]
    with trail(tmp_path / "input.json.gz", 5).open("rb") as stream:
        done = subprocess.run(
            [*command, "-", "--chain", pipeline.name], stdin=stream, capture_output=True, text=True, env=os.environ
        )
    assert "5 records of 1 file: 5 events sent" in done.stdout, done.stderr


def test_a_record_that_stands_in_two_files_is_sent_once(pipeline: Pipeline, tmp_path: Path) -> None:
    trail(tmp_path / "once.json.gz", 10)
    shutil.copy(tmp_path / "once.json.gz", tmp_path / "twice.json.gz")
    found = imported(pipeline, "cloudtrail", str(tmp_path))
    assert (found["records"], found["sent"], found["known"]) == (20, 10, 10)


def test_without_postgres_the_chain_itself_says_what_it_has(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = str(trail(tmp_path / "kafka-alone.json.gz", 10))
    assert imported(pipeline, "cloudtrail", file)["sent"] == 10
    pipeline.wait_sealed()
    monkeypatch.setenv("SEALSTREAM_POSTGRES__READER_DSN", "")
    assert imported(pipeline, "cloudtrail", file, config=elsewhere(pipeline, tmp_path / "else"))["known"] == 10


def test_while_postgres_is_away_nothing_is_sent(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = end_offset(pipeline.kafka, pipeline.topics.raw, committed=True)
    monkeypatch.setenv("SEALSTREAM_POSTGRES__READER_DSN", "postgresql://nobody@127.0.0.1:9/none")
    file = str(trail(tmp_path / "away.json.gz", 10))
    said = pipeline.command("import", "cloudtrail", file, "--chain", pipeline.name)
    assert said.code == 2
    assert "Postgres" in said.err
    assert end_offset(pipeline.kafka, pipeline.topics.raw, committed=True) == before


def test_a_hosts_log_in_its_own_zone(pipeline: Pipeline, tmp_path: Path) -> None:
    file = tmp_path / "auth.log"
    file.write_text("Nov 24 04:00:00 web-1 sshd[8]: Accepted publickey for anna from 10.1.2.3 port 22 ssh2\n" * 2)
    given = ["authlog", str(tmp_path), "--timezone", "Europe/Berlin", "--year", "2024"]
    assert imported(pipeline, *given)["sent"] == 2
    with file.open("a") as stream:
        stream.write("Nov 24 04:00:01 web-1 sudo: anna : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/sh\n")
    assert imported(pipeline, *given)["sent"] == 1
    pipeline.wait_sealed()
    last = pipeline.entries()[-1]
    assert (last["action"], last["timestamp"]) == ("sudo:run", "2024-11-24T03:00:01.000000Z")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["mapped", "x.json"], "needs --mapping FILE"),
        (["okta", "--mapping", "m.toml", "x.json"], "--mapping is for"),
        (["okta", "--validate", "x.json"], "--validate is for"),
        (["okta", "/no/such/file"], "can't be read: No such file"),
        (["authlog", "--timezone", "Mars", "x"], "--timezone: expected a name"),
        (["mapped", "--mapping", "/no/such/file", "x.json"], "can't be read: No such file"),
    ],
)
def test_what_cannot_be_done_is_said(pipeline: Pipeline, arguments: list[str], said: str) -> None:
    told = pipeline.command("import", *arguments, "--chain", pipeline.name)
    assert (told.code, said in told.err) == (2, True), told


def test_two_imports_into_a_chain_do_not_work_at_once(pipeline: Pipeline) -> None:
    with ImportProgress(pipeline.config, pipeline.name, ["cloudtrail", "other"]):
        said = pipeline.command("import", "cloudtrail", str(STRATUS), "--chain", pipeline.name)
        assert said.code == 2
        assert "another import" in said.err
    assert imported(pipeline, "cloudtrail", str(STRATUS))["refused"] == 0


def test_what_was_sent_is_held_until_postgres_has_it(pipeline: Pipeline, tmp_path: Path) -> None:
    data = trail(tmp_path / "held.json.gz", 30).read_bytes()
    composer = Composer(IMPORTERS["cloudtrail"])
    made = [composer.event(each) for each in records_of([data], IMPORTERS["cloudtrail"]) if isinstance(each, Record)]
    events = [event for event in made if isinstance(event, Event)]
    sealed_ids(pipeline)
    known = KnownEvents(pipeline.settings, pipeline.name, held=10, patience_s=0.5)
    assert known.unsent(events[:10]) == events[:10]
    assert known.unsent(events[:10]) == []
    with pytest.raises(Unavailable, match="is the Postgres sink running"):
        known.unsent(events[10:11])  # no room, and nobody has sent the ten
    pipeline.send([event.value for event in events[:10]])
    sealed_ids(pipeline)
    assert known.unsent(events) == events[10:]
    assert known.unsent(events) == []
