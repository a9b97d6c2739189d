"""Stories told as events: who did what when, sealed in order, rolled up, and what the detectors make of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from sealstream.anomaly.detecting import epoch_of
from sealstream.anomaly.detectors import DETECTORS
from sealstream.anomaly.rolling import Counted, RollUp, WrittenCounted
from sealstream.anomaly.watching import Subject, Watch, chosen
from sealstream.events import format_timestamp
from sealstream.layout.activity import Activity, AddressActivity
from sealstream.layout.alerts import Alert
from sealstream.search.matching import matches
from sealstream.search.parsing import parse

__all__ = ["BEGIN", "DAY", "HOUR", "MINUTE", "Story", "at", "told", "watched"]

BEGIN = epoch_of("2026-09-07T00:00:00Z")
"""A Monday."""
MINUTE, HOUR, DAY = 60, 3_600, 86_400

_FIELDS = {
    "actor_id": "user-123",
    "actor_type": "user",
    "action": "read",
    "resource_type": "patient_record",
    "resource_id": "p-1",
    "result": "success",
}


def at(day: int, hour: float = 9, minute: float = 0) -> float:
    """Seconds since the epoch, of a day after `BEGIN`."""
    return BEGIN + day * DAY + hour * HOUR + minute * MINUTE


class Story:
    """Events in any order; `entries` seals them by their moments, each chain by itself."""

    def __init__(self) -> None:
        self._events: list[tuple[float, str, float, dict[str, str]]] = []
        self._sealed: dict[str, list[Counted]] = {}

    def add(self, moment: float, *, chain: str = "main", happened: float | None = None, **fields: str) -> None:
        """An event sealed at `moment` (epoch seconds), which happened then unless it says otherwise."""
        self._events.append((moment, chain, moment if happened is None else happened, _FIELDS | fields))
        self._sealed = {}

    def login(self, moment: float, *, result: str = "success", **fields: str) -> None:
        """An attempt to sign in."""
        what = {"action": "login", "resource_type": "session", "resource_id": "s", "ip_address": "10.0.0.7"}
        self.add(moment, **(what | {"result": result} | fields))

    def entries(self) -> dict[str, list[Counted]]:
        """By chain."""
        if not self._sealed:
            for moment, chain, happened, fields in sorted(self._events, key=lambda each: each[0]):
                entries = self._sealed.setdefault(chain, [])
                written = WrittenCounted("event", len(entries), _text(moment))
                entries.append(Counted(**fields, timestamp=_text(happened), written=written))
        return self._sealed

    def records(self) -> list[Activity | AddressActivity]:
        """As the roll-up gives them, chains beside each other by their seconds."""
        made: list[Activity | AddressActivity] = []
        for chain, entries in self.entries().items():
            roll_up = RollUp(chain)
            for second in [*map(roll_up.take, entries), roll_up.so_far()]:
                if second is not None:
                    made += [*second.actors, *second.addresses]
        return sorted(made, key=lambda record: record.second)

    def alerts(self, *names: str, thresholds: Mapping[str, Mapping[str, Any]] | None = None) -> list[Alert]:
        """What these detectors say, each alert held against the entries that it names."""
        alerts = watched(self.records(), names, thresholds or {})
        for alert in alerts:
            self.check(alert)
        return alerts

    def check(self, alert: Alert) -> None:
        """Its query is one, and finds the entries behind it that are its subject's."""
        query = parse(alert.query, now=datetime.now(UTC))
        entries = self.entries()[alert.chain]
        behind = [entries[seq] for first, last in alert.seqs for seq in range(first, last + 1)]
        own = [each for each in behind if alert.subject in (each.actor_id, each.ip_address)]
        assert own, alert
        for each in own:
            document = msgspec.to_builtins(each)
            document["written"]["chain"] = alert.chain
            if "-reason:" not in alert.query or each.reason is None:
                assert matches(query, document), (alert.query, document)
            assert alert.window[0] <= each.written.sequenced_at[:19] + "Z" <= alert.window[1]


def watched(
    records: Iterable[Activity | AddressActivity],
    names: Sequence[str] = (),
    thresholds: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    stored: bool = False,
) -> list[Alert]:
    """What the detectors say of records; `stored`: with their state encoded and decoded after each."""
    detectors = chosen({name: DETECTORS[name] for name in names or DETECTORS}, thresholds or {})
    of_actors: Watch[Activity] = Watch([each for each in detectors if each.subject == "actor"], Activity)
    of_addresses: Watch[AddressActivity] = Watch(
        [each for each in detectors if each.subject == "address"], AddressActivity
    )
    subjects: dict[str, Any] = {}
    alerts = []
    for record in records:
        watch: Any = of_actors if isinstance(record, Activity) else of_addresses
        key = f"actor {record.actor_id}" if isinstance(record, Activity) else f"address {record.ip_address}"
        subject = subjects.get(key)
        if subject is None:
            subject = subjects[key] = Subject()
        alerts += watch.see(subject, record)
        if stored:
            subjects[key] = watch.decode(watch.encode(subject))
    return alerts


def told(alerts: Iterable[Alert]) -> list[tuple[str, str]]:
    """Detector and subject of each."""
    return [(alert.detector, alert.subject) for alert in alerts]


def _text(moment: float) -> str:
    return format_timestamp(datetime.fromtimestamp(moment, UTC))
