"""A worker of the watch, built from the same settings as the process that looks after it.

What ends it is in its log, and another is started. SIGTERM has it finish the batch at hand; however it ends, nothing is
lost.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Collection
from pathlib import Path

import structlog

from sealstream.anomaly.raising import RAISED_ACTION
from sealstream.anomaly.worker import Worker
from sealstream.anomaly.worker_reports import reports_to
from sealstream.anomaly.worker_writing import Known
from sealstream.cli.anomaly_rules import sigma_folder, watches
from sealstream.cli.service import configure_logging
from sealstream.cli.settings import load_settings
from sealstream.errors import SealstreamError
from sealstream.postgres.driver import Session

__all__ = ["alerts_in_postgres", "run_worker"]

_LIBRARIES = ("faust", "aiokafka", "mode", "asyncio")
_FAILED = 3


def alerts_in_postgres(dsn: str) -> Known:
    """Which alerts the stored log holds. The connection is opened for each question: there are few."""

    def known(ids: Collection[str]) -> set[str]:
        with Session(dsn, "sealstream anomaly", command_timeout_s=10) as session:
            rows = session.fetch(
                "looking for alerts that were raised before",
                "SELECT DISTINCT id::text FROM public.audit_log WHERE id = ANY($1::uuid[]) AND kind = 'control' "
                "AND action = $2",
                list(ids),
                RAISED_ACTION,
            )
        return {row["id"] for row in rows}

    return known


def run_worker(config: Path, pipe: int) -> None:
    """Until SIGTERM, or until something ends it; ends the process, since Faust's tasks and threads may never end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C tells the parent, and the parent tells us
    configure_logging()
    _pass_on_warnings()
    asyncio.run(_to_the_end(config, pipe))


async def _to_the_end(config: Path, pipe: int) -> None:
    log = structlog.get_logger().bind(process="anomaly", worker=os.getpid())
    code = 0
    try:
        await _built(config, pipe).run(_told_to_stop())
        log.info("worker stopped")
    except SealstreamError as error:
        log.error("worker ended", kind=type(error).__name__, reason=str(error))
        code = _FAILED
    except Exception as error:  # the parent starts another
        log.critical("worker ended by a fault of the program: please report it", reason=repr(error), exc_info=True)
        code = _FAILED
    sys.stderr.flush()
    os._exit(code)


def _built(config: Path, pipe: int) -> Worker:
    settings = load_settings(config)
    dsn = settings.postgres.reader_dsn
    return Worker(
        settings.kafka_settings(),
        settings.kafka.prefix,
        watches(settings, sigma_folder(settings)),
        report=reports_to(pipe),
        known=alerts_in_postgres(dsn) if dsn else None,
        name=f"sealstream-anomaly-{os.uname().nodename}-{os.getpid()}",
    )


def _told_to_stop() -> asyncio.Event:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    return stop


class _IntoOurLog(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().warning("said by the worker's libraries", by=record.name, words=record.getMessage())


def _pass_on_warnings() -> None:
    """What Faust and aiokafka have to say, as lines of our log."""
    logging.basicConfig(level=logging.WARNING, handlers=[_IntoOurLog()], force=True)
    for name in _LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)
