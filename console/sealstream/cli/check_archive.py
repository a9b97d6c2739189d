"""The part of `config check` about the archive: the bucket, its Object Lock and retention. Puts nothing there."""

from __future__ import annotations

from collections.abc import Sequence

from sealstream.archive import ArchiveSettings
from sealstream.archive.bucket import Bucket
from sealstream.cli.context import counted
from sealstream.cli.findings import Finding, ok, skipped, warning, wrong
from sealstream.cli.settings import Settings
from sealstream.cli.stores import archive_settings
from sealstream.errors import SealstreamError
from sealstream.layout import named_retention

__all__ = ["check_archive", "cure", "judged_retention"]

_TIMEOUT_S = 5.0
_MOST_SKEW_S = 60


def check_archive(settings: Settings) -> Sequence[Finding]:
    """Reachable, Object Lock and versions on, default retention long enough, may be listed."""
    if not settings.archive.bucket:
        return [skipped("archive", "archive.bucket is empty: there is no archive")]
    try:
        return _asked(settings)
    except SealstreamError as error:
        return [wrong("archive", str(error), cure(str(error)))]


def _asked(settings: Settings) -> Sequence[Finding]:
    place = archive_settings(settings)._replace(timeout_s=_TIMEOUT_S)
    longest = max((named_retention(each.retention).archive_days for each in settings.chains.values()), default=0)
    bucket = Bucket(place)
    try:
        bucket.check()
        said = f"bucket {place.bucket} at {place.endpoint}: Object Lock and versions are on{_tls(place)}"
        findings = [ok("archive", said), judged_retention(bucket.default_retention(), longest)]
        next(bucket.list_stored("manifests/"), None)
        findings.append(ok("archive", "its versions may be listed; writing is not tried"))
        skew_s = bucket.clock_skew_s()
        if abs(skew_s) > _MOST_SKEW_S:
            findings.append(wrong("clock", f"this machine's clock is {skew_s:+.0f} s from S3's", "set it by NTP"))
        return findings
    finally:
        bucket.close()


def cure(said: str) -> str:
    """What to do about what was said of the bucket; empty where that says it itself."""
    for words, to_do in _CURES:
        if any(word in said for word in words):
            return to_do
    return ""


_CURES = (
    (
        ("ca_file", "certificate", "SSL"),
        "check archive.ca_file, and that archive.endpoint_url names the host's own name",
    ),
    (
        ("InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied", "Forbidden", "403", "redentials"),
        "check archive.access_key and archive.secret_key, and what that user may do with the bucket",
    ),
    (("NoSuchBucket", "no bucket"), "check archive.bucket, or make it: `sealstream archive init`"),
    (
        ("no answer", "onnect", "imed out"),
        "check archive.endpoint_url, and that the store runs there; a local stack: `sealstream up`",
    ),
)


def judged_retention(found: tuple[str, int] | None, days: int) -> Finding:
    """The bucket's default retention against what the longest chain wants; each object has its own lock besides."""
    if found is None:
        return warning("archive", "the bucket has no default retention", "run `sealstream archive init`")
    mode, has = found
    if mode != "COMPLIANCE" or has < days:
        said = f"default retention is {mode}, {counted(has, 'day')}: expected COMPLIANCE, {counted(days, 'day')}"
        return warning("archive", said, "run `sealstream archive init`, which lengthens it")
    return ok("archive", f"default retention is COMPLIANCE, {counted(has, 'day')}; the chains want {days:,}")


def _tls(place: ArchiveSettings) -> str:
    if place.endpoint_url and place.endpoint_url.startswith("http://"):
        return ", without TLS"
    return ", TLS"
