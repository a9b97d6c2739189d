"""`sealstream collect`: HTTP ingest, from the settings. Wiring alone; `sealstream.collect` is the service."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import structlog
import typer

from sealstream.cli.context import context_of
from sealstream.cli.service import configure_logging
from sealstream.cli.settings import Settings
from sealstream.cli.watched import MetricsPortOption, watched_process
from sealstream.collect import KeyFile
from sealstream.errors import Misconfigured, SealstreamError
from sealstream.health.watching import Question
from sealstream.layout import ChainTopics, Figures

__all__ = ["NAME", "app", "keys_file", "raw_topics"]

NAME = "collect"

app = typer.Typer()


def keys_file(settings: Settings, config: Path) -> KeyFile:
    """Where the keys are: as the settings say, else beside the settings file."""
    return KeyFile(config.parent / (settings.collect.keys_file or "collect-keys.json"))


def raw_topics(settings: Settings) -> dict[str, str]:
    """Each chain's raw topic; of a closed chain, that of the chain which goes on for it."""
    topics: dict[str, str] = {}
    for name in settings.chains:
        last = name
        while settings.chains[last].closed_at and settings.chains[last].continued_as in settings.chains:
            last = settings.chains[last].continued_as
        if not settings.chains[last].closed_at:
            topics[name] = ChainTopics.of(last, settings.kafka.prefix).raw
    return topics


def _parts(looks: Mapping[str, Question]) -> Mapping[str, str]:
    parts = {}
    for part, look in looks.items():
        try:
            look()
            parts[part] = "ok"
        except SealstreamError as error:
            parts[part] = "does not answer"
            structlog.get_logger().warning("not ready", process=NAME, part=part, reason=str(error))
    return parts


@app.callback(invoke_without_command=True)
def collect_command(
    context: typer.Context,
    host: Annotated[
        str | None, typer.Option(help="Where to listen. Default: collect.host, 127.0.0.1.", show_default=False)
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65_535, help="Default: collect.port, 8481. 0: any free one.", show_default=False),
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(help="The certificate (PEM, with its chain): https.", show_default=False)
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key (PEM).", show_default=False)] = None,
    client_ca: Annotated[
        Path | None, typer.Option(help="Authorities (PEM) of clients' certificates: mTLS.", show_default=False)
    ] = None,
    metrics_port: MetricsPortOption = None,
) -> None:
    """Take events over HTTP, for every language that has no client of ours. /openapi.json describes it.

    Each request needs a key (`sealstream collect keys create`) or a registered certificate; 202 means that Kafka has
    acknowledged every event. It listens on 127.0.0.1 unless told, and refuses to be reachable from elsewhere while
    there is no key.

    Examples:

      sealstream collect keys create billing --chain main
      sealstream collect
      curl --json @event.json -H "Authorization: Bearer slk_..." http://127.0.0.1:8481/v1/events
    """
    if context.invoked_subcommand is not None:
        return
    from sealstream.collect.app import create_app
    from sealstream.collect.delivering import Deliveries
    from sealstream.collect.service import Collector
    from sealstream.collect.serving import check_may_collect, serve_collector

    shared = context_of(context)
    settings = shared.settings()
    given = {
        "host": host,
        "port": port,
        "tls_cert": tls_cert and str(tls_cert),
        "tls_key": tls_key and str(tls_key),
        "client_ca": client_ca and str(client_ca),
    }
    section = settings.collect.model_copy(update={name: value for name, value in given.items() if value is not None})
    check_may_collect(section, keys_file(settings, shared.config))
    configure_logging()
    topics = raw_topics(settings)
    if not topics:
        raise Misconfigured("no open chains in the settings: make one with `sealstream chain create main`")
    keys = keys_file(settings, shared.config)
    deliveries = Deliveries(
        settings.kafka_settings(), queue_bytes=section.memory_bytes, timeout_s=section.acknowledged_in_seconds
    )
    asked = sorted(set(topics.values()))
    looks: dict[str, Question] = {"kafka": lambda: deliveries.check(asked), "keys": keys.check}
    with watched_process(settings, NAME, (), metrics_port, looks, Figures(time.time)) as health:
        made = Collector(section, topics, keys, deliveries, lambda: _parts(looks), health.vitals)
        code = serve_collector(create_app(made), section)
    raise typer.Exit(code)
