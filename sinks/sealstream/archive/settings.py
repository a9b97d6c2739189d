"""Where the archive is: a bucket, and how to reach it."""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["ArchiveSettings"]

_CREDENTIALS = re.compile(r"//[^/\s]*@")


class ArchiveSettings(NamedTuple):
    """A bucket with Object Lock. `endpoint_url` None: AWS S3 itself; keys None: as boto3 finds them (role, profile).

    `ca_file`: certificates (PEM) that the endpoint's is checked with; None: those that boto3 trusts.
    `timeout_s`: of one connection, and of one silence while reading. `replayed`: what the bucket holds was replayed
    into it byte by byte, so its version ids are others than the chain has sealed: the SHA-256s decide, as in a copy.
    """

    bucket: str
    endpoint_url: str | None = None
    region: str = "us-east-1"
    access_key: str | None = None
    secret_key: str | None = None
    timeout_s: float = 20.0
    replayed: bool = False
    ca_file: str | None = None

    @property
    def endpoint(self) -> str:
        """Where it is, for messages: without the credentials that an address may hold."""
        return self.told(self.endpoint_url) if self.endpoint_url else "AWS S3"

    def told(self, error: object) -> str:
        """What a driver says, without those credentials."""
        return _CREDENTIALS.sub("//", str(error)) if self.endpoint_url else str(error)
