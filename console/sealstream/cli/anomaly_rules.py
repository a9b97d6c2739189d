"""What the watch's processes look for: the detectors with the settings' thresholds, and the settings' Sigma rules."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from sealstream.anomalies import HistoryWarmUp
from sealstream.anomalies.history import History
from sealstream.anomaly.warming import WarmUp
from sealstream.anomaly.watching import Watch
from sealstream.anomaly.worker_handling import Kind, watches_of
from sealstream.anomaly.worker_watchdog import WorkerWatchdog
from sealstream.cli.settings import Settings
from sealstream.cli.stores import archive_settings
from sealstream.errors import Unavailable

if TYPE_CHECKING:
    from sealstream.anomaly.sigma import SigmaFolder

__all__ = ["WithRules", "sigma_folder", "warm_up_of", "watches"]

_LEARNED_DAYS = 30


def sigma_folder(settings: Settings) -> SigmaFolder | None:
    """Where the rules are; None: there are none."""
    if not settings.anomaly.sigma_rules:
        return None
    from sealstream.anomaly.sigma import SigmaFolder  # of the extra `anomaly`, and only for who has rules

    return SigmaFolder(Path(settings.anomaly.sigma_rules))


def watches(settings: Settings, folder: SigmaFolder | None) -> dict[Kind, Watch[Any]]:
    """By whose records they read. What is wrong with a rule is told in the log, and the others run."""
    if folder is None:
        return watches_of(settings.anomaly.thresholds())
    rules, log = folder.load(), structlog.get_logger()
    for fault in rules.faults:
        log.error("a Sigma rule does not run", file=fault.file, line=fault.line, reason=fault.reason)
    return watches_of(settings.anomaly.thresholds(), [*rules.detectors])


def warm_up_of(settings: Settings) -> WarmUp | None:
    """What the last weeks teach of everybody, for the very first start; None: there is no store to read them from."""
    now, chains = datetime.now(UTC), tuple(settings.open_chains())
    history = History(chains, now - timedelta(days=_LEARNED_DAYS), now, reader_dsn=settings.postgres.reader_dsn)
    if not settings.postgres.reader_dsn:
        if not settings.archive.bucket:
            return None
        history = history._replace(archive=archive_settings(settings))
    return HistoryWarmUp(history, settings.anomaly.thresholds())


class WithRules:
    """A worker looked after, that is started anew when a rule was written: it reads them when it begins."""

    def __init__(self, watchdog: WorkerWatchdog, folder: SigmaFolder) -> None:
        self._watchdog = watchdog
        self._folder = folder

    def step(self) -> bool:
        """Raises `Unavailable` when the rules have changed: whoever repeats this builds it anew."""
        if self._folder.changed():
            raise Unavailable("the Sigma rules have changed: the worker is started anew with them")
        return self._watchdog.step()

    def close(self) -> None:
        """End the worker."""
        self._watchdog.close()
