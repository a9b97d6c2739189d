"""`sealstream run NAME`: one process of the pipeline in the foreground, as a supervisor or systemd starts it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sealstream.anomaly import ActivityRollUp
from sealstream.archive import ArchiveSink
from sealstream.checkpointing import Checkpointing, load_signer
from sealstream.cli.anomaly_process import serve_anomaly
from sealstream.cli.anomaly_rules import warm_up_of
from sealstream.cli.context import context_of
from sealstream.cli.forward_process import serve_forward
from sealstream.cli.muting import mutes_in_force
from sealstream.cli.service import Process, configure_logging, serve
from sealstream.cli.settings import Settings
from sealstream.cli.stores import archive_settings
from sealstream.cli.watch_process import serve_watch
from sealstream.cli.watched import MetricsPortOption, questions_of, watched_process
from sealstream.errors import Misconfigured
from sealstream.health.span_export import exporting
from sealstream.layout import Figures
from sealstream.layout.spans import Tracing
from sealstream.postgres import PostgresSink
from sealstream.sequencer import SequencerGroup

__all__ = ["ProcessName", "run_command"]


class ProcessName(StrEnum):
    """The processes, in the order of the flow."""

    SEQUENCER = "sequencer"
    CHECKPOINTING = "checkpointing"
    POSTGRES_SINK = "postgres-sink"
    ARCHIVE_SINK = "archive-sink"
    FORWARD = "forward"
    ACTIVITY = "activity"
    ANOMALY = "anomaly"
    WATCH = "watch"


_OF_ALL_CHAINS = (ProcessName.SEQUENCER, ProcessName.ACTIVITY)


def run_command(
    context: typer.Context,
    process: Annotated[ProcessName, typer.Argument(help="Which process.")],
    chain: Annotated[
        list[str] | None,
        typer.Option(
            help="The chain; sequencer, activity and watch take several (default: all); forward and anomaly have all. "
            "Others: one (default: main).",
            show_default=False,
        ),
    ] = None,
    accept_input_lost: Annotated[
        bool,
        typer.Option(
            "--accept-input-lost",
            help="Sequencer: an input topic was recreated or trimmed too far; seal `input.lost` and go on. "
            "Activity and anomaly: what they read was trimmed too far; go on with what is there.",
        ),
    ] = False,
    metrics_port: MetricsPortOption = None,
) -> None:
    """Run one process until SIGTERM or Ctrl-C. Exit 0 stopped in order, 1 alarm (the chain stands), 2 can't run."""
    shared = context_of(context)
    settings = shared.settings()
    if accept_input_lost and process not in (*_OF_ALL_CHAINS, ProcessName.ANOMALY):
        raise Misconfigured(
            "--accept-input-lost is a decision about what the sequencer, the roll-up or the watch reads: use it with "
            "`run sequencer`, `run activity` or `run anomaly`"
        )
    configure_logging()
    tally = Figures(time.time)
    if process in _OF_ALL_CHAINS:
        chains = {name: settings.running_chain(name) for name in chain or settings.open_chains()}
        if not chains:
            raise Misconfigured("no chains in the settings: make one with `sealstream chain create main`")
        decisions = [accept_input_lost]  # it speaks of the loss that was seen, not of one that comes later
        kafka = settings.kafka_settings()

        served = list(chains.values())

        def build() -> Process:
            decided = decisions.pop() if decisions else False
            if process is ProcessName.SEQUENCER:
                return SequencerGroup(kafka, chains, accept_input_lost=decided, tally=tally, tracing=tracing)
            partitions = settings.activity.partitions
            return ActivityRollUp(kafka, served, partitions=partitions, accept_lost=decided, tally=tally)

        questions = questions_of(process, kafka, served, tally)
        with (
            _traces(settings, process, tally) as tracing,
            watched_process(settings, process, served, metrics_port, questions, tally) as health,
        ):
            code = serve(process, build, vitals=health.vitals)
    elif process is ProcessName.FORWARD:
        if chain:
            raise Misconfigured("forward serves all targets: expected no --chain; a target's settings name its chains")
        code = serve_forward(settings, metrics_port, tally, is_muted=mutes_in_force(settings))
    elif process is ProcessName.ANOMALY:
        if chain:
            raise Misconfigured("anomaly watches all chains of the prefix: expected no --chain")
        code = serve_anomaly(
            settings,
            shared.config,
            metrics_port,
            tally,
            accept_input_lost=accept_input_lost,
            warm_up=warm_up_of(settings),
        )
    elif process is ProcessName.WATCH:
        watched = [settings.running_chain(name).name for name in chain or settings.open_chains()]
        code = serve_watch(settings, watched, metrics_port, tally)
    else:
        if chain is not None and len(chain) > 1:
            raise Misconfigured(f"{process}: expected one --chain, got {len(chain)}; run one process for each")
        code = _serve_chain(process, settings, (chain or ["main"])[0], shared.config, metrics_port, tally)
    raise typer.Exit(code)


def _serve_chain(
    process: ProcessName, settings: Settings, name: str, config: Path, metrics_port: int | None, tally: Figures
) -> int:
    kafka, chain = settings.kafka_settings(), settings.running_chain(name)
    dsn, archive = settings.postgres.sink_dsn, None
    build: Callable[[], Process]
    if process is ProcessName.CHECKPOINTING:
        section = settings.chains[name]
        if not section.key_file:
            raise Misconfigured(f"chains.{name}.key_file is not set: checkpointing needs the chain's signing key")
        signer = load_signer(config.parent / section.key_file)
        build = lambda: Checkpointing(kafka, chain, signer, tally=tally)  # noqa: E731
    elif process is ProcessName.POSTGRES_SINK:
        if not dsn:
            raise Misconfigured("postgres.sink_dsn is not set: the sink needs a DSN with the role sealstream_sink")
        build = lambda: PostgresSink(kafka, chain, dsn, tally=tally, tracing=tracing)  # noqa: E731
    else:
        archive = archive_settings(settings)
        build = lambda: ArchiveSink(kafka, chain, archive_settings(settings), tally=tally)  # noqa: E731
    questions = questions_of(process, kafka, [chain], tally, dsn=dsn, archive=archive)
    with (
        _traces(settings, process, tally) as tracing,
        watched_process(settings, process, [chain], metrics_port, questions, tally) as health,
    ):
        return serve(process, build, vitals=health.vitals)


def _traces(settings: Settings, process: ProcessName, tally: Figures) -> AbstractContextManager[Tracing | None]:
    """For the processes that make spans."""
    if process in (ProcessName.SEQUENCER, ProcessName.POSTGRES_SINK):
        return exporting(settings.tracing.receiver(), process, tally)
    return nullcontext()
