"""Watches the stream: rolls a chain's entries up into activity, and finds in it what is unusual."""

from sealstream.anomaly.activity import ActivityRollUp
from sealstream.anomaly.followed import Pace

__all__ = ["ActivityRollUp", "Pace"]
