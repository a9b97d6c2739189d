"""Runs the API with uvicorn: where it may listen, with which limits, and how it ends.

The invariant: nobody but this machine can reach it unless somebody said so and made a token. SIGTERM finishes the
answers at hand and cuts exports off, whose ends are recorded.
"""

from __future__ import annotations

import signal
import socket
from datetime import UTC, datetime
from pathlib import Path

import structlog
import uvicorn
from starlette.types import ASGIApp

from sealstream.errors import Misconfigured
from sealstream.web.settings import ServeSection, is_loopback
from sealstream.web.tokens import TokenFile

__all__ = ["check_may_listen", "serve"]

_FINISH_S = 8


def check_may_listen(settings: ServeSection, tokens: TokenFile) -> None:
    """Raises `Misconfigured` when the service must not start like this; says what to do."""
    if bool(settings.tls_cert) != bool(settings.tls_key):
        raise Misconfigured("serve.tls_cert and serve.tls_key: expected both, or neither")
    for name, file in (("tls_cert", settings.tls_cert), ("tls_key", settings.tls_key)):
        if file and not Path(file).is_file():
            raise Misconfigured(f"serve.{name}: there is no file {file}")
    known = tokens.tokens()
    if not is_loopback(settings.host) and not any(token.counts(datetime.now(UTC)) for token in known):
        raise Misconfigured(
            f"serve.host {settings.host} can be reached from other machines, and there is no token that counts in "
            f"{tokens.path}: make one first, `sealstream tokens create NAME --role reader --chain main`, or listen on "
            "127.0.0.1"
        )


def serve(app: ASGIApp, settings: ServeSection) -> int:
    """Serve until told to stop; the exit code."""
    log = structlog.get_logger().bind(process="serve")
    tls = bool(settings.tls_cert)
    if not tls and not is_loopback(settings.host):
        log.warning(
            "without TLS, whoever is on the way can read tokens and entries: set serve.tls_cert and serve.tls_key, or "
            "let a proxy with TLS stand before it"
        )
    config = uvicorn.Config(
        app,
        ssl_certfile=settings.tls_cert or None,
        ssl_keyfile=settings.tls_key or None,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies,
        server_header=False,
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=_FINISH_S,
        timeout_keep_alive=30,
        h11_max_incomplete_event_size=32_768,
        http="h11",
        ws="none",
    )
    listening = _listening(settings)
    log.info("listening", url=f"{'https' if tls else 'http'}://{settings.host}:{listening.getsockname()[1]}")
    server = uvicorn.Server(config)
    for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises the signal again when it has ended in order
        signal.signal(number, lambda _number, _frame: None)
    with listening:
        server.run(sockets=[listening])
    return 0 if server.started else 2


def _listening(settings: ServeSection) -> socket.socket:
    host = settings.host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, settings.port), family=family, backlog=1_024)
    except OSError as error:
        raise Misconfigured(
            f"can't listen on {settings.host} port {settings.port}: {error}; another process may have it: choose "
            "another with --port"
        ) from error
