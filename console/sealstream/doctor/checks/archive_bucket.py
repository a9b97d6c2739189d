"""What the archive's bucket is set to, and what it refuses: asked, and tried on a canary of the doctor's own."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from sealstream.archive import Bucket
from sealstream.archive.canary import anonymous_reads, sweep_canaries, try_canary
from sealstream.archive.watched import BucketWatched, watched_by
from sealstream.doctor.asking import Asking
from sealstream.doctor.outcomes import Check, Outcome, failed, passed, unknown
from sealstream.errors import Misconfigured
from sealstream.layout.archive import CANARIES, ENTRIES, MANIFESTS, archive_prefix

__all__ = ["CHECKS", "judged_watched"]

_INIT = "`sealstream archive init` makes a bucket with Object Lock, and lengthens its default retention"
_ANOTHER = f"Object Lock can only be had from a bucket's beginning: name another in archive.bucket; {_INIT}"


def _tls(asking: Asking) -> Outcome:
    settings = asking.archive()
    with _bucket(asking) as bucket:
        bucket.clock_skew_s()  # that it answers
    if settings.endpoint_url and settings.endpoint_url.startswith("http://"):
        return failed(
            f"{settings.endpoint}: keys and entries can be read on the way",
            to_do="give the store a certificate, set archive.endpoint_url to https:// and archive.ca_file",
        )
    return passed(f"{settings.endpoint} answered over TLS, its certificate checked")


def _object_lock(asking: Asking) -> Outcome:
    days = max((chain.retention.archive_days for chain in asking.system.chains), default=0)
    with _bucket(asking) as bucket:
        try:
            bucket.check()
        except Misconfigured as error:
            if "keeps no versions" in str(error):  # a check of its own
                return failed(str(error), to_do=_ANOTHER)
            if "Object Lock" in str(error):
                return failed(str(error), to_do=_ANOTHER)
            raise
        found = bucket.default_retention()
    if found is None:
        return failed("Object Lock is on, and the bucket has no default retention", to_do=_INIT)
    mode, has = found
    said = f"Object Lock is on; default retention {mode}, {has:,} days; the chains promise {days:,}"
    if mode != "COMPLIANCE" or has < days:
        return failed(said, to_do=_INIT)
    return passed(said)


def _versioning(asking: Asking) -> Outcome:
    from sealstream.archive.faults import s3_faults

    with _bucket(asking) as bucket, s3_faults(bucket.settings, "reading the versioning state"):
        status = bucket.client.get_bucket_versioning(Bucket=bucket.settings.bucket).get("Status", "never turned on")
    if status != "Enabled":
        return failed(f"versioning: {status}", to_do=f"turn versioning on; {_INIT}")
    return passed("versioning: Enabled")


def _forbidden(asking: Asking) -> Outcome:
    now = asking.system.clock()
    with _bucket(asking) as bucket:
        tried = try_canary(bucket, str(uuid.uuid4()), now)
        removed = sweep_canaries(bucket, now)
    if tried.locked_until is None:
        return failed(f"{tried.key} could not be locked: {tried.no_lock}", to_do=_ANOTHER)
    locked = f"{tried.key} was put under COMPLIANCE lock until {tried.locked_until:%Y-%m-%d %H:%M:%S}Z"
    refused = [f"{what} was refused ({said})" for what, said in tried.refused.items()]
    swept = [f"{removed} canaries of earlier runs were removed, their lock being over"] if removed else []
    if tried.went_through:
        return failed(
            locked,
            *(f"{what} WENT THROUGH" for what in tried.went_through),
            *refused,
            to_do="this store does not enforce Object Lock: nothing in it is safe; take another (docs/retention.md)",
        )
    if tried.no_right:
        return unknown(
            locked,
            *(f"{what}, which no lock forbids, was refused, too ({said})" for what, said in tried.no_right.items()),
            *refused,
            to_do=f"it is not shown that the lock refuses: run the doctor with a key of the archive that may do "
            f"everything to {CANARIES}/* alone (docs/doctor.md)",
        )
    return passed(locked, *refused, *swept)


def _public(asking: Asking) -> Outcome:
    settings, keys = asking.archive(), []
    with _bucket(asking) as bucket:
        for chain in asking.system.chains:
            for kind in (ENTRIES, MANIFESTS):
                first = next(bucket.list_stored(archive_prefix(kind, chain.name)), None)
                keys += [first.key] if first is not None else []
    if read := anonymous_reads(settings, keys):
        return failed(
            *(f"{what} without any credentials" for what in read[:5]),
            to_do="take the ACLs and the policy for everybody away; on AWS turn Block Public Access on",
        )
    said = f"reading {', '.join(keys[:2])} was refused" if keys else "nothing is archived yet that could be read"
    return passed(f"listing {settings.bucket} without credentials was refused; {said}")


def _recorded(asking: Asking) -> Outcome:
    with _bucket(asking) as bucket:
        return judged_watched(watched_by(bucket))


def judged_watched(found: BucketWatched) -> Outcome:
    """Server access logging or a trail's data events: one of them will do."""
    said = []
    if found.logged_to:
        said.append(f"server access logs go to {found.logged_to}")
    if found.trails:
        said.append(f"data events are recorded by {', '.join(found.trails)}")
    if said:
        return passed(*said, *found.asked)
    return failed(
        "neither server access logging nor data events: who reads the bucket with its keys leaves no trace",
        *found.asked,
        to_do="turn server access logging on, into a bucket of another account, or a trail with data events for this "
        "bucket; with another S3 that has neither, record access in front of it (docs/access.md)",
    )


@contextmanager
def _bucket(asking: Asking) -> Iterator[Bucket]:
    bucket = Bucket(asking.archive())
    try:
        yield bucket
    finally:
        bucket.close()


CHECKS = (
    Check("archive.tls", "the archive is reached over TLS, its certificate checked", "a connection", _tls),
    Check(
        "archive.object_lock",
        "the bucket has Object Lock, with a default retention in COMPLIANCE mode as long as the promise",
        "GetObjectLockConfiguration",
        _object_lock,
    ),
    Check("archive.versioning", "the bucket keeps versions", "GetBucketVersioning", _versioning),
    Check(
        "archive.forbidden",
        "a locked version can't be deleted, nor its retention shortened",
        "an object of the doctor's own is put under a lock of three minutes, and each is tried on it",
        _forbidden,
    ),
    Check("archive.private", "nobody reads the bucket without credentials", "it is tried", _public),
    Check(
        "archive.recorded",
        "who reads the bucket with its keys is recorded (server access logging, or CloudTrail's data events)",
        "GetBucketLogging; on AWS DescribeTrails, GetTrailStatus and GetEventSelectors",
        _recorded,
    ),
)
