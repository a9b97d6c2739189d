"""Searching and reading single entries: `/v1/search`, `/v1/entries/{id}`, `/v1/chains/{chain}/entries/{seq}`.

The invariant: what a token may see is part of the query itself (`restricted`), so that no page, count or cursor tells
of entries beyond it; and each answer is recorded, with its rows, before it is sent. Entries go out as they are sealed,
byte for byte; one whose bytes no longer have their hash is not given out as an entry, only its place is.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from sealstream.search import Found, SearchSource, hint, parse
from sealstream.search import Query as Search
from sealstream.web.guard import Caller, Reading, access_of
from sealstream.web.meant import no_such_chain
from sealstream.web.problems import Problem, problem_responses

__all__ = [
    "EXAMPLE_ENTRY",
    "ChainName",
    "QueryText",
    "Sort",
    "SourceName",
    "answering",
    "parsed",
    "read_chains",
    "remarks_for",
    "remarks_on_nothing",
    "search_routes",
    "take_slot",
]

_BUSY_S = 10.0
_PAGE_LIMIT = "At most so many on a page; a service's own maximum (its setting serve.page_size) may be lower."

EXAMPLE_ENTRY = {
    "action": "read",
    "actor_id": "user-123",
    "actor_type": "user",
    "id": "019363f0-7c1e-7000-8000-0123456789ab",
    "reason": "treatment",
    "resource_id": "456",
    "resource_type": "patient_record",
    "result": "success",
    "timestamp": "2026-11-24T03:00:00.123456Z",
    "written": {
        "chain": "main",
        "control_offset": -1,
        "kind": "event",
        "raw_offset": 41,
        "received_at": "2026-11-24T03:00:00.130000Z",
        "seq": 43,
        "sequenced_at": "2026-11-24T03:00:00.141000Z",
        "v": 1,
    },
    "prev_hash": "5f" * 32,
    "hash": "a0" * 32,
}

ChainName = Annotated[
    str, Path(pattern=r"^[a-z0-9][a-z0-9-]{0,38}$", description="The chain's name.", examples=["main"])
]
QueryText = Annotated[
    str,
    Query(
        max_length=4_096,
        description="What to find, as `sealstream search` takes it: `key:value` terms, all of which must hold; a key "
        "that stands twice finds either value; `-` before a key negates; `*` in a value is any text; quotes.",
        openapi_examples={
            "one person, not reading": {"value": "actor:user-123 -action:read"},
            "one record, denied, from inside": {"value": "resource:patient_record/456 result:denied ip:10.0.0.0/8"},
            "November": {"value": "after:2026-11-01 before:2026-12-01 tenant:acme"},
        },
    ),
]
Sort = Annotated[
    Literal["-timestamp", "timestamp", "-seq", "seq"],
    Query(description="By when it happened, or by its place in the chain; `-`: the newest first."),
]
SourceName = Annotated[
    Literal["auto", "postgres", "archive"],
    Query(description="Who answers; `auto`: Postgres, and the archive for what Postgres no longer holds."),
]
SeqNumber = Annotated[int, Path(ge=0, le=10**18 - 1, description="The entry's place in the chain, from 0.")]


class Damaged(BaseModel):
    """A place whose stored bytes no longer have their hash: `sealstream verify` and the runbooks say more."""

    chain: str
    seq: int


class SearchPage(BaseModel):
    """`entries` are sealed entries as every store holds them. `next`: give it as `after` for the next page. `remarks`:
    what a person should know of the answer, such as that the archive lacks entries, or why there may be none.
    """

    entries: list[dict[str, Any]] = Field(examples=[[EXAMPLE_ENTRY]])
    damaged: list[Damaged]
    next: str | None
    remarks: list[str]
    source: str


@contextmanager
def answering(who: Caller, name: str, query: Search) -> Iterator[SearchSource]:
    """The store that answers. The archive is read through, which is work: so many at once, and no more."""
    with ExitStack() as held:
        source = held.enter_context(who.service.sources.opened(name, query))
        if source.name != "postgres":
            take_slot(who, held)
        yield source


def remarks_for(who: Caller, source: SearchSource) -> list[str]:
    """What the source says of the chains that the token may read, and of no others."""
    seen = tuple(f"chain {name}: " for name in who.chains())
    return [remark for remark in source.remarks if remark.startswith(seen)]


def remarks_on_nothing(who: Caller, query: Search) -> list[str]:
    """What may be the reason when nothing is found."""
    if not who.chains():
        return ["this token may read no chain that there is"]
    if not query.chains(who.chains()):
        return ["q names no chain that this token may read: /v1/chains lists those that it may"]
    sentence = hint(query)
    return [f"q: {sentence}"] if sentence else []


def take_slot(who: Caller, held: ExitStack) -> None:
    """One of the slots for heavy work, until `held` is closed. Raises a problem when all are taken."""
    slots = who.service.slots
    if not slots.acquire(blocking=False):
        most = who.service.settings.exports_at_once
        detail = f"{most} exports and searches of the archive run, as many as this service allows at once"
        raise Problem.wait("too-many-at-once", detail, _BUSY_S, 503)
    held.callback(slots.release)


def parsed(who: Caller, text: str) -> Search:
    """The query, within what the token may see. Raises `QueryError`."""
    return scoped(who, parse(text, now=datetime.now(UTC)))


def scoped(who: Caller, query: Search) -> Search:
    """The query and the token's bounds, which nothing in a query can widen."""
    query = query.restricted("chain", who.chains())
    return query if who.token.tenant is None else query.restricted("tenant", [who.token.tenant])


def read_chains(who: Caller, query: Search) -> list[str]:
    """The chains that a query reads; where it names none that the token may read, the attempt is still recorded."""
    return query.chains(who.chains()) or who.chains()[:1]


def record(
    request: Request, who: Caller, chains: Sequence[str], store: str, query: str, found: Iterable[Found]
) -> None:
    """One `log.read` a chain, acknowledged. Raises `NotRecorded`."""
    rows = dict.fromkeys(chains, 0)
    for entry in found:
        rows[entry.chain] = rows.get(entry.chain, 0) + 1
    for chain, count in rows.items():
        who.service.access.record(who.reader, access_of(request, chain, store, query), count)


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")


def search_routes() -> APIRouter:
    """The three routes."""
    routes = APIRouter(tags=["entries"])

    @routes.get(
        "/v1/search",
        summary="Find entries",
        response_model=SearchPage,
        responses=problem_responses(),
    )
    def search(
        request: Request,
        who: Reading,
        q: QueryText = "",
        sort: Sort = "-timestamp",
        limit: Annotated[int, Query(ge=1, le=10_000, description=_PAGE_LIMIT)] = 100,
        after: Annotated[
            str | None, Query(max_length=512, description="`next` of the page before, of the same search.")
        ] = None,
        source: SourceName = "auto",
    ) -> Response:
        """One page of what is found, and the cursor to the next. Entries come in a total order; a cursor belongs to its
        query and its order and holds no more than a place in it.
        """
        most = who.service.settings.page_size
        if "limit" not in request.query_params:
            limit = min(limit, most)
        if limit > most:
            raise Problem(422, "bad-parameter", f"limit: this service gives at most {most} entries a page, got {limit}")
        query = parsed(who, q)
        with answering(who, source, query) as store:
            page = store.page(query, sort=sort, limit=limit, after=after)
        record(request, who, read_chains(who, query), store.name, q, page.entries)
        whole = [found for found in page.entries if found.holds]
        damaged = [{"chain": found.chain, "seq": found.seq} for found in page.entries if not found.holds]
        notes = remarks_for(who, store) + ([] if page.entries else remarks_on_nothing(who, query))
        tail = msgspec.json.encode({"damaged": damaged, "next": page.next, "remarks": notes, "source": store.name})
        return _json(b'{"entries":[' + b",".join(found.sealed_value for found in whole) + b"]," + tail[1:])

    @routes.get(
        "/v1/entries/{id}",
        summary="One entry by its id",
        responses={200: {"description": "The sealed entry", **_entry_content()}, **problem_responses(404, 409)},
    )
    def entry_by_id(
        request: Request,
        who: Reading,
        id: Annotated[uuid.UUID, Path(description="The event's id.", examples=[EXAMPLE_ENTRY["id"]])],
        source: SourceName = "auto",
    ) -> Response:
        """The entry as it was sealed, byte for byte. Where an id was sealed twice (a conflict), the first."""
        return _one(request, who, f"id:{id}", str(id), source, "/v1/search finds entries by what is known of them")

    @routes.get(
        "/v1/chains/{chain}/entries/{seq}",
        summary="One entry by its place",
        responses={200: {"description": "The sealed entry", **_entry_content()}, **problem_responses(404, 409)},
    )
    def entry_by_place(
        request: Request, who: Reading, chain: ChainName, seq: SeqNumber, source: SourceName = "auto"
    ) -> Response:
        """The entry as it was sealed, byte for byte."""
        if chain not in who.chains():
            elsewhere = no_such_chain(chain, who.chains())
        elif who.token.tenant is None:
            elsewhere = f"/v1/chains/{chain} says how many there are"
        else:
            elsewhere = "/v1/search finds those that it may"
        return _one(request, who, f"chain:{chain} seq:{seq}", f"{chain}/{seq}", source, elsewhere)

    return routes


def _entry_content() -> dict[str, Any]:
    return {"content": {"application/json": {"schema": {"type": "object"}, "example": EXAMPLE_ENTRY}}}


def _one(request: Request, who: Caller, text: str, place: str, source: str, elsewhere: str) -> Response:
    """`elsewhere`: where to look when it is not there."""
    query = parsed(who, text)
    with answering(who, source, query) as store:
        entries = store.page(query, sort="seq", limit=1).entries
    record(request, who, read_chains(who, query), store.name, place, entries)
    if not entries:
        if store.name == "archive":
            elsewhere = f"the archive ends with the last whole segment (source=auto asks Postgres, too); {elsewhere}"
        told = f"no entry {place} that this token may read is in {store.name}: {elsewhere}"
        raise Problem(404, "no-such-entry", told)
    (found,) = entries
    if not found.holds:
        detail = f"the stored bytes of {found.place} no longer have their hash: `sealstream verify` says more"
        raise Problem(409, "damaged-entry", detail)
    return _json(found.sealed_value)
