"""S3's errors in our own tree: what may help again later is `Unavailable`, what a person must mend `Misconfigured`.

Each sentence says what to do. After `Unavailable` the write may have gone through all the same: whoever writes looks
at what the bucket holds before and after, and never at the answer alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sealstream.archive.settings import ArchiveSettings
from sealstream.errors import Misconfigured, SealstreamError, Unavailable

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

__all__ = ["NO_LOCK", "s3_faults"]

NO_LOCK = (
    "bucket {bucket} has no Object Lock: expected ObjectLockEnabled, got none; Object Lock can only be turned on when "
    "a bucket is created, so name another bucket and make it with `sealstream archive init`"
)
_WRONG_KEY = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "AuthorizationHeaderMalformed", "InvalidToken"}
_NO_BUCKET = {"NoSuchBucket"}
_NO_LOCK_CODES = {"ObjectLockConfigurationNotFoundError"}
_LATER = {
    "BadDigest",  # damaged on the way
    "ConditionalRequestConflict",
    "InternalError",
    "OperationAborted",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "XAmzContentSHA256Mismatch",
}


@contextmanager
def s3_faults(settings: ArchiveSettings, doing: str) -> Iterator[None]:
    """Everything that botocore raises inside becomes one of ours; `doing` is the sentence's beginning."""
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        ConnectionError,
        FlexibleChecksumError,
        HTTPClientError,
        IncompleteReadError,
        ResponseStreamingError,
        SSLError,
    )

    where = f"{doing} in bucket {settings.bucket} at {settings.endpoint}"
    try:
        yield
    except ClientError as error:
        raise _answer(settings, where, error) from error
    except SSLError as error:
        said = settings.told(error)
        raise Unavailable(f"{where}: no connection over TLS: {said}; {_about_certificate(said)}") from error
    except (
        ConnectionError,
        FlexibleChecksumError,
        HTTPClientError,
        IncompleteReadError,
        ResponseStreamingError,
    ) as error:
        raise Unavailable(f"{where}: no complete answer: {settings.told(error)}") from error
    except BotoCoreError as error:  # no credentials, an endpoint that is no URL, ...
        raise Misconfigured(
            f"{where}: {settings.told(error)}; check endpoint_url, region, access_key and secret_key"
        ) from error


def _about_certificate(said: str) -> str:
    if "expired" in said:
        return "the endpoint needs another certificate: nothing in these settings is wrong"
    if "match" in said or "not valid for" in said:
        return "archive.endpoint_url must name the host as the endpoint's certificate does"
    return "archive.ca_file names the authority that the endpoint's certificate is checked with"


def _answer(settings: ArchiveSettings, where: str, error: ClientError) -> SealstreamError:
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    details = error.response.get("Error", {})
    code, message = str(details.get("Code", "")), str(details.get("Message", ""))
    if status >= 500 or status == 429 or code in _LATER:
        return Unavailable(f"{where}: {status} {code}: {message}")
    if code in _NO_LOCK_CODES:
        return Misconfigured(NO_LOCK.format(bucket=settings.bucket))
    if code in _NO_BUCKET:
        return Misconfigured(f"{where}: the bucket does not exist; make it with `sealstream archive init`")
    if code == "RequestTimeTooSkewed":
        return Misconfigured(f"{where}: this machine's clock differs too much from the server's; set it right")
    if code in _WRONG_KEY or status == 401:
        return Misconfigured(f"{where}: the access key is refused ({code}: {message}); check access_key, secret_key")
    if status == 403:
        return Misconfigured(
            f"{where}: not allowed ({code}: {message}); the access key needs s3:PutObject, s3:GetObject, "
            "s3:GetObjectVersion, s3:ListBucketVersions, s3:PutObjectRetention, s3:GetObjectRetention, "
            "s3:GetBucketVersioning and s3:GetBucketObjectLockConfiguration; with legal holds s3:PutObjectLegalHold, "
            "s3:GetObjectLegalHold; and to destroy what is over s3:DeleteObjectVersion, in a role of its own"
        )
    return Misconfigured(f"{where}: refused with {status} {code}: {message}")
