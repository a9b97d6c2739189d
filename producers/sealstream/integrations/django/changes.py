"""Changes of models as events, by Django's signals: `create`, `update`, `delete`, with old and new values.

What was there before an update is read in one query more. An event is sent when the transaction has committed, with
what was bound when the change was made; with an outbox, it is written in the transaction itself. No signals are sent
for `bulk_create`, `bulk_update`, `update()`, cascades of the database, and raw SQL: `triggers` sees those.

The invariant: what was rolled back has no event. A crash between commit and event loses the event, unless there is an
outbox.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Any

from django.db import transaction
from django.db.models.signals import m2m_changed, post_delete, post_save, pre_delete, pre_save

from sealstream.client import bound, changes
from sealstream.client.changes import fields_of
from sealstream.integrations.django.configuration import audit_client, configured
from sealstream.integrations.django.outbox import DjangoOutbox

__all__ = ["watch"]

_BEFORE = "sealstream_before"
_M2M = {"post_add": "add", "post_remove": "remove", "pre_clear": "clear"}


def watch(*models: Any) -> None:
    """Record changes of these models from now on; a second time changes nothing."""
    for model in models:
        uid = f"sealstream.{model._meta.label}"
        pre_save.connect(_before_save, sender=model, dispatch_uid=uid)
        post_save.connect(_saved, sender=model, dispatch_uid=uid)
        pre_delete.connect(_before_delete, sender=model, dispatch_uid=uid)
        post_delete.connect(_deleted, sender=model, dispatch_uid=uid)
        for field in model._meta.many_to_many:
            through = field.remote_field.through
            m2m_changed.connect(
                partial(_related, field.name), sender=through, weak=False, dispatch_uid=f"{uid}.{field.name}"
            )


def _stored(instance: Any, using: str) -> dict[str, Any] | None:
    names = [field.attname for field in instance._meta.concrete_fields]
    found: dict[str, Any] | None = (
        type(instance)._base_manager.using(using).filter(pk=instance.pk).values(*names).first()
    )
    return found


def _before_save(sender: Any, instance: Any, raw: bool, using: str, **_more: Any) -> None:
    if not raw:
        before = None if instance._state.adding or instance.pk is None else _stored(instance, using)
        setattr(instance._state, _BEFORE, before)


def _saved(sender: Any, instance: Any, created: bool, raw: bool, using: str, **_more: Any) -> None:
    if raw:
        return
    before = None if created else vars(instance._state).pop(_BEFORE, None)
    after: dict[str, Any] | None = fields_of(instance)
    if any(hasattr(value, "resolve_expression") for value in fields_of(instance).values()):  # F("count") + 1
        after = _stored(instance, using)
    if (update_fields := _more.get("update_fields")) is not None and before is not None and after is not None:
        written = {field.attname for field in instance._meta.concrete_fields if field.name in update_fields}
        after = {name: value if name in written else before.get(name) for name, value in after.items()}
    said = changes(before, {**(before or {}), **(after or {})})
    if created or said["changed_fields"]:
        _report("create" if created else "update", instance, instance.pk, using, **said)


def _before_delete(sender: Any, instance: Any, using: str, **_more: Any) -> None:
    setattr(instance._state, _BEFORE, _stored(instance, using))


def _deleted(sender: Any, instance: Any, using: str, **_more: Any) -> None:
    _report("delete", instance, instance.pk, using, **changes(vars(instance._state).pop(_BEFORE, None), None))


def _related(
    name: str, sender: Any, instance: Any, action: str, reverse: bool, pk_set: Any, using: str, **_more: Any
) -> None:
    verb = _M2M.get(action)
    if verb is None or reverse or (verb != "clear" and not pk_set):
        return
    keys = (
        sorted(getattr(instance, name).using(using).values_list("pk", flat=True)) if verb == "clear" else sorted(pk_set)
    )
    side = "new_values" if verb == "add" else "old_values"
    _report(f"update.{verb}", instance, instance.pk, using, changed_fields=[name], **{side: {name: keys}})


def _report(action: str, instance: Any, key: Any, using: str, **fields: Any) -> None:
    meta = instance._meta
    event = {
        "resource_type": meta.model_name,
        "resource_id": key,
        "metadata": {"model": meta.label},
        "timestamp": datetime.now(UTC),
        **fields,
    }
    options = configured().get("outbox")
    if options:
        DjangoOutbox(using=using, **(options if isinstance(options, dict) else {})).emit(action, **event)
        return
    # Said now, for when it has committed nobody may be bound any more.
    known = bound()
    transaction.on_commit(lambda: audit_client().emit(action, **{**known, **event}), using=using, robust=True)
