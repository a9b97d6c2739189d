"""Makers of statements as canonical events: what the sequencer seals of its own, and what others send to control.

The invariant: what is made here passes the same validation as a stranger's bytes, so a process can't seal nonsense
about itself. Pure; nothing to lose in a crash.
"""

from __future__ import annotations

from collections.abc import Mapping

from sealstream.errors import InvalidEvent
from sealstream.events.statements import STATEMENTS, check_control, check_metadata
from sealstream.events.validation import canonical_event

__all__ = ["control_statement", "log_statement"]


def log_statement(
    action: str,
    *,
    id: str,
    timestamp: str,
    process: str,
    resource_type: str,
    resource_id: str,
    metadata: Mapping[str, object] | None = None,
) -> bytes:
    """The canonical event of one of the log's own statements. `timestamp`: the entry's `sequenced_at`.

    Raises `InvalidEvent` when `action` is no statement of kind `log`, when `metadata` does not fit its schema, or when
    it is too large: the caller then says it in several.
    """
    statement = STATEMENTS.get(action)
    if statement is None or statement.kind != "log":
        raise InvalidEvent(f"action {action!r} is no statement of the log", "action")
    check_metadata(action, metadata and dict(metadata))
    return _statement(
        action,
        metadata,
        id=id,
        timestamp=timestamp,
        actor_id=f"sealstream/{process}",
        actor_type="system",
        resource_type=resource_type,
        resource_id=resource_id,
    )


def control_statement(
    action: str,
    *,
    id: str,
    timestamp: str,
    actor_id: str,
    resource_type: str,
    resource_id: str,
    metadata: Mapping[str, object] | None = None,
    actor_type: str = "system",
    context: Mapping[str, object] | None = None,
) -> bytes:
    """The canonical event of a control record. `actor_id`: `sealstream/<process>`, or the person who commands.

    `context`: more of an event's fields (`ip_address`, `source`, `tenant`), or a `result` other than success.

    Raises `InvalidEvent` for what the sequencer would refuse from the control topic.
    """
    check_control(action, metadata and dict(metadata))
    return _statement(
        action,
        metadata,
        id=id,
        timestamp=timestamp,
        actor_id=actor_id,
        actor_type=actor_type,
        resource_type=resource_type,
        resource_id=resource_id,
        **(context or {}),
    )


def _statement(action: str, metadata: Mapping[str, object] | None, **given: object) -> bytes:
    event = {"action": action, "result": "success", **given}
    return canonical_event(event if metadata is None else event | {"metadata": dict(metadata)})
