"""`sealstream serve`: the HTTP API, put together from the settings. Wiring alone; `sealstream.web` is the service."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import structlog
import typer

from sealstream.cli.context import context_of
from sealstream.cli.progress import chain_progress
from sealstream.cli.reading import access_log
from sealstream.cli.service import configure_logging
from sealstream.cli.settings import Settings
from sealstream.cli.stores import archive_settings
from sealstream.errors import Misconfigured, SealstreamError
from sealstream.kafka import topic_ids
from sealstream.layout import ChainTopics
from sealstream.postgres import PostgresStore
from sealstream.search import Stores
from sealstream.web import ServeSection, TokenFile
from sealstream.web.settings import ARCHIVE_TIMES

if TYPE_CHECKING:
    from sealstream.web.service import Service

_ACKNOWLEDGED_IN_S = 5.0  # a caller waits for each record, and a worker thread with it

__all__ = ["serve_command", "served", "tokens_file"]


def tokens_file(settings: Settings, config: Path) -> TokenFile:
    """Where the tokens are: as the settings say, else beside the settings file."""
    return TokenFile(config.parent / (settings.serve.tokens_file or "tokens.json"))


def served(settings: Settings, config: Path, section: ServeSection) -> Service:
    """The service of these settings."""
    from sealstream.web.service import ServedChain, Service
    from sealstream.web.sources import Sources
    from sealstream.web.verifying import Verifications

    if not settings.chains:
        raise Misconfigured("no chains in the settings: make one with `sealstream chain create main`")
    if not settings.postgres.reader_dsn:
        raise Misconfigured("postgres.reader_dsn is not set: the service reads with the role sealstream_reader")
    chains = {
        name: ServedChain(
            name, settings.chain(name).origin, chain.vkey, chain.retention, chain.closed_at, chain.continued_as
        )
        for name, chain in sorted(settings.chains.items())
    }
    archive = archive_settings(settings) if settings.archive.bucket else None
    stores = Stores(
        settings.postgres.reader_dsn, archive, section.search_seconds, section.search_seconds * ARCHIVE_TIMES
    )
    return Service(
        settings=section,
        chains=chains,
        kafka=settings.kafka_settings(),
        prefix=settings.kafka.prefix,
        sources=Sources(stores, list(chains), most=section.postgres_at_once),
        access=access_log(settings, _ACKNOWLEDGED_IN_S),
        tokens=tokens_file(settings, config),
        verifications=Verifications(config.parent / "verifications", lambda chain: _verify(config, chain)),
        progress=lambda chain: _sizes(settings, chain),
        ready=lambda: _parts(settings, config),
    )


def _verify(config: Path, chain: str) -> list[str]:
    command = [sys.executable, "-m", "sealstream.cli.entry", "--config", str(config)]
    return [*command, "verify", "all", "--chain", chain, "--json"]


def _sizes(settings: Settings, chain: str) -> Mapping[str, Any]:
    found = chain_progress(settings, chain)
    for trouble in found.troubles:
        structlog.get_logger().warning("a store could not be asked", process="serve", reason=trouble)
    return {
        "sealed": found.size,
        "signed": found.signed_size,
        "postgres": found.postgres_size,
        "archive": found.archive_size,
        "troubles": [trouble.partition(":")[0] for trouble in found.troubles],
    }


def _parts(settings: Settings, config: Path) -> Mapping[str, str]:
    parts = {"kafka": "ok", "postgres": "ok", "tokens": "ok"}

    def tried(part: str, error: SealstreamError) -> None:
        parts[part] = "does not answer"
        structlog.get_logger().warning("not ready", process="serve", part=part, reason=str(error))

    try:
        open_chains = settings.open_chains()
        topic_ids(
            settings.kafka_settings(), [ChainTopics.of(name, settings.kafka.prefix).control for name in open_chains]
        )
    except SealstreamError as error:
        tried("kafka", error)
    try:
        with PostgresStore(settings.postgres.reader_dsn):
            pass
    except SealstreamError as error:
        tried("postgres", error)
    try:
        tokens_file(settings, config).tokens()
    except SealstreamError as error:
        tried("tokens", error)
    return parts


def serve_command(
    context: typer.Context,
    host: Annotated[
        str | None, typer.Option(help="Where to listen. Default: serve.host, 127.0.0.1.", show_default=False)
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65_535, help="Default: serve.port, 8480. 0: any free one.", show_default=False),
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(help="The certificate (PEM, with its chain): https.", show_default=False)
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key (PEM).", show_default=False)] = None,
) -> None:
    """Serve the HTTP API: search, entries, export, chains, checkpoints, verification state. /openapi.json describes it.

    Each request needs a token (`sealstream tokens create`) and is recorded in the log as `log.read` before it is
    answered. It listens on 127.0.0.1 unless told, and refuses to be reachable from elsewhere while there is no token.

    Examples:

      sealstream tokens create siem --role exporter --chain main
      sealstream serve
      curl -H "Authorization: Bearer slt_..." "http://127.0.0.1:8480/v1/search?q=result:denied"
    """
    from sealstream.web.app import create_app
    from sealstream.web.serving import check_may_listen, serve

    shared = context_of(context)
    settings = shared.settings()
    given = {"host": host, "port": port, "tls_cert": tls_cert and str(tls_cert), "tls_key": tls_key and str(tls_key)}
    section = settings.serve.model_copy(update={name: value for name, value in given.items() if value is not None})
    check_may_listen(section, tokens_file(settings, shared.config))
    configure_logging()
    service = served(settings, shared.config, section)
    if section.verify_every_hours:
        service.verifications.check_folder()
        service.verifications.keep_up(list(service.chains), section.verify_every_hours)
    raise typer.Exit(serve(create_app(service), section))
