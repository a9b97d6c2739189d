"""Celery: who asked for a task is known in the worker, and each task's start, end and retry is an event.

    app = Celery("billing", broker="...")
    audit_tasks(app, AuditClient.from_env())

What is bound where a task is sent (actor, tenant, session, trace, ...) goes along in the message's headers, also
through retries, chains and tasks that send tasks, and is bound in the worker for this task alone. Whoever can write
into the broker can thus name any actor, as whoever can call the tasks can: the events say `metadata.told_by` `celery`.

    task.start    when a worker begins it
    task.end      success, denied or failure by `sealstream.client.results`; with its duration and the exception's class
    task.retry    it will be tried again
    task.revoked  it was revoked, also while it ran, or has expired

A worker that is killed in the middle leaves a start without an end; where the pool notices, its main process says it
(`WorkerLostError`, `TimeLimitExceeded`), once, and for whom. Safe with the prefork pool: each child has a stream of its
own and closes it when it ends.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection
from contextlib import ExitStack
from typing import Any
from weakref import WeakSet, WeakValueDictionary

from celery import Celery, signals
from celery.exceptions import Reject
from celery.states import REJECTED

from sealstream.client import AuditClient, bound, sharing
from sealstream.client.context import Captured, Context, resumed
from sealstream.client.results import error_name, result_of_error
from sealstream.integrations.routes import cut

__all__ = ["HEADER", "audit_tasks"]

HEADER = "sealstream"
_RESOURCE = "task"


def audit_tasks(
    app: Celery,
    client: AuditClient,
    *,
    denials: Collection[type[BaseException]] = (),
    exclude: Collection[str] = (),
    starts: bool = True,
) -> None:
    """Watch the tasks of `app` here, in clients and workers. `exclude`: names of tasks without events, whose context is
    carried all the same. `starts`: whether a start has an event.
    """
    watch = _Tasks(app, client, tuple(denials), frozenset(exclude), starts)
    connected: list[tuple[Any, Callable[..., None]]] = [
        (signals.before_task_publish, _publishing),
        (signals.task_received, watch.received),
        (signals.worker_process_init, watch.process_begins),
        (signals.task_prerun, watch.begins),
        (signals.task_failure, watch.failed),
        (signals.task_retry, watch.retried),
        (signals.task_postrun, watch.ended),
        (signals.task_revoked, watch.revoked),
        (signals.worker_process_shutdown, watch.process_ends),
        (signals.worker_shutdown, watch.process_ends),
    ]
    for signal, receiver in connected:
        signal.connect(receiver, weak=False, dispatch_uid=f"sealstream.{id(app)}.{receiver.__name__}")


def _publishing(headers: dict[str, Any] | None = None, **_more: Any) -> None:
    """What is bound, as text: brokers carry JSON."""
    if headers is not None:
        known = {name: str(value) for name, value in bound().items() if value is not None}
        if known:
            headers[HEADER] = {name: cut(text, 1_024) for name, text in known.items()}


def _asked_by(request: Any) -> dict[str, str]:
    """What was bound where the task was sent, as the worker's own request tells it."""
    told = getattr(request, "_request_dict", {}).get(HEADER) or {}
    return {name: told[name] for name in Context.__annotations__ if isinstance(told.get(name), str)}


class _Running:
    """One task between its beginning and its end."""

    def __init__(self) -> None:
        self.context = ExitStack()
        self.began = time.perf_counter()
        self.error: BaseException | None = None
        self.retried = False


class _Tasks:
    def __init__(
        self,
        app: Celery,
        client: AuditClient,
        denials: tuple[type[BaseException], ...],
        exclude: frozenset[str],
        starts: bool,
    ) -> None:
        self._app, self._client, self._denials = app, client, denials
        self._exclude, self._starts = exclude, starts
        self._running: dict[str, _Running] = {}
        self._in_child = False
        # In the pool's main process: what it has received, for as long as Celery holds it, and whose end is told.
        self._received: WeakValueDictionary[str, Any] = WeakValueDictionary()
        self._told: WeakSet[Any] = WeakSet()

    def received(self, request: Any = None, **_more: Any) -> None:
        if request is not None:
            self._received[request.id] = request

    def process_begins(self, **_more: Any) -> None:
        self._in_child = True

    def begins(self, task_id: str, task: Any, **_more: Any) -> None:
        if task.app is not self._app:
            return
        running = self._running[task_id] = _Running()
        told = task.request.get(HEADER)
        if isinstance(told, dict):
            known: Any = {name: told[name] for name in Context.__annotations__ if isinstance(told.get(name), str)}
            running.context.enter_context(resumed(Captured({}, None)))  # nobody's that this thread worked for before
            running.context.enter_context(sharing(**known))
        elif not task.request.called_directly and not task.request.is_eager:
            running.context.enter_context(resumed(Captured({}, None)))
        if self._starts:
            self._emit("task.start", task, task_id)

    def failed(self, task_id: str, exception: BaseException, sender: Any, **_more: Any) -> None:
        running = self._running.get(task_id)
        if running is not None:
            running.error = exception
        elif sender.app is self._app and not isinstance(exception, Reject):  # that the child has said
            self._lost(task_id, exception, sender)

    def _lost(self, task_id: str, exception: BaseException, task: Any) -> None:
        """In the pool's main process: the child that ran it is gone. Celery may say so twice."""
        request = self._received.get(task_id)
        if request is not None:
            if request in self._told:
                return
            self._told.add(request)
        about = {"error": error_name(exception)}
        self._emit("task.end", task, task_id, result="failure", metadata=about, **_asked_by(request))

    def retried(self, request: Any, reason: Any, sender: Any, **_more: Any) -> None:
        running = self._running.get(request.id)
        if running is not None and sender.app is self._app:
            running.retried = True
            cause = getattr(reason, "exc", None) or reason
            error = error_name(cause) if isinstance(cause, BaseException) else "retry"
            self._emit("task.retry", sender, request.id, result="failure", metadata={"error": error})

    def ended(self, task_id: str, task: Any, state: str | None = None, **_more: Any) -> None:
        running = self._running.pop(task_id, None)
        if running is None:
            return
        try:
            if state is None and running.error is None:  # no error of the task: the process is being ended
                running.error = sys.exc_info()[1] or SystemExit()
                if self._in_child and isinstance(running.error, SystemExit):
                    return  # its main process says so, and why
            if state == REJECTED:
                running.error = Reject()
            if not running.retried:
                metadata: dict[str, Any] = {"duration_ms": round((time.perf_counter() - running.began) * 1000, 3)}
                if running.error is not None:
                    metadata["error"] = error_name(running.error)
                result = result_of_error(running.error, self._denials)
                self._emit("task.end", task, task_id, result=result, metadata=metadata)
        finally:
            running.context.close()

    def revoked(self, request: Any, sender: Any, terminated: bool = False, expired: bool = False, **_more: Any) -> None:
        if sender.app is self._app:
            why = "expired" if expired else "terminated" if terminated else "revoked"
            about = {"error": why}
            self._emit("task.revoked", sender, request.id, result="failure", metadata=about, **_asked_by(request))

    def process_ends(self, **_more: Any) -> None:
        self._client.close(self._client.exit_timeout_s)

    def _emit(
        self, action: str, task: Any, task_id: str, metadata: dict[str, Any] | None = None, **fields: Any
    ) -> None:
        if task.name in self._exclude:
            return
        about = {"task_id": task_id, "told_by": "celery", **(metadata or {})}
        if retries := getattr(task.request, "retries", 0):
            about["retries"] = retries
        self._client.emit(action, resource_type=_RESOURCE, resource_id=task.name, metadata=about, **fields)
