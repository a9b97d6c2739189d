"""Changes that signals miss, recorded by Postgres itself: `bulk_create`, `update()`, raw SQL, psql, other programs.

    class Invoice(models.Model):
        class Meta:
            triggers = audit_triggers(source={"service": "billing"})

Needs django-pgtrigger, and the outbox's tables (`outbox_migration`). Each row that is inserted, updated or deleted
writes one event into the outbox in the same transaction, a TRUNCATE one for the table. Who acts is what the application
told (`database_context`), else the database's user, as a service. Columns whose names say a secret are `[redacted]`;
texts are not searched for secrets here. Use triggers or signals for a model, not both: each would record the change.

The invariant: no row changes without its event, and none that was rolled back has one. Who writes to the table needs
the right to insert into the outbox.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

import pgtrigger

from sealstream.client.redaction import REDACTED, Redaction
from sealstream.integrations.django.database_context import SETTING
from sealstream.layout import DEFAULT_OUTBOX, OutboxTables

__all__ = ["audit_triggers"]

_LARGEST = 50_000  # bytes of an event's values; what is larger is replaced by its length and SHA-256

_DECLARE = [
    ("known", f"jsonb := COALESCE(NULLIF(current_setting('{SETTING}', true), ''), '{{}}')::jsonb"),
    ("before", "jsonb"),
    ("after", "jsonb"),
    ("changed", "jsonb"),
    ("said", "jsonb"),
]

# What holds a number that JSON's readers may not keep exactly becomes text: an event could not hold it.
_PLAIN = """
(SELECT COALESCE(jsonb_object_agg(key, CASE
    WHEN key = ANY({secret}) AND value <> 'null' AND jsonb_typeof(value) <> 'boolean' THEN to_jsonb('{redacted}'::text)
    WHEN jsonb_typeof(value) = 'number' AND value::text !~ '^-?[0-9]{{1,15}}$' THEN to_jsonb(value #>> '{{}}')
    WHEN jsonb_typeof(value) IN ('object', 'array') AND value::text ~ '[0-9]{{16}}' THEN to_jsonb(value::text)
    ELSE value END), '{{}}') FROM jsonb_each({row}){where})
"""
_DIFFERS = " WHERE to_jsonb(OLD) -> key IS DISTINCT FROM to_jsonb(NEW) -> key"
_EVENT = """
said := jsonb_build_object(
    'actor_id', session_user::text, 'actor_type', 'service'
) || known || jsonb_build_object(
    'id', gen_random_uuid(),
    'timestamp', to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    'action', {action},
    'resource_type', {resource_type},
    'resource_id', {resource_id},
    'result', 'success',
    'source', {source}::jsonb,
    'metadata', jsonb_build_object(
        'model', {model}, 'recorded_by', 'trigger', 'database_user', session_user::text
    )
);
IF changed IS NOT NULL THEN
    said := said || jsonb_build_object('changed_fields', changed);
END IF;
IF before IS NOT NULL THEN
    IF octet_length(before::text) > {half} THEN
        before := jsonb_build_object('left_out_bytes', octet_length(before::text),
            'sha256', encode(sha256(convert_to(before::text, 'UTF8')), 'hex'));
    END IF;
    said := said || jsonb_build_object('old_values', before);
END IF;
IF after IS NOT NULL THEN
    IF octet_length(after::text) > {half} THEN
        after := jsonb_build_object('left_out_bytes', octet_length(after::text),
            'sha256', encode(sha256(convert_to(after::text, 'UTF8')), 'hex'));
    END IF;
    said := said || jsonb_build_object('new_values', after);
END IF;
INSERT INTO {outbox} (event) VALUES (convert_to(said::text, 'UTF8'));
RETURN NULL;
"""


class _AuditTrigger(pgtrigger.Trigger):  # type: ignore[misc]
    """One of the two triggers of a model."""

    when = pgtrigger.After

    def __init__(
        self,
        *,
        table: OutboxTables,
        source: Mapping[str, str],
        redaction: Redaction,
        ignore: Collection[str],
        **kw: Any,
    ) -> None:
        self._table, self._source, self._redaction, self._ignore = table, dict(source), redaction, list(ignore)
        super().__init__(declare=_DECLARE, **kw)

    def get_func(self, model: Any) -> str:
        """The body of its function."""
        meta = model._meta
        truncates = self.operation is pgtrigger.Truncate
        columns = [field.column for field in meta.concrete_fields]
        secret = _array(name for name in columns if self._redaction.is_secret(name))
        plain = {"secret": secret, "redacted": REDACTED}
        rows = "" if truncates else _rows(plain, _array(self._ignore))
        key = _text(meta.pk.column)
        return rows + _EVENT.format(
            action="lower(TG_OP)" if truncates else "CASE TG_OP WHEN 'INSERT' THEN 'create' ELSE lower(TG_OP) END",
            resource_type=_text("table" if truncates else meta.model_name),
            resource_id=_text(meta.db_table)
            if truncates
            else f"COALESCE(to_jsonb(NEW) ->> {key}, to_jsonb(OLD) ->> {key})",
            source=_text(json.dumps(self._source)),
            model=_text(meta.label),
            half=_LARGEST // 2,
            outbox=self._table.table,
        )


def _rows(plain: Mapping[str, str], ignored: str) -> str:
    """`before`, `after` and `changed` of one row; nothing more for an update that changes nothing."""
    kept = f"(to_jsonb({{}}) - {ignored})"
    old, new = kept.format("OLD"), kept.format("NEW")
    return f"""
IF TG_OP = 'UPDATE' THEN
    before := {_PLAIN.format(**plain, row=old, where=_DIFFERS)};
    after := {_PLAIN.format(**plain, row=new, where=_DIFFERS)};
    IF before = '{{}}' THEN
        RETURN NULL;
    END IF;
    changed := (SELECT jsonb_agg(key ORDER BY key) FROM jsonb_object_keys(after) AS key);
ELSIF TG_OP = 'INSERT' THEN
    after := {_PLAIN.format(**plain, row=new, where="")};
ELSE
    before := {_PLAIN.format(**plain, row=old, where="")};
END IF;
"""


def _text(value: str) -> str:
    """As SQL writes it."""
    quoted = value.replace("'", "''")
    return f"'{quoted}'::text"


def _array(values: Any) -> str:
    return f"ARRAY[{', '.join(map(_text, values))}]::text[]"


def audit_triggers(
    *,
    source: Mapping[str, str] | None = None,
    table: str = DEFAULT_OUTBOX,
    redaction: Redaction | None = None,
    ignore: Collection[str] = (),
) -> list[pgtrigger.Trigger]:
    """For `Meta.triggers`. `source`: as `AuditClient`'s. `ignore`: columns that are not recorded."""
    options: dict[str, Any] = {
        "table": OutboxTables.of(table),
        "source": source or {},
        "redaction": redaction or Redaction(),
        "ignore": ignore,
    }
    changed = pgtrigger.Insert | pgtrigger.Update | pgtrigger.Delete
    return [
        _AuditTrigger(name="sealstream_audit", level=pgtrigger.Row, operation=changed, **options),
        _AuditTrigger(name="sealstream_truncate", level=pgtrigger.Statement, operation=pgtrigger.Truncate, **options),
    ]
