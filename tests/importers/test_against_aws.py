"""Our findings beside those of `aws cloudtrail validate-logs`, on the same trail in a real S3.

Where AWS's tool is there: on the path, or by `SEALSTREAM_TEST_AWS`. It asks this test for CloudTrail's public keys.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tests.importers.listed_keys import ListedKeys
from tests.importers.trails import ACCOUNT, BEGIN, HOUR, NAME, REGION, Trail, new_key
from tests.long_runs import long_run

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

AWS = os.environ.get("SEALSTREAM_TEST_AWS") or shutil.which("aws")
pytestmark = pytest.mark.skipif(AWS is None, reason="the AWS CLI is not installed")
KEYS = [new_key(), new_key()]
_INVALID = re.compile(r"(?:Digest|Log) file\s+s3://[^/]+/(\S+)\s+INVALID")


def nothing(_: Trail) -> None: ...


def changed_log(trail: Trail) -> None:
    key = trail.logs[3][0]
    trail.put(key, gzip.compress(trail.content(key).replace(b"Describe", b"Delete")))


def deleted_log(trail: Trail) -> None:
    del trail.objects[trail.logs[3][0]]


def changed_digest(trail: Trail) -> None:
    key = trail.digests[3]
    trail.put(key, gzip.compress(trail.content(key).replace(b"SHA-256", b"SHA-255")))


def deleted_digest(trail: Trail) -> None:
    del trail.objects[trail.digests[3]]


def deleted_digests(trail: Trail) -> None:
    for key in trail.digests[2:5]:
        del trail.objects[key]


def appended_to_log(trail: Trail) -> None:
    key = trail.logs[3][0]
    trail.put(key, trail.objects[key][0] + gzip.compress(b'{"Records":[]}'))


def appended_to_digest(trail: Trail) -> None:
    key = trail.digests[3]
    trail.put(key, trail.objects[key][0] + b"appended")


def log_of_two_members(trail: Trail) -> None:
    key = trail.logs[3][0]
    content = trail.content(key)
    trail.put(key, gzip.compress(content[:20]) + gzip.compress(content[20:]))


def forged_name(trail: Trail) -> str:
    return trail.logs[3][0].replace("_0003", "_f0rg")


def forged_log(trail: Trail) -> None:
    trail.put(forged_name(trail), trail.objects[trail.logs[3][0]][0])


def both(trail: Trail, s3: S3Client, s3_settings: dict[str, Any]) -> tuple[set[str], set[str]]:
    """The files that AWS's tool calls invalid, and those that we do."""
    s3.create_bucket(Bucket=trail.bucket)
    for name, (data, signature) in trail.objects.items():
        metadata = {"signature": signature, "signature-algorithm": "SHA256withRSA"} if signature else {}
        s3.put_object(Bucket=trail.bucket, Key=name, Body=data, Metadata=metadata)
    begin, end = BEGIN - timedelta(minutes=1), BEGIN + 9 * HOUR
    with ListedKeys(KEYS, a_page=9) as listed:
        done = subprocess.run(
            [
                *(str(AWS), "cloudtrail", "validate-logs", "--verbose", "--region", REGION),
                *("--trail-arn", f"arn:aws:cloudtrail:{REGION}:{ACCOUNT}:trail/{NAME}", "--s3-bucket", trail.bucket),
                *("--start-time", f"{begin:%Y-%m-%dT%H:%M:%SZ}", "--end-time", f"{end:%Y-%m-%dT%H:%M:%SZ}"),
            ],
            env={
                **os.environ,
                "AWS_ENDPOINT_URL_S3": s3_settings["endpoint_url"],
                "AWS_ENDPOINT_URL_CLOUDTRAIL": listed.url,
                "AWS_ACCESS_KEY_ID": s3_settings["access_key"],
                "AWS_SECRET_ACCESS_KEY": s3_settings["secret_key"],
            },
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
    said = done.stdout + done.stderr
    assert "Results requested for" in said, said
    ours = {each.file for each in trail.judge().findings if each.kind in ("invalid", "missing", "unnamed")}
    return set(_INVALID.findall(said)), ours


@pytest.fixture
def trail() -> Trail:
    return Trail(8, lambda hour: KEYS[hour > 4], bucket=f"t-{uuid.uuid4().hex[:16]}")


@pytest.mark.parametrize("happens", [nothing, changed_log, deleted_log, deleted_digest, appended_to_log])
def test_where_both_find_the_same(
    trail: Trail, happens: Callable[[Trail], None], s3: S3Client, s3_settings: dict[str, Any]
) -> None:
    happens(trail)
    theirs, ours = both(trail, s3, s3_settings)
    # The logs of a digest that is gone are unnamed to us; AWS's tool does not look for them.
    assert ours - set(trail.logs[3]) == theirs - set(trail.logs[3])
    assert not theirs - ours


@long_run
@pytest.mark.parametrize(
    ("happens", "theirs", "ours"),
    [
        # What nobody vouches for any more is told too.
        (changed_digest, lambda trail: {trail.digests[3]}, lambda trail: {trail.digests[3], *trail.logs[3]}),
        # Of several in a row AWS's tool names one; we say the time as well (test_digests.py).
        (
            deleted_digests,
            lambda trail: {trail.digests[4]},
            lambda trail: {trail.digests[4], *trail.logs[2], *trail.logs[3], *trail.logs[4]},
        ),
        (appended_to_digest, lambda _: set(), lambda trail: {trail.digests[3], *trail.logs[3]}),
        # Every program that unpacks it reads just what CloudTrail wrote.
        (log_of_two_members, lambda trail: {trail.logs[3][0]}, lambda _: set()),
        (forged_log, lambda _: set(), lambda trail: {forged_name(trail)}),
    ],
)
def test_where_they_differ(
    trail: Trail,
    happens: Callable[[Trail], None],
    theirs: Callable[[Trail], set[str]],
    ours: Callable[[Trail], set[str]],
    s3: S3Client,
    s3_settings: dict[str, Any],
) -> None:
    happens(trail)
    found = both(trail, s3, s3_settings)
    assert found == (theirs(trail), ours(trail))
