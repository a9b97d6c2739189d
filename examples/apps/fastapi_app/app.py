"""A laboratory's portal in FastAPI: patients read their results, doctors release them.

SEALSTREAM_CLIENT_SERVICE=laboratory uvicorn examples.apps.fastapi_app.app:app --no-proxy-headers
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.middleware.sessions import SessionMiddleware

from sealstream.client import AuditClient
from sealstream.integrations.asgi import AuditMiddleware, describe, emitted_already

PASSWORDS = {"dr.li": "li's swordfish", "patient-1": "one swordfish", "patient-2": "two swordfish"}
DOCTORS = {"dr.li"}


class Sample(BaseModel):
    """`result`: None until something is found. `access_token`: a secret, by which a machine fetches it."""

    patient: str
    result: str | None = None
    released: bool = False
    access_token: str = "old swordfish"


class Login(BaseModel):
    """Who somebody says to be."""

    name: str
    password: str


# In memory, where a real one has a database.
samples = {n: Sample(patient=f"patient-{1 + n % 2}") for n in range(200)}
audit = AuditClient.from_env()


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """What is still to be said is said before the process ends."""
    yield
    await audit.aclose()


app = FastAPI(lifespan=lifespan)
app.add_middleware(SessionMiddleware, secret_key="an example's, of no use elsewhere")
app.add_middleware(AuditMiddleware, client=audit, exclude={"/health"})


def somebody(request: Request) -> str:
    """Who asks. Runs in a worker thread; the request's event knows the actor all the same."""
    if "user" not in request.session:
        raise HTTPException(401, "log in first")
    describe(actor_id=request.session["user"], tenant="laboratory")
    return str(request.session["user"])


Somebody = Annotated[str, Depends(somebody)]


@app.get("/health")
def health() -> str:
    """Left out of the log."""
    return "ok"


@app.post("/login")
async def login(asked: Login, request: Request) -> str:
    """A wrong password is a denial of that account, by somebody unknown."""
    describe(action="login", resource_type="user_account", resource_id=asked.name)
    if PASSWORDS.get(asked.name) != asked.password:
        raise HTTPException(401, "name or password is wrong")
    request.session["user"] = asked.name
    describe(actor_id=asked.name, tenant="laboratory")
    return "welcome"


@app.get("/samples/export")
async def export(name: Somebody) -> StreamingResponse:
    """All samples, slowly. Somebody who goes away before the end leaves a failure."""

    async def lines() -> AsyncIterator[str]:
        for sample_id, sample in samples.items():
            yield f"{sample_id} {sample.released}\n"
            await asyncio.sleep(0.1)

    return StreamingResponse(lines())


@app.get("/samples/{sample_id}")
def show(sample_id: int, name: Somebody) -> dict[str, str | None]:
    """Patients see their own."""
    if name not in DOCTORS | {samples[sample_id].patient}:
        raise HTTPException(403, "not yours")
    return {"result": samples[sample_id].result}


@app.post("/samples/{sample_id}/release")
async def release(sample_id: int, result: str, name: Somebody) -> str:
    """An event of the business in place of the request's, with old and new values; the token's are `[redacted]`."""
    async with audit.action("result.release", ("sample", sample_id)) as action:
        if name not in DOCTORS:
            raise HTTPException(403, "doctors release")
        new = {"result": result, "released": True, "access_token": f"swordfish {sample_id}"}
        before, samples[sample_id] = samples[sample_id], samples[sample_id].model_copy(update=new)
        action.changes(before, samples[sample_id])
        emitted_already()
    return "released"


@app.post("/samples/{sample_id}/label")
def label(sample_id: int, name: Somebody) -> str:
    """What goes wrong is in the log with the class of what went wrong, never its text."""
    raise ConnectionError(f"the printer does not answer for sample {sample_id}")
