"""`sealstream run forward`: the forward sink of all targets in the settings, with its probes and figures."""

from __future__ import annotations

from contextlib import suppress

from sealstream.cli.service import serve
from sealstream.cli.settings import Settings
from sealstream.cli.watched import watched_process
from sealstream.errors import Misconfigured, Unavailable
from sealstream.forward import Forwarding, IsMuted, Sources, Troubles, never_muted
from sealstream.health.watching import Question
from sealstream.kafka import create_topics
from sealstream.kafka.admin import describe
from sealstream.kafka.settings import TopicMissing
from sealstream.layout import ChainTopics, Figures
from sealstream.layout.activity import ActivityTopics
from sealstream.layout.forwarding import ForwardTopics

__all__ = ["NAME", "create_forward_topics", "serve_forward", "sources_of"]

NAME = "forward"


def serve_forward(
    settings: Settings, metrics_port: int | None, tally: Figures, *, is_muted: IsMuted = never_muted
) -> int:
    """Run until told to stop; the exit code. `is_muted`: which alerts are nobody's work now."""
    targets = settings.forward_targets()
    if not targets:
        raise Misconfigured("there is no target: [forward.targets.NAME] in the settings makes one (docs/forwarding.md)")
    kafka, troubles = settings.kafka_settings(), Troubles()

    def build() -> Forwarding:
        sources = _with_closed_chains(settings, sources_of(settings))
        return Forwarding(kafka, targets, sources, is_muted=is_muted, tally=tally, troubles=troubles)

    questions = {f"target {target.name}": _takes(troubles, target.name) for target in targets}
    with watched_process(settings, NAME, (), metrics_port, questions, tally) as health:
        return serve(NAME, build, vitals=health.vitals)


def sources_of(settings: Settings) -> Sources:
    """The topics that targets follow."""
    prefix = settings.kafka.prefix
    chains = {name: ChainTopics.of(name, prefix).chain for name in settings.open_chains()}
    return Sources(ActivityTopics.of(prefix).alerts, chains, ForwardTopics.of(prefix))


def _with_closed_chains(settings: Settings, sources: Sources) -> Sources:
    """Closed chains' topics too, where they are there: something of them may wait."""
    found = dict(sources.chains)
    for name in settings.chains.keys() - found.keys():
        topic = ChainTopics.of(name, settings.kafka.prefix).chain
        with suppress(TopicMissing):
            describe(settings.kafka_settings(), [topic])
            found[name] = topic
    return sources._replace(chains=found)


def create_forward_topics(settings: Settings) -> None:
    """Make the forward sink's topics, where they are not there yet. Raises `Misconfigured`."""
    topics = ForwardTopics.of(settings.kafka.prefix).configs()
    create_topics(settings.kafka_settings(), topics, replication=settings.kafka.replication)


def _takes(troubles: Troubles, target: str) -> Question:
    def ask() -> None:
        if words := troubles.of(target):
            raise Unavailable(words)

    return ask
