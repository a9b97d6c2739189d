"""The watch looked at from outside: detectors tried on history, what they know of somebody in words, a warm start.

Nothing here raises an alert. History is read from the archive or Postgres, and rolled up and watched in memory.
"""

from sealstream.anomalies.backtesting import Outcome, Trial, backtest
from sealstream.anomalies.explaining import Explained, explained
from sealstream.anomalies.history import History, Read, ends_of, size_of, stretches_of
from sealstream.anomalies.warming import HistoryWarmUp

__all__ = [
    "Explained",
    "History",
    "HistoryWarmUp",
    "Outcome",
    "Read",
    "Trial",
    "backtest",
    "ends_of",
    "explained",
    "size_of",
    "stretches_of",
]
