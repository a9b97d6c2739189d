"""`/healthz`: this process answers. `/readyz`: what it needs answers, too. For monitors: no token, nothing recorded."""

from __future__ import annotations

import time
from collections.abc import Mapping
from threading import Lock

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sealstream.web.service import service_of

__all__ = ["health_routes"]

_GOOD_FOR_S = 5.0


class Health(BaseModel):
    """The process answers."""

    status: str


class Readiness(BaseModel):
    """What each part says: `ok`, or what is wrong in a word. Details are in the service's own log."""

    status: str
    parts: dict[str, str]


class _Remembered:
    """The last look, good for some seconds: whoever asks a thousand times makes us look once."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.at = float("-inf")
        self.parts: Mapping[str, str] = {}


def health_routes() -> APIRouter:
    """The two routes."""
    routes = APIRouter(tags=["health"])
    remembered = _Remembered()

    @routes.get("/healthz", summary="Does the process answer?")
    async def healthz() -> Health:
        return Health(status="ok")

    @routes.get(
        "/readyz",
        summary="Do Kafka, Postgres and the tokens file answer?",
        response_model=Readiness,
        responses={503: {"model": Readiness, "description": "Something that the service needs does not answer"}},
    )
    def readyz(request: Request) -> Response:
        with remembered.lock:
            if time.monotonic() - remembered.at > _GOOD_FOR_S:
                remembered.parts = service_of(request).ready()
                remembered.at = time.monotonic()
            parts = remembered.parts
        good = all(state == "ok" for state in parts.values())
        return JSONResponse({"status": "ok" if good else "not ready", "parts": parts}, 200 if good else 503)

    return routes
