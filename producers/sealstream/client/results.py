"""What a result is: one rule for requests, calls, tasks and exceptions, wherever they are recorded.

A status below 400 is `success`, 401 and 403 are `denied`, everything else, none at all included, is `failure`. An
exception is `denied` where it is a `PermissionError`, one that the application names, one that frameworks deny with, or
carries a status of 401 or 403; else `failure`. What was told can make a success a denial or a failure, never the
reverse: nobody talks a failure away. Pure.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

__all__ = ["DENIED_STATUSES", "Result", "error_name", "result_of_error", "result_of_status", "told_result"]

Result = Literal["success", "failure", "denied"]

DENIED_STATUSES = (401, 403)
_DENIALS_BY_NAME = frozenset(
    (
        "django.core.exceptions.PermissionDenied",
        "werkzeug.exceptions.Unauthorized",
        "werkzeug.exceptions.Forbidden",
    )
)


def result_of_status(status: int | None) -> Result:
    """For an HTTP status; None: there was no complete response."""
    if status in DENIED_STATUSES:
        return "denied"
    return "success" if status is not None and status < 400 else "failure"


def result_of_error(error: BaseException | None, denials: Collection[type[BaseException]] = ()) -> Result:
    """For what ended with this exception, or without one. `denials`: exceptions by which the application denies."""
    if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
        return "success"
    if isinstance(error, (PermissionError, *denials)):
        return "denied"
    if any(f"{each.__module__}.{each.__qualname__}" in _DENIALS_BY_NAME for each in type(error).__mro__):
        return "denied"
    return "denied" if getattr(error, "status_code", None) in DENIED_STATUSES else "failure"


def told_result(result: Result, told: object) -> Result:
    """The result, unless it is a success that somebody knows to be none."""
    if told in ("denied", "failure"):  # also a denial dressed as 404
        return told
    return result


def error_name(error: BaseException) -> str:
    """An exception as an event names it: by its class, for its text may hold anybody's data."""
    return "cancelled" if type(error).__name__ == "CancelledError" else type(error).__name__
