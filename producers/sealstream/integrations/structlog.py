"""structlog: a processor that makes audit events of entries with `audit=...`, and lets all entries go on.

    structlog.configure(processors=[..., AuditProcessor(AuditClient.from_env()), structlog.processors.JSONRenderer()])
    log.info("approved", audit={"action": "invoice.approve", "resource": ("invoice", 7)})

Fields, message and result are those of `sealstream.integrations.logging`. `audit` itself is taken out of the entry. Put
it before whatever turns `exc_info` into text. Nothing here raises into the application.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Collection, MutableMapping
from typing import Any

from sealstream.client import AuditClient
from sealstream.integrations.logging import count, emit_record

__all__ = ["AuditProcessor"]

_LOG = logging.getLogger("sealstream.structlog")


class AuditProcessor:
    """`denials`: exceptions by which the application denies, beside `PermissionError`."""

    def __init__(self, client: AuditClient, *, denials: Collection[type[BaseException]] = ()) -> None:
        self.client = client
        self._denials = tuple(denials)

    def __call__(self, _logger: Any, _method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        said = entry.pop("audit", None)
        if said is not None:
            try:
                emit_record(self.client, said, str(entry.get("event", "")), _error(entry), self._denials)
            except Exception as error:  # noqa: BLE001 - an entry of a strange kind; logging must go on
                _LOG.warning("audit entry not sent: %r", error)
                count(self.client, error, "audit entry of structlog")
        return entry


def _error(entry: MutableMapping[str, Any]) -> BaseException | None:
    told = entry.get("exc_info")
    if isinstance(told, BaseException):
        return told
    if isinstance(told, tuple) and len(told) == 3:
        return told[1] if isinstance(told[1], BaseException) else None
    return sys.exc_info()[1] if told else None
