"""The detectors, one a file. A new one is a class in a file of its own here, and a line in `DETECTORS`."""

from collections.abc import Mapping
from typing import Any

from sealstream.anomaly.detectors.failed_login_burst import FailedLoginBurst

__all__ = ["DETECTORS"]

DETECTORS: Mapping[str, type[Any]] = {each.name: each for each in (FailedLoginBurst,)}
"""By name, in the order in which `sealstream anomaly` lists them."""
