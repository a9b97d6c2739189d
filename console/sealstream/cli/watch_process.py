"""`sealstream run watch`: the lookout over the pipeline, built from settings; one process for all chains."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime

from sealstream.anomaly.detectors import PIPELINE_DETECTORS
from sealstream.anomaly.pipeline import Observation, PipelineWatch, ReviewLate, ReviewsObserved
from sealstream.anomaly.raising import RAISED_ACTION
from sealstream.anomaly.watching import chosen
from sealstream.cli.reviewing import began_at
from sealstream.cli.sealed import sealed_news, sealed_statements, sealed_with_ids
from sealstream.cli.service import serve
from sealstream.cli.settings import Settings
from sealstream.cli.stores import archive_settings
from sealstream.cli.watched import watched_process
from sealstream.health.lagging import postgres_answers
from sealstream.health.watching import Question
from sealstream.kafka import AcknowledgedProducer, create_topics, end_offset
from sealstream.layout import ChainTopics, Entry, Figures, figures
from sealstream.layout.pipeline_watch import watch_topic
from sealstream.lookout import LogWatch, Raising, WatchStates
from sealstream.lookout.eyes import ChainEyes
from sealstream.lookout.looking import STATEMENTS
from sealstream.reviews import ACTIONS as REVIEW_ACTIONS
from sealstream.reviews import fold, overdue

__all__ = ["NAME", "create_watch_topic", "make_log_watch", "serve_watch"]

NAME = "watch"


def serve_watch(settings: Settings, chains: Sequence[str], metrics_port: int | None, tally: Figures) -> int:
    """Run until told to stop; the exit code."""
    kafka = settings.kafka_settings()
    topics = [ChainTopics.of(chain, settings.kafka.prefix).chain for chain in chains]

    def ask_kafka() -> None:
        for topic in topics:
            end_offset(kafka, topic, committed=True)

    questions: dict[str, Question] = {"kafka": ask_kafka}
    if settings.postgres.reader_dsn:
        questions["postgres"] = postgres_answers(settings.postgres.reader_dsn)
    with watched_process(settings, NAME, (), metrics_port, questions, tally) as health:
        return serve(NAME, lambda: make_log_watch(settings, chains, tally), vitals=health.vitals)


def create_watch_topic(settings: Settings) -> None:
    """Make the topic of its states, where it is not there yet. Raises `Misconfigured`."""
    topic = watch_topic(settings.kafka.prefix)
    create_topics(settings.kafka_settings(), [topic], replication=settings.kafka.replication)


def make_log_watch(settings: Settings, chains: Sequence[str], tally: Figures) -> LogWatch:
    """The process. Raises `Misconfigured`, `Unavailable`."""
    kafka, prefix = settings.kafka_settings(), settings.kafka.prefix
    archive = archive_settings(settings) if settings.archive.bucket else None
    producer = AcknowledgedProducer(kafka)
    looks = {
        chain: ChainEyes(
            kafka,
            settings.running_chain(chain),
            lambda first_seq, chain=chain: sealed_news(settings, chain, (*STATEMENTS, *REVIEW_ACTIONS), first_seq),  # type: ignore[misc]
            _reviews_of(settings, chain, tally),
            reader_dsn=settings.postgres.reader_dsn,
            archive=archive,
        ).look
        for chain in chains
    }
    return LogWatch(
        looks,
        WatchStates(kafka, prefix, producer),
        Raising(prefix, producer, _known(settings)),
        PipelineWatch(chosen(PIPELINE_DETECTORS, settings.watch.thresholds)),
        every_s=settings.watch.every_seconds,
        tally=tally,
    )


def _known(settings: Settings) -> Callable[[str, Collection[str]], set[str]]:
    def known(chain: str, ids: Collection[str]) -> set[str]:
        return {
            entry.id
            for entry, _ in sealed_with_ids(settings, chain, list(ids))
            if entry.written.kind == "control" and entry.action == RAISED_ACTION
        }

    return known


def _reviews_of(
    settings: Settings, chain: str, tally: Figures
) -> Callable[[Sequence[Entry], float], Sequence[Observation]]:
    """What is overdue: what was sealed about reviews is read once, and then followed. Raises a `SealstreamError` where
    nobody says when the chain began, and is asked again at the next look.
    """
    cadence = settings.reviews.cadence(chain, settings.open_chains())
    has_all = bool(settings.archive.bucket and settings.postgres.reader_dsn)
    known: list[tuple[datetime, list[Entry]]] = []

    def observed(news: Sequence[Entry], now: float) -> Sequence[Observation]:
        if cadence is None:
            return ()
        if known:
            known[0][1].extend(entry for entry in news if entry.written.kind == "control")
        elif (first := began_at(settings, chain)) is None:
            return ()  # nothing is sealed yet
        else:
            known.append((first, list(sealed_statements(settings, chain, REVIEW_ACTIONS, whole=has_all))))
        began, said = known[0]
        late = overdue(fold(said), chain, cadence, datetime.fromtimestamp(now, UTC), began)
        tally.set(figures.REVIEWS_OVERDUE, len(late), chain)
        reviews = [
            ReviewLate(
                str(each.period),
                int(each.period.begins.timestamp()),
                int(each.due_at.timestamp()),
                each.started_by,
            )
            for each in late
        ]
        return (ReviewsObserved(chain=chain, at_s=int(now), every=cadence.every, overdue=reviews),)

    return observed
