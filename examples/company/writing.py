"""How an event looks: valid as Sealstream takes it, made in a few microseconds."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

from examples.company.stories import Label

__all__ = ["Happened", "Terminal", "stamp"]

_IN_HOUR = [f"{n // 60:02d}:{n % 60:02d}" for n in range(3_600)]


class Happened(NamedTuple):
    """One event, its label if it belongs to an attack, and when the log received it, in epoch seconds."""

    event: dict[str, Any]
    label: Label | None
    at: float


@lru_cache(maxsize=512)
def _hour(number: int) -> str:
    return datetime.fromtimestamp(number * 3_600, UTC).strftime("%Y-%m-%dT%H:")


def stamp(at: float) -> str:
    """Epoch seconds as `timestamp`."""
    second = int(at)
    return f"{_hour(second // 3_600)}{_IN_HOUR[second % 3_600]}.{int((at - second) * 1_000_000):06d}Z"


def event_id(rng: random.Random, at: float) -> str:
    """A UUIDv7 of that moment."""
    bits, milliseconds = rng.getrandbits(74), int(at * 1000)
    return (
        f"{milliseconds >> 16:08x}-{milliseconds & 0xFFFF:04x}-7{bits & 0xFFF:03x}-"
        f"{0x8000 | (bits >> 12) & 0x3FFF:04x}-{bits >> 26:012x}"
    )


class Terminal:
    """One actor at one place: what all events of a session share. `out`: where they go.

    `spools`: the events wait on the device until `synced_at`, if that is set.
    """

    __slots__ = ("label", "out", "rng", "shared", "synced_at")

    def __init__(
        self,
        out: list[Happened],
        rng: random.Random,
        actor_id: str,
        actor_type: str,
        *,
        address: str,
        agent: str,
        tenant: str,
        service: str,
        label: Label | None = None,
    ) -> None:
        self.out = out
        self.rng = rng
        self.label = label
        self.synced_at = 0.0
        self.shared: dict[str, Any] = {
            "actor_id": actor_id,
            "actor_type": actor_type,
            "ip_address": address,
            "user_agent": agent,
            "tenant": tenant,
            "source": {"service": service},
            "session_id": f"s-{rng.getrandbits(48):012x}",
        }

    def does(
        self, at: float, action: str, resource_type: str, resource_id: str, result: str = "success", **more: Any
    ) -> None:
        """One event. `more`: further fields (`reason`, `on_behalf_of`, `changed_fields`)."""
        event = {
            "id": event_id(self.rng, at),
            "timestamp": stamp(at),
            "action": action,
            "resource_type": resource_type,
            "resource_id": resource_id,
            "result": result,
            **self.shared,
            **more,
        }
        synced_at = self.synced_at
        if synced_at > at:
            self.synced_at = synced_at + 0.05
            at = synced_at
        self.out.append(Happened(event, self.label, at))
