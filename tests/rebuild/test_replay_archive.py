"""The archive is replayed into a new bucket: the same bytes, locked, vouched for by what the chain has sealed."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from tests.pipeline import say
from tests.rebuild.long_runs import long_run

from sealstream.archive import ArchiveSettings, ArchiveStore, Bucket
from sealstream.cli.settings import load_settings, write_settings
from sealstream.errors import Forked
from sealstream.rebuild import Sources, reconcile, replay_archive, segments_of_archive, segments_of_kafka
from sealstream.verify import FaultKind, Verification, verify_archive


@pytest.fixture
def new(stores, s3: Any) -> ArchiveSettings:
    """An empty bucket to replay into."""
    bucket = stores.archive._replace(bucket=f"t-{uuid.uuid4().hex[:16]}", replayed=True)
    s3.create_bucket(Bucket=bucket.bucket, ObjectLockEnabledForBucket=True)
    return bucket


def contents(stores, settings: ArchiveSettings) -> dict[str, bytes]:
    store = ArchiveStore(settings, stores.settings.name)
    try:
        return {
            stored.key: store.read(stored.key, stored.versions[0])
            for segment in store.segments()
            for stored in (segment.object, segment.manifest)
        }
    finally:
        store.close()


def faults(stores, settings: ArchiveSettings) -> list[str]:
    report = verify_archive(settings, Verification(stores.identity, datetime.now(UTC)))
    assert report.entries
    return [f"{fault.kind} {fault.place}" for fault in report.faults if fault.kind is not FaultKind.STALE]


@long_run
@pytest.mark.parametrize("source", ["archive", "kafka"])
def test_a_new_bucket_holds_the_same_bytes_and_verifies(stores, new: ArchiveSettings, source: str):
    def segments():
        if source == "archive":
            return segments_of_archive(stores.archive, stores.settings)
        return segments_of_kafka(stores.kafka, stores.settings)

    replay_archive(islice(segments(), 3), new)  # a first life, which did not come far
    put = replay_archive(segments(), new)
    assert put + 3 >= len(stores.made.segments) - 1
    assert replay_archive(segments(), new) == 0, "nothing is put twice"
    old = contents(stores, stores.archive)
    found = contents(stores, new)
    assert found == {key: old[key] for key in found}
    assert len(old) - len(found) in (0, 2), "Kafka does not know the newest segment's statement, if it is not sealed"
    assert faults(stores, new) == []
    assert any(fault.startswith("edited") for fault in faults(stores, new._replace(replayed=False)))
    assert reconcile(stores.settings, Sources(stores.kafka, stores.reader, new)).differences == []


@long_run
def test_other_bytes_in_the_new_bucket_are_never_adopted(stores, new: ArchiveSettings):
    first = next(segments_of_archive(stores.archive, stores.settings))
    bucket = Bucket(new)
    assert bucket.put_once(first.name.manifest_key, b"{}", first.until)
    bucket.close()
    with pytest.raises(Forked, match="other bytes are there; name an empty bucket"):
        replay_archive(segments_of_archive(stores.archive, stores.settings), new)


@long_run
def test_the_command_goes_over_to_the_new_bucket_once_it_verifies(stores):
    name = f"t-{uuid.uuid4().hex[:16]}"
    command = ["replay", "archive", "--from", "archive", "--bucket", name, "--chain", stores.settings.name]
    said = say(stores.config, *command)
    assert said.code == 0, said.err
    assert f"bucket {name} holds the archive" in said.out
    assert "run this again with --switch" in said.out
    assert load_settings(stores.config).archive.bucket == stores.archive.bucket
    said = say(stores.config, *command, "--switch")
    assert said.code == 0, said.err
    assert "0 segments put" in said.out
    archive = load_settings(stores.config).archive
    assert (archive.bucket, archive.replayed) == (name, True)
    assert say(stores.config, *command).code == 2, "it is the archive's own bucket now"
    assert say(stores.config, "replay", "archive", "--from", "kafka").code == 2


@long_run
def test_the_settings_go_over_only_when_the_bucket_holds_every_chain(stores, s3: Any):
    name = f"t-{uuid.uuid4().hex[:16]}"
    section = load_settings(stores.config).chains[stores.settings.name].model_dump(exclude_defaults=True)
    write_settings(stores.config, {"chains": {"phi": section}})
    first = next(segments_of_archive(stores.archive, stores.settings))
    other = first.name._replace(chain="phi").manifest_key
    bucket = Bucket(stores.archive)
    assert bucket.put_once(other, first.manifest, first.until)
    bucket.close()
    command = ["replay", "archive", "--from", "archive", "--bucket", name, "--chain", stores.settings.name, "--switch"]
    said = say(stores.config, *command)
    assert said.code == 2
    assert f"sealstream replay archive --from archive --bucket {name} --chain phi" in " ".join(said.err.split())
    assert load_settings(stores.config).archive.bucket == stores.archive.bucket
    assert "Contents" not in s3.list_objects_v2(Bucket=name), "nothing is put before it is refused"
    there = Bucket(stores.archive._replace(bucket=name))
    assert there.put_once(other, first.manifest, first.until)
    there.close()
    said = say(stores.config, *command)
    assert said.code == 0, said.err
    assert load_settings(stores.config).archive.bucket == name


@long_run
def test_a_destroyed_objects_manifest_that_still_stands_is_passed_over(stores, tmp_path: Path):
    for key, data in contents(stores, stores.archive).items():
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).write_bytes(data)
    names = [each.name for each in segments_of_archive(tmp_path, stores.settings)]
    (tmp_path / names[0].object_key).unlink()
    assert [each.name for each in segments_of_archive(tmp_path, stores.settings)] == names[1:]
    (tmp_path / names[2].object_key).unlink()
    assert [each.name for each in segments_of_archive(tmp_path, stores.settings)] == names[1:2], "a hole is an end"
