"""What each error of ours is as an answer: the one table from `SealstreamError` to problems. Pure.

The invariant: a caller's mistake is told with how to mend it; what is ours to mend is told in a word, and its details,
which name hosts and roles, go to the service's log.
"""

from __future__ import annotations

import structlog
from starlette.requests import Request
from starlette.responses import Response

from sealstream.access import NotRecorded
from sealstream.errors import InvalidEvent, SealstreamError, Unavailable
from sealstream.search import BadCursor, BadPlace, QueryError, SearchTooBroad
from sealstream.web.problems import Problem, problem_response
from sealstream.web.verifying import AlreadyRunning

__all__ = ["on_our_error", "problem_of"]

_WAIT_S = 5.0


def problem_of(error: SealstreamError) -> Problem:
    """The answer to an error."""
    match error:
        case QueryError():
            placed = {"start": error.start, "end": error.end, "expected": error.expected, "nearest": error.nearest}
            return Problem(422, "bad-query", f"q: {error.told()}", more={"query": placed})
        case BadCursor():
            return Problem(422, "bad-cursor", f"after: {error}")
        case BadPlace():
            return Problem(422, "bad-parameter", str(error))
        case SearchTooBroad():
            return Problem(422, "search-too-broad", str(error))
        case InvalidEvent():
            return Problem(422, "not-recordable", f"this request can't be recorded in the log: {error}")
        case AlreadyRunning():
            detail = "a verification is under way, and this service runs one at a time: try again when it is done"
            return Problem.wait("verification-running", detail, 60, status=409)  # of a chain that is not the caller's
        case NotRecorded():
            detail = "nothing is shown, because each access is recorded in the log first and Kafka does not take it now"
            return Problem.wait("not-recorded", detail, _WAIT_S, status=503)
        case Unavailable():
            return Problem.wait("unavailable", "a store does not answer: try again later", _WAIT_S, status=503)
        case _:
            return Problem(500, "fault", "something is wrong with the service: its log says more")


async def on_our_error(request: Request, error: Exception) -> Response:
    """Answer it; say the details where the operator looks."""
    assert isinstance(error, SealstreamError)
    problem = problem_of(error)
    if problem.status >= 500:
        structlog.get_logger().error(
            "could not answer", process="serve", request_id=request.state.request_id, reason=str(error)
        )
    return problem_response(problem, request.state.request_id)
