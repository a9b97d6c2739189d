"""Changes of models as events, by Django's signals: `create`, `update`, `delete`, with old and new values.

What was there before an update is read in one query more. An event is sent when the transaction has committed, with
what was bound when the change was made; with an outbox, it is written in the transaction itself. No signals are sent
for `bulk_create`, `bulk_update`, `update()`, cascades of the database, and raw SQL: `triggers` sees those.

The invariant: what was rolled back has no event. A crash between commit and event loses the event, unless there is an
outbox.
"""

from __future__ import annotations

from collections.abc import Callable
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


_watched: set[Any] = set()


def watch(*models: Any) -> None:
    """Record changes of these models' rows from now on, by proxies of them too; a second time changes nothing."""
    for signal, function in (
        (pre_save, _before_save),
        (post_save, _saved),
        (pre_delete, _before_delete),
        (post_delete, _deleted),
    ):
        signal.connect(_of_watched(function), weak=False, dispatch_uid=f"sealstream.{function.__name__}")
    for model in (each._meta.concrete_model for each in models):
        _watched.add(model)
        for field in model._meta.many_to_many:
            m2m_changed.connect(
                partial(_related, model, field.name),
                sender=field.remote_field.through,
                weak=False,
                dispatch_uid=f"sealstream.{model._meta.label}.{field.name}",
            )


def _of_watched(function: Callable[..., None]) -> Callable[..., None]:
    def heard(sender: Any, **named: Any) -> None:
        if sender._meta.concrete_model in _watched:
            function(sender=sender, **named)

    return heard


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
        written = {
            field.attname for field in instance._meta.concrete_fields if {field.name, field.attname} & {*update_fields}
        }
        after = {name: value if name in written else before.get(name) for name, value in after.items()}
    said = changes(before, {**(before or {}), **(after or {})})
    if created or said["changed_fields"]:
        _report("create" if created else "update", instance, instance.pk, using, **said)


def _before_delete(sender: Any, instance: Any, using: str, **_more: Any) -> None:
    setattr(instance._state, _BEFORE, _stored(instance, using))


def _deleted(sender: Any, instance: Any, using: str, **_more: Any) -> None:
    _report("delete", instance, instance.pk, using, **changes(vars(instance._state).pop(_BEFORE, None), None))


def _related(
    watched: Any,
    name: str,
    sender: Any,
    instance: Any,
    action: str,
    reverse: bool,
    pk_set: Any,
    using: str,
    **_more: Any,
) -> None:
    """`reverse`: said from the other side, so `instance` is the member, and the rows that it joins are named."""
    verb = _M2M.get(action)
    if verb is None or (verb != "clear" and not pk_set):
        return
    if reverse:
        rows = watched._base_manager.using(using).filter(**{name: instance}) if verb == "clear" else None
        changed = {key: [instance.pk] for key in sorted(pk_set if rows is None else rows.values_list("pk", flat=True))}
    elif verb == "clear":
        changed = {instance.pk: sorted(getattr(instance, name).using(using).values_list("pk", flat=True))}
    else:
        changed = {instance.pk: sorted(pk_set)}
    side = "new_values" if verb == "add" else "old_values"
    for key, members in changed.items():
        _report(f"update.{verb}", watched, key, using, changed_fields=[name], **{side: {name: members}})


def _report(action: str, model: Any, key: Any, using: str, **fields: Any) -> None:
    meta = model._meta.concrete_model._meta
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
