"""Who may ask: the token in the `Authorization` header, how often, and that nothing is asked that would be ignored.

The invariant: no route below /v1 runs before its caller is known, counted and within its role; what a token was refused
is recorded in the log as denied. Addresses that present wrong tokens are slowed down; a right token is never slowed by
others behind the same address.
"""

from __future__ import annotations

import difflib
import ipaddress
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, NamedTuple

import anyio.to_thread
from fastapi import Depends, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.requests import Request

from sealstream.access import Access, Reader
from sealstream.access.people import component
from sealstream.errors import SealstreamError
from sealstream.web.limits import address_key
from sealstream.web.problems import Problem
from sealstream.web.service import Service, service_of
from sealstream.web.tokens import ROLES, Role, Token

__all__ = ["Auditing", "Caller", "Exporting", "Reading", "access_of", "denied"]

_BUSY_S = 1.0
# What other services call it.
_ALSO = {
    "query": "q", "search": "q", "filter": "q", "cursor": "after", "page": "after", "next": "after", "order": "sort",
    "per_page": "limit", "size": "limit", "group_by": "by", "store": "source", "type": "format",
}  # fmt: skip
_BEARER = HTTPBearer(
    auto_error=False,
    bearerFormat="slt_...",
    description="A token from `sealstream tokens create`; it is held to its chains, its tenant and its role.",
)


class Caller(NamedTuple):
    """Who asks, within which bounds."""

    token: Token
    reader: Reader
    service: Service
    request_id: str

    def chains(self) -> list[str]:
        """The chains of the settings that this token may read."""
        return [name for name in self.service.chains if self.token.sees(name)]


def _reader(request: Request, token: Token) -> Reader:
    return Reader(
        token.name,
        "service",
        component("serve") | {"authenticated_as": f"token {token.id}"},
        ip_address=_address(request.client.host if request.client else ""),
        user_agent=_plain(request.headers.get("user-agent")),
        tenant=token.tenant,
    )


def _address(host: str) -> str | None:
    """An address as an event can hold it: without the zone, which is a name of our own interfaces. None: it is none."""
    bare = host.partition("%")[0]
    try:
        ipaddress.ip_address(bare)
    except ValueError:
        return None
    return bare


def _plain(text: str | None) -> str | None:
    """A header as an event can hold it."""
    return None if not text else "".join(c if c.isprintable() else "?" for c in text)[:200]


async def caller(request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)]) -> Caller:
    """The caller, proved and counted."""
    service = service_of(request)
    now = datetime.now(UTC)
    token = None if given is None else service.tokens.found(given.credentials, now)
    if token is None:
        raise _stranger(request, service, presented=given is not None)
    if wait_s := service.requests.take(token.id):
        raise Problem.wait(
            "too-many-requests",
            f"token {token.name} asks more often than {service.settings.requests_per_minute} times a minute",
            wait_s,
        )
    if not service.running.take(token.id):
        detail = f"{service.running.most} requests of token {token.name} run, as many as a token may have at once"
        raise Problem.wait("too-many-at-once", detail, _BUSY_S)
    request.state.held.callback(service.running.give_back, token.id)
    request.state.token = token.name
    _check_parameters(request)
    return Caller(token, _reader(request, token), service, request.state.request_id)


def _stranger(request: Request, service: Service, *, presented: bool) -> Problem:
    """What somebody is told whose token does not count, or who has none."""
    address = address_key(request.client.host if request.client else "")
    wait_s = service.failures.take(address) if presented else 0.0
    if wait_s:
        return Problem.wait("too-many-failures", "too many wrong tokens came from this address", wait_s)
    made = "" if service.tokens.tokens() else "; there is none yet: `sealstream tokens create NAME` makes one"
    detail = (
        f"the token is unknown, expired or revoked{made}"
        if presented
        else f"a token is missing: expected the header `Authorization: Bearer slt_...`{made}"
    )
    return Problem(401, "unauthorized", detail, headers={"www-authenticate": 'Bearer realm="sealstream"'})


def _check_parameters(request: Request) -> None:
    """A parameter that nobody reads would give wider answers than were asked for."""
    route = request.scope.get("route")
    known = [field.alias for field in route.dependant.query_params] if route is not None else []
    names = [name for name, _ in request.query_params.multi_items()]
    for name in names:
        if name not in known:
            nearest = next(iter(difflib.get_close_matches(_ALSO.get(name.lower(), name), known, 1)), "")
            shown = _plain(name) or ""
            there = f"did you mean {nearest}?" if nearest else f"expected {', '.join(known) or 'none'}"
            raise _bad(shown, f"there is no such parameter: {there}")
        if names.count(name) > 1:
            raise _bad(name, "is given twice: expected it once")


def _bad(name: str, detail: str) -> Problem:
    errors = [{"parameter": name, "in": "query", "detail": detail}]
    return Problem(422, "bad-parameter", f"{name}: {detail}", more={"errors": errors})


def access_of(request: Request, chain: str, store: str, query: str = "") -> Access:
    """What this request reads, as `log.read` says it: the route, not the path, which would hold ids."""
    route = request.scope["route"].path
    return Access(chain, f"{request.method} {route}", store, query, request.state.request_id)


async def denied(request: Request, who: Caller, chains: list[str], detail: str) -> Problem:
    """The refusal, after it was recorded in these chains."""

    def record() -> None:
        for chain in chains:
            access = access_of(request, chain, "none", str(request.url.query)[:4_096])
            who.service.access.record(who.reader, access, 0, result="denied", facts={"verdict": detail[:500]})

    with suppress(SealstreamError):  # nothing is shown; the refusal stands
        await anyio.to_thread.run_sync(record)
    return Problem(403, "forbidden", detail)


def _with_article(word: str) -> str:
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"


async def _with_role(request: Request, who: Caller, role: Role) -> Caller:
    if not who.token.may(role):
        is_now, expected = _with_article(who.token.role), _with_article(role)
        detail = f"token {who.token.name} is {is_now}: expected {expected}, {ROLES[role]}"
        raise await denied(request, who, who.chains()[:1], detail)
    return who


async def exporter(request: Request, who: Annotated[Caller, Depends(caller)]) -> Caller:
    """A caller who may export."""
    return await _with_role(request, who, "exporter")


async def auditor(request: Request, who: Annotated[Caller, Depends(caller)]) -> Caller:
    """A caller who may have stores verified."""
    return await _with_role(request, who, "auditor")


Reading = Annotated[Caller, Depends(caller)]
Exporting = Annotated[Caller, Depends(exporter)]
Auditing = Annotated[Caller, Depends(auditor)]
