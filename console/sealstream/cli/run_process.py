"""`sealstream run NAME`: one process of the pipeline in the foreground, as a supervisor or systemd starts it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sealstream.archive import ArchiveSink
from sealstream.checkpointing import Checkpointing, load_signer
from sealstream.cli.context import context_of
from sealstream.cli.service import configure_logging, serve
from sealstream.cli.settings import Settings
from sealstream.cli.stores import archive_settings
from sealstream.errors import Misconfigured
from sealstream.postgres import PostgresSink
from sealstream.sequencer import SequencerGroup

__all__ = ["ProcessName", "run_command"]


class ProcessName(StrEnum):
    """The processes, in the order of the flow."""

    SEQUENCER = "sequencer"
    CHECKPOINTING = "checkpointing"
    POSTGRES_SINK = "postgres-sink"
    ARCHIVE_SINK = "archive-sink"


def run_command(
    context: typer.Context,
    process: Annotated[ProcessName, typer.Argument(help="Which process.")],
    chain: Annotated[
        list[str] | None,
        typer.Option(
            help="The chain; a sequencer takes several (default: all). Others: one (default: main).", show_default=False
        ),
    ] = None,
    accept_input_lost: Annotated[
        bool,
        typer.Option(
            "--accept-input-lost",
            help="Sequencer only: an input topic was recreated or trimmed too far; seal `input.lost` and go on.",
        ),
    ] = False,
) -> None:
    """Run one process until SIGTERM or Ctrl-C. Exit 0 stopped in order, 1 alarm (the chain stands), 2 can't run."""
    shared = context_of(context)
    settings = shared.settings()
    if accept_input_lost and process is not ProcessName.SEQUENCER:
        raise Misconfigured(
            "--accept-input-lost is a decision about the sequencer's input: use it with `run sequencer`"
        )
    configure_logging()
    if process is ProcessName.SEQUENCER:
        chains = {name: settings.running_chain(name) for name in chain or settings.open_chains()}
        if not chains:
            raise Misconfigured("no chains in the settings: make one with `sealstream chain create main`")
        decisions = [accept_input_lost]  # it speaks of the loss that was seen, not of one that comes later

        def build() -> SequencerGroup:
            decided = decisions.pop() if decisions else False
            return SequencerGroup(settings.kafka_settings(), chains, accept_input_lost=decided)

        code = serve("sequencer", build)
    else:
        if chain is not None and len(chain) > 1:
            raise Misconfigured(f"{process}: expected one --chain, got {len(chain)}; run one process for each")
        code = _serve_chain(process, settings, (chain or ["main"])[0], shared.config)
    raise typer.Exit(code)


def _serve_chain(process: ProcessName, settings: Settings, name: str, config: Path) -> int:
    kafka, chain = settings.kafka_settings(), settings.running_chain(name)
    if process is ProcessName.CHECKPOINTING:
        section = settings.chains[name]
        if not section.key_file:
            raise Misconfigured(f"chains.{name}.key_file is not set: checkpointing needs the chain's signing key")
        signer = load_signer(config.parent / section.key_file)
        return serve(process, lambda: Checkpointing(kafka, chain, signer))
    if process is ProcessName.POSTGRES_SINK:
        if not settings.postgres.sink_dsn:
            raise Misconfigured("postgres.sink_dsn is not set: the sink needs a DSN with the role sealstream_sink")
        return serve(process, lambda: PostgresSink(kafka, chain, settings.postgres.sink_dsn))
    return serve(process, lambda: ArchiveSink(kafka, chain, archive_settings(settings)))
