"""Runs the collector: the API's way to serve, and what a connection proves with a certificate.

The invariant: a certificate counts only when TLS has checked that an authority of `collect.client_ca` signed it and
that its holder has the key.
"""

from __future__ import annotations

import asyncio
import ssl
from hashlib import sha256
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from sealstream.collect.guard import CERTIFICATE
from sealstream.collect.keys import KeyFile
from sealstream.collect.settings import CollectSection
from sealstream.errors import Misconfigured
from sealstream.web.serving import check_may_listen, serve

__all__ = ["check_may_collect", "serve_collector"]


def check_may_collect(settings: CollectSection, keys: KeyFile) -> None:
    """Raises `Misconfigured` when the collector must not start like this; says what to do."""
    made_by = "sealstream collect keys create NAME --chain main"
    check_may_listen(settings, keys, section="collect", what="key", made_by=made_by)
    if settings.client_ca and not settings.tls_cert:
        raise Misconfigured("collect.client_ca has no effect without TLS: expected tls_cert and tls_key beside it")
    if settings.client_ca and not Path(settings.client_ca).is_file():
        raise Misconfigured(f"collect.client_ca: there is no file {settings.client_ca}")


def serve_collector(app: ASGIApp, settings: CollectSection) -> int:
    """Serve until told to stop; the exit code."""
    options: dict[str, Any] = {}
    if settings.client_ca:
        options = {"http": _WithCertificate, "ssl_ca_certs": settings.client_ca, "ssl_cert_reqs": ssl.CERT_OPTIONAL}
    return serve(app, settings, process="collect", **options)


class _WithCertificate(H11Protocol):
    """Puts the SHA-256 of the client's certificate, if it showed one, into the state of each of its requests."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The handshake is over."""
        super().connection_made(transport)
        connection = transport.get_extra_info("ssl_object")
        certificate = None if connection is None else connection.getpeercert(binary_form=True)
        if certificate:
            self.app_state = {**self.app_state, CERTIFICATE: sha256(certificate).hexdigest()}
