"""One worker of the watch as a process: `python -m sealstream.cli.anomaly_worker`, started by `sealstream run anomaly`.

Built from the same settings as its parent, to which it reports through a pipe and with which it ends. What ends it is
in its log; the parent starts another. SIGTERM has it finish the batch at hand; however it ends, nothing is lost.
"""

from __future__ import annotations

import argparse
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
from sealstream.anomaly.worker_handling import watches_of
from sealstream.anomaly.worker_life import live_with, reports_to
from sealstream.anomaly.worker_writing import Known
from sealstream.cli.service import configure_logging
from sealstream.cli.settings import load_settings
from sealstream.errors import SealstreamError
from sealstream.postgres.driver import Session

__all__ = ["alerts_in_postgres", "main"]

_OURS = ("faust", "aiokafka", "mode", "asyncio")
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


def main() -> None:
    """Run until SIGTERM, or until something ends it; never returns."""
    parser = argparse.ArgumentParser(prog="python -m sealstream.cli.anomaly_worker")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--pipe", type=int, required=True, help="where reports go")
    parser.add_argument("--parent", type=int, required=True, help="who started this")
    arguments = parser.parse_args()
    live_with(arguments.parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C tells the parent, and the parent tells us
    configure_logging()
    _pass_on_warnings()
    log = structlog.get_logger().bind(process="anomaly", worker=os.getpid())

    async def run() -> None:
        code = 0
        try:
            await _run(arguments.config, arguments.pipe)
            log.info("worker stopped")
        except SealstreamError as error:
            log.error("worker ended", kind=type(error).__name__, reason=str(error))
            code = _FAILED
        except Exception as error:  # the parent starts another
            log.critical("worker ended by a fault of the program: please report it", reason=repr(error), exc_info=True)
            code = _FAILED
        sys.stderr.flush()
        os._exit(code)  # Faust's tasks and threads may never end

    asyncio.run(run())


async def _run(config: Path, pipe: int) -> None:
    settings = load_settings(config)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    dsn = settings.postgres.reader_dsn
    worker = Worker(
        settings.kafka_settings(),
        settings.kafka.prefix,
        watches_of({}),
        report=reports_to(pipe),
        known=alerts_in_postgres(dsn) if dsn else None,
        name=f"sealstream-anomaly-{os.uname().nodename}-{os.getpid()}",
    )
    await worker.run(stop)


class _IntoOurLog(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().warning("said by the worker's libraries", by=record.name, words=record.getMessage())


def _pass_on_warnings() -> None:
    """What Faust and aiokafka have to say, as lines of our log."""
    logging.basicConfig(level=logging.WARNING, handlers=[_IntoOurLog()], force=True)
    for name in _OURS:
        logging.getLogger(name).setLevel(logging.WARNING)


if __name__ == "__main__":
    main()
