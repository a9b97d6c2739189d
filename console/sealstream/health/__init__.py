"""How a process is and what it counts: probes, metrics, systemd; and what `sealstream status` makes of all of them."""

from sealstream.health.settings import MetricsSection, program_name
from sealstream.health.vitals import Verdict, Vitals

__all__ = ["MetricsSection", "Verdict", "Vitals", "program_name"]
