"""Runs the API with uvicorn: where it may listen, with which limits, and how it ends.

The invariant: nobody but this machine can reach it unless somebody said so and made a token. SIGTERM finishes the
answers at hand and cuts exports off, whose ends are recorded.
"""

from __future__ import annotations

import signal
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import structlog
import uvicorn
from starlette.types import ASGIApp

from sealstream.errors import Misconfigured
from sealstream.web.credentials import CredentialFile
from sealstream.web.settings import is_loopback

__all__ = ["check_may_listen", "serve"]

_FINISH_S = 8


class Listening(Protocol):
    """What a section says of where its service listens."""

    host: str
    port: int
    tls_cert: str
    tls_key: str
    trusted_proxies: list[str]


def check_may_listen(
    settings: Listening,
    known: CredentialFile[Any],
    *,
    section: str = "serve",
    what: str = "token",
    made_by: str = "sealstream tokens create NAME --role reader --chain main",
) -> None:
    """Raises `Misconfigured` when the service must not start like this; says what to do."""
    if bool(settings.tls_cert) != bool(settings.tls_key):
        raise Misconfigured(f"{section}.tls_cert and {section}.tls_key: expected both, or neither")
    for name, file in (("tls_cert", settings.tls_cert), ("tls_key", settings.tls_key)):
        if file and not Path(file).is_file():
            raise Misconfigured(f"{section}.{name}: there is no file {file}")
    now = datetime.now(UTC)
    kept = known.all()
    if not is_loopback(settings.host) and not any(each.counts(now) for each in kept):
        raise Misconfigured(
            f"{section}.host {settings.host} can be reached from other machines, and there is no {what} that counts in "
            f"{known.path}: make one first, `{made_by}`, or listen on 127.0.0.1"
        )


def serve(app: ASGIApp, settings: Listening, *, process: str = "serve", **options: Any) -> int:
    """Serve until told to stop; the exit code. `options`: uvicorn's, instead of those that are set here."""
    log = structlog.get_logger().bind(process=process)
    tls = bool(settings.tls_cert)
    if not tls and not is_loopback(settings.host):
        log.warning(
            f"without TLS, whoever is on the way can read tokens and entries: set {process}.tls_cert and "
            f"{process}.tls_key, or let a proxy with TLS stand before it"
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
        ws="none",
        **({"http": "h11"} | options),
    )
    listening = _listening(settings)
    log.info("listening", url=f"{'https' if tls else 'http'}://{settings.host}:{listening.getsockname()[1]}")
    server = uvicorn.Server(config)
    for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises the signal again when it has ended in order
        signal.signal(number, lambda _number, _frame: None)
    with listening:
        server.run(sockets=[listening])
    return 0 if server.started else 2


def _listening(settings: Listening) -> socket.socket:
    host = settings.host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, settings.port), family=family, backlog=1_024)
        # What is accepted inherits it; asyncio sets it only where a socket names its protocol, which these do not.
        # Without it the end of each answer waits for the peer's delayed acknowledgement, 40 ms.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except OSError as error:
        raise Misconfigured(
            f"can't listen on {settings.host} port {settings.port}: {error}; another process may have it: choose "
            "another with --port"
        ) from error
