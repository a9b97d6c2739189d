"""Who may write: the key in the `Authorization` header or the client's certificate, how often, and to which topic.

The invariant: no body is read before its sender is known and counted. Addresses that present wrong keys are slowed
down; a right key is never slowed by others behind the same address.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from starlette.requests import Request

from sealstream.collect.keys import Key
from sealstream.collect.service import Collector
from sealstream.web.limits import address_key
from sealstream.web.problems import Problem

__all__ = ["CERTIFICATE", "Sender", "sender"]

CERTIFICATE = "certificate_sha256"
"""Where a connection's state holds the SHA-256 (hex) of the client's certificate."""
_BUSY_S = 1.0


class Sender(NamedTuple):
    """Who sends, and where to."""

    key: Key
    topic: str


def sender(request: Request, collector: Collector) -> Sender:
    """The sender, proved and counted. Raises a `Problem`: 401, 403, 429."""
    now, state = datetime.now(UTC), request.scope["state"]
    scheme, _, presented = request.headers.get("authorization", "").partition(" ")
    certificate: str = state.get(CERTIFICATE, "")
    key: Key | None = None
    if scheme:
        key = collector.keys.found(presented.strip(), now) if scheme.lower() == "bearer" else None
    elif certificate:
        key = collector.keys.of_certificate(certificate, now)
    if key is None:
        raise _stranger(request, collector, presented=bool(scheme or certificate))
    if wait_s := collector.requests.take(key.id):
        detail = f"key {key.name} asks more often than {collector.settings.requests_per_minute} times a minute"
        raise Problem.wait("too-many-requests", detail, wait_s)
    if not collector.running.take(key.id):
        detail = f"{collector.running.most} requests of key {key.name} run, as many as a key may have at once"
        raise Problem.wait("too-many-at-once", detail, _BUSY_S)
    state["held"].callback(collector.running.give_back, key.id)
    state["token"] = key.name
    topic = collector.topics.get(key.chain)
    if topic is None:
        raise Problem(403, "forbidden", f"chain {key.chain}, to which key {key.name} is tied, is not written to here")
    return Sender(key, topic)


def _stranger(request: Request, collector: Collector, *, presented: bool) -> Problem:
    """What somebody is told whose key does not count, or who has none."""
    wait_s = 0.0
    if presented:
        wait_s = collector.failures.take(address_key(request.client.host if request.client else ""))
    if wait_s:
        return Problem.wait("too-many-failures", "too many wrong keys came from this address", wait_s)
    detail = (
        "the key, or the certificate, is unknown, expired or revoked"
        if presented
        else "a key is missing: expected the header `Authorization: Bearer slk_...` "
        "(`sealstream collect keys create NAME` makes one)"
    )
    return Problem(401, "unauthorized", detail, headers={"www-authenticate": 'Bearer realm="sealstream"'})
