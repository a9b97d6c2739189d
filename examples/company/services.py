"""What machines do: batches at fixed hours, streams around the clock, checks every few minutes."""

from __future__ import annotations

import random
from datetime import date
from typing import NamedTuple

from examples.company.days import closing, moment, season
from examples.company.places import PROGRAMS, SITES, Site
from examples.company.work import poisson
from examples.company.writing import Happened, Terminal

__all__ = ["SERVICES", "Service", "run_service"]


class Service(NamedTuple):
    """A batch at `hour` (local) with `size` events, or (`hour` -1) `size` events an hour around the clock."""

    id: str
    site: Site
    hour: float
    size: int
    actions: tuple[tuple[str, str], ...]
    closing: float = 1.0
    weekdays: bool = False

    @property
    def address(self) -> str:
        """Its host's."""
        return f"10.{self.site.number}.200.{10 + sum(self.id.encode()) % 200}"

    @property
    def agent(self) -> str:
        """Its program."""
        return PROGRAMS[sum(self.id.encode()) % len(PROGRAMS)]


def _services() -> list[Service]:
    made = []
    for site in SITES:
        if site.wards:
            lab = (("write", "lab_result"), ("write", "lab_result"), ("read", "order"))
            made.append(Service(f"lab-interface-{site.name}", site, -1, 6 * site.wards, lab))
            made.append(Service(f"imaging-{site.name}", site, -1, site.wards, (("write", "imaging"),)))
            made.append(Service(f"backup-{site.name}", site, 1.0, 60, (("export", "database"),)))
            made.append(Service(f"pharmacy-{site.name}", site, 5.0, 400, (("read", "medication_plan"),)))
        made.append(Service(f"billing-{site.name}", site, 2.0, 1_200, (("read", "invoice"), ("write", "invoice")), 3.0))
        made.append(Service(f"hr-sync-{site.name}", site, 4.0, 40, (("read", "user_account"),), weekdays=True))
        made.append(Service(f"reports-{site.name}", site, 6.0, 30, (("read", "report"), ("export", "report")), 4.0))
        made.append(Service(f"monitor-{site.name}", site, -1, 12, (("read", "health"),)))
        made.append(Service(f"scheduler-{site.name}", site, -1, 4, (("write", "job"),)))
    return made


SERVICES = _services()


def run_service(service: Service, day: date, seed: str, size: float, out: list[Happened]) -> None:
    """A service's local day. `size`: of the company, 1 being 2,000 people."""
    if service.weekdays and day.weekday() >= 5:
        return
    rng = random.Random(f"{seed}/{service.id}/{day.toordinal()}")
    begins = moment(service.site, day, 0)
    if service.hour >= 0:
        begins = moment(service.site, day, int(service.hour)) + rng.uniform(0, 90)
        count = service.size * size * (service.closing if closing(service.site, day) else 1.0) * rng.uniform(0.85, 1.15)
        at, gap = begins + 2, 900 / service.size / size
        terminal = _terminal(service, rng, out)
        terminal.does(begins, "login", "service_account", service.id)
        for _ in range(round(count)):
            _act(service, terminal, rng, at)
            at += rng.expovariate(1 / gap)
        return
    for hour in range(24):
        terminal = _terminal(service, rng, out)
        start = moment(service.site, day, hour)
        busy = (1.3 if 7 <= hour < 19 else 0.5) * season(day) if service.id.startswith(("lab", "imaging")) else 1.0
        for _ in range(poisson(rng, service.size * busy * (size if service.size > 12 else 1.0))):
            _act(service, terminal, rng, start + rng.random() * 3_600)


def _terminal(service: Service, rng: random.Random, out: list[Happened]) -> Terminal:
    return Terminal(
        out,
        rng,
        service.id,
        "service",
        address=service.address,
        agent=service.agent,
        tenant=service.site.name,
        service=service.id.partition("-")[0],
    )


def _act(service: Service, terminal: Terminal, rng: random.Random, at: float) -> None:
    action, resource_type = rng.choice(service.actions)
    result = "success" if rng.random() > 0.002 else "failure"
    terminal.does(at, action, resource_type, f"{resource_type}-{int(rng.random() * 40_000)}", result)
