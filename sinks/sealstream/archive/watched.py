"""Who records reading and writing of the bucket itself: S3's server access logging, and CloudTrail's data events.

Only asks. CloudTrail is asked where the bucket is AWS's own; `judged_selectors` is pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from sealstream.archive.bucket import Bucket
from sealstream.archive.faults import s3_faults
from sealstream.archive.settings import ArchiveSettings

__all__ = ["BucketWatched", "covers_data_events", "watched_by"]

_NOT_THERE = frozenset({"NotImplemented", "MethodNotAllowed", "NoSuchConfiguration"})
_OBJECTS = "AWS::S3::Object"


class BucketWatched(NamedTuple):
    """`logged_to`: where server access logs go, empty where none are written. `trails`: trails that log and record the
    bucket's data events. `asked`: what else was asked, and what it said.
    """

    logged_to: str
    trails: tuple[str, ...]
    asked: tuple[str, ...]


def watched_by(bucket: Bucket) -> BucketWatched:
    """As AWS, or another S3, says. Raises `Misconfigured` when this user may not ask for the logging."""
    from botocore.exceptions import ClientError

    settings, logged_to = bucket.settings, ""
    with s3_faults(settings, "asking for the server access logging"):
        try:
            found = bucket.client.get_bucket_logging(Bucket=settings.bucket).get("LoggingEnabled")
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") not in _NOT_THERE:
                raise
            found = None
    if found:
        logged_to = f"{found.get('TargetBucket', '')}/{found.get('TargetPrefix', '')}"
    if settings.endpoint_url:
        asked = f"{settings.endpoint} is no AWS: there is no CloudTrail to ask"
        return BucketWatched(logged_to, (), (asked,))
    trails, asked_of = _trails(settings)
    return BucketWatched(logged_to, trails, asked_of)


def _trails(settings: ArchiveSettings) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The trails that record the bucket's data events, and what was said where that could not be asked."""
    import boto3

    watching = []
    with s3_faults(settings, "asking CloudTrail"):
        client = boto3.session.Session().client(
            "cloudtrail",
            region_name=settings.region,
            aws_access_key_id=settings.access_key,
            aws_secret_access_key=settings.secret_key,
        )
        try:
            listed = client.describe_trails(includeShadowTrails=True)["trailList"]
            for trail in listed:
                arn = trail["TrailARN"]
                if not client.get_trail_status(Name=arn).get("IsLogging"):
                    continue
                if covers_data_events(client.get_event_selectors(TrailName=arn), settings.bucket):
                    watching.append(str(trail["Name"]))
        finally:
            client.close()
    return tuple(watching), (f"{len(listed)} trails of CloudTrail",)


def covers_data_events(selectors: Mapping[str, Any], bucket: str) -> bool:
    """Whether a trail's selectors, as CloudTrail gives them, record reads and writes of all of the bucket's objects."""
    arn = f"arn:aws:s3:::{bucket}/"
    for basic in selectors.get("EventSelectors") or ():
        if basic.get("ReadWriteType", "All") == "All" and any(
            arn.startswith(value) or value == "arn:aws:s3" for value in _basic_values(basic)
        ):
            return True
    kinds: set[str] = set()
    for advanced in selectors.get("AdvancedEventSelectors") or ():
        kinds |= _advanced(advanced.get("FieldSelectors") or (), arn)
    return kinds >= {"read", "write"}


def _basic_values(basic: Mapping[str, Any]) -> Iterator[str]:
    for resource in basic.get("DataResources") or ():
        if resource.get("Type") == _OBJECTS:
            yield from resource.get("Values") or ()


def _advanced(fields: Iterable[Mapping[str, Any]], arn: str) -> set[str]:
    """Of reads and writes those that one advanced selector records of every object below this ARN."""
    by_name = {str(field.get("Field")): field for field in fields}
    if "Data" not in (by_name.get("eventCategory", {}).get("Equals") or ()):
        return set()
    if _OBJECTS not in (by_name.get("resources.type", {}).get("Equals") or ()):
        return set()
    where = by_name.get("resources.ARN")
    if where is not None and not any(arn.startswith(each) for each in where.get("StartsWith") or ()):
        return set()
    if set(by_name) - {"eventCategory", "resources.type", "resources.ARN", "readOnly"}:
        return set()  # narrowed by a name of an event, or by who did it
    told = by_name.get("readOnly", {}).get("Equals")
    return {"read", "write"} if not told else {"read" if each == "true" else "write" for each in told}
