"""What can be done to an archive that the real sink wrote, in the bucket and in copies: found, placed and named."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.long_runs import long_run
from tests.pipeline import Pipeline, say
from tests.verify.conftest import Built, Verdict, build

from sealstream.archive import ArchiveStore, StoredSegment
from sealstream.layout.manifests import parse_manifest
from sealstream.sealing import new_signing_key, signer

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@pytest.fixture(scope="session")
def downloaded(built: Built, s3: S3Client, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive as somebody downloads it; left as it is."""
    folder, bucket = tmp_path_factory.mktemp("archive"), built.pipeline.archive.bucket
    for item in s3.list_objects_v2(Bucket=bucket)["Contents"]:
        (folder / item["Key"]).parent.mkdir(parents=True, exist_ok=True)
        s3.download_file(bucket, item["Key"], str(folder / item["Key"]))
    return folder


@pytest.fixture
def folder(downloaded: Path, tmp_path: Path) -> Path:
    """A copy to tamper with."""
    return Path(shutil.copytree(downloaded, tmp_path / "copy"))


def segments(built: Built) -> list[StoredSegment]:
    """The segments in the bucket."""
    store = ArchiveStore(built.pipeline.archive, built.pipeline.name)
    try:
        return list(store.segments())
    finally:
        store.close()


@pytest.fixture
def verify_folder(built: Built, folder: Path) -> Callable[..., Verdict]:
    """The verdict on the copy."""
    return lambda *options, **more: built.verify("archive", "--folder", str(folder), *options, **more)


def test_the_bucket_and_a_copy_of_it_hold(built: Built, verify_folder: Callable[..., Verdict]) -> None:
    locked = built.verify("archive")
    assert (locked.code, locked.found, locked.report["assurance"]) == (0, [], ["self-signed", "WORM-locked"])
    copied = verify_folder()
    assert (copied.code, copied.found, copied.report["assurance"]) == (0, [], ["self-signed"])
    assert copied.report["entries"] == locked.report["entries"] == segments(built)[-1].name.last_seq + 1
    assert any("a copy" in note for note in copied.report["notes"])


def test_a_copy_by_command_holds_and_is_gone_on_with(built: Built, tmp_path: Path) -> None:
    folder, chain = tmp_path / "copy", built.pipeline.name
    first = built.pipeline.command("archive", "copy", str(folder), "--chain", chain)
    assert (first.code, "MB" in first.out) == (0, True), first.err
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    assert len(files) == 2 * len(segments(built))
    assert built.verify("archive", "--folder", str(folder)).code == 0
    files[0].write_bytes(files[0].read_bytes()[:-1])  # as a kill would not, but a full disk of somebody's cp
    files[-1].unlink()
    again = built.pipeline.command("archive", "copy", str(folder), "--chain", chain)
    assert "copied 2 files" in again.out
    assert built.verify("archive", "--folder", str(folder)).code == 0
    file = tmp_path / "file"
    file.touch()
    assert built.pipeline.command("archive", "copy", str(file), "--chain", chain).code == 2


def test_an_auditor_needs_the_copy_and_the_key_and_nothing_else(built: Built, folder: Path, tmp_path: Path) -> None:
    nowhere, vkey, state = tmp_path / "nowhere.toml", built.pipeline.chain.vkey, str(tmp_path / "state")
    verify = ("verify", "archive", "--folder", str(folder), "--state-dir", state)
    held = say(nowhere, *verify, "--vkey", vkey, "--until", f"{built.built_at:%Y-%m-%dT%H:%M:%S.%fZ}")
    assert held.code == 0, held.out + held.err
    assert f"kept in {state}" in held.out
    without = say(nowhere, *verify)
    assert (without.code, "--vkey" in without.err) == (2, True)
    other = say(nowhere, *verify, "--vkey", vkey, "--chain", "other")
    assert (other.code, "is that of chain" in other.err) == (2, True)
    another_log = signer(new_signing_key("audit.example.com/elsewhere/main")).vkey
    confused = built.pipeline.command(*verify[:2], "--chain", built.pipeline.name, "--vkey", another_log)
    assert (confused.code, "another log's key" in confused.err) == (2, True)


def tell_another_story(folder: Path, segment: StoredSegment, row: int) -> None:
    """The object is written again, in order and readable, with one entry that says something else."""
    file = folder / segment.name.object_key
    table = pq.read_table(file, partitioning=None)
    bodies: list[Any] = table.column("body").to_pylist()
    bodies[row] = bodies[row].replace('"treatment"', '"curiosity"')
    table = table.set_column(table.schema.get_field_index("body"), table.schema.field("body"), pa.array(bodies))
    pq.write_table(table, file, compression="zstd")


def test_an_object_with_another_story(built: Built, folder: Path, verify_folder: Callable[..., Verdict]) -> None:
    segment = segments(built)[2]
    name, seq = segment.name, segment.name.first_seq + 30
    tell_another_story(folder, segment, 30)
    verdict = verify_folder()
    assert (verdict.code, verdict.kinds) == (1, {"edited"})
    assert verdict.at(f"{name.object_key} row 30") == [("edited", seq, seq)]
    assert set(verdict.at(name.object_key)) == {("edited", name.first_seq, name.last_seq)}


def test_an_object_that_another_writer_wrote_again(
    built: Built, folder: Path, verify_folder: Callable[..., Verdict]
) -> None:
    """Every entry in it holds; it is still not the object that was sealed."""
    name = segments(built)[1].name
    file = folder / name.object_key
    pq.write_table(pq.read_table(file, partitioning=None), file, compression="snappy")
    verdict = verify_folder()
    assert verdict.code == 1
    assert set(verdict.found) == {("edited", name.first_seq, name.last_seq)}
    assert set(verdict.places) == {name.object_key}


def test_a_column_that_the_bytes_do_not_say(built: Built, folder: Path, verify_folder: Callable[..., Verdict]) -> None:
    name = segments(built)[1].name
    file = folder / name.object_key
    table = pq.read_table(file, partitioning=None)
    at = table.schema.get_field_index("actor_id")
    actors = table.column("actor_id").to_pylist()
    actors[17] = "nobody"
    table = table.set_column(at, table.schema.field(at), pa.array(actors, type=pa.string()))
    pq.write_table(table, file)
    verdict = verify_folder()
    assert verdict.at(f"{name.object_key} row 17") == [("edited", name.first_seq + 17, name.first_seq + 17)]


@pytest.mark.parametrize("keep", [0, 100, 0.5])
def test_an_object_that_was_cut(built: Built, folder: Path, verify_folder: Callable[..., Verdict], keep: float) -> None:
    name = segments(built)[1].name
    file = folder / name.object_key
    data = file.read_bytes()
    file.write_bytes(data[: int(keep * len(data)) if keep < 1 else int(keep)])
    verdict = verify_folder()
    assert verdict.code == 1
    assert ("edited", name.first_seq, name.last_seq) in verdict.at(name.object_key)
    assert ("missing", name.first_seq, name.last_seq) in verdict.found
    assert verdict.kinds == {"edited", "missing"}


def test_a_manifest_that_says_something_else(built: Built, folder: Path, verify_folder: Callable[..., Verdict]) -> None:
    name = segments(built)[1].name
    file = folder / name.manifest_key
    file.write_bytes(file.read_bytes().replace(b'"retain_until":"20', b'"retain_until":"19'))
    verdict = verify_folder()
    assert verdict.code == 1
    assert set(verdict.found) == {("edited", name.first_seq, name.last_seq)}
    assert name.manifest_key in verdict.places


def test_a_manifest_that_is_not_there(built: Built, folder: Path, verify_folder: Callable[..., Verdict]) -> None:
    name = segments(built)[1].name
    (folder / name.manifest_key).unlink()
    verdict = verify_folder()
    assert (verdict.code, verdict.at(name.manifest_key)) == (1, [("missing", name.first_seq, name.last_seq)])
    assert verdict.kinds == {"missing"}


def test_an_object_that_is_not_there(built: Built, folder: Path, verify_folder: Callable[..., Verdict]) -> None:
    name = segments(built)[1].name
    (folder / name.object_key).unlink()
    verdict = verify_folder()
    assert (verdict.code, verdict.at(name.object_key)) == (1, [("missing", name.first_seq, name.last_seq)])
    assert verdict.kinds == {"missing"}


def test_a_segment_that_is_not_there(built: Built, folder: Path, verify_folder: Callable[..., Verdict]) -> None:
    name = segments(built)[1].name
    (folder / name.object_key).unlink()
    (folder / name.manifest_key).unlink()
    verdict = verify_folder()
    assert verdict.code == 1
    assert ("missing", name.first_seq, name.last_seq) in verdict.found
    assert verdict.kinds == {"missing"} or verdict.kinds == {"missing", "edited"}


def test_a_file_that_names_no_segment(built: Built, folder: Path, verify_folder: Callable[..., Verdict]) -> None:
    name = segments(built)[1].name
    stray = f"{name.object_key.rpartition('/')[0]}/more.parquet"
    shutil.copy(folder / name.object_key, folder / stray)
    verdict = verify_folder()
    assert (verdict.code, verdict.found, verdict.places) == (1, [("inserted", None, None)], [stray])


def test_an_archive_without_its_end(
    built: Built, folder: Path, verify_folder: Callable[..., Verdict], tmp_path: Path
) -> None:
    assert verify_folder(state_dir=tmp_path / "state").code == 0  # keeps what it saw
    *_, before, last = segments(built)
    (folder / last.name.object_key).unlink()
    (folder / last.name.manifest_key).unlink()
    assert verify_folder().code == 0, "a verifier that never looked before can't know"
    stale = verify_folder(after=timedelta(hours=26))
    assert (stale.code, stale.found) == (2, [("stale", None, None)])
    shorter = verify_folder(state_dir=tmp_path / "state")
    assert (shorter.code, shorter.found) == (1, [("rolled back", before.name.last_seq + 1, last.name.last_seq)])


def test_beginning_in_the_middle_still_finds_what_is_behind(
    built: Built, folder: Path, verify_folder: Callable[..., Verdict]
) -> None:
    since = built.paused_at.isoformat().replace("+00:00", "Z")
    assert verify_folder("--since", since).code == 0
    later = segments(built)[-2]
    tell_another_story(folder, later, 30)
    (folder / segments(built)[0].name.object_key).write_bytes(b"gone")  # before `since`: not looked at
    verdict = verify_folder("--since", since)
    assert segments(built)[0].name.last_seq < verdict.report["first_seq"] <= later.name.first_seq
    assert verdict.code == 1
    assert verdict.at(f"{later.name.object_key} row 30") == [
        ("edited", later.name.first_seq + 30, later.name.first_seq + 30)
    ]
    assert segments(built)[0].name.object_key not in verdict.places


@long_run
def test_what_a_bucket_administrator_can_do_under_locks(make_pipeline: Callable[..., Pipeline], s3: S3Client) -> None:
    """New versions and delete markers, each on a segment of its own: found, and what they hide is read all the same."""
    built = build(make_pipeline, 50, 300)
    bucket = built.pipeline.archive.bucket
    replaced, hidden, manifest = (segment.name for segment in segments(built)[:3])
    s3.put_object(Bucket=bucket, Key=replaced.object_key, Body=b"PAR1")
    s3.delete_object(Bucket=bucket, Key=hidden.object_key)
    s3.put_object(Bucket=bucket, Key=manifest.manifest_key, Body=b"{}")
    stray = f"{replaced.object_key.rpartition('/')[0]}/stray.parquet"
    s3.put_object(Bucket=bucket, Key=stray, Body=b"PAR1")
    verdict = built.verify("archive")
    assert verdict.code == 1
    assert verdict.at(replaced.object_key) == [("edited", replaced.first_seq, replaced.last_seq)]
    assert verdict.at(hidden.object_key) == [("missing", hidden.first_seq, hidden.last_seq)]
    assert verdict.at(manifest.manifest_key) == [("edited", manifest.first_seq, manifest.last_seq)]
    assert verdict.at(stray) == [("inserted", None, None)]
    assert len(verdict.found) == 4
    assert verdict.report["signed_size"] == verdict.report["entries"] == segments(built)[-1].name.last_seq + 1


def test_a_bucket_whose_objects_are_not_locked(
    built: Built, downloaded: Path, s3: S3Client, command_settings: Callable[..., None]
) -> None:
    unlocked = f"{built.pipeline.archive.bucket}-unlocked"
    s3.create_bucket(Bucket=unlocked, ObjectLockEnabledForBucket=True)  # without a retention for what says none
    upload(s3, downloaded, unlocked)
    command_settings(ARCHIVE__BUCKET=unlocked)
    verdict = built.verify("archive")
    assert verdict.code == 1
    for segment in segments(built):
        for key in (segment.name.object_key, segment.name.manifest_key):
            assert ("unlocked", segment.name.first_seq, segment.name.last_seq) in verdict.at(key)
    assert "WORM-locked" not in verdict.report["assurance"]
    assert verdict.kinds == {"unlocked", "edited"}  # and these are not the versions that the chain has sealed


def test_a_bucket_that_can_not_lock_can_not_be_verified(
    built: Built, downloaded: Path, s3: S3Client, command_settings: Callable[..., None]
) -> None:
    plain = f"{built.pipeline.archive.bucket}-plain"
    s3.create_bucket(Bucket=plain)
    upload(s3, downloaded, plain)
    command_settings(ARCHIVE__BUCKET=plain)
    verdict = built.verify("archive")
    assert (verdict.code, verdict.report["verdict"]) == (2, "could not verify")
    assert "Object Lock" in verdict.report["error"]


def upload(s3: S3Client, folder: Path, bucket: str) -> None:
    """The copy, as objects."""
    for file in folder.rglob("*"):
        if file.is_file():
            s3.upload_file(str(file), bucket, file.relative_to(folder).as_posix())


def test_the_newest_object_is_read_also_before_it_has_a_manifest(
    built: Built, folder: Path, verify_folder: Callable[..., Verdict]
) -> None:
    newest = segments(built)[-1]
    (folder / newest.name.manifest_key).unlink()
    young = verify_folder()
    assert (young.code, young.found) == (0, [])
    assert any("no manifest yet" in note for note in young.report["notes"])
    later = (built.paused_at + timedelta(hours=2)).isoformat()
    old = verify_folder("--until", later)
    assert ("missing", newest.name.first_seq, newest.name.last_seq) in old.found
    tell_another_story(folder, newest, 1)
    assert "edited" in verify_folder().kinds


def test_a_column_that_the_format_does_not_have(
    built: Built, folder: Path, verify_folder: Callable[..., Verdict]
) -> None:
    name = segments(built)[-1].name
    file = folder / name.object_key
    table = pq.read_table(file, partitioning=None)
    pq.write_table(table.append_column("reason", pa.array(["a lie"] * len(table))), file)
    manifest = parse_manifest((folder / name.manifest_key).read_bytes())
    fitted = manifest._replace(object_sha256=sha256(file.read_bytes()).digest())
    (folder / name.manifest_key).write_bytes(fitted.to_bytes())
    verdict = verify_folder()
    assert verdict.code == 1
    assert ("invalid", name.first_seq, name.last_seq) in verdict.at(name.object_key)


@pytest.mark.parametrize("member", ["first_hash", "last_hash", "last_sequenced_at"])
def test_the_newest_manifest_is_held_against_its_rows(
    built: Built, folder: Path, verify_folder: Callable[..., Verdict], member: str
) -> None:
    name = segments(built)[-1].name
    manifest = parse_manifest((folder / name.manifest_key).read_bytes())
    other = "2099-01-01T00:00:00.000000Z" if member == "last_sequenced_at" else bytes(32)
    (folder / name.manifest_key).write_bytes(manifest._replace(**{member: other}).to_bytes())
    verdict = verify_folder()
    assert verdict.code == 1
    assert ("edited", name.first_seq, name.last_seq) in verdict.at(name.manifest_key)
