"""The settings' section `[tracing]`: where spans of each event's way are sent, and of how many traces.

    [tracing]
    endpoint = "http://otel-collector:4318"
    ratio = 0.1

Pure: nothing is opened here.
"""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from sealstream.health.span_export import Receiver
from sealstream.settings import Secret

__all__ = ["TracingSection"]

_PATH = "/v1/traces"
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110, section 5.6.2


class TracingSection(BaseModel):
    """Spans for OpenTelemetry, of what the sequencer has sealed and the Postgres sink has stored."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    endpoint: str = ""
    """Who takes OTLP over HTTP, such as `http://otel-collector:4318`; `/v1/traces` is put behind it. Empty: no traces.
    """
    headers: Annotated[str, Secret()] = ""
    """What each request carries, such as a key: `name=value,other=value`, values percent-encoded, as in
    `OTEL_EXPORTER_OTLP_HEADERS`.
    """
    ratio: Annotated[float, Field(ge=0, le=1)] = 1.0
    """The share of traces that is told of, by the trace's id, as the sampler `TraceIdRatioBased` does; the same for all
    processes, and at most what the applications sample.
    """

    @field_validator("endpoint")
    @classmethod
    def _address(cls, endpoint: str) -> str:
        if not endpoint:
            return endpoint
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("expected http://host:port or https://host:port")
        if parts.username is not None or parts.query or parts.fragment:
            raise ValueError("expected an address alone: keys go into headers")
        return endpoint.rstrip("/")

    @field_validator("headers")
    @classmethod
    def _readable(cls, headers: str) -> str:
        """Says what is wrong without the value, which is a secret."""
        _headers(headers)
        return headers

    def receiver(self) -> Receiver | None:
        """Who takes spans; None where none are asked for."""
        if not self.endpoint:
            return None
        url = self.endpoint if self.endpoint.endswith(_PATH) else f"{self.endpoint}{_PATH}"
        return Receiver(url, _headers(self.headers), self.ratio)


def _headers(text: str) -> dict[str, str]:
    """Names, in lower case, and values."""
    found = {}
    for place, pair in enumerate([each for each in text.split(",") if each.strip()], 1):
        name, equals, value = pair.partition("=")
        name, value = name.strip().lower(), unquote(value.strip())
        if not equals or not _NAME.fullmatch(name) or not value.isascii() or not value.isprintable():
            raise ValueError(f"header {place} can't be read: expected name=value, percent-encoded, with commas between")
        found[name] = value
    return found
