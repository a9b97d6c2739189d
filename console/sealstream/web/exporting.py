"""`/v1/export`: everything that a search finds, streamed; as NDJSON, CSV or Parquet, or in other
people's schemas.

The invariant: a beginning is recorded before the first row is read and an end with the count, also when the client goes
away, which ends the query too; memory stays flat, since the next rows are read when the last were taken. A client that
takes nothing for a minute is cut off, and within seconds one whose token ends or gets other bounds. Cut off, or failed
midway, the connection ends without its last chunk, so that no client takes the part for the whole. A crash leaves a
beginning without an end.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import anyio
import anyio.to_thread
import structlog
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sealstream.access import Access, Streamed
from sealstream.errors import SealstreamError
from sealstream.mappings import SCHEMAS, SchemaName
from sealstream.search import Found, SearchSource
from sealstream.search import Query as Search
from sealstream.search.writing import WRITERS, Writer, mapped_writer
from sealstream.web.guard import Caller, Exporting, access_of
from sealstream.web.problems import problem_responses
from sealstream.web.searching import (
    EXAMPLE_ENTRY,
    QueryText,
    Sort,
    SourceName,
    parsed,
    read_chains,
    remarks_for,
    take_slot,
)

__all__ = ["export_routes"]

_STALLED_S = 60.0
_LOOK_AGAIN_S = 2.0
_Format = Literal["ndjson", "csv", "parquet", "ocsf", "ecs", "cloudevents"]
_MAPPED: dict[str, SchemaName] = {name: name for name in SCHEMAS}
_MEDIA_TYPES = {
    "ndjson": "application/x-ndjson",
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
    **dict.fromkeys(_MAPPED, "application/x-ndjson"),
}


class _Taken(io.RawIOBase):
    """A file that is only ever appended to, and gives away what was appended."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self._size = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._size

    def write(self, data: Any) -> int:
        part = bytes(data)
        self._parts.append(part)
        self._size += len(part)
        return len(part)

    def take(self) -> bytes:
        """What was written since the last time."""
        parts, self._parts = self._parts, []
        return b"".join(parts)


class _Export:
    """One export under way, in worker threads: `chunk()` until None, then `close`."""

    def __init__(self, who: Caller, form: str) -> None:
        self._who = who
        self._written = _Taken()
        self._writer = self._opened(form)
        self._held = ExitStack()
        self._source: SearchSource | None = None
        self._accesses: list[Access] = []
        self._batches: Iterator[list[Found]] = iter(())
        self._streams: dict[str, Streamed] = {}
        self._ended = False

    def _opened(self, form: str) -> Writer:
        if (schema := _MAPPED.get(form)) is None:
            return WRITERS[form](self._written)
        chains = self._who.service.chains.values()
        log = next((each.origin.removesuffix(f"/{each.name}") for each in chains), "")
        return mapped_writer("ndjson", self._written, schema, log)

    def open(self, source: str, query: Search) -> SearchSource:
        """Take a slot and the store, until `close`."""
        take_slot(self._who, self._held)
        self._source = self._held.enter_context(self._who.service.sources.opened(source, query))
        return self._source

    def remarks(self) -> list[str]:
        """What a person should know of it, as far as the first chunk shows: what the archive lacks is known by then."""
        return [] if self._source is None else remarks_for(self._who, self._source)

    def begin(self, accesses: list[Access], batches: Iterator[list[Found]]) -> None:
        """Record it. Raises `NotRecorded`."""
        self._accesses, self._batches = accesses, batches
        for access in accesses:
            self._streams[access.chain] = self._who.service.access.begin(self._who.reader, access)

    def chunk(self) -> bytes | None:
        """The next bytes, perhaps none; None: that was all."""
        if self._ended:
            return None
        batch = next(self._batches, None)
        if batch is None:
            self._ended = True
            self._writer.end()
            return self._written.take()
        for found in batch:
            self._streams[found.chain].rows += 1
            if not found.holds:
                structlog.get_logger().error(
                    "an exported entry does not have the hash that is stored with it",
                    process="serve",
                    place=found.place,
                )
        self._writer.write(batch)
        return self._written.take()

    def may_go_on(self) -> bool:
        """Whether the token stands as it did when this began; a file of tokens that can't be read holds none."""
        token = self._who.token
        try:
            stands = self._who.service.tokens.stands(token, datetime.now(UTC))
        except SealstreamError as error:
            structlog.get_logger().error("tokens can't be read", process="serve", reason=str(error))
            stands = False
        if not stands:
            structlog.get_logger().warning(
                "an export is cut off: its token no longer counts, or has other bounds",
                process="serve",
                token=token.name,
                request_id=self._who.request_id,
            )
        return stands

    def close(self, *, complete: bool) -> None:
        """End the query, record the end. What can't be recorded now is said in the service's log."""
        close: Callable[[], None] = getattr(self._batches, "close", lambda: None)
        with suppress(SealstreamError), self._held:
            close()
        for access in self._accesses:
            stream = self._streams.get(access.chain)
            if stream is None:
                continue
            try:
                self._who.service.access.end(self._who.reader, access, stream, complete=complete)
            except SealstreamError as error:
                structlog.get_logger().error(
                    "an export's end is not recorded", process="serve", rows=stream.rows, reason=str(error)
                )


class _ExportResponse(Response):
    """Sends an export chunk by chunk, and ends it whatever happens. `first`: what was read already."""

    def __init__(self, export: _Export, first: bytes | None, media_type: str, name: str) -> None:
        super().__init__(None, media_type=media_type)
        self._export = export
        self._first = first
        del self.headers["content-length"]
        self.headers["content-disposition"] = f'attachment; filename="{name}"'

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        complete = False
        try:
            async with anyio.create_task_group() as group:

                async def until_the_client_goes() -> None:
                    while (await receive())["type"] != "http.disconnect":
                        pass
                    group.cancel_scope.cancel()

                async def until_the_token_ends() -> None:
                    while self._export.may_go_on():  # noqa: ASYNC110 - a file tells nobody that it has changed
                        await anyio.sleep(_LOOK_AGAIN_S)
                    group.cancel_scope.cancel()

                group.start_soon(until_the_client_goes)
                group.start_soon(until_the_token_ends)
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                chunk = self._first
                while chunk is not None:
                    if chunk:
                        with anyio.fail_after(_STALLED_S):
                            await send({"type": "http.response.body", "body": chunk, "more_body": True})
                    chunk = await anyio.to_thread.run_sync(self._export.chunk)
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                complete = True
                group.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(lambda: self._export.close(complete=complete))


def export_routes() -> APIRouter:
    """The one route."""
    routes = APIRouter(tags=["entries"])
    content: dict[str, Any] = {
        "application/x-ndjson": {"schema": {"type": "string"}, "example": EXAMPLE_ENTRY},
        "text/csv": {"schema": {"type": "string"}},
        "application/vnd.apache.parquet": {"schema": {"type": "string", "format": "binary"}},
    }

    @routes.get(
        "/v1/export",
        summary="Everything that a search finds",
        response_class=Response,
        responses={
            200: {
                "description": "A stream. ndjson: sealed entries verbatim, one a line; ocsf, ecs, cloudevents: "
                "documents of these schemas, one a line",
                "content": content,
            },
            **problem_responses(403),
        },
    )
    async def export(
        request: Request,
        who: Exporting,
        q: QueryText = "",
        sort: Sort = "seq",
        format: Annotated[_Format, Query(description="What is written.")] = "ndjson",
        limit: Annotated[int | None, Query(ge=1, le=10**12, description="At most so many entries.")] = None,
        source: SourceName = "auto",
    ) -> Response:
        """Streamed: memory stays flat on both sides, however much is found. A stream that was cut ends without its last
        chunk, which every HTTP client reports as an error.
        """
        running = _Export(who, format)

        def begun() -> bytes | None:
            query = parsed(who, q)
            store = running.open(source, query)
            accesses = [access_of(request, chain, store.name, q) for chain in read_chains(who, query)]
            running.begin(accesses, store.stream(query, sort=sort, limit=limit))
            return running.chunk()

        try:
            first = await anyio.to_thread.run_sync(begun)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(lambda: running.close(complete=False))
            raise
        ending = f"{format}.ndjson" if format in _MAPPED else format
        answer = _ExportResponse(running, first, _MEDIA_TYPES[format], f"audit-{request.state.request_id}.{ending}")
        for remark in running.remarks():
            answer.headers.append("x-sealstream-remark", remark.encode("ascii", "replace").decode())
        return answer

    return routes
