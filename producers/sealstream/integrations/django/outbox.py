"""The outbox in Django: an audit event in the transaction of `transaction.atomic()`.

    outbox = DjangoOutbox(source={"service": "billing"})
    with transaction.atomic():
        invoice.save()
        outbox.emit("invoice.approve", actor_id=request.user.pk, resource_type="invoice", resource_id=invoice.pk)

An inner `atomic()` that is rolled back takes its events with it. Outside of one, Django commits each statement by
itself, and so the event. The table comes from a migration: `migrations.RunSQL(*outbox_migration())`. Everything else,
and the crash story, is `sealstream.client.outbox`'s.
"""

from __future__ import annotations

from typing import Any, Unpack

from asgiref.sync import sync_to_async
from django.db import connections

from sealstream.client.outbox import EventFields, Outbox
from sealstream.layout import DEFAULT_OUTBOX, OutboxTables

__all__ = ["DjangoOutbox", "outbox_migration"]


class DjangoOutbox:
    """An `Outbox` on the database that `DATABASES` calls `using`; the options are those of `Outbox`."""

    def __init__(self, *, using: str = "default", **options: Any) -> None:
        self.outbox = Outbox(**options)
        self.using = using

    def emit(self, action: str, **fields: Unpack[EventFields]) -> str | None:
        """Insert an event in the transaction that is open: the event's id, or None when it was refused."""
        return self.outbox.emit(connections[self.using], action, **fields)

    async def aemit(self, action: str, **fields: Unpack[EventFields]) -> str | None:
        """`emit`, for an asynchronous view. Django has no transactions there: the event is committed by itself."""
        return await sync_to_async(self.emit)(action, **fields)


def outbox_migration(table: str = DEFAULT_OUTBOX) -> tuple[str, str]:
    """Arguments of `migrations.RunSQL`: the SQL that makes the tables, and the one that drops them."""
    tables = OutboxTables.of(table)
    return tables.create_sql(), tables.drop_sql()
