"""The application: routes, errors, and the OpenAPI document that describes them. Built anew for each service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import anyio
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException

from sealstream.errors import SealstreamError
from sealstream.web.chains import RecordedQuestions, chain_routes
from sealstream.web.counting import count_routes
from sealstream.web.envelope import Envelope
from sealstream.web.exporting import export_routes
from sealstream.web.failures import on_our_error
from sealstream.web.health import health_routes
from sealstream.web.problems import Problem, ProblemDocument, on_http_error, on_invalid, on_problem
from sealstream.web.searching import search_routes
from sealstream.web.service import Service

__all__ = ["create_app"]

_DESCRIPTION = """\
Search, read and export a tamper-evident audit log.

Every request below `/v1` needs a token (`sealstream tokens create`), and is itself recorded in the log (`log.read`)
before it is answered. Entries are given as they were sealed. Errors are problem documents (RFC 9457).
"""


def create_app(service: Service) -> FastAPI:
    """The ASGI application of one service; closing it closes the service."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        # In a thread: the connections have loops of their own, which can't run inside this one.
        await anyio.to_thread.run_sync(service.close)

    app = FastAPI(
        title="Sealstream",
        version=_version(),
        description=_DESCRIPTION,
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # the Location would hold the Host header, before any token was asked for
    app.state.service = service
    app.state.recorded_questions = RecordedQuestions()
    for routes in (search_routes(), count_routes(), export_routes(), chain_routes(), health_routes()):
        app.include_router(routes)
    app.add_middleware(Envelope, tls=bool(service.settings.tls_cert))
    app.add_exception_handler(Problem, on_problem)
    app.add_exception_handler(SealstreamError, on_our_error)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(HTTPException, on_http_error)
    app.openapi = lambda: _openapi(app, service.settings.page_size)  # type: ignore[method-assign]
    return app


def _version() -> str:
    try:
        return version("sealstream")
    except PackageNotFoundError:
        return "unknown"


def _openapi(app: FastAPI, page_size: int) -> dict[str, Any]:
    """The framework's document, with our form of errors in the place of its own, and this service's own bounds."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        schemas = document["components"]["schemas"]
        schemas["ProblemDocument"] = ProblemDocument.model_json_schema()
        for parameter in document["paths"]["/v1/search"]["get"]["parameters"]:
            if parameter["name"] == "limit":
                parameter["schema"] |= {"maximum": page_size, "default": min(100, page_size)}
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        app.openapi_schema = document
    return app.openapi_schema
