"""What an import reads: files, folders, objects of S3, standard input. Reading only.

A file is known again by its name and its version (size and time, or an object's ETag), so that one that has changed is
read anew.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sealstream.errors import Misconfigured, Unavailable
from sealstream.importers import Importer

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

__all__ = ["Objects", "SourceFile", "is_digest_name", "source_files"]

_PIECE = 2**20
_ENDINGS = {
    "json": (".json", ".jsonl", ".ndjson", ".log", ".txt"),
    "csv": (".csv", ".tsv", ".txt"),
}
_AUTH_LOGS = ("auth.log", "secure")


class SourceFile(NamedTuple):
    """One file. `version` empty: it can't be known again; `size` in bytes as it lies there, None: not known.

    `modified`: when it was changed last, where that is known.
    """

    name: str
    version: str
    size: int | None
    chunks: Callable[[], Iterator[bytes]]
    modified: datetime | None = None


def source_files(
    paths: Sequence[str], importer: Importer, passed_over: Callable[[str], object]
) -> Iterator[SourceFile]:
    """The files that these paths name, folders in the order of their names. `passed_over` hears which are not read.

    Of a folder or a prefix, those that by their names can hold such records; a file that is named itself, always.
    Raises `Misconfigured` for a path that is not there, `Unavailable`.
    """
    for path in paths:
        if path == "-":
            yield SourceFile("-", "", None, _standard_input)
        elif path.startswith("s3://"):
            yield from _objects(path, importer, passed_over)
        else:
            yield from _local(Path(path), importer, passed_over)


def _standard_input() -> Iterator[bytes]:
    while piece := os.read(sys.stdin.fileno(), _PIECE):
        yield piece


def is_digest_name(name: str) -> bool:
    """Whether this is a CloudTrail digest and no log."""
    return "/CloudTrail-Digest/" in name or "_CloudTrail-Digest_" in name


def _wanted(name: str, importer: Importer) -> bool:
    if importer.name == "cloudtrail" and is_digest_name(name):
        return False
    if importer.form == "lines":
        return name.rpartition("/")[2].startswith(_AUTH_LOGS)
    endings = _ENDINGS[importer.form] + (_ENDINGS["csv"] if importer.within is not None else ())
    bare = name.lower().removesuffix(".gz")
    return bare.endswith(endings) or bare.rpartition(".")[2].isdigit()  # rotated: audit.log.1


def _local(path: Path, importer: Importer, passed_over: Callable[[str], object]) -> Iterator[SourceFile]:
    if path.is_dir():
        for each in sorted(path.rglob("*")):
            if not each.is_file() or any(part.startswith(".") for part in each.relative_to(path).parts):
                continue
            if _wanted(each.as_posix(), importer):
                yield from _local(each, importer, passed_over)
            else:
                passed_over(str(each))
        return
    try:
        found = path.stat()
    except OSError as error:
        raise Misconfigured(f"{path} can't be read: {error.strerror}") from error
    if not path.is_file():
        yield SourceFile(str(path), "", None, lambda: _read(path))  # a pipe: <(zcat ...)
        return
    version, modified = f"{found.st_size}:{found.st_mtime_ns}", datetime.fromtimestamp(found.st_mtime, UTC)
    yield SourceFile(str(path), version, found.st_size, lambda: _read(path), modified)


def _read(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as stream:
            while piece := stream.read(_PIECE):
                yield piece
    except OSError as error:
        raise Unavailable(f"{path} can't be read: {error.strerror}") from error


def _objects(path: str, importer: Importer, passed_over: Callable[[str], object]) -> Iterator[SourceFile]:
    bucket, _, prefix = path.removeprefix("s3://").partition("/")
    objects = Objects()
    count = 0
    for key, version, size, modified in objects.listed(bucket, prefix):
        count += 1
        if key == prefix or _wanted(key, importer):
            yield SourceFile(f"s3://{bucket}/{key}", version, size, partial(objects.chunks, bucket, key), modified)
        elif not key.endswith("/"):
            passed_over(f"s3://{bucket}/{key}")
    if not count:
        raise Misconfigured(f"nothing in {path}: no object of the bucket has a key that begins so")


class Objects:
    """Objects of S3; credentials, region and endpoint as boto3 finds them (AWS_PROFILE, AWS_ENDPOINT_URL, ...)."""

    def __init__(self) -> None:
        self._client: S3Client | None = None

    def listed(self, bucket: str, prefix: str) -> Iterator[tuple[str, str, int, datetime]]:
        """Key, ETag, size and time of all objects with this prefix, in order. Raises `Unavailable`, `Misconfigured`."""
        with _faults(f"listing s3://{bucket}/{prefix}"):
            for page in self._opened().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
                for each in page.get("Contents", []):
                    yield each["Key"], each["ETag"], each["Size"], each["LastModified"]

    def chunks(self, bucket: str, key: str) -> Iterator[bytes]:
        """The bytes of an object."""
        with _faults(f"reading s3://{bucket}/{key}"):
            yield from self._opened().get_object(Bucket=bucket, Key=key)["Body"].iter_chunks(_PIECE)

    def whole(self, bucket: str, key: str) -> tuple[bytes, dict[str, str]] | None:
        """The bytes of an object and its user metadata; None: it is not there."""
        with _faults(f"reading s3://{bucket}/{key}"):
            client = self._opened()
            try:
                found = client.get_object(Bucket=bucket, Key=key)
            except client.exceptions.NoSuchKey:
                return None
            return found["Body"].read(), found["Metadata"]

    def _opened(self) -> S3Client:
        if self._client is None:
            import boto3

            self._client = boto3.session.Session().client("s3")
        return self._client


@contextmanager
def _faults(doing: str) -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError

    try:
        yield
    except (NoCredentialsError, NoRegionError) as error:
        raise Misconfigured(f"{doing}: {error} (boto3 looks into AWS_PROFILE, AWS_ACCESS_KEY_ID, ...)") from error
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code in ("NoSuchBucket", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "403"):
            raise Misconfigured(f"{doing}: {code}") from error
        raise Unavailable(f"{doing}: {error}") from error
    except BotoCoreError as error:
        raise Unavailable(f"{doing}: {error}") from error
