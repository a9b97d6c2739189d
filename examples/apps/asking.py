"""Real requests to one application, several at a time, while it is restarted in their midst.

Each request has a connection of its own: one that is refused was certainly not heard and is made again. A request that
was sent and had no answer is not made again, since nobody knows whether it was carried out: its events may be in the
log, once, or not.
"""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass, field
from http.cookiejar import DefaultCookiePolicy

import httpx
from examples.apps.comparing import Event
from examples.apps.plans import Ask, Plan

__all__ = ["Asked", "drive"]

_AT_ONCE = 6
_ANSWERED_WITHIN_S = 120.0
_BACK_WITHIN_S = 120.0


@dataclass
class Asked:
    """What came of a plan. `refused`: connections that nobody took; `unexpected`: answers other than planned, in words.

    Half of it is asked at once, and the rest when `go_on` is set, so that something can be done in the midst.
    """

    halfway: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)
    requests: int = 0
    refused: int = 0
    expected: list[Event] = field(default_factory=list)
    unanswered: list[Ask] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)

    @property
    def perhaps(self) -> list[Event]:
        """Events of requests without an answer."""
        return [event for ask in self.unanswered for event in ask.events]


async def drive(plan: Plan, url: str, asked: Asked) -> None:
    """Ask all that is planned, and note in `asked` what came of it as it comes."""
    sessions: dict[str | None, dict[str, str]] = {None: plan.session(None)}
    async with httpx.AsyncClient(base_url=url, timeout=_ANSWERED_WITHIN_S, trust_env=False) as http:
        http.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # sessions are several people's here
        for ask in plan.logins:
            answer = await _asked(http, ask, sessions[None], asked)
            if answer is None or answer.status_code != ask.status:
                return
            sessions[ask.who] = plan.session(answer)
        asks = enumerate(plan.asks)

        async def work() -> None:
            for number, ask in asks:  # shared: each worker takes the next
                if number >= len(plan.asks) // 2:
                    asked.halfway.set()
                    while not asked.go_on.is_set():  # noqa: ASYNC110 - another thread sets it
                        await asyncio.sleep(0.005)
                await _asked(http, ask, sessions[ask.who], asked)

        await asyncio.gather(*(work() for _ in range(_AT_ONCE)))


async def _asked(http: httpx.AsyncClient, ask: Ask, session: dict[str, str], asked: Asked) -> httpx.Response | None:
    headers = {**session, "Connection": "close", "traceparent": f"00-{ask.request_id}-00000000000000a1-01"}
    asked.requests += 1
    deadline = time.monotonic() + _BACK_WITHIN_S
    while True:
        try:
            answer = await _answer(http, ask, headers)
            break
        except httpx.ConnectError:
            asked.refused += 1
            if time.monotonic() > deadline:
                asked.unexpected.append(f"{ask.method} {ask.path}: nobody listens for {_BACK_WITHIN_S:.0f} s")
                return None
            await asyncio.sleep(0.2)
        except httpx.TransportError:
            asked.unanswered.append(ask)
            return None
    asked.expected += ask.events
    if answer.status_code != ask.status:
        asked.unexpected.append(
            f"{ask.method} {ask.path} by {ask.who}: expected {ask.status}, got {answer.status_code}"
        )
    return answer


async def _answer(http: httpx.AsyncClient, ask: Ask, headers: dict[str, str]) -> httpx.Response:
    request = http.build_request(ask.method, ask.path, data=ask.form, json=ask.json, headers=headers)
    answer = await http.send(request, stream=True)
    try:
        if ask.leaves:
            async for _ in answer.aiter_raw():
                break
        else:
            await answer.aread()
    finally:
        await answer.aclose()
    return answer
