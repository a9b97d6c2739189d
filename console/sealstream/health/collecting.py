"""A process's figures as Prometheus reads them: one registry for each process object, none that is shared.

A scrape copies the tally and reckons ages; it asks no store and takes no lock that the loop takes. What a figure is
called and means stands in `sealstream.layout.figures`. What is counted by chain, or by nothing, is served as 0 before
the first time: Prometheus sees a counter grow only from a value that it has seen.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from importlib.metadata import version

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from sealstream.health.vitals import Vitals
from sealstream.layout import figures
from sealstream.layout.figures import AGES, Figure, figures_of

__all__ = ["registry_of"]


def registry_of(vitals: Vitals, wall: Callable[[], float] = time.time) -> CollectorRegistry:
    """The figures of this process, and memory, processor time and open files as the machine counts them."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(_Figures(vitals, wall))
    return registry


class _Figures(Collector):
    def __init__(self, vitals: Vitals, wall: Callable[[], float]) -> None:
        self._vitals = vitals
        self._wall = wall

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        process, tally = self._vitals.process, self._vitals.tally
        tally.set(figures.INFO, 1, version("sealstream"))
        tally.set(figures.READY, self._vitals.ready().holds)
        values = tally.values()
        now = self._wall()
        for figure in figures_of(process):
            family = (CounterMetricFamily if figure.kind == "counter" else GaugeMetricFamily)(
                figure.name, figure.meaning, labels=("process", *figure.labels)
            )
            source = AGES.get(figure, figure)
            found = dict.fromkeys(self._counted_from_zero(figure), 0.0)
            for (name, labels), value in values.items():
                if name == source.name:
                    found[labels] = value if source is figure else max(now - value, 0.0)
            for labels, value in found.items():
                family.add_metric((process, *labels), value)
            yield family

    def _counted_from_zero(self, figure: Figure) -> list[tuple[str, ...]]:
        if figure.kind != "counter":
            return []
        if figure is figures.RESTARTS:
            return [("",)]
        if not figure.labels:
            return [()]
        return [(chain,) for chain in self._vitals.chains] if figure.labels == ("chain",) else []

    def describe(self) -> list[GaugeMetricFamily]:
        """Nothing is asked when it is registered."""
        return []
