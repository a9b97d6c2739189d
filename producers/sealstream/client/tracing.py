"""The trace that the running code belongs to, where OpenTelemetry or a W3C header tells one.

OpenTelemetry is never imported: only where the application has imported it is it asked. Pure otherwise.
"""

from __future__ import annotations

import re
import sys

__all__ = ["current_trace_id", "trace_id_of"]

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}.*")  # W3C Trace Context, section 3.2
_NO_TRACE = "0" * 32


def trace_id_of(traceparent: str) -> str | None:
    """The trace in a `traceparent` header, 32 hex digits; None when it is none."""
    found = _TRACEPARENT.fullmatch(traceparent)
    return found[1] if found and found[1] != _NO_TRACE and not traceparent.startswith("ff") else None


def current_trace_id() -> str | None:
    """The trace of OpenTelemetry's current span, 32 hex digits."""
    api = sys.modules.get("opentelemetry.trace")
    if api is None:
        return None
    try:
        trace_id = api.get_current_span().get_span_context().trace_id
    except AttributeError:  # half imported, or something else of that name
        return None
    return f"{trace_id:032x}" if trace_id else None
