"""Processes that look ahead change how fast an archive is verified, and not one word of what is said about it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.long_runs import long_run
from tests.verify.conftest import Built

import sealstream.verify.ahead as ahead
import sealstream.verify.archive as archive
from sealstream.verify import ChainIdentity, Verification, verify_archive

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@pytest.fixture(scope="module")
def original(built: Built, s3: S3Client, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive as somebody downloads it; left as it is."""
    folder, bucket = tmp_path_factory.mktemp("archive-ahead"), built.pipeline.archive.bucket
    for item in s3.list_objects_v2(Bucket=bucket)["Contents"]:
        (folder / item["Key"]).parent.mkdir(parents=True, exist_ok=True)
        s3.download_file(bucket, item["Key"], str(folder / item["Key"]))
    return folder


def objects(folder: Path) -> list[Path]:
    """The Parquet files, in order."""
    return sorted((folder / "entries").rglob("*.parquet"))


def rewrite(file: Path, column: str, change: Callable[[list[Any]], object]) -> None:
    """The object again, with a column changed in place."""
    table = pq.read_table(file, partitioning=None)
    at = table.schema.get_field_index(column)
    values = table.column(column).to_pylist()
    change(values)
    pq.write_table(table.set_column(at, table.schema.field(at), pa.array(values, table.schema.field(at).type)), file)


def nothing(folder: Path) -> None:
    """All holds."""


def another_story(folder: Path) -> None:
    rewrite(objects(folder)[1], "body", lambda bodies: bodies.__setitem__(7, bodies[7].replace("user", "used")))


def first_row(folder: Path) -> None:
    rewrite(objects(folder)[1], "body", lambda bodies: bodies.__setitem__(0, bodies[0].replace("user", "used")))


def a_column(folder: Path) -> None:
    rewrite(objects(folder)[0], "actor_id", lambda actors: actors.__setitem__(3, "nobody"))


def two_rows_swapped(folder: Path) -> None:
    file = objects(folder)[1]
    table = pq.read_table(file, partitioning=None)
    order = list(range(len(table)))
    order[10], order[11] = order[11], order[10]
    pq.write_table(table.take(order), file)


def rows_missing_at_the_start(folder: Path) -> None:
    file = objects(folder)[1]
    pq.write_table(pq.read_table(file, partitioning=None).slice(5), file)


def no_parquet(folder: Path) -> None:
    objects(folder)[1].write_bytes(b"PAR1 no longer")


def at_the_joints(folder: Path) -> None:
    """Each object holds by itself, but not behind the one before it."""
    rows_missing_at_the_start(folder)
    rewrite(objects(folder)[3], "prev_hash", lambda links: links.__setitem__(0, b"\0" * 32))


def in_the_rows(folder: Path) -> None:
    a_column(folder)
    another_story(folder)
    first_row(folder)
    two_rows_swapped(folder)


def in_whole_objects(folder: Path) -> None:
    no_parquet(folder)
    objects(folder)[2].unlink()
    shutil.copy(objects(folder)[0], objects(folder)[2])


@long_run
@pytest.mark.parametrize("tamper", [nothing, at_the_joints, in_the_rows, in_whole_objects])
def test_processes_that_look_ahead_say_the_same(
    built: Built, original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tamper: Callable[[Path], None]
) -> None:
    monkeypatch.setattr(archive, "_WORTH_WORKERS", 0)
    folder = Path(shutil.copytree(original, tmp_path / "copy"))
    assert len(objects(folder)) > 3
    tamper(folder)
    settings = built.pipeline.chain
    asked = Verification(ChainIdentity(settings.name, settings.origin, settings.vkey), built.built_at)
    taken: list[bool] = []
    walked = ahead.walk_segments

    def watched(*arguments: Any) -> Any:
        for item, data, found in walked(*arguments):
            taken.append(found is not None)
            yield item, data, found

    monkeypatch.setattr(archive, "walk_segments", watched)
    alone = verify_archive(folder, asked)
    assert not taken
    together = verify_archive(folder, asked._replace(workers=2))
    assert asdict(together) == asdict(alone)
    assert alone.exit_code == (0 if tamper is nothing else 1)
    assert any(taken), "nothing was walked ahead"
    assert all(taken) == (tamper in (nothing, at_the_joints))


@long_run
def test_a_worker_that_is_killed_is_done_without(built: Built, original: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "_WORTH_WORKERS", 0)
    monkeypatch.setattr(ahead, "_walked", _die)
    settings = built.pipeline.chain
    asked = Verification(ChainIdentity(settings.name, settings.origin, settings.vkey), built.built_at, workers=2)
    report = verify_archive(original, asked)
    assert (report.exit_code, report.faults) == (0, [])


def _die(chain: str, data: bytes, keys: object, certain: bool) -> None:
    import os

    os._exit(9)
