"""What was asked of the applications held against what the log has sealed: pure, and the judge of `make examples`.

An event is known by its request's id (the trace of the `traceparent` header that the request carried) and by what it
says. Each expected event must be there once; nothing else may be there from these applications. A request that nobody
answered, since its application was being restarted, may have its events once or not at all.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

__all__ = ["Compared", "Event", "compare", "event_of", "troubles"]

# What a log says of itself and its producers when all is well.
_ORDINARY = {"chain.created", "sequencer.started", "sequencer.stopped", "chain.heartbeat", "input.passed"} | {
    "segment.archived",
    "apikey.created",
    "producer.closed",
}


class Event(NamedTuple):
    """What an event says. `changed`: old and new values as JSON with sorted keys; empty where nothing changed."""

    service: str
    request_id: str
    actor: str
    action: str
    resource_type: str
    resource_id: str
    result: str
    changed: str = ""


class Compared(NamedTuple):
    """Of one application. `doubled` names each copy beyond the first; `unexpected`: what nobody asked for."""

    expected: int
    missing: list[Event]
    doubled: list[Event]
    unexpected: list[Event]

    @property
    def equal(self) -> bool:
        """Whether the log holds exactly what it must."""
        return not (self.missing or self.doubled or self.unexpected)


def compare(expected: Iterable[Event], perhaps: Iterable[Event], found: Iterable[Event]) -> dict[str, Compared]:
    """By service. `perhaps`: events of requests that had no answer."""
    must, may, there = Counter(expected), Counter(perhaps), Counter(found)
    services = sorted({event.service for event in (*must, *may, *there)})
    missing = must - there
    beyond = there - must  # there, and not accounted for by what must be there
    doubled = Counter({event: n if event in must else n - 1 for event, n in beyond.items() if event in must | may})
    unexpected = Counter({event: n for event, n in beyond.items() if event not in must and event not in may})

    def of(service: str, events: Counter[Event]) -> list[Event]:
        return sorted(event for event in events.elements() if event.service == service)

    return {
        service: Compared(
            sum(n for event, n in must.items() if event.service == service),
            *(of(service, events) for events in (missing, doubled, unexpected)),
        )
        for service in services
    }


def event_of(entry: Mapping[str, Any], services: Iterable[str]) -> Event | None:
    """The event of a sealed entry; None for what the log or a producer says of itself."""
    service = entry.get("source", {}).get("service")
    if entry["written"]["kind"] != "event" or service not in services or entry["action"] in _ABOUT_PRODUCERS:
        return None
    values = {side: entry[side] for side in ("old_values", "new_values") if entry.get(side)}
    changed = json.dumps(values, sort_keys=True) if values else ""
    said = [str(entry[name]) for name in ("actor_id", "action", "resource_type", "resource_id", "result")]
    return Event._make([service, entry.get("trace_id", ""), *said, changed])


_ABOUT_PRODUCERS = frozenset({"producer.closed", "audit.loss"})


def troubles(entries: Iterable[Mapping[str, Any]], services: Iterable[str], secrets: Iterable[str]) -> list[str]:
    """What must not be in the log: statements of losses, gaps and conflicts, two events of one id, secrets."""
    found, ids, services, secrets = [], Counter[str](), set(services), set(secrets)
    for entry in entries:
        seq = entry["written"]["seq"]
        ids[entry["id"]] += 1
        if event_of(entry, services) is None and entry["action"] not in _ORDINARY:
            found.append(f"entry {seq} is {entry['action']}: {json.dumps(entry.get('metadata'))}")
        text = json.dumps(entry, ensure_ascii=False)
        found += [f"entry {seq} holds the secret {secret!r}" for secret in sorted(secrets) if secret in text]
    return found + [f"{n} entries have the id {id_}" for id_, n in ids.items() if n > 1]
