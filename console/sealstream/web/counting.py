"""`/v1/counts`: how many entries each value of a field has, within what the token may see.

The invariant is that of searching: the token's bounds are part of the query, and the answer is recorded before it is
sent, with how many counts it holds.
"""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.requests import Request

from sealstream.search import COUNTABLE, parse_having
from sealstream.web.guard import Reading, access_of
from sealstream.web.problems import problem_responses
from sealstream.web.searching import (
    QueryText,
    SourceName,
    answering,
    parsed,
    read_chains,
    remarks_for,
    remarks_on_nothing,
)

__all__ = ["count_routes"]

_BY = rf"^(?:{'|'.join(key.replace('.', '[.]') for key in COUNTABLE)}|metadata[.][A-Za-z0-9_-][A-Za-z0-9_.-]{{0,127}})$"


class CountOfValue(BaseModel):
    """How many entries have this value; null: have none."""

    value: str | None = Field(examples=["user-123"])
    entries: int


class Counts(BaseModel):
    """By how many entries, or by value, as `sort` says."""

    counts: list[CountOfValue]
    remarks: list[str]
    source: str


def count_routes() -> APIRouter:
    """The one route."""
    routes = APIRouter(tags=["entries"])

    @routes.get("/v1/counts", summary="How many entries each value has", responses=problem_responses())
    def counts(
        request: Request,
        who: Reading,
        by: Annotated[
            str, Query(pattern=_BY, description="A key of the query language, `day` or `month`.", examples=["actor"])
        ],
        q: QueryText = "",
        having: Annotated[
            str | None,
            Query(pattern=r"^(?:>=|<=|>|<|=)[0-9]{1,15}$", description="Only such counts.", examples=[">5"]),
        ] = None,
        sort: Annotated[
            Literal["-count", "count", "value", "-value"], Query(description="`-count`: most first.")
        ] = "-count",
        limit: Annotated[int, Query(ge=1, le=10_000, description="At most so many.")] = 100,
        source: SourceName = "auto",
    ) -> Counts:
        """Who is denied more than five times a day: `q=result:denied after:24h`, `by=actor`, `having=>5`."""
        query = parsed(who, q)
        wanted = None if having is None else parse_having(having)
        with answering(who, source, query) as store:
            found = store.count_by(query, by, having=wanted, sort=sort, limit=limit)
        asked = " ".join(filter(None, (q, f"--count-by {by}", having and f"--having {having}")))
        for chain in read_chains(who, query):
            who.service.access.record(who.reader, access_of(request, chain, store.name, asked), len(found))
        listed = [{"value": each.value, "entries": each.entries} for each in found]
        notes = remarks_for(who, store) + ([] if listed else remarks_on_nothing(who, query))
        return Counts.model_validate({"counts": listed, "remarks": notes, "source": store.name})

    return routes
