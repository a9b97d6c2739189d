"""The words of `log.read`: who, what, of which store, how many entries. Pure; ids and times come in as arguments.

The invariant: what is made here passes the control topic, or `InvalidEvent` is raised before anything is shown.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Literal, NamedTuple

from sealstream.errors import InvalidEvent
from sealstream.events import control_statement

__all__ = ["MAX_QUERY_BYTES", "READ_ACTION", "Access", "Reader", "end_id", "read_statement", "reader_fields"]

READ_ACTION = "log.read"
MAX_QUERY_BYTES = 16_384


class Reader(NamedTuple):
    """Who reads. `id`: `ann@host`, or a token's name; `source`: the component that says so, and what it relies on."""

    id: str
    type: Literal["user", "service"]
    source: Mapping[str, str]
    ip_address: str | None = None
    user_agent: str | None = None
    session_id: str | None = None
    tenant: str | None = None


class Access(NamedTuple):
    """What is read. `what`: a command (`search`, `verify`) or a route of the API; `query`: as it was asked."""

    chain: str
    what: str
    store: str
    query: str = ""
    request_id: str = ""


def read_statement(
    reader: Reader,
    access: Access,
    *,
    id: str,
    timestamp: str,
    phase: Literal["whole", "begin", "end"],
    facts: Mapping[str, object],
    result: str = "success",
) -> bytes:
    """The canonical event. `facts`: the members of its metadata beyond those of `access` (`rows`, `outcome`, ...)."""
    if len(access.query.encode(errors="surrogatepass")) > MAX_QUERY_BYTES:
        raise InvalidEvent(f"the query is too long to be recorded: expected at most {MAX_QUERY_BYTES:,} bytes", "query")
    metadata: dict[str, object] = {"what": access.what, "store": access.store, "phase": phase, **facts}
    if access.query:
        metadata["query"] = access.query
    if access.request_id:
        metadata["request_id"] = access.request_id
    return control_statement(
        READ_ACTION,
        id=id,
        timestamp=timestamp,
        actor_id=reader.id,
        actor_type=reader.type,
        resource_type="chain",
        resource_id=access.chain,
        metadata=metadata,
        context=reader_fields(reader) | {"result": result},
    )


def reader_fields(reader: Reader) -> dict[str, object]:
    """What an event says of its actor beside id and type."""
    fields: dict[str, object] = {"source": dict(reader.source)}
    for name in ("ip_address", "user_agent", "session_id", "tenant"):
        value = getattr(reader, name)
        if value is not None:
            fields[name] = value[:512]
    return fields


def end_id(begin_id: str) -> str:
    """The id of a stream's end: one for each beginning, so that an end said twice is one."""
    return str(uuid.uuid5(uuid.UUID(begin_id), "end"))
