"""What the API is made of: chains, stores, tokens, limits, and where access is recorded. Put together by the CLI."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import BoundedSemaphore
from typing import Any, NamedTuple

from starlette.requests import Request

from sealstream.access import AccessLog
from sealstream.kafka import KafkaSettings
from sealstream.web.limits import AtOnce, Buckets
from sealstream.web.settings import ServeSection
from sealstream.web.sources import Sources
from sealstream.web.tokens import TokenFile
from sealstream.web.verifying import Verifications

__all__ = ["ServedChain", "Service", "service_of"]


class ServedChain(NamedTuple):
    """A chain as the API tells of it. `closed_at` "": it is open."""

    name: str
    origin: str
    vkey: str
    retention: str
    closed_at: str = ""
    continued_as: str = ""


@dataclass
class Service:
    """`progress`: how far a chain is in every store. `ready`: each part that is needed, `ok` or what is amiss."""

    settings: ServeSection
    chains: Mapping[str, ServedChain]
    kafka: KafkaSettings
    prefix: str
    sources: Sources
    access: AccessLog
    tokens: TokenFile
    verifications: Verifications
    progress: Callable[[str], Mapping[str, Any]]
    ready: Callable[[], Mapping[str, str]]
    requests: Buckets = field(init=False)
    running: AtOnce = field(init=False)
    failures: Buckets = field(init=False)
    slots: BoundedSemaphore = field(init=False)

    def __post_init__(self) -> None:
        self.requests = Buckets(self.settings.requests_per_minute)
        self.running = AtOnce(self.settings.requests_at_once)
        self.failures = Buckets(self.settings.failures_per_minute)
        self.slots = BoundedSemaphore(self.settings.exports_at_once)

    def close(self) -> None:
        """Gives connections back."""
        self.verifications.close()
        self.sources.close()
        self.access.close()


def service_of(request: Request) -> Service:
    """The service that this request came to."""
    found: Service = request.app.state.service
    return found
