"""`/healthz`: this process answers. `/readyz`: what it needs answers, too. For monitors: no token, nothing recorded.

The invariant: however many ask, one thread of its own looks, and none of those that answer others' requests waits for
it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from threading import Lock, Thread
from typing import Protocol

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sealstream.web.service import service_of

__all__ = ["Looks", "health_routes"]

_GOOD_FOR_S = 2.0


class Health(BaseModel):
    """The process answers."""

    status: str


class Readiness(BaseModel):
    """What each part says: `ok`, or what is wrong in a word. Details are in the service's own log."""

    status: str
    parts: dict[str, str]


class Ready(Protocol):
    """Who knows how its parts are."""

    @property
    def ready(self) -> Callable[[], Mapping[str, str]]:
        """Looks at each part that is needed: `ok` or what is amiss."""
        ...


class Looks:
    """The last look, good for some seconds, and the one under way: whoever asks a thousand times makes us look once."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._under_way: Future[Mapping[str, str]] | None = None
        self._at = float("-inf")
        self._parts: Mapping[str, str] = {}

    async def parts(self, service: Ready) -> Mapping[str, str]:
        """What each part says."""
        with self._lock:  # never held for longer than it takes to look at these
            if time.monotonic() - self._at <= _GOOD_FOR_S:
                return self._parts
            look = self._under_way
            if look is None:
                look = self._under_way = Future()
                look.set_running_or_notify_cancel()  # one who goes must not end what others wait for
                Thread(target=self._look, args=(service, look), name="readiness", daemon=True).start()
        return await asyncio.wrap_future(look)

    def _look(self, service: Ready, look: Future[Mapping[str, str]]) -> None:
        try:
            parts = service.ready()
        except BaseException as error:  # noqa: BLE001 - told to those who wait
            with self._lock:
                self._under_way = None
            look.set_exception(error)
            return
        with self._lock:
            self._parts, self._at, self._under_way = parts, time.monotonic(), None
        look.set_result(parts)


def health_routes() -> APIRouter:
    """The two routes."""
    routes = APIRouter(tags=["health"])
    looks = Looks()

    @routes.get("/healthz", summary="Does the process answer?")
    async def healthz() -> Health:
        return Health(status="ok")

    @routes.get(
        "/readyz",
        summary="Do Kafka, Postgres and the tokens file answer?",
        response_model=Readiness,
        responses={503: {"model": Readiness, "description": "Something that the service needs does not answer"}},
    )
    async def readyz(request: Request) -> Response:
        parts = await looks.parts(service_of(request))
        good = all(state == "ok" for state in parts.values())
        return JSONResponse({"status": "ok" if good else "not ready", "parts": parts}, 200 if good else 503)

    return routes
