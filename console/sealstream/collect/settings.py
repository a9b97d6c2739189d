"""The section `[collect]` of the settings: where the collector listens and what it takes. Pure."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["CollectSection"]


class CollectSection(BaseModel):
    """The collector (`sealstream collect`). On loopback unless told; elsewhere it refuses to start without keys."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    host: str = "127.0.0.1"
    """The address that it listens on."""
    port: Annotated[int, Field(ge=0, le=65_535)] = 8481
    """Its port; 0: a free one, which it names."""
    tls_cert: str = ""
    """Its certificate, a PEM file; with `tls_key`, or neither."""
    tls_key: str = ""
    """The certificate's key, a PEM file."""
    client_ca: str = ""
    """Authorities (PEM) of clients' certificates, which then count as keys do (`collect keys create --certificate`)."""
    keys_file: str = ""
    """Where keys are kept, as hashes; empty: `collect-keys.json` beside the settings file."""
    trusted_proxies: list[str] = Field(default_factory=list)
    """Addresses whose `X-Forwarded-For` is believed."""
    requests_per_minute: Annotated[int, Field(ge=1)] = 60_000
    """How many requests a key may make."""
    requests_at_once: Annotated[int, Field(ge=1, le=10_000)] = 64
    """How many requests of one key run at a time."""
    failures_per_minute: Annotated[int, Field(ge=1)] = 20
    """How many wrong keys an address may try."""
    body_bytes: Annotated[int, Field(ge=1_024, le=268_435_456)] = 4_194_304
    """The largest body as it is sent."""
    unpacked_bytes: Annotated[int, Field(ge=1_024, le=1_073_741_824)] = 16_777_216
    """The largest body once it is unpacked (gzip, zstd)."""
    events_per_request: Annotated[int, Field(ge=1, le=100_000)] = 10_000
    """The most events in one body."""
    memory_bytes: Annotated[int, Field(ge=1_048_576)] = 134_217_728
    """How much all bodies that wait for Kafka may take together; beyond it, callers are told to come again."""
    body_seconds: Annotated[float, Field(gt=0, le=600)] = 30.0
    """How long a body may take to arrive."""
    acknowledged_in_seconds: Annotated[float, Field(ge=1, le=300)] = 10.0
    """How long Kafka may take to acknowledge a request's events."""
