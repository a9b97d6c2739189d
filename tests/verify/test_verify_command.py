"""`sealstream verify` as a person and a program use it: what it prints, keeps and exits with."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from tests.long_runs import long_run
from tests.pipeline import Pipeline
from tests.verify.conftest import Built

from sealstream.sealing import new_signing_key, open_checkpoint, signer

pytestmark = long_run

ROOT = Path(__file__).parents[2]


def until(built: Built, after: timedelta = timedelta(0)) -> list[str]:
    return ["--until", (built.built_at + after).strftime("%Y-%m-%dT%H:%M:%S.%fZ")]


def test_all_stores_hold_and_what_was_seen_is_kept(built: Built, tmp_path: Path) -> None:
    pipeline = built.pipeline
    said = pipeline.command("verify", "all", "--chain", pipeline.name, *until(built), "--state-dir", str(tmp_path))
    assert said.code == 0, said.out
    assert [line.split()[:2] for line in said.out.splitlines() if not line.startswith(" ")] == [
        [store, "holds"] for store in ("kafka", "postgres", "archive")
    ]
    assert "self-signed, WORM-locked" in said.out
    kept = {
        file.name.rpartition("@")[2]: open_checkpoint(file.read_bytes(), pipeline.chain.vkey)
        for file in tmp_path.iterdir()
    }
    assert set(kept) == {"kafka.checkpoint", "postgres.checkpoint", "archive.checkpoint"}
    assert kept["kafka.checkpoint"].size == kept["postgres.checkpoint"].size == built.size


def test_an_installation_without_an_archive_verifies_what_it_has_and_says_so(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEALSTREAM_ARCHIVE__BUCKET", "")
    name = built.pipeline.name
    said = built.pipeline.command("verify", "all", "--chain", name, *until(built), "--state-dir", str(tmp_path))
    assert said.code == 0, said.out
    assert "archive is passed over: archive.bucket is not set" in said.err
    assert [line.split()[0] for line in said.out.splitlines() if not line.startswith(" ")] == ["kafka", "postgres"]


def test_a_program_reads_one_document_a_store(built: Built, tmp_path: Path) -> None:
    """As a process of its own, which is how a program runs it."""
    pipeline = built.pipeline
    command = [
        sys.executable,
        "-m",
        "sealstream.cli.entry",
        "--config",
        str(pipeline.config),
        "verify",
        "all",
        "--json",
    ]
    options = ["--chain", pipeline.name, *until(built), "--state-dir", str(tmp_path)]
    said = subprocess.run([*command, *options], capture_output=True, text=True, check=False, timeout=60)
    assert said.returncode == 0, said.stderr
    decoder, reports, text = json.JSONDecoder(), [], said.stdout.strip()
    while text:
        report, end = decoder.raw_decode(text)
        reports.append(report)
        text = text[end:].lstrip()
    assert [report["store"] for report in reports] == ["kafka", "postgres", "archive"]
    assert {report["verdict"] for report in reports} == {"holds"}
    assert all(len(report["root"]) == 64 and report["times"].startswith("as claimed") for report in reports)


@pytest.mark.parametrize("store", ["kafka", "postgres", "archive"])
def test_another_key_than_the_verifiers_is_another_chain(built: Built, store: str) -> None:
    other = signer(new_signing_key(built.pipeline.chain.origin)).vkey
    verdict = built.verify(store, "--vkey", other)
    assert verdict.code == 1
    assert verdict.kinds >= {"forked", "unsigned"}
    assert ("forked", 0, 0) in verdict.found
    assert verdict.report["signed_size"] == 0


@pytest.mark.parametrize(
    ("store", "after", "code"),
    [
        ("kafka", timedelta(minutes=4), 2),
        ("postgres", timedelta(minutes=4), 2),
        ("archive", timedelta(minutes=4), 0),
        ("archive", timedelta(hours=26), 2),
    ],
)
def test_a_copy_is_stale_by_when_it_was_taken(built: Built, store: str, after: timedelta, code: int) -> None:
    verdict = built.verify(store, after=after)
    assert verdict.code == code
    assert verdict.found == ([("stale", None, None)] if code else [])


def test_one_store_that_is_tampered_with_outweighs_one_that_can_not_be_read(
    built: Built, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pipeline = built.pipeline
    monkeypatch.setenv("SEALSTREAM_POSTGRES__READER_DSN", "postgresql://nobody@127.0.0.1:1/nothing")
    monkeypatch.setenv("SEALSTREAM_ARCHIVE__BUCKET", "no-such-bucket")
    options = ["--chain", pipeline.name, *until(built), "--state-dir", str(tmp_path)]
    unreadable = pipeline.command("verify", "all", *options)
    assert unreadable.code == 2
    assert "postgres: could not verify" in unreadable.err
    assert "archive: could not verify" in unreadable.err
    other = signer(new_signing_key(pipeline.chain.origin)).vkey
    state = ["--chain", pipeline.name, *until(built), "--state-dir", str(tmp_path / "other")]
    assert pipeline.command("verify", "all", "--vkey", other, *state).code == 1


def test_a_kept_checkpoint_that_was_damaged_is_said_and_not_forgotten(built: Built, tmp_path: Path) -> None:
    assert built.verify("kafka", state_dir=tmp_path).code == 0
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(kept.read_bytes().replace(b"\n", b"\n1", 1))
    verdict = built.verify("kafka", state_dir=tmp_path)
    assert (verdict.code, verdict.report["verdict"]) == (2, "could not verify")
    assert str(kept) in verdict.report["error"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["verify", "kafka", "--chain", "unknown"], "sealstream chain create unknown"),
        (["verify", "kafka", "--since", "yesterday"], "--since"),
        (["verify", "kafka", "--until", "2026-11-24T03:00:00"], "offset"),
        (["verify", "kafka", "--vkey", "nonsense"], "vkey"),
        (["verify", "archive", "--folder", "/nowhere"], "/nowhere"),
    ],
)
def test_a_wrong_argument_is_one_clear_sentence(built: Built, arguments: list[str], told: str) -> None:
    pipeline = built.pipeline
    if "--chain" not in arguments:
        arguments = [*arguments, "--chain", pipeline.name]
    said = pipeline.command(*arguments)
    assert said.code == 2
    assert told in said.err
    assert "Traceback" not in said.err


# --- a reader in another language ------------------------------------------------------------------------------------

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed here")


def read_with_node(folder: Path, pipeline: Pipeline, values: list[bytes]) -> subprocess.CompletedProcess[str]:
    """Run the reader in examples/verify-in-node on an export of these entries and the newest checkpoint."""
    export, note, vkey = folder / "export.ndjson", folder / "checkpoint.note", folder / "vkey.txt"
    export.write_bytes(b"".join(value + b"\n" for value in values))
    note.write_bytes(pipeline.records(pipeline.topics.checkpoints)[-1].value or b"")
    vkey.write_text(pipeline.chain.vkey + "\n")
    reader = ROOT / "examples" / "verify-in-node" / "verify.mjs"
    command = ["node", str(reader), str(export), str(note), str(vkey)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@needs_node
def test_node_verifies_what_the_pipeline_wrote(built: Built, tmp_path: Path) -> None:
    said = read_with_node(tmp_path, built.pipeline, built.values)
    assert (said.returncode, said.stderr) == (0, "")
    assert f"{built.size} entries signed" in said.stdout


@needs_node
@pytest.mark.parametrize("fault", ["edited", "missing", "cut"])
def test_node_finds_tampering(built: Built, tmp_path: Path, fault: str) -> None:
    values, seq = list(built.values), built.seq_of(502)
    if fault == "edited":
        values[seq] = values[seq].replace(b'"treatment"', b'"curiosity"')
    elif fault == "missing":
        del values[seq]
    else:
        del values[seq:]
    said = read_with_node(tmp_path, built.pipeline, values)
    assert said.returncode == 1
    assert f"entry {seq}" in said.stderr
