"""The setting `SEALSTREAM_AUDIT` of a Django project, and the process's client.

- `client`: an `AuditClient`, or the dotted name of one (or of a function that makes one); by default one is made by
  `AuditClient.from_env()`.
- `trusted_proxies`, `exclude`: as `sealstream.integrations.requests.RequestAudit`. `actor`: the dotted name of a
  function of the request; by default its logged-in user.
- `models`: labels of models whose changes are recorded (`billing.Invoice`). `outbox`: true, or options of
  `DjangoOutbox`: these changes are written in the transaction, in place of after its commit.
- `logins`: false for no events of the authentication's signals.
- `database_context`: true where triggers write events, so that they know who acts.

Raises `Misconfigured` for a name that is none.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string

from sealstream.client import AuditClient
from sealstream.errors import Misconfigured

__all__ = ["audit_client", "configured", "loaded"]

_NAMES = frozenset(("actor", "client", "database_context", "exclude", "logins", "models", "outbox", "trusted_proxies"))


def configured() -> dict[str, Any]:
    """The setting as it is."""
    given = getattr(settings, "SEALSTREAM_AUDIT", {})
    unknown = sorted(given.keys() - _NAMES)
    if unknown:
        raise Misconfigured(f"SEALSTREAM_AUDIT has no {unknown[0]}: expected some of {', '.join(sorted(_NAMES))}")
    return dict(given)


def loaded(value: Any) -> Any:
    """What a dotted name names; anything else is what it is."""
    return import_string(value) if isinstance(value, str) else value


@lru_cache(maxsize=1)
def audit_client() -> AuditClient:
    """The one of this process."""
    found = loaded(configured().get("client"))
    if found is None:
        return AuditClient.from_env()
    client = found if isinstance(found, AuditClient) else found()
    if not isinstance(client, AuditClient):
        raise Misconfigured(f"SEALSTREAM_AUDIT: client is a {type(client).__name__}: expected an AuditClient")
    return client
