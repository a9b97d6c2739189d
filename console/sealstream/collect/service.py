"""What the collector is made of: keys, limits, room for bodies, and where events go. Put together by the CLI."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from starlette.requests import Request

from sealstream.collect.delivering import Deliveries
from sealstream.collect.keys import KeyFile
from sealstream.collect.room import Room
from sealstream.collect.settings import CollectSection
from sealstream.health import Vitals
from sealstream.layout import Figures
from sealstream.web.limits import AtOnce, Buckets

__all__ = ["Collector", "collector_of"]


@dataclass
class Collector:
    """`topics`: the raw topic of each chain that may be written to, by the name that keys are tied to.

    `ready`: each part that is needed, `ok` or what is amiss. `vitals`: told how it goes, and what was counted.
    """

    settings: CollectSection
    topics: Mapping[str, str]
    keys: KeyFile
    deliveries: Deliveries
    ready: Callable[[], Mapping[str, str]]
    vitals: Vitals = field(default_factory=lambda: Vitals("collect", (), Figures()))
    room: Room = field(init=False)
    requests: Buckets = field(init=False)
    running: AtOnce = field(init=False)
    failures: Buckets = field(init=False)

    def __post_init__(self) -> None:
        self.room = Room(self.settings.memory_bytes)
        self.requests = Buckets(self.settings.requests_per_minute)
        self.running = AtOnce(self.settings.requests_at_once)
        self.failures = Buckets(self.settings.failures_per_minute)

    def close(self) -> None:
        """Gives the connection back."""
        self.deliveries.close()


def collector_of(request: Request) -> Collector:
    """The collector that this request came to."""
    found: Collector = request.app.state.collector
    return found
