"""The part of `config check` about traces: the packages are there, and the receiver takes a request without a span."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Sequence

from sealstream.cli.findings import Finding, ok, warning, wrong
from sealstream.errors import Misconfigured
from sealstream.health.span_export import Receiver, check_installed
from sealstream.web.settings import is_loopback

__all__ = ["check_tracing"]

_ABOUT = "tracing"
_TIMEOUT_S = 5.0
_TO_DO = "until it does, spans are dropped and counted; everything else goes on"


class _Stays(urllib.request.HTTPRedirectHandler):
    """Headers hold keys: they go nowhere but where they were meant to."""

    def redirect_request(self, *_given: object) -> None:
        return None


def check_tracing(receiver: Receiver | None) -> Sequence[Finding]:
    """Nothing where no traces are asked for. Other processes work without a receiver, so that is but a warning."""
    if receiver is None:
        return []
    try:
        check_installed()
    except Misconfigured as error:
        return [wrong(_ABOUT, str(error))]
    findings = []
    request = urllib.request.Request(receiver.url, b"", dict(receiver.headers), method="POST")
    request.add_header("Content-Type", "application/x-protobuf")  # no bytes: a message without a span
    if request.type == "http" and receiver.headers and not is_loopback(request.host.rpartition(":")[0] or request.host):
        findings.append(warning(_ABOUT, "headers can be read on the way", "use https://"))
    try:
        with urllib.request.build_opener(_Stays).open(request, timeout=_TIMEOUT_S) as answer:
            status = answer.status
    except urllib.error.HTTPError as error:
        return [*findings, warning(_ABOUT, f"{receiver.url} answers {error.code} {error.reason}", _TO_DO)]
    except OSError as error:
        return [*findings, warning(_ABOUT, f"{receiver.url} does not answer: {error}", _TO_DO)]
    return [*findings, ok(_ABOUT, f"{receiver.url} answers {status}; {receiver.ratio:.0%} of traces are told of")]
