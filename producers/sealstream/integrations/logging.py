"""The standard library's logging: a record with `extra={"audit": ...}` is an audit event, too.

    logging.getLogger().addHandler(AuditHandler(AuditClient.from_env()))
    log.info("invoice %s approved", 7, extra={"audit": {"action": "invoice.approve", "resource": ("invoice", 7)}})

`audit` holds fields of `AuditClient.emit`, `resource` as `AuditClient.action` takes it. The message goes into
`metadata.message`; a record with an exception is a denial or a failure by `sealstream.client.results`. Other records
are not touched. A record that makes no event is counted and logged by the client as `invalid`; logging never raises.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any

from sealstream.client import AuditClient
from sealstream.client.resources import NAMELESS, resource_of
from sealstream.client.results import error_name, result_of_error, told_result
from sealstream.errors import SealstreamError

__all__ = ["AuditHandler", "count", "emit_record"]

_MESSAGE_CHARACTERS = 2_000
_FIELDS = dict.fromkeys(name for name in inspect.signature(AuditClient.emit).parameters if name != "self")


class AuditHandler(logging.Handler):
    """`denials`: exceptions by which the application denies, beside `PermissionError`."""

    def __init__(self, client: AuditClient, *, denials: Collection[type[BaseException]] = ()) -> None:
        super().__init__()
        self.client = client
        self._denials = tuple(denials)

    def emit(self, record: logging.LogRecord) -> None:
        """Send the record's event, if it has one."""
        said = getattr(record, "audit", None)
        if said is None:
            return
        try:
            error = record.exc_info[1] if record.exc_info else None
            emit_record(self.client, said, _message(record), error, self._denials, {"logger": record.name})
        except Exception as error:  # noqa: BLE001 - as logging's own handlers do
            self.handleError(record)
            count(self.client, error, f"audit record of logger {record.name}")


def count(client: AuditClient, error: Exception, place: str) -> None:
    """A record that made no event, unless the client has counted it already, as it does before it raises."""
    if not isinstance(error, SealstreamError):
        with suppress(SealstreamError):  # a strict one raises
            client.refuse(error, place)


def _message(record: logging.LogRecord) -> str:
    """The record's text; one whose arguments do not fit it, as it stands."""
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - logging's own handlers tell of it
        return str(record.msg)


def emit_record(
    client: AuditClient,
    said: object,
    message: str,
    error: BaseException | None,
    denials: tuple[type[BaseException], ...] = (),
    metadata: Mapping[str, Any] | None = None,
) -> str | None:
    """The event of one record of any logging library: its id, or None when it was dropped."""
    fields: dict[str, Any] = dict(said) if isinstance(said, Mapping) else {"action": said}
    resource = fields.pop("resource", None)
    if resource is not None:
        kind, key = resource_of(resource)
        fields = {"resource_type": kind, "resource_id": NAMELESS if key is None else key, **fields}
    own = fields.get("metadata")
    about = {**(metadata or {}), "message": message[:_MESSAGE_CHARACTERS], **(own if isinstance(own, Mapping) else {})}
    result = result_of_error(error, denials)
    if error is not None and result != "success":
        about["error"] = error_name(error)
    given = fields.pop("result", None)
    fields["result"] = told_result(result, given) if given in (None, "success", "denied", "failure") else given
    action = fields.pop("action", "")
    for name in fields.keys() - _FIELDS:
        raise TypeError(f"{str(name)[:64]!r} is no field of an audit record: expected some of {', '.join(_FIELDS)}")
    fields.setdefault("resource_type", "")
    fields.setdefault("resource_id", "")
    return client.emit(action, **{**fields, "metadata": about})
