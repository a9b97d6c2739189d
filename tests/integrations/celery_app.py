"""Tasks, as the tests run them: by a real worker with the prefork pool, over a broker in a directory."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from celery import Celery, chain
from celery.exceptions import Reject

from sealstream.client import AuditClient, bound
from sealstream.integrations.celery import audit_tasks

folder = Path(os.environ["CELERY_FOLDER"])
app = Celery("shop", broker="filesystem://")
app.conf.update(
    broker_transport_options={
        "data_folder_in": str(folder / "queue"),
        "data_folder_out": str(folder / "queue"),
        "control_folder": str(folder / "control"),
    },
    task_default_retry_delay=0,
    worker_hijack_root_logger=False,
    worker_lost_wait=0.5,
)
audit = AuditClient.from_env()
audit_tasks(app, audit, exclude={"quiet"})


@app.task(name="add")
def add(a: int, b: int) -> int:
    audit.emit("added", resource_type="sum", resource_id=a + b, metadata={"pid": os.getpid()})
    return a + b


@app.task(name="quiet")
def quiet() -> None:
    audit.emit("from quiet", resource_type="r", resource_id=1)


@app.task(name="forbidden")
def forbidden() -> None:
    raise PermissionError("secret text")


@app.task(name="broken")
def broken() -> None:
    raise ValueError("secret text")


@app.task(name="flaky", bind=True, max_retries=2)
def flaky(self: Any) -> None:
    if self.request.retries < 1:
        raise self.retry(exc=ConnectionError("secret text"), countdown=0)


@app.task(name="parent")
def parent() -> None:
    chain(add.s(1, 1), add.s(5)).delay()


@app.task(name="who")
def who() -> None:
    audit.emit("who", resource_type="r", resource_id=str(bound().get("actor_id")))


@app.task(name="slow", time_limit=1)
def slow() -> None:
    time.sleep(30)


@app.task(name="rejects", acks_late=True)
def rejects() -> None:
    raise Reject("secret text", requeue=False)


@app.task(name="dies")
def dies() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
