"""The routes: from a body to the answer that says what became of each event.

The invariant: 202, 207 and OTLP's 200 leave only after Kafka has acknowledged every event that they call accepted. A
crash, or an answer that is lost, costs nothing: the same request sent again gives the same ids.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import msgspec
from anyio.lowlevel import RunVar
from starlette.requests import Request
from starlette.responses import Response

from sealstream.collect.bodies import read_body
from sealstream.collect.cloudevents import header_attributes, read_binary, read_cloudevent
from sealstream.collect.guard import Sender, sender
from sealstream.collect.judging import Judged, Refusal, fields_of, judge, judge_records
from sealstream.collect.keys import Key
from sealstream.collect.kubernetes import judge_audit
from sealstream.collect.otlp import json_request, log_records, read_log_record
from sealstream.collect.protobuf import logs_request, logs_response
from sealstream.collect.service import Collector, collector_of
from sealstream.collect.splitting import Member, array_members, line_members
from sealstream.layout import figures
from sealstream.web.problems import Problem

__all__ = ["CONTENT_TYPES", "MOST_TOLD", "post_audit", "post_events", "post_logs"]

CLOUDEVENT = "application/cloudevents+json"
CLOUDEVENTS = "application/cloudevents-batch+json"
NDJSON = ("application/x-ndjson", "application/ndjson", "application/jsonl")
CONTENT_TYPES = ("application/json", NDJSON[0], CLOUDEVENT, CLOUDEVENTS)
PROTOBUF = "application/x-protobuf"
MOST_TOLD = 1_000

_AT_ONCE_BYTES = 16_384  # what is judged between two others' requests; more goes to a thread
_COPIES = 12  # of its bytes, as Python's objects
_IDEMPOTENCY_KEY = re.compile("[!-~]{1,255}").fullmatch
_TIMEOUT = re.compile("[0-9a-zµ.]{1,40}").fullmatch
_THREADS = 2  # each may hold a body's worth of Python's objects
_judging: RunVar[anyio.CapacityLimiter] = RunVar("judging")
_T = TypeVar("_T")


async def post_events(request: Request) -> Response:
    """`POST /v1/events`."""
    collector = collector_of(request)
    who = sender(request, collector)
    _no_parameters(request)
    content_type = _content_type(request)
    if content_type not in CONTENT_TYPES and content_type not in NDJSON:
        raise _unsupported(content_type, CONTENT_TYPES)
    attributes = header_attributes(request.headers.raw) if content_type == "application/json" else {}
    idempotency_key = _idempotency_key(request)
    body = await _body(request, collector)
    most = collector.settings.events_per_request

    def binary(key: Key, data: bytes) -> dict[str, Any]:
        return read_binary(key, attributes, data)

    def work() -> Judged:
        if attributes:
            return judge(who.key, [Member(1, body)], idempotency_key, binary)
        if content_type == CLOUDEVENT:
            members = [Member(1, body)]
        else:
            members = line_members(body, most) if content_type in NDJSON else array_members(body, most)
        read = read_cloudevent if content_type in (CLOUDEVENT, CLOUDEVENTS) else _plain
        return judge(who.key, members, idempotency_key, read)

    judged = await _aside(len(body), work)
    if not judged.events and not judged.refusals:
        raise Problem(422, "no-events", "the body holds no event: expected one at least")
    await _write(collector, who, judged)
    return _answer(judged)


def _plain(_key: object, data: bytes) -> dict[str, Any]:
    return fields_of(data)


async def post_audit(request: Request) -> Response:
    """`POST /v1/kubernetes/audit`: the webhook of kube-apiserver, which adds `?timeout=30s` to its address."""
    collector = collector_of(request)
    who = sender(request, collector)
    timeout = request.query_params.getlist("timeout")
    if set(request.query_params) - {"timeout"} or not all(map(_TIMEOUT, timeout)):
        raise Problem(422, "bad-parameter", "expected no parameter but timeout, such as 30s, which has no effect")
    content_type = _content_type(request)
    if content_type != "application/json" and content_type not in NDJSON:
        raise _unsupported(content_type, ("application/json", NDJSON[0]))
    body = await _body(request, collector, _COPIES)
    most = collector.settings.events_per_request
    if not body.strip():
        raise Problem(422, "no-events", "the body is empty: expected an EventList of audit.k8s.io/v1")
    judged, left_out = await _aside(len(body), lambda: judge_audit(who.key, body, most))  # of an empty list nothing
    await _write(collector, who, judged)
    return _answer(judged, left_out=left_out)


async def post_logs(request: Request) -> Response:
    """`POST /v1/logs`, OTLP/HTTP: records that are refused are counted in its partial success."""
    collector = collector_of(request)
    who = sender(request, collector)
    _no_parameters(request)
    content_type = _content_type(request)
    if content_type not in ("application/json", PROTOBUF):
        raise _unsupported(content_type, ("application/json", PROTOBUF))
    body = await _body(request, collector, _COPIES)
    in_protobuf = content_type == PROTOBUF

    def work() -> Judged:
        try:
            records = log_records(
                logs_request(body) if in_protobuf else json_request(body), collector.settings.events_per_request
            )
        except ValueError as error:
            raise Problem(400, "not-otlp", f"the body is no ExportLogsServiceRequest: {error}") from error
        return judge_records(who.key, records, read_log_record)

    judged = await _aside(len(body), work)
    await _write(collector, who, judged)
    told = "; ".join(f"record {each.line}: {each.why}" for each in judged.refusals[:5])
    rejected = len(judged.refusals)
    if in_protobuf:
        return Response(logs_response(rejected, told), media_type=PROTOBUF)
    partial = {"partialSuccess": {"rejectedLogRecords": rejected, "errorMessage": told}} if rejected else {}
    return Response(msgspec.json.encode(partial), media_type="application/json")


async def _write(collector: Collector, who: Sender, judged: Judged) -> None:
    """Returns when Kafka has acknowledged what was accepted; counts it, and what was refused."""
    tally, chain = collector.vitals.tally, who.key.chain
    if judged.refusals:
        tally.add(figures.COLLECT_REFUSED, len(judged.refusals), chain)
    if judged.events:
        await collector.deliveries.send(who.topic, judged.events)
        tally.add(figures.BATCHES, 1, chain)
        tally.add(figures.ENTRIES, len(judged.events), chain)


async def _body(request: Request, collector: Collector, copies: int = 0) -> bytes:
    held = collector.room.held()
    request.scope["state"]["held"].callback(held.give_back)
    body = await read_body(request, collector.settings, held)
    held.take(len(body) * copies)
    return body


async def _aside(size_bytes: int, work: Callable[[], _T]) -> _T:
    if size_bytes <= _AT_ONCE_BYTES:
        return work()
    try:
        limiter = _judging.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(_THREADS)
        _judging.set(limiter)
    return await anyio.to_thread.run_sync(work, limiter=limiter)


def _answer(judged: Judged, **more: int) -> Response:
    refusals = [_told(each) for each in judged.refusals[:MOST_TOLD]]
    counts: dict[str, Any] = {"accepted": len(judged.events), "refused": len(judged.refusals), **more}
    if refusals and not judged.events:
        first = judged.refusals[0]
        others = "" if len(judged.refusals) == 1 else f" (and {len(judged.refusals) - 1:,} more: see refusals)"
        detail = f"nothing was accepted: event {first.line}: {first.why}{others}"
        raise Problem(422, "refused", detail, more={**counts, "refusals": refusals})
    content = msgspec.json.encode({**counts, "ids": judged.ids, "refusals": refusals})
    return Response(content, 207 if refusals else 202, media_type="application/json")


def _told(refusal: Refusal) -> dict[str, Any]:
    return {"line": refusal.line, "field": refusal.field, "why": refusal.why}


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _unsupported(content_type: str, expected: tuple[str, ...]) -> Problem:
    detail = f"Content-Type is {content_type[:80]!r}: expected {', '.join(expected)}"
    return Problem(415, "unsupported-type", detail, headers={"accept": ", ".join(expected)})


def _idempotency_key(request: Request) -> str:
    given = request.headers.get("idempotency-key")
    if given is None:
        return ""
    if not _IDEMPOTENCY_KEY(given):
        raise Problem(422, "bad-header", "Idempotency-Key: expected 1 to 255 printable ASCII characters without spaces")
    return given


def _no_parameters(request: Request) -> None:
    if request.scope["query_string"]:
        raise Problem(422, "bad-parameter", "there are no parameters: a key is tied to its chain and its tenant")
