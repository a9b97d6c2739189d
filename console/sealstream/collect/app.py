"""The application: routes, errors, health, and the OpenAPI document. Built anew for each collector."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sealstream.collect.answering import post_audit, post_events, post_logs
from sealstream.collect.document import openapi_document
from sealstream.collect.service import Collector
from sealstream.errors import SealstreamError
from sealstream.layout import figures
from sealstream.web.envelope import Envelope
from sealstream.web.health import Looks
from sealstream.web.problems import Problem, on_http_error, on_problem, problem_response

__all__ = ["create_app"]

_WAIT_S = 2.0
_BEAT_S = 1.0
_NOT_ACKNOWLEDGED = (
    "Kafka did not acknowledge every event, though some may have been written: send the same request again, with the "
    "same ids or Idempotency-Key; none is then written twice"
)


def create_app(collector: Collector) -> Starlette:
    """The ASGI application of one collector; closing it closes the collector."""
    looks = Looks()
    document = openapi_document(collector.settings)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        beat = asyncio.create_task(_beat(collector))
        yield
        beat.cancel()
        collector.close()

    async def openapi(_request: Request) -> Response:
        return JSONResponse(document)

    async def healthz(_request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(_request: Request) -> Response:
        parts = await looks.parts(collector)
        good = all(state == "ok" for state in parts.values())
        return JSONResponse({"status": "ok" if good else "not ready", "parts": dict(parts)}, 200 if good else 503)

    app = _Application(
        routes=[
            Route("/v1/events", post_events, methods=["POST"]),
            Route("/v1/logs", post_logs, methods=["POST"]),
            Route("/v1/kubernetes/audit", post_audit, methods=["POST"]),
            Route("/openapi.json", openapi, methods=["GET"]),
            Route("/healthz", healthz, methods=["GET"]),
            Route("/readyz", readyz, methods=["GET"]),
        ],
        lifespan=lifespan,
        exception_handlers={Problem: on_problem, SealstreamError: _on_our_error, HTTPException: on_http_error},
    )
    app.router.redirect_slashes = False
    app.state.collector = collector
    app.document = document

    def answered(status: int) -> None:
        collector.vitals.tally.add(figures.COLLECT_ANSWERS, 1, str(status))

    app.add_middleware(Envelope, tls=False, process="collect", quiet_below=300, browsers=False, answered=answered)
    return app


async def _beat(collector: Collector) -> None:
    """Tells whoever asks that the loop moves, and how full the room is."""
    while True:
        collector.vitals.stepped()
        collector.vitals.tally.set(figures.COLLECT_MEMORY, collector.room.taken)
        await asyncio.sleep(_BEAT_S)


class _Application(Starlette):
    """`openapi` as the answers to wrong paths ask for it."""

    document: dict[str, Any]

    def openapi(self) -> dict[str, Any]:
        return self.document


async def _on_our_error(request: Request, error: Exception) -> Response:
    """Whatever is ours to mend: the caller keeps its events and comes again; the operator reads why."""
    structlog.get_logger().error(
        "events were not written", process="collect", request_id=request.state.request_id, reason=str(error)
    )
    problem = Problem.wait("not-acknowledged", _NOT_ACKNOWLEDGED, _WAIT_S, status=503)
    return problem_response(problem, request.state.request_id)
