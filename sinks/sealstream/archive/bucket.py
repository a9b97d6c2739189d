"""One bucket with Object Lock, and the few things that the archive does with it.

The invariant: nothing here overwrites or shortens, and nothing deletes but `delete`. Every call can be repeated; a call
that raised `Unavailable` may have gone through. A version once listed as the oldest of its key stays the oldest.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sealstream.archive.faults import NO_LOCK, s3_faults
from sealstream.archive.settings import ArchiveSettings
from sealstream.errors import Forked, Misconfigured

if TYPE_CHECKING:
    from botocore.config import Config
    from mypy_boto3_s3 import S3Client

__all__ = ["Bucket", "Lock", "Stored", "Version", "connect"]

# What S3 and SeaweedFS answer for a version without a lock in a bucket that can lock (`check` has seen that it can).
_NOT_LOCKED = {"NoSuchObjectLockConfiguration", "ObjectLockConfigurationNotFoundError"}
_NOT_HELD = {*_NOT_LOCKED, "NoSuchObjectLegalHold"}


class Version(NamedTuple):
    """One version of a key. `version_id` is None in a copy without versions; `size` in bytes."""

    version_id: str | None
    size: int
    is_latest: bool
    last_modified: datetime | None = None


class Stored(NamedTuple):
    """A key with all its versions, the oldest first, and its delete markers. Some key has markers and no version."""

    key: str
    versions: tuple[Version, ...]
    delete_markers: tuple[Version, ...] = ()

    def counting(self, named: str | None = None) -> Version | None:
        """The version that counts: the one that the chain names, the oldest where it names none; None: not there."""
        if named is None:
            return self.versions[0] if self.versions else None
        return next((version for version in self.versions if version.version_id in (named, None)), None)

    def others(self, counting: Version | None) -> tuple[Version, ...]:
        """Every version but that one: each is a fault, as nobody overwrites."""
        return tuple(version for version in self.versions if version != counting)


class Lock(NamedTuple):
    """A version's Object Lock: `mode` COMPLIANCE or GOVERNANCE."""

    mode: str
    until: datetime

    def holds(self, until: datetime) -> bool:
        """Whether nobody can delete the version before `until`, not even the bucket's owner."""
        return self.mode == "COMPLIANCE" and self.until >= until


class Bucket:
    """S3 through boto3. Raises `Unavailable` and `Misconfigured`, and no driver's error."""

    def __init__(self, settings: ArchiveSettings) -> None:
        self.settings = settings
        self.client = connect(settings)

    def _doing(self, what: str) -> AbstractContextManager[None]:
        return s3_faults(self.settings, what)

    def check(self) -> None:
        """Raises `Misconfigured` unless the bucket is there, keeps versions and has Object Lock."""
        with self._doing("reading the Object Lock configuration"):
            found = self.client.get_object_lock_configuration(Bucket=self.settings.bucket)
        if found.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") != "Enabled":
            raise Misconfigured(NO_LOCK.format(bucket=self.settings.bucket))
        with self._doing("reading the versioning state"):
            status = self.client.get_bucket_versioning(Bucket=self.settings.bucket).get("Status")
        if status != "Enabled":
            raise Misconfigured(
                f"bucket {self.settings.bucket} keeps no versions: expected versioning Enabled, got {status}; "
                "turn versioning on again, or make another bucket with `sealstream archive init`"
            )

    def default_retention(self) -> tuple[str, int] | None:
        """The mode and the days that the bucket gives to objects without a lock of their own; None: it gives none."""
        with self._doing("reading the Object Lock configuration"):
            found = self.client.get_object_lock_configuration(Bucket=self.settings.bucket)["ObjectLockConfiguration"]
        default = found.get("Rule", {}).get("DefaultRetention", {})
        days = default.get("Days") or default.get("Years", 0) * 365
        return (str(default.get("Mode")), days) if days else None

    def clock_skew_s(self) -> float:
        """How far this machine's clock is ahead of the server's, in seconds; whole ones, as HTTP tells them."""
        told = self.clock()
        return (datetime.now(UTC) - told).total_seconds() if told else 0.0

    def clock(self) -> datetime | None:
        """The server's time, in whole seconds; None where it does not tell."""
        with self._doing("asking for the time"):
            answer = self.client.get_bucket_versioning(Bucket=self.settings.bucket)
        told = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
        return parsedate_to_datetime(told) if told else None

    def put_once(self, key: str, body: bytes, retain_until: datetime, *, held: bool = False) -> bool:
        """Puts `body` under COMPLIANCE lock, if the key has no current version. False: it has one.

        `held`: under a legal hold, too. A key under a delete marker counts as without: look at `stored(key)` first, and
        after.
        """
        from botocore.exceptions import ClientError

        with self._doing(f"putting {key}"):
            try:
                self.client.put_object(
                    Bucket=self.settings.bucket,
                    Key=key,
                    Body=body,
                    IfNoneMatch="*",
                    ChecksumSHA256=base64.b64encode(sha256(body).digest()).decode("ascii"),
                    ObjectLockMode="COMPLIANCE",
                    ObjectLockRetainUntilDate=retain_until,
                    **({"ObjectLockLegalHoldStatus": "ON"} if held else {}),  # type: ignore[arg-type]
                )
            except ClientError as error:
                if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 412:
                    return False
                raise
        return True

    def stored(self, key: str) -> Stored:
        """All versions of one key; none where it was never put."""
        for found in self.list_stored(key):
            if found.key == key:
                return found
        return Stored(key, ())

    def list_stored(self, prefix: str, after: str = "") -> Iterator[Stored]:
        """Every key that begins with `prefix` and sorts after `after`, in order, with versions and delete markers."""
        held: dict[str, tuple[list[Version], list[Version]]] = {}
        key_marker, version_marker = after, ""
        more = True
        while more:
            with self._doing(f"listing the versions of {prefix}"):
                page = self.client.list_object_versions(
                    Bucket=self.settings.bucket,
                    Prefix=prefix,
                    **({"KeyMarker": key_marker} if key_marker else {}),  # type: ignore[arg-type]
                    **({"VersionIdMarker": version_marker} if version_marker else {}),  # type: ignore[arg-type]
                )
            for entry in page.get("Versions", ()):
                held.setdefault(entry["Key"], ([], []))[0].append(
                    Version(entry["VersionId"], entry["Size"], entry["IsLatest"], entry.get("LastModified"))
                )
            for marker in page.get("DeleteMarkers", ()):
                held.setdefault(marker["Key"], ([], []))[1].append(
                    Version(marker["VersionId"], 0, marker["IsLatest"], marker.get("LastModified"))
                )
            more = page["IsTruncated"]
            key_marker, version_marker = page.get("NextKeyMarker", ""), page.get("NextVersionIdMarker", "")
            for key in sorted(held):
                if not more or key < key_marker:
                    # S3 lists the newest version of a key first.
                    versions, markers = held.pop(key)
                    yield Stored(key, tuple(reversed(versions)), tuple(reversed(markers)))

    def list_folders(self, prefix: str) -> list[str]:
        """The names between `prefix` (ending in "/") and the next "/", in order; also those whose keys are hidden."""
        folders: list[str] = []
        key_marker = ""
        more = True
        while more:
            with self._doing(f"listing {prefix}"):
                page = self.client.list_object_versions(
                    Bucket=self.settings.bucket,
                    Prefix=prefix,
                    Delimiter="/",
                    **({"KeyMarker": key_marker} if key_marker else {}),  # type: ignore[arg-type]
                )
            folders += [found["Prefix"][len(prefix) : -1] for found in page.get("CommonPrefixes", ())]
            more, key_marker = page["IsTruncated"], page.get("NextKeyMarker", "")
        return sorted(folders)

    def read(self, key: str, version_id: str, at_most: int) -> bytes:
        """The bytes of one version. Raises `Forked` when there are more than any honest object of its kind has."""
        with self._doing(f"reading {key}"):
            answer = self.client.get_object(Bucket=self.settings.bucket, Key=key, VersionId=version_id)
            if answer["ContentLength"] <= at_most:
                return answer["Body"].read()
            answer["Body"].close()
        raise Forked(f"{key}, version {version_id}: {answer['ContentLength']} bytes: expected at most {at_most}")

    def read_range(self, key: str, version_id: str, start: int, stop: int) -> bytes:
        """The bytes from `start` to `stop` - 1 of one version, which has them."""
        with self._doing(f"reading {key}"):
            answer = self.client.get_object(
                Bucket=self.settings.bucket, Key=key, VersionId=version_id, Range=f"bytes={start}-{stop - 1}"
            )
            return answer["Body"].read()

    def lock(self, key: str, version_id: str) -> Lock | None:
        """The lock of one version as it is now; None where it has none."""
        from botocore.exceptions import ClientError

        with self._doing(f"reading the lock of {key}"):
            try:
                found = self.client.get_object_retention(
                    Bucket=self.settings.bucket, Key=key, VersionId=version_id
                ).get("Retention", {})
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") in _NOT_LOCKED:
                    return None
                raise
        if "Mode" not in found or "RetainUntilDate" not in found:
            return None
        return Lock(found["Mode"], found["RetainUntilDate"].astimezone(UTC))

    def lengthen(self, key: str, version_id: str, until: datetime) -> None:
        """Locks one version in COMPLIANCE mode until then; S3 refuses to shorten a lock."""
        with self._doing(f"lengthening the lock of {key}"):
            self.client.put_object_retention(
                Bucket=self.settings.bucket,
                Key=key,
                VersionId=version_id,
                Retention={"Mode": "COMPLIANCE", "RetainUntilDate": until},
            )

    def held(self, key: str, version_id: str) -> bool:
        """Whether one version is under a legal hold now."""
        from botocore.exceptions import ClientError

        with self._doing(f"reading the legal hold of {key}"):
            try:
                found = self.client.get_object_legal_hold(Bucket=self.settings.bucket, Key=key, VersionId=version_id)
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") in _NOT_HELD:
                    return False
                raise
        return found.get("LegalHold", {}).get("Status") == "ON"

    def hold(self, key: str, version_id: str, on: bool) -> None:
        """Sets, or releases, the legal hold of one version; its lock is not touched."""
        with self._doing(f"{'setting' if on else 'releasing'} the legal hold of {key}"):
            self.client.put_object_legal_hold(
                Bucket=self.settings.bucket,
                Key=key,
                VersionId=version_id,
                LegalHold={"Status": "ON" if on else "OFF"},
            )

    def delete(self, key: str, version_id: str) -> None:
        """Deletes one version for good, which S3 does only when its lock has ended and no legal hold is on it.

        Nobody calls it but the destruction that the chain has sealed (`sealstream.retention.destroying`).
        """
        with self._doing(f"deleting {key}, version {version_id}"):
            self.client.delete_object(Bucket=self.settings.bucket, Key=key, VersionId=version_id)

    def close(self) -> None:
        """Gives the connections back."""
        self.client.close()


def connect(settings: ArchiveSettings, more: Config | None = None) -> S3Client:
    """A client for these settings, and `more` of the driver's own. Raises `Misconfigured` for an endpoint that is no
    URL.
    """
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=settings.timeout_s,
        read_timeout=settings.timeout_s,
        # A retry after a write that went through meets 412, which is answered by looking.
        retries={"total_max_attempts": 3, "mode": "standard"},
        s3={"addressing_style": "path" if settings.endpoint_url else "auto"},
        user_agent_extra="sealstream-archive",
    )
    if more is not None:
        config = config.merge(more)
    if settings.ca_file is not None and not Path(settings.ca_file).is_file():
        raise Misconfigured(f"archive.ca_file {settings.ca_file} does not exist: expected certificates (PEM)")
    with s3_faults(settings, "connecting"):
        try:
            return boto3.session.Session().client(
                "s3",
                endpoint_url=settings.endpoint_url,
                region_name=settings.region,
                aws_access_key_id=settings.access_key,
                aws_secret_access_key=settings.secret_key,
                verify=settings.ca_file,
                config=config,
            )
        except ValueError as error:
            raise Misconfigured(f"endpoint_url {settings.endpoint!r}: {settings.told(error)}") from error
