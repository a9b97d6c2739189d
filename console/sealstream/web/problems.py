"""Every error of the API as a problem of RFC 9457, `application/problem+json`, with a sentence that says what to do.

The invariant: no answer of the API has another form of error, and none tells more of our insides than its sentence.
Pure but for what Starlette's handlers are given.
"""

from __future__ import annotations

import http
import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from sealstream.web.meant import nearest_path, told_fault

__all__ = ["PROBLEM", "Problem", "ProblemDocument", "problem_response", "problem_responses", "told_validation"]

PROBLEM = "application/problem+json"
_TYPE = "urn:sealstream:problem:"
_DESCRIBED = '</openapi.json>; rel="service-desc"'  # RFC 8631


class Problem(Exception):
    """An answer that is an error. `kind` names it for programs; `more`: further members of the document."""

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail
        self.headers = dict(headers or {})
        self.more = dict(more or {})

    @classmethod
    def wait(cls, kind: str, detail: str, seconds: float, status: int = 429) -> Problem:
        """One that is over in so many seconds."""
        return cls(status, kind, detail, headers={"retry-after": str(max(1, math.ceil(seconds)))})


class ProblemDocument(BaseModel):
    """RFC 9457. `errors` names the parameters at fault; `query` places what is wrong in `q`."""

    type: str = Field(examples=[f"{_TYPE}bad-query"])
    title: str
    status: int
    detail: str
    instance: str = Field(description="`urn:sealstream:request:` and the answer's `x-request-id`")
    errors: list[dict[str, Any]] | None = None
    query: dict[str, Any] | None = None


def problem_response(problem: Problem, request_id: str) -> Response:
    """The answer."""
    document = {
        "type": _TYPE + problem.kind,
        "title": http.HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
        "instance": f"urn:sealstream:request:{request_id}",
        **problem.more,
    }
    body = msgspec.json.encode(document)
    return Response(body, problem.status, headers=problem.headers, media_type=PROBLEM)


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For OpenAPI: what these statuses answer; every route may also answer 401, 429, 500 and 503."""
    content = {PROBLEM: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}}
    return {
        status: {"description": http.HTTPStatus(status).phrase, "content": content}
        for status in sorted({401, 422, 429, 500, 503, *statuses})
    }


async def on_problem(request: Request, error: Exception) -> Response:
    """One of ours."""
    assert isinstance(error, Problem)
    return problem_response(error, request.state.request_id)


async def on_http_error(request: Request, error: Exception) -> Response:
    """The framework's own: no such path, no such method."""
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    match error.status_code:
        case 404:
            known = list(request.app.openapi()["paths"])
            near = nearest_path(request.url.path, known)
            meant = f"did you mean {near}?" if near else f"expected {', '.join(known)};"
            detail = f"there is nothing at this path: {meant} /openapi.json describes what there is"
            problem = Problem(404, "not-found", detail, headers={**headers, "link": _DESCRIBED})
        case 405:
            expected = next((value for name, value in headers.items() if name.lower() == "allow"), "another")
            detail = f"{request.method} is not a method of this path: expected {expected}"
            problem = Problem(405, "method-not-allowed", detail, headers=headers)
        case status:
            problem = Problem(status, "refused", str(error.detail), headers=headers)
    return problem_response(problem, request.state.request_id)


async def on_invalid(request: Request, error: Exception) -> Response:
    """Parameters that are not as the OpenAPI document says."""
    assert isinstance(error, RequestValidationError)
    return problem_response(told_validation(error.errors()), request.state.request_id)


def told_validation(faults: Sequence[Mapping[str, Any]]) -> Problem:
    """What is wrong with which parameter."""
    errors = [
        {
            "parameter": ".".join(str(part) for part in fault["loc"][1:]),
            "in": str(fault["loc"][0]),
            "detail": told_fault(fault),
        }
        for fault in faults
    ]
    detail = "; ".join(f"{each['parameter']}: {each['detail']}" for each in errors)
    return Problem(422, "bad-parameter", detail[:1_000], more={"errors": errors})
