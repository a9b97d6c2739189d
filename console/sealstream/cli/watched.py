"""A process of the pipeline with its probes and figures: built here from settings, served by `service`.

`watched_process` gives what both need: the vitals that the loop tells, and the health that others ask. The questions
beside each process are chosen here, by what the process itself needs to work.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer

from sealstream.archive import ArchiveSettings
from sealstream.cli.settings import Settings
from sealstream.health import Vitals, program_name
from sealstream.health.lagging import (
    archive_answers,
    every,
    lag_in_chain,
    lag_in_outbox,
    lag_in_raw,
    newest_checkpoint,
    postgres_answers,
)
from sealstream.health.serving import MetricsServer
from sealstream.health.watching import Health, Question
from sealstream.kafka import KafkaSettings
from sealstream.layout import ChainSettings, Figures, OutboxTables

__all__ = ["MetricsPortOption", "port_of", "questions_of", "watched_process"]

MetricsPortOption = Annotated[
    int | None,
    typer.Option(
        "--metrics-port",
        min=0,
        max=65_535,
        help="Serve /metrics, /healthz and /readyz here; 0 takes a free port and logs it. "
        "Default: what the settings' section metrics says of this process.",
        show_default=False,
    ),
]


def watched_process(
    settings: Settings,
    process: str,
    chains: Sequence[ChainSettings],
    port: int | None,
    questions: Mapping[str, Question],
    tally: Figures,
) -> Health:
    """The health of one process, to be entered. `port` None: the one in the settings, else none."""
    names = tuple(chain.name for chain in chains)
    section = settings.metrics
    vitals = Vitals(
        process,
        names,
        tally,
        alive_within_s=section.alive_within_seconds,
        stays_after_alarm=section.stay_after_alarm,
    )
    if port is None:
        port = port_of(settings, process, names)
    server = None if port is None else MetricsServer(vitals, section.host, port)
    return Health(vitals, server, questions, every_s=section.ask_every_seconds)


def port_of(settings: Settings, process: str, names: Sequence[str]) -> int | None:
    """A sequencer of one chain has a name of its own; one that serves all there are may go by its plain one."""
    ports = settings.metrics.ports
    port = ports.get(program_name(process, names[0]) if len(names) == 1 else process)
    if port is None and (process == "activity" or (process == "sequencer" and sorted(names) == settings.open_chains())):
        return ports.get(process)
    return port


def questions_of(
    process: str,
    kafka: KafkaSettings,
    chains: Sequence[ChainSettings],
    tally: Figures,
    *,
    dsn: str = "",
    archive: ArchiveSettings | None = None,
    outbox: OutboxTables | None = None,
) -> dict[str, Question]:
    """What is asked beside this process, by store."""
    if process == "sequencer":
        return {"kafka": lag_in_raw(kafka, chains, tally, time.time)}
    if outbox is not None:
        return {"outbox": lag_in_outbox(dsn, outbox, chains[0].name, tally)}
    if process == "activity":
        return {"kafka": every([lag_in_chain(kafka, chain, tally, time.time) for chain in chains])}
    follow = lag_in_chain(kafka, chains[0], tally, time.time)
    if process == "checkpointing":
        return {"kafka": every([follow, newest_checkpoint(kafka, chains[0], tally)])}
    if archive is not None:
        return {"kafka": follow, "archive": archive_answers(archive, time.time)}
    return {"kafka": follow, "postgres": postgres_answers(dsn)}
