"""Makes the bucket and says what can't be changed later. Repeatable: a crash anywhere is mended by calling again."""

from __future__ import annotations

from sealstream.archive.bucket import Bucket
from sealstream.archive.faults import s3_faults
from sealstream.archive.settings import ArchiveSettings
from sealstream.errors import Misconfigured
from sealstream.layout import Retention

__all__ = ["init_bucket", "lengthen_default_retention"]


def init_bucket(settings: ArchiveSettings, retention: Retention) -> str:
    """Creates the bucket with Object Lock and a default retention of `retention.archive_days`, in COMPLIANCE mode.

    Returns, as text, what was done and what is now fixed. A bucket that is there is taken when it has Object Lock; its
    default retention is lengthened where it is shorter, and never shortened. Raises `Misconfigured` otherwise.
    """
    bucket = Bucket(settings)
    try:
        created = _create(bucket)
        bucket.check()
        days, before = _default_retention(bucket, retention.archive_days)
    finally:
        bucket.close()
    where = f"bucket {settings.bucket} at {settings.endpoint}"
    lines = [f"{where}: {'created with' if created else 'was there already, and has'} Object Lock"]
    if before is None:
        lines.append(f"default retention: COMPLIANCE mode, {days} days (policy {retention.policy})")
    elif before == days:
        lines.append(f"default retention: COMPLIANCE mode, {days} days, as it was (policy {retention.policy})")
    else:
        lines.append(f"default retention: COMPLIANCE mode, lengthened from {before} to {days} days")
    lines += [
        "What can't be changed later:",
        "- Object Lock and versioning stay on for as long as the bucket exists.",
        "- What is locked in COMPLIANCE mode can't be changed or deleted before its date by anybody: not by you, not "
        "by the account's root user, not by the provider. A lock can be lengthened, never shortened.",
        f"- Each archived segment stays, and is paid for, until {retention.archive_days} days after its last entry.",
        "- The only way out before that date is to close the whole account.",
        "What can: the default retention for new objects, and who may read.",
    ]
    return "\n".join(lines)


def lengthen_default_retention(settings: ArchiveSettings, retention: Retention) -> str:
    """Makes the default retention of a bucket that is there at least as long as this; says, as text, what it is now."""
    bucket = Bucket(settings)
    try:
        bucket.check()
        days, before = _default_retention(bucket, retention.archive_days)
    finally:
        bucket.close()
    was = "it was so" if days == before else f"it was {'none' if before is None else f'{before:,} days'}"
    return f"bucket {settings.bucket}: default retention {days:,} days ({was})"


def _create(bucket: Bucket) -> bool:
    """Whether this call made the bucket."""
    from botocore.exceptions import ClientError

    settings = bucket.settings
    with s3_faults(settings, "looking for it"):
        try:
            bucket.client.head_bucket(Bucket=settings.bucket)
            return False
        except ClientError as error:
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") != 404:
                raise
    # AWS takes no location constraint for its oldest region, and wants one for every other.
    elsewhere = settings.endpoint_url is None and settings.region != "us-east-1"
    location = {"CreateBucketConfiguration": {"LocationConstraint": settings.region}} if elsewhere else {}
    with s3_faults(settings, "creating"):
        try:
            bucket.client.create_bucket(
                Bucket=settings.bucket,
                ObjectLockEnabledForBucket=True,
                **location,  # type: ignore[arg-type]
            )
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code")
            if code == "BucketAlreadyOwnedByYou":  # somebody else of ours was quicker
                return False
            if code == "BucketAlreadyExists":
                raise Misconfigured(
                    f"bucket {settings.bucket} belongs to somebody else: bucket names are shared by everybody on one "
                    "S3; choose another name"
                ) from error
            raise
    return True


def _default_retention(bucket: Bucket, archive_days: int) -> tuple[int, int | None]:
    """Sets the bucket's default retention where it is missing or weaker. The days in force, and those before."""
    settings = bucket.settings
    with s3_faults(settings, "setting the default retention"):
        mode, before = bucket.default_retention() or (None, None)
        days = max(archive_days, before or 0)
        if before != days or mode != "COMPLIANCE":
            bucket.client.put_object_lock_configuration(
                Bucket=settings.bucket,
                ObjectLockConfiguration={
                    "ObjectLockEnabled": "Enabled",
                    "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": days}},
                },
            )
    return days, before
