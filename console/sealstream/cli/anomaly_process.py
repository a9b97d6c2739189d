"""`sealstream run anomaly`: a worker of the watch, looked after; several on several machines share the work."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

from sealstream.anomaly.warming import WarmUp
from sealstream.anomaly.worker_beginning import begin
from sealstream.anomaly.worker_watchdog import Patience, Restarts, WorkerWatchdog
from sealstream.cli.anomaly_rules import WithRules, sigma_folder, watches
from sealstream.cli.service import Process, serve
from sealstream.cli.settings import Settings
from sealstream.cli.watched import watched_process
from sealstream.errors import Unavailable
from sealstream.health.watching import Question
from sealstream.kafka import KafkaSettings, create_topics, partition_counts
from sealstream.layout import Figures, TopicConfig, figures
from sealstream.layout.activity import ActivityTopics
from sealstream.layout.workers import WorkerTopics, worker_group

__all__ = ["NAME", "create_watch_topics", "serve_anomaly", "watch_topics"]

NAME = "anomaly"


def serve_anomaly(
    settings: Settings,
    config: Path,
    metrics_port: int | None,
    tally: Figures,
    *,
    accept_input_lost: bool,
    warm_up: WarmUp | None = None,
) -> int:
    """Run until told to stop; the exit code. `warm_up`: what history knows, asked on the very first start."""
    if "faust" not in sys.modules and find_spec("faust") is None:
        raise ModuleNotFoundError("No module named 'faust'", name="faust")
    kafka, prefix, section = settings.kafka_settings(), settings.kafka.prefix, settings.anomaly
    command = [sys.executable, "-m", "sealstream.cli.anomaly_worker", "--config", str(config.absolute())]
    patience = Patience(silent_s=section.worker_silent_seconds, still_s=section.worker_still_seconds)
    patience = patience._replace(look_every_s=min(patience.look_every_s, section.worker_still_seconds / 4))
    restarts, decisions = Restarts(), [accept_input_lost]  # it speaks of the loss that was seen, not of a later one

    folder = sigma_folder(settings)

    def build() -> Process:
        decided = decisions.pop() if decisions else False
        places = begin(kafka, prefix, watches(settings, folder), warm_up=warm_up, accept_input_lost=decided)
        watchdog = WorkerWatchdog(
            kafka, worker_group(prefix), places, command, tally, restarts=restarts, patience=patience
        )
        return watchdog if folder is None else WithRules(watchdog, folder)

    questions = {"kafka": _kafka_answers(kafka, prefix), "worker": _worker_works(tally)}
    with watched_process(settings, NAME, (), metrics_port, questions, tally) as health:
        return serve(NAME, build, vitals=health.vitals)


def create_watch_topics(settings: Settings) -> None:
    """Make the topics that all chains of a prefix share, where they are not there yet. Raises `Misconfigured`."""
    create_topics(settings.kafka_settings(), watch_topics(settings), replication=settings.kafka.replication)


def watch_topics(settings: Settings) -> list[TopicConfig]:
    """How each of them is made."""
    prefix, partitions = settings.kafka.prefix, settings.activity.partitions
    return ActivityTopics.of(prefix).configs(partitions) + WorkerTopics.of(prefix).configs(partitions)


def _worker_works(tally: Figures) -> Question:
    def ask() -> None:
        if not tally.value(figures.WORKER_READY):
            raise Unavailable("the worker is starting, or waits for its partitions")

    return ask


def _kafka_answers(kafka: KafkaSettings, prefix: str) -> Question:
    def ask() -> None:
        partition_counts(kafka, ActivityTopics.of(prefix)[:2])

    return ask
