"""The section `[serve]` of the settings: where the API listens and what it allows. Pure."""

from __future__ import annotations

import ipaddress
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["ARCHIVE_TIMES", "ServeSection", "is_loopback"]

ARCHIVE_TIMES = 4


class ServeSection(BaseModel):
    """The HTTP API (`sealstream serve`). On loopback unless told; elsewhere it refuses to start without tokens."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    host: str = "127.0.0.1"
    """The address that it listens on."""
    port: Annotated[int, Field(ge=0, le=65_535)] = 8480
    """Its port; 0: a free one, which it names."""
    tls_cert: str = ""
    """Its certificate, a PEM file; with `tls_key`, or neither."""
    tls_key: str = ""
    """The certificate's key, a PEM file."""
    tokens_file: str = ""
    """Where tokens are kept, as hashes; empty: `tokens.json` beside the settings file."""
    trusted_proxies: list[str] = Field(default_factory=list)
    """Addresses whose `X-Forwarded-For` is believed."""
    requests_per_minute: Annotated[int, Field(ge=1)] = 600
    """How many requests a token may make."""
    requests_at_once: Annotated[int, Field(ge=1, le=40)] = 8
    """How many requests of one token run at a time."""
    failures_per_minute: Annotated[int, Field(ge=1)] = 20
    """How many wrong tokens an address may try."""
    page_size: Annotated[int, Field(ge=1, le=10_000)] = 1_000
    """The largest page of a search."""
    exports_at_once: Annotated[int, Field(ge=1, le=64)] = 4
    """How many exports flow at a time."""
    postgres_at_once: Annotated[int, Field(ge=1, le=200)] = 16
    """How many searches and exports use Postgres at a time, each with a session of its own."""
    search_seconds: Annotated[float, Field(gt=0, le=600)] = 15.0
    """How long a search may take in Postgres; in the archive four times as long."""
    verify_every_hours: Annotated[float, Field(ge=0)] = 0.0
    """How often the service verifies the stores by itself; 0: only when asked to."""


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine can reach what listens there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
