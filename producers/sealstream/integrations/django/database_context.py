"""Who acts, told to Postgres before each statement that writes, for triggers to record.

Set for the transaction alone (`set_config(..., is_local => true)`), so that no pooled connection keeps it; a statement
outside of a transaction gets one of its own. It costs one short query for each such statement.
"""

from __future__ import annotations

import json
import re
from typing import Any

from django.db import connections, transaction
from django.db.backends.signals import connection_created

from sealstream.client import bound
from sealstream.client.context import Context
from sealstream.client.values import acceptable_event

__all__ = ["SETTING", "connect", "context_text"]

SETTING = "sealstream.context"
_WRITES = re.compile(r"\s*(insert|update|delete|merge|copy|with|truncate|call|do)\b", re.IGNORECASE)
_COMPLETE = {
    "action": "-",
    "id": "00000000-0000-0000-0000-000000000000",
    "resource_id": "-",
    "resource_type": "-",
    "result": "success",
    "timestamp": "2000-01-01T00:00:00.000000Z",
}


def connect() -> None:
    """For all connections to Postgres, those that are open and those to come."""
    connection_created.connect(_created, dispatch_uid="sealstream.database_context")
    for connection in connections.all(initialized_only=True):
        _created(None, connection)


def _created(sender: Any, connection: Any, **_more: Any) -> None:
    if connection.vendor == "postgresql" and _with_context not in connection.execute_wrappers:
        connection.execute_wrappers.append(_with_context)


def _with_context(execute: Any, sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
    if isinstance(sql, str) and not _WRITES.match(sql):
        return execute(sql, params, many, context)
    connection = context["connection"]
    if connection.in_atomic_block or not connection.get_autocommit():
        _tell(connection)
        return execute(sql, params, many, context)
    with transaction.atomic(using=connection.alias):
        _tell(connection)
        return execute(sql, params, many, context)


def _tell(connection: Any) -> None:
    with connection.connection.cursor() as cursor:  # the driver's own: no wrapper sees it
        cursor.execute("SELECT set_config(%s, %s, true)", (SETTING, context_text()))


def context_text() -> str:
    """What is bound as JSON, each value as an event accepts it; empty where nobody is bound."""
    known = {name: value for name, value in bound().items() if value is not None}
    if "actor_id" not in known:
        return ""
    plain, _canonical = acceptable_event({**_COMPLETE, "actor_type": "user", **known})
    return json.dumps({name: plain[name] for name in Context.__annotations__ if name in plain})
