"""What the bucket refuses, tried for real: on an object of its own, never on one of a chain's.

The canary is put under COMPLIANCE lock for a few minutes, under a prefix that no reader of the archive looks at. Then
its version is deleted, as it is and with the bypass that GOVERNANCE mode knows, its lock shortened, and its mode
lowered: all of that must be refused, and by the lock. So then a version is deleted that there is not, which is no harm;
where that is refused, too, the lock is not shown to refuse anything. A second version and a delete marker are put
nowhere. A crash leaves the canary, which is some hundred bytes; those whose lock has ended are removed by the next run
where this user may delete at all.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

from sealstream.archive.bucket import Bucket, connect
from sealstream.archive.faults import s3_faults
from sealstream.archive.settings import ArchiveSettings
from sealstream.layout.archive import CANARIES, canary_key

__all__ = ["LOCKED_FOR", "CanaryTried", "anonymous_reads", "sweep_canaries", "try_canary"]

LOCKED_FOR = timedelta(minutes=3)
_SHORTER = timedelta(minutes=1)
_REFUSED_PUT = frozenset({"InvalidRequest", "ObjectLockConfigurationNotFoundError", "InvalidBucketState"})


class CanaryTried(NamedTuple):
    """`locked_until`: None: the object could not be put under a lock, and `no_lock` says why. `went_through`: what was
    tried and not refused; `refused`: what was, with the answer. `no_right`: what this user may not do to any version,
    locked or not, with the answer.
    """

    key: str
    locked_until: datetime | None
    no_lock: str = ""
    went_through: tuple[str, ...] = ()
    refused: Mapping[str, str] = {}
    no_right: Mapping[str, str] = {}


def try_canary(bucket: Bucket, canary_id: str, now: datetime) -> CanaryTried:
    """Put a canary and try what must be refused. Raises `Unavailable`, `Misconfigured` when it can't be put."""
    key, until = canary_key(canary_id), (now + LOCKED_FOR).replace(microsecond=0)
    version, no_lock = _put(bucket, key, until)
    if no_lock:
        return CanaryTried(key, None, no_lock)
    went_through, refused = _tried(bucket, _tries(bucket, key, version, until, now))
    _, no_right = _tried(bucket, _harmless(bucket, key, version), {401, 403})
    return CanaryTried(key, until, "", tuple(went_through), refused, no_right)


def _tried(
    bucket: Bucket, attempts: Mapping[str, Callable[[], object]], statuses: Container[int] = range(400, 500)
) -> tuple[list[str], dict[str, str]]:
    """What was not answered by one of these HTTP statuses, and what was, with the answer."""
    from botocore.exceptions import ClientError

    went_through, refused = [], {}
    for what, attempt in attempts.items():
        with s3_faults(bucket.settings, what):
            try:
                attempt()
            except ClientError as error:
                status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
                if not 400 <= status < 500:
                    raise
                if status in statuses:
                    refused[what] = _said(error)
                    continue
            went_through.append(what)
    return went_through, refused


def _put(bucket: Bucket, key: str, until: datetime) -> tuple[str, str]:
    """The version that was put, and why it is not locked; empty: it is."""
    from botocore.exceptions import ClientError

    name = bucket.settings.bucket
    with s3_faults(bucket.settings, f"putting {key}"):
        try:
            put = bucket.client.put_object(
                Bucket=name,
                Key=key,
                Body=b"sealstream doctor tries on this object what must be refused\n",
                IfNoneMatch="*",
                ObjectLockMode="COMPLIANCE",
                ObjectLockRetainUntilDate=until,
            )
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in _REFUSED_PUT:
                return "", _said(error)
            raise
    version = str(put.get("VersionId", ""))
    lock = bucket.lock(key, version) if version else None
    if lock is not None and lock.holds(until):
        return version, ""
    with s3_faults(bucket.settings, f"removing {key}"), suppress(ClientError):  # a weaker lock may hold it
        if version:
            bucket.client.delete_object(Bucket=name, Key=key, VersionId=version)
        else:
            bucket.client.delete_object(Bucket=name, Key=key)
    found = "none" if lock is None else f"{lock.mode} until {lock.until:%H:%M:%S}"
    return version, f"a COMPLIANCE lock until {until:%H:%M:%S} was asked for, and the object has {found}"


def _harmless(bucket: Bucket, key: str, version: str) -> Mapping[str, Callable[[], object]]:
    """What needs a right that `_tries` needs, and no lock forbids. Who can put under a lock can change it."""
    none = version[:-4] + ("0000" if version[-4:] != "0000" else "1111")

    def delete() -> object:
        return bucket.client.delete_object(Bucket=bucket.settings.bucket, Key=key, VersionId=none)

    return {"deleting a version that there is not": delete}


def _tries(
    bucket: Bucket, key: str, version: str, until: datetime, now: datetime
) -> Mapping[str, Callable[[], object]]:
    """What must be refused; what would destroy the canary comes last."""
    client, name = bucket.client, bucket.settings.bucket

    def shorten() -> object:
        return client.put_object_retention(
            Bucket=name,
            Key=key,
            VersionId=version,
            Retention={"Mode": "COMPLIANCE", "RetainUntilDate": now + _SHORTER},
        )

    def lower() -> object:
        return client.put_object_retention(
            Bucket=name,
            Key=key,
            VersionId=version,
            Retention={"Mode": "GOVERNANCE", "RetainUntilDate": until},
            BypassGovernanceRetention=True,
        )

    def delete() -> object:
        return client.delete_object(Bucket=name, Key=key, VersionId=version)

    def delete_past_governance() -> object:
        return client.delete_object(Bucket=name, Key=key, VersionId=version, BypassGovernanceRetention=True)

    return {
        "shortening its retention": shorten,
        "lowering its mode to GOVERNANCE": lower,
        "deleting its version": delete,
        "deleting its version past GOVERNANCE": delete_past_governance,
    }


def sweep_canaries(bucket: Bucket, now: datetime) -> int:
    """Remove canaries of earlier runs whose lock has ended; how many. One that may not be deleted stays."""
    from botocore.exceptions import ClientError

    removed = 0
    for stored in bucket.list_stored(f"{CANARIES}/"):
        for version in stored.versions:
            old = version.last_modified is not None and version.last_modified < now - 2 * LOCKED_FOR
            if not old or version.version_id is None:
                continue
            with s3_faults(bucket.settings, f"removing {stored.key}"):
                try:
                    bucket.client.delete_object(
                        Bucket=bucket.settings.bucket, Key=stored.key, VersionId=version.version_id
                    )
                except ClientError:
                    return removed
            removed += 1
    return removed


def anonymous_reads(settings: ArchiveSettings, keys: Iterable[str]) -> list[str]:
    """What somebody without any credentials may: list the bucket, read these objects. Raises `Unavailable`."""
    from botocore import UNSIGNED
    from botocore.config import Config
    from botocore.exceptions import ClientError

    client = connect(settings, Config(signature_version=UNSIGNED))
    name = settings.bucket
    attempts: dict[str, Callable[[], object]] = {
        f"{name} was listed": lambda: client.list_objects_v2(Bucket=name, MaxKeys=1),
        f"the versions in {name} were listed": lambda: client.list_object_versions(Bucket=name, MaxKeys=1),
    }
    for key in keys:
        attempts[f"{key} was read"] = partial(client.get_object, Bucket=name, Key=key, Range="bytes=0-0")
    done = []
    try:
        for what, attempt in attempts.items():
            with s3_faults(settings, "reading without credentials"):
                try:
                    attempt()
                except ClientError as error:
                    if int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)) not in (401, 403):
                        raise
                else:
                    done.append(what)
    finally:
        client.close()
    return done


def _said(error: Any) -> str:
    details = error.response.get("Error", {})
    return f"{details.get('Code', '')}: {details.get('Message', '')}".strip(": ")
