"""A trail as CloudTrail delivers it, made here: hours of log files, and digests signed with keys of our own."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from sealstream.importers.digest_files import PublicKey, StoredFile
from sealstream.importers.digests import Validation, validate

__all__ = ["ACCOUNT", "BEGIN", "HOUR", "NAME", "REGION", "Trail", "fingerprint", "new_key", "pkcs1"]

ACCOUNT, REGION, NAME = "111122223333", "eu-west-1", "my_trail"
BEGIN = datetime(2026, 11, 20, 0, 0, 31, tzinfo=UTC)
HOUR = timedelta(hours=1)


def new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65_537, key_size=2_048)


def pkcs1(key: rsa.RSAPrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.PKCS1)


def fingerprint(key: rsa.RSAPrivateKey) -> str:
    return hashlib.md5(pkcs1(key)).hexdigest()


class Trail:
    """`objects`: data and signature by key. `key_of(hour)`: who signs that hour's digest; `off`: hours without any."""

    def __init__(
        self,
        hours: int,
        key_of: Callable[[int], rsa.RSAPrivateKey],
        logs: int = 2,
        off: Sequence[int] = (),
        bucket: str = "trail",
    ) -> None:
        self.bucket = bucket
        self.objects: dict[str, tuple[bytes, str | None]] = {}
        self.digests: list[str] = []
        self.logs: list[list[str]] = []
        self._keys = {fingerprint(key): key for key in map(key_of, range(hours))}
        before: dict[str, Any] | None = None
        for hour in range(hours):
            if hour in off:
                before = None
                continue
            before = self._digest(hour, key_of(hour), before, self._deliver(hour, logs))

    @property
    def keys(self) -> list[PublicKey]:
        return [PublicKey(key.public_key(), frozenset({name})) for name, key in self._keys.items()]

    def content(self, key: str) -> bytes:
        return gzip.decompress(self.objects[key][0])

    def put(self, key: str, data: bytes) -> None:
        """Overwrite: its signature stays."""
        self.objects[key] = (data, self.objects[key][1] if key in self.objects else None)

    def judge(self, keys: list[PublicKey] | None = None, **more: Any) -> Validation:
        """As a bucket, signatures and all."""
        return validate(
            self.objects, lambda key: StoredFile(*self.objects[key]), keys or self.keys, bucket=self.bucket, **more
        )

    def judge_copy(self, below: str = "", **more: Any) -> Validation:
        """As a copy of a folder of it, where nobody kept signatures."""
        names = [key.removeprefix(below) for key in self.objects if key.startswith(below)]
        return validate(names, lambda name: StoredFile(self.objects[below + name][0]), self.keys, **more)

    def _deliver(self, hour: int, count: int) -> list[dict[str, Any]]:
        end = BEGIN + (hour + 1) * HOUR
        found = []
        self.logs.append([])
        for number in range(count):
            delivered = end - timedelta(minutes=50 - number)
            key = (
                f"AWSLogs/{ACCOUNT}/CloudTrail/{REGION}/{delivered:%Y/%m/%d}/{ACCOUNT}_CloudTrail_{REGION}_"
                f"{delivered:%Y%m%dT%H%M}Z_{hour:04d}{number:012d}.json.gz"
            )
            record = {
                "eventID": f"00000000-0000-4000-8000-{hour:06d}{number:06d}",
                "eventTime": f"{delivered:%Y-%m-%dT%H:%M:%SZ}",
                "eventName": "DescribeInstances",
                "eventSource": "ec2.amazonaws.com",
                "recipientAccountId": ACCOUNT,
            }
            content = json.dumps({"Records": [record]}).encode()
            self.objects[key] = (gzip.compress(content), None)
            self.logs[-1].append(key)
            found.append(
                {
                    "s3Bucket": self.bucket,
                    "s3Object": key,
                    "hashValue": hashlib.sha256(content).hexdigest(),
                    "hashAlgorithm": "SHA-256",
                }
            )
        return found

    def _digest(
        self, hour: int, key: rsa.RSAPrivateKey, before: dict[str, Any] | None, logs: list[dict[str, Any]]
    ) -> dict[str, Any]:
        end = BEGIN + (hour + 1) * HOUR
        name = (
            f"AWSLogs/{ACCOUNT}/CloudTrail-Digest/{REGION}/{end:%Y/%m/%d}/{ACCOUNT}_CloudTrail-Digest_{REGION}_"
            f"{NAME}_{REGION}_{end:%Y%m%dT%H%M%SZ}.json.gz"
        )
        fields = {
            "awsAccountId": ACCOUNT,
            "digestStartTime": f"{end - HOUR:%Y-%m-%dT%H:%M:%SZ}",
            "digestEndTime": f"{end:%Y-%m-%dT%H:%M:%SZ}",
            "digestS3Bucket": self.bucket,
            "digestS3Object": name,
            "digestPublicKeyFingerprint": fingerprint(key),
            "digestSignatureAlgorithm": "SHA256withRSA",
            "previousDigestS3Bucket": self.bucket if before else None,
            "previousDigestS3Object": before and before["name"],
            "previousDigestHashValue": before and before["sha256"],
            "previousDigestHashAlgorithm": before and "SHA-256",
            "previousDigestSignature": before and before["signature"],
            "logFiles": logs,
        }
        content = json.dumps(fields).encode()
        digest = hashlib.sha256(content).hexdigest()
        told = f"{fields['digestEndTime']}\n{self.bucket}/{name}\n{digest}\n{before['signature'] if before else 'null'}"
        signature = key.sign(told.encode(), padding.PKCS1v15(), hashes.SHA256()).hex()
        self.objects[name] = (gzip.compress(content), signature)
        self.digests.append(name)
        return {"name": name, "sha256": digest, "signature": signature}
