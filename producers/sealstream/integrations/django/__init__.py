"""Django: requests, logins, changes of models, and events in the transaction that they are about.

    INSTALLED_APPS = [..., "sealstream.integrations.django"]
    MIDDLEWARE = ["sealstream.integrations.django.AuditMiddleware", ...]        # first
    SEALSTREAM_AUDIT = {"client": "billing.audit.client", "models": ["billing.Invoice"]}

`middleware` has the requests, `logins` the authentication's signals, `changes` those of models, `triggers` what signals
miss (with django-pgtrigger), `outbox` events in `transaction.atomic()`. `configuration` says what can be set.
"""

from sealstream.integrations.django.middleware import AuditMiddleware
from sealstream.integrations.django.outbox import DjangoOutbox, outbox_migration
from sealstream.integrations.requests import Actor, describe, emitted_already

__all__ = ["Actor", "AuditMiddleware", "DjangoOutbox", "describe", "emitted_already", "outbox_migration"]
