"""A small model of S3 with versions and Object Lock, in the shape of boto3's client: only what the archive says to it.

Kept: versions (nothing is ever overwritten), delete markers, `If-None-Match: *` (which a delete marker does not stop,
as in the real servers: docs/decisions/0071), checksums that are compared, COMPLIANCE locks that nobody shortens and
that keep a version from being deleted, listings in pages, and the driver's own three attempts. Left out: other calls,
signatures, multipart uploads, GOVERNANCE mode, replication, redirects.

What goes wrong: what `World.effect` does to any effect (an error, or no answer, before or after the write went
through), the model's own faults (`FAULTS`: a write that goes through after the client has given up, 409 and 412 out of
the blue, a body that ends early, somebody else's object under the key), and `trouble` for a while, longer than the
driver's attempts. The invariant, as of the real one: a version once listed stays, byte for byte, until its lock ends.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, NamedTuple

from botocore.exceptions import ClientError, EndpointConnectionError, IncompleteReadError, ReadTimeoutError
from tests.simulation.stores.light_objects import altered
from tests.simulation.world import EffectFault, World

__all__ = ["FAULTS", "TROUBLES", "S3Client", "S3Server", "StoredVersion"]

FAULTS = {"s3.put": ("late", "late", "409", "412"), "s3.retain": ("late",), "s3.get": ("cut off",)}
"""The model's own faults (`EffectFault.how`) by operation, beside those of every effect."""
TROUBLES = ("500", "503", "refused", "timeout", "500 after", "timeout after")
"""What `S3Server.trouble` may be; "after": what is asked is done, and the answer is an error all the same."""
_OWN = {operation: frozenset(hows) for operation, hows in FAULTS.items()}
_TAKEN = frozenset(("taken",))
_ATTEMPTS = 3
_AGAIN = (500, 502, 503, 504)
_TIMEOUT_S = 20.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class StoredVersion(NamedTuple):
    """One version of a key; `body` None: a delete marker."""

    version_id: str
    body: bytes | None
    modified: datetime
    mode: str = ""
    until: datetime | None = None


class _Answer(Exception):
    """An HTTP answer that is an error."""

    def __init__(self, status: int, code: str, message: str = "") -> None:
        super().__init__(code)
        self.status, self.code, self.message = status, code, message


class S3Server:
    """Buckets with versions; `page` entries come in one page of a listing."""

    def __init__(self, world: World, page: int = 1000) -> None:
        self.world = world
        self.page = page
        self.buckets: dict[str, dict[str, list[StoredVersion]]] = {}
        self.foreign: set[str] = set()
        """Keys under which somebody else has put other entries: an alarm is due."""
        self._trouble = ""
        self._trouble_until_ns = 0
        self._numbered = 0

    def make_bucket(self, name: str) -> None:
        """A new bucket with Object Lock."""
        self.buckets[name] = {}

    def client(self, settings: Any = None) -> S3Client:
        """In the place of `sealstream.archive.bucket.connect`."""
        return S3Client(self)

    def make_trouble(self, kind: str, for_s: float) -> None:
        """Every call fails like this for a while."""
        self.world.tell(f"s3 answers {kind} for {for_s:.1f} s")
        self._trouble, self._trouble_until_ns = kind, self.world.now_ns + int(for_s * 1e9)

    def hide(self, bucket: str) -> None:
        """Somebody puts a delete marker over a key that is there."""
        keys = sorted(self.buckets[bucket])
        if keys:
            key = self.world.rng.choice(keys)
            self.world.tell(f"somebody hides {key}")
            self.mark_deleted(bucket, key)

    def intrude(self, bucket: str, key: str, body: bytes) -> None:
        """Somebody else puts other entries under a key that is about to be put."""
        self.world.tell(f"somebody puts other entries under {key}")
        self.foreign.add(key)
        self.put(bucket, key, altered(body), {})

    @property
    def trouble(self) -> str:
        """How every call fails now; empty: it does not."""
        return self._trouble if self.world.now_ns < self._trouble_until_ns else ""

    def now(self) -> datetime:
        """The server's clock."""
        return _EPOCH + timedelta(microseconds=self.world.wall_ns() // 1000)

    def version(self, bucket: str, key: str, version_id: str) -> StoredVersion | None:
        """One version of a key."""
        return next((each for each in self.buckets[bucket].get(key, ()) if each.version_id == version_id), None)

    # Inside

    def versions(self, bucket: str) -> dict[str, list[StoredVersion]]:
        if bucket not in self.buckets:
            raise _Answer(404, "NoSuchBucket", "The specified bucket does not exist")
        return self.buckets[bucket]

    def found(self, bucket: str, key: str, version_id: str) -> StoredVersion:
        held = self.versions(bucket).get(key)
        if held is None:
            raise _Answer(404, "NoSuchKey", "The specified key does not exist.")
        for each in held:
            if each.version_id == version_id:
                return each
        raise _Answer(404, "NoSuchVersion", "The specified version does not exist.")

    def put(self, bucket: str, key: str, body: bytes, options: dict[str, Any]) -> dict[str, Any]:
        held = self.versions(bucket)
        if options.get("ChecksumSHA256") not in (None, b64encode(sha256(body).digest()).decode()):
            raise _Answer(400, "XAmzContentSHA256Mismatch", "The checksum did not match")
        there = held.get(key)
        if options.get("IfNoneMatch") == "*" and there and there[-1].body is not None:
            raise _Answer(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
        until = options.get("ObjectLockRetainUntilDate")
        if until is not None and until <= self.now():
            raise _Answer(400, "InvalidRequest", "the retain until date must be in the future")
        self._numbered += 1
        made = StoredVersion(f"{self._numbered:032x}", body, self.now(), options.get("ObjectLockMode", ""), until)
        held.setdefault(key, []).append(made)
        return {"VersionId": made.version_id}

    def mark_deleted(self, bucket: str, key: str) -> str:
        self._numbered += 1
        made = StoredVersion(f"{self._numbered:032x}", None, self.now())
        self.versions(bucket).setdefault(key, []).append(made)
        return made.version_id

    def delete_version(self, bucket: str, key: str, version_id: str) -> None:
        held = self.versions(bucket).get(key, [])
        for place, each in enumerate(held):
            if each.version_id == version_id:
                if each.until is not None and each.until > self.now():
                    raise _Answer(403, "AccessDenied", "Access Denied")
                del held[place]
                if not held:
                    del self.versions(bucket)[key]
                return

    def retain(self, bucket: str, key: str, version_id: str, mode: str, until: datetime) -> None:
        found = self.found(bucket, key, version_id)
        if until <= self.now():
            raise _Answer(400, "InvalidRequest", "the retain until date must be in the future")
        locked = found.mode == "COMPLIANCE" and found.until is not None and found.until > self.now()
        if locked and (mode != "COMPLIANCE" or until < (found.until or until)):
            raise _Answer(403, "AccessDenied", "Access Denied")
        held = self.buckets[bucket][key]
        held[held.index(found)] = found._replace(mode=mode, until=until)


class _Body:
    """The stream in an answer of get_object."""

    def __init__(self, data: bytes, cut_off: bool) -> None:
        self._data = data
        self._cut_off = cut_off

    def read(self) -> bytes:
        if self._cut_off:
            raise IncompleteReadError(actual_bytes=len(self._data) // 2, expected_bytes=len(self._data))
        return self._data

    def close(self) -> None:
        pass


class S3Client:
    """In the shape of a boto3 client."""

    def __init__(self, server: S3Server) -> None:
        self._server = server

    def close(self) -> None:
        pass

    def get_object_lock_configuration(self, *, Bucket: str) -> dict[str, Any]:
        def ask() -> dict[str, Any]:
            self._server.versions(Bucket)
            return {"ObjectLockConfiguration": {"ObjectLockEnabled": "Enabled"}}

        return self._send("s3.check", ask)

    def get_bucket_versioning(self, *, Bucket: str) -> dict[str, Any]:
        def ask() -> dict[str, Any]:
            self._server.versions(Bucket)
            return {"Status": "Enabled"}

        return self._send("s3.check", ask)

    def put_object(self, *, Bucket: str, Key: str, Body: bytes, **options: Any) -> dict[str, Any]:
        server = self._server
        new = Key.startswith("entries/") and Key not in server.buckets.get(Bucket, ())
        if new and server.world.armed and server.world.take_fault("s3.put", _TAKEN) is not None:
            server.intrude(Bucket, Key, Body)
        return self._send(_named("s3.put", Key), lambda: self._server.put(Bucket, Key, Body, options))

    def get_object(self, *, Bucket: str, Key: str, VersionId: str) -> dict[str, Any]:
        def ask() -> dict[str, Any]:
            found = self._server.found(Bucket, Key, VersionId)
            if found.body is None:
                raise _Answer(405, "MethodNotAllowed", "The specified method is not allowed against this resource.")
            return {"ContentLength": len(found.body), "Body": found.body}

        world = self._server.world
        cut_off = bool(world.armed) and world.take_fault("s3.get", _OWN["s3.get"]) is not None
        answer = self._send(_named("s3.get", Key), ask)
        return {**answer, "Body": _Body(answer["Body"], cut_off)}

    def get_object_retention(self, *, Bucket: str, Key: str, VersionId: str) -> dict[str, Any]:
        def ask() -> dict[str, Any]:
            found = self._server.found(Bucket, Key, VersionId)
            if not found.mode:
                raise _Answer(404, "NoSuchObjectLockConfiguration", "The specified object does not have a lock")
            return {"Retention": {"Mode": found.mode, "RetainUntilDate": found.until}}

        return self._send(_named("s3.lock", Key), ask)

    def put_object_retention(
        self, *, Bucket: str, Key: str, VersionId: str, Retention: dict[str, Any]
    ) -> dict[str, Any]:
        def ask() -> dict[str, Any]:
            self._server.retain(Bucket, Key, VersionId, Retention["Mode"], Retention["RetainUntilDate"])
            return {}

        return self._send(_named("s3.retain", Key), ask)

    def delete_object(self, *, Bucket: str, Key: str, VersionId: str | None = None) -> dict[str, Any]:
        def ask() -> dict[str, Any]:
            if VersionId is None:
                return {"DeleteMarker": True, "VersionId": self._server.mark_deleted(Bucket, Key)}
            self._server.delete_version(Bucket, Key, VersionId)
            return {}

        return self._send(_named("s3.delete", Key), ask)

    def list_object_versions(
        self,
        *,
        Bucket: str,
        Prefix: str = "",
        Delimiter: str = "",
        KeyMarker: str = "",
        VersionIdMarker: str = "",
        MaxKeys: int = 0,
    ) -> dict[str, Any]:
        def ask() -> dict[str, Any]:
            versions = self._server.versions(Bucket)
            return _page(versions, Prefix, Delimiter, KeyMarker, VersionIdMarker, MaxKeys or self._server.page)

        return self._send(_named("s3.list", Prefix), ask)

    def _send(self, operation: str, ask: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """One call with the driver's own attempts. Raises what botocore raises."""
        world = self._server.world
        for attempt in range(_ATTEMPTS):
            try:
                return world.effect(operation, lambda: self._answer(operation, ask), self._failed)
            except _Answer as error:
                if error.status not in _AGAIN or attempt == _ATTEMPTS - 1:
                    raise _client_error(operation, error) from None
            except (ReadTimeoutError, EndpointConnectionError) as error:
                if isinstance(error, ReadTimeoutError):
                    world.sleep(_TIMEOUT_S)
                if attempt == _ATTEMPTS - 1:
                    raise
            world.sleep(world.rng.random())
        raise AssertionError("unreachable")

    def _answer(self, operation: str, ask: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What the server makes of it, all at once."""
        server, world = self._server, self._server.world
        trouble = server.trouble
        if trouble:
            if trouble.endswith(" after"):
                ask()
            raise _error(trouble)
        fault = self._own_fault(operation) if world.armed else None
        if fault is not None and fault.how == "late":

            def go_through() -> None:
                with suppress(_Answer):  # nobody listens any more
                    ask()

            world.after(fault.seconds or 30.0, go_through)
            raise _error("timeout")
        if fault is not None and fault.how != "cut off":
            raise _error(fault.how)
        return ask()

    def _own_fault(self, operation: str) -> EffectFault | None:
        for aimed, hows in _OWN.items():
            if operation.startswith(aimed):
                return self._server.world.take_fault(operation, hows)
        return None

    def _failed(self, how: str) -> Exception:
        """An answer that is an error, or none, by the world's dice."""
        return _error(self._server.world.rng.choice(("500", "503", "timeout", "refused")))


def _named(operation: str, key: str) -> str:
    """What faults are aimed at: `s3.put.manifests`, `s3.lock.entries`."""
    return f"{operation}.{key.split('/', 1)[0]}"


def _error(kind: str) -> Exception:
    if kind.startswith("timeout"):
        return ReadTimeoutError(endpoint_url="http://simulated")
    if kind == "refused":
        return EndpointConnectionError(endpoint_url="http://simulated")
    if kind == "409":
        return _Answer(409, "ConditionalRequestConflict", "The conditional request cannot succeed")
    if kind == "412":
        return _Answer(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
    if kind.startswith("503"):
        return _Answer(503, "SlowDown", "Please reduce your request rate.")
    return _Answer(500, "InternalError", "We encountered an internal error. Please try again.")


def _client_error(operation: str, error: _Answer) -> ClientError:
    return ClientError(
        {
            "Error": {"Code": error.code, "Message": error.message},
            "ResponseMetadata": {"HTTPStatusCode": error.status},  # type: ignore[typeddict-item]
        },
        operation,
    )


def _page(
    versions: dict[str, list[StoredVersion]],
    prefix: str,
    delimiter: str,
    key_marker: str,
    version_marker: str,
    most: int,
) -> dict[str, Any]:
    """One page of a listing: keys in order, the newest version of each first, after the markers."""
    found: dict[str, Any] = {"Versions": [], "DeleteMarkers": [], "CommonPrefixes": [], "IsTruncated": False}
    folder = ""
    count = 0
    last = ("", "")
    for key in sorted(versions):
        if not key.startswith(prefix) or (key <= key_marker and not (key == key_marker and version_marker)):
            continue
        if delimiter and delimiter in key[len(prefix) :]:
            inside = prefix + key[len(prefix) :].split(delimiter)[0] + delimiter
            if inside == folder or key_marker.startswith(inside):
                continue
            if count == most:
                return found | {"IsTruncated": True, "NextKeyMarker": last[0]}
            folder = inside
            found["CommonPrefixes"].append({"Prefix": inside})
            count, last = count + 1, (inside, "")
            continue
        held = versions[key]
        passing = key == key_marker
        for place in range(len(held) - 1, -1, -1):
            each = held[place]
            if passing:
                passing = each.version_id != version_marker
                continue
            if count == most:
                return found | {"IsTruncated": True, "NextKeyMarker": last[0], "NextVersionIdMarker": last[1]}
            entry = {
                "Key": key,
                "VersionId": each.version_id,
                "IsLatest": place == len(held) - 1,
                "LastModified": each.modified.replace(microsecond=0).astimezone(UTC),
            }
            if each.body is None:
                found["DeleteMarkers"].append(entry)
            else:
                found["Versions"].append(entry | {"Size": len(each.body)})
            count, last = count + 1, (key, each.version_id)
    return found
