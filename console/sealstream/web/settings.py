"""The section `[serve]` of the settings: where the API listens and what it allows. Pure."""

from __future__ import annotations

import ipaddress
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["ServeSection", "is_loopback"]


class ServeSection(BaseModel):
    """`tokens_file` empty: `tokens.json` beside the settings file. `tls_cert`, `tls_key`: PEM files, both or neither.

    `trusted_proxies`: addresses whose `X-Forwarded-For` is believed. `verify_every_hours` 0: only when asked to.
    """

    model_config = ConfigDict(extra="forbid")

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8480
    tls_cert: str = ""
    tls_key: str = ""
    tokens_file: str = ""
    trusted_proxies: list[str] = Field(default_factory=list)
    requests_per_minute: Annotated[int, Field(ge=1)] = 600
    failures_per_minute: Annotated[int, Field(ge=1)] = 20
    page_size: Annotated[int, Field(ge=1, le=10_000)] = 1_000
    exports_at_once: Annotated[int, Field(ge=1, le=64)] = 4
    search_seconds: Annotated[float, Field(gt=0, le=600)] = 15.0
    verify_every_hours: Annotated[float, Field(ge=0)] = 0.0


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine can reach what listens there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
