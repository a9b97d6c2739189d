"""The OpenAPI document of the collector. Pure."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from sealstream.collect.settings import CollectSection
from sealstream.events import json_schema
from sealstream.web.problems import ProblemDocument, problem_responses

__all__ = ["openapi_document"]

_DESCRIPTION = """\
Writes events to a tamper-evident audit log.

Every request below `/v1` needs a key (`sealstream collect keys create`) or a registered client certificate. Events are
accepted only once Kafka has acknowledged them. Errors are problem documents (RFC 9457). The same request may be sent
again: events are known by their ids.
"""
_EXAMPLE = {
    "id": "0193a8f2-7c1e-7000-8000-0123456789ab",
    "timestamp": "2026-11-24T09:30:00Z",
    "actor_id": "user-123",
    "actor_type": "user",
    "action": "invoice.approve",
    "resource_type": "invoice",
    "resource_id": "inv-7",
    "result": "success",
}
_REFUSAL = {
    "type": "object",
    "properties": {
        "line": {"type": "integer", "description": "The line, or the place in the array, from 1."},
        "field": {"type": "string", "description": "Empty: it is about the event as a whole."},
        "why": {"type": "string"},
    },
    "required": ["line", "field", "why"],
}
_VERDICTS = {
    "type": "object",
    "properties": {
        "accepted": {"type": "integer"},
        "refused": {"type": "integer"},
        "ids": {"type": "array", "items": {"type": "string", "format": "uuid"}, "description": "Of those accepted."},
        "refusals": {"type": "array", "items": {"$ref": "#/components/schemas/Refusal"}},
    },
    "required": ["accepted", "refused", "ids", "refusals"],
}


def openapi_document(settings: CollectSection) -> dict[str, Any]:
    """OpenAPI 3.1, with this collector's own bounds."""
    event = {"$ref": "#/components/schemas/Event"}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Sealstream collector", "version": _version(), "description": _DESCRIPTION},
        "security": [{"key": []}, {"certificate": []}],
        "paths": {
            "/v1/events": {"post": _events(event, settings)},
            "/v1/logs": {"post": _logs()},
            "/v1/kubernetes/audit": {"post": _audit()},
            "/healthz": {"get": _health("Does the process answer?", 200)},
            "/readyz": {"get": _health("Do Kafka and the keys file answer?", 200, 503)},
        },
        "components": {
            "schemas": {
                **_event_schemas(),
                "Refusal": _REFUSAL,
                "Verdicts": _VERDICTS,
                "ProblemDocument": ProblemDocument.model_json_schema(),
            },
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "bearerFormat": "slk_..."},
                "certificate": {"type": "mutualTLS"},
            },
        },
    }


def _events(event: dict[str, Any], settings: CollectSection) -> dict[str, Any]:
    many = {"type": "array", "items": event, "minItems": 1, "maxItems": settings.events_per_request}
    verdicts = {"application/json": {"schema": {"$ref": "#/components/schemas/Verdicts"}}}
    return {
        "summary": "Write one event or many",
        "operationId": "post_events",
        "tags": ["events"],
        "description": (
            f"At most {settings.events_per_request:,} events and {settings.body_bytes:,} bytes as sent, "
            f"{settings.unpacked_bytes:,} unpacked. `Content-Encoding`: gzip or zstd. With `ce-` "
            "headers the body is the data of a CloudEvent. Each event that is refused is "
            "named in `refusals`; the others are written."
        ),
        "parameters": [
            {
                "name": "Idempotency-Key",
                "in": "header",
                "description": "Ids of events that have none are made from it: the same for the same line.",
                "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
            }
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"oneOf": [event, many]}, "example": _EXAMPLE},
                "application/x-ndjson": {"schema": {"type": "string", "description": "One event a line."}},
                "application/cloudevents+json": {"schema": {"type": "object"}},
                "application/cloudevents-batch+json": {"schema": {"type": "array", "items": {"type": "object"}}},
            },
        },
        "responses": {
            "202": {"description": "All events are written, acknowledged by Kafka", "content": verdicts},
            "207": {"description": "Some events are written, others refused", "content": verdicts},
            **_problems(400, 403, 408, 413, 415),
        },
    }


def _logs() -> dict[str, Any]:
    return {
        "summary": "OTLP/HTTP log records",
        "operationId": "post_logs",
        "tags": ["events"],
        "description": "Attributes `audit.<field>` are an event's fields.",
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"type": "object"}},
                "application/x-protobuf": {"schema": {"type": "string", "format": "binary"}},
            },
        },
        "responses": {
            "200": {
                "description": "Written, acknowledged by Kafka; what was rejected is counted in `partialSuccess`",
                "content": {
                    "application/json": {"schema": {"type": "object"}},
                    "application/x-protobuf": {"schema": {"type": "string", "format": "binary"}},
                },
            },
            **_problems(400, 403, 408, 413, 415),
        },
    }


def _audit() -> dict[str, Any]:
    counted = {"left_out": {"type": "integer", "description": "Earlier stages of requests that have others."}}
    verdicts = {"allOf": [{"$ref": "#/components/schemas/Verdicts"}, {"type": "object", "properties": counted}]}
    answer = {"application/json": {"schema": verdicts}}
    return {
        "summary": "Kubernetes' audit webhook",
        "operationId": "post_audit",
        "tags": ["events"],
        "description": "An `EventList` of `audit.k8s.io/v1`, as kube-apiserver posts it, or lines of its log file.",
        "parameters": [
            {
                "name": "timeout",
                "in": "query",
                "description": "kube-apiserver adds it; it has no effect.",
                "schema": {"type": "string", "pattern": "^[0-9a-zµ.]{1,40}$"},
            }
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "properties": {
                            "kind": {"type": "string"},
                            "apiVersion": {"type": "string"},
                            "items": {"type": "array", "items": {"type": "object"}},
                        },
                        "required": ["items"],
                    }
                },
                "application/x-ndjson": {"schema": {"type": "string", "description": "One audit event a line."}},
            },
        },
        "responses": {
            "202": {"description": "All records that are no earlier stages are written", "content": answer},
            "207": {"description": "Some are written, others refused", "content": answer},
            **_problems(400, 403, 408, 413, 415),
        },
    }


def _problems(*statuses: int) -> dict[str, Any]:
    found = {str(status): answer for status, answer in problem_responses(*statuses).items()}
    wait = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}
    for status in ("429", "503"):
        found[status] = found[status] | {"headers": wait}
    return found


def _health(summary: str, *statuses: int) -> dict[str, Any]:
    content = {"application/json": {"schema": {"type": "object", "required": ["status"]}}}
    return {
        "summary": summary,
        "tags": ["health"],
        "security": [],
        "responses": {
            str(status): {"description": "Yes" if status == 200 else "No", "content": content} for status in statuses
        },
    }


def _event_schemas() -> dict[str, Any]:
    """The schema of events and what it refers to, as components."""
    schema = json_schema()
    parts: dict[str, Any] = _moved(schema.pop("$defs"))
    event = _moved({name: value for name, value in schema.items() if name not in ("$schema", "$id")})
    event["required"] = [name for name in event["required"] if name != "id"]  # Idempotency-Key stands in for it
    return {"Event": event, **parts}


def _moved(schema: Any) -> Any:
    """With references to where components stand."""
    if isinstance(schema, dict):
        return {
            name: value.replace("#/$defs/", "#/components/schemas/") if name == "$ref" else _moved(value)
            for name, value in schema.items()
        }
    return [_moved(each) for each in schema] if isinstance(schema, list) else schema


def _version() -> str:
    try:
        return version("sealstream")
    except PackageNotFoundError:
        return "unknown"
