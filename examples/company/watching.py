"""The company watched in memory: events rolled up and given to the detectors, in processes that share the subjects."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

from examples.company.company import Company
from examples.company.places import SITES
from examples.company.scoring import Alarm
from examples.company.writing import Happened, stamp

from sealstream.anomaly.detecting import epoch_of
from sealstream.anomaly.detectors import DETECTORS
from sealstream.anomaly.rolling import Counted, WrittenCounted
from sealstream.anomaly.sharing import Share, ShareRollUp, ShareWatch
from sealstream.anomaly.watching import chosen
from sealstream.layout.alerts import Alert

__all__ = ["Setting", "Watched", "counted", "watch"]


class Setting(NamedTuple):
    """Which company, and the detectors' thresholds, by name, where they are not the defaults."""

    seed: int
    people: int
    days: int
    warm_up: int
    times: int
    thresholds: Mapping[str, Mapping[str, Any]] = {}

    def in_force(self) -> dict[str, dict[str, Any]]:
        """With the clocks of the sites, which whoever runs the watch there would set."""
        zones = {site.name: str(site.zone) for site in SITES}
        given = {name: dict(each) for name, each in self.thresholds.items()}
        given["unusual_hour"] = {"zones": zones} | given.get("unusual_hour", {})
        return given

    def company(self) -> Company:
        """As it is set."""
        return Company(self.seed, self.people, days=self.days, warm_up=self.warm_up, times=self.times)


class Watched(NamedTuple):
    """What came of it in the scored days. `actors`: how many did anything."""

    alarms: list[Alarm]
    actors: int
    events: int


def watch(setting: Setting, processes: int = 2) -> Watched:
    """All alerts behind the warm-up. Each process makes all events, and rolls up and watches its own subjects'."""
    shares = [Share(number, processes) for number in range(processes)]
    if processes == 1:
        parts = [_watch_share(setting, shares[0])]
    else:
        with ProcessPoolExecutor(processes) as pool:
            parts = list(pool.map(_watch_share, [setting] * processes, shares))
    alarms = sorted((alarm for part in parts for alarm in part.alarms), key=lambda alarm: alarm.last_s)
    return Watched(alarms, sum(part.actors for part in parts), parts[0].events)


def counted(happened: Happened, seq: int) -> Counted:
    """As the roll-up takes an entry, sealed the moment that it came."""
    event = happened.event
    return Counted(
        event["timestamp"],
        event["actor_id"],
        event["actor_type"],
        event["action"],
        event["resource_type"],
        event["resource_id"],
        event["result"],
        WrittenCounted("event", seq, stamp(happened.at)),
        event["ip_address"],
        event["user_agent"],
        event.get("on_behalf_of"),
        event["tenant"],
        event.get("reason"),
    )


def _watch_share(setting: Setting, share: Share) -> Watched:
    company = setting.company()
    roll_up, watching = ShareRollUp("main", share), ShareWatch(chosen(DETECTORS, setting.in_force()))
    alarms: list[Alarm] = []
    actors: set[str] = set()
    seq, scored_from = -1, company.scored_from
    for seq, happened in enumerate(company):
        second = roll_up.take(counted(happened, seq))
        if second is None:
            continue
        alerts = watching.see(second)
        if happened.at >= scored_from:
            actors.update(record.actor_id for record in second.actors if record.cells)
            alarms += [_alarm(alert) for alert in alerts]
    return Watched(alarms, len(actors), seq + 1)


def _alarm(alert: Alert) -> Alarm:
    first, last = (epoch_of(second) for second in alert.window)
    return Alarm(
        alert.detector, alert.subject_kind, alert.subject, first, last, alert.severity, alert.incident, alert.summary
    )
