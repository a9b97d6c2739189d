"""A small application in Flask, as the tests serve it: by gunicorn, in processes forked from one that has loaded it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from flask import Flask, Response, abort, request, stream_with_context

from sealstream.client import AuditClient
from sealstream.integrations.flask import Actor, audit_requests, describe, emitted_already

audit = AuditClient.from_env()
app = Flask(__name__)


def who(asked: object) -> Actor | None:
    name = request.headers.get("X-User")
    return Actor(name, tenant="north") if name else None


audit_requests(app, audit, actor=who, exclude={"/health"}, trusted_proxies=["127.0.0.1"])


@app.get("/health")
def health() -> str:
    return "ok"


@app.get("/status/<int:code>")
def status(code: int) -> tuple[str, int]:
    return "", code


@app.get("/patients/<patient_id>/files/<path:name>")
def file(patient_id: str, name: str) -> str:
    describe(action="read", reason="asked", metadata={"size": 1})
    return ""


@app.get("/forbidden")
def forbidden() -> str:
    abort(403)


@app.get("/broken")
def broken() -> str:
    raise RuntimeError("password=hunter2")


@app.post("/orders")
def order() -> str:
    audit.emit("order.place", resource_type="order", resource_id=1, metadata={"pid": os.getpid()})
    emitted_already()
    return "placed"


@app.get("/stream/<int:parts>")
def stream(parts: int) -> Response:
    def made() -> Iterator[str]:
        for number in range(parts):
            if number == 3:
                raise ValueError("broke off")
            yield f"part {number} " * 1_000
            time.sleep(0.01)
        describe(metadata={"parts": parts})

    return Response(stream_with_context(made()))


@app.get("/reset/<token>")
def reset(token: str) -> str:
    return ""
