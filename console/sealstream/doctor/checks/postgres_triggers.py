"""The triggers that make Postgres append-only: that they stand, fire for everybody, and refuse what they should.

By their whole definition, and by the text of the function that they call, held against this release's migrations: a
trigger of the right name that lets everything pass is none. Asked of the catalogue; nothing is tried.
"""

from __future__ import annotations

import re

from sealstream.doctor.asking import Asking
from sealstream.doctor.outcomes import Check, Outcome, failed, passed
from sealstream.layout.tables import AUDIT_LOG, SCHEMA, migrations

__all__ = ["CHECKS"]

_LOG = f"{SCHEMA}.{AUDIT_LOG}"
_TO_DO = (
    "find out who changed them (docs/runbooks/README.md), verify Postgres, and put them back as "
    "0002_append_only.sql of `sealstream migrate` has them, e.g. "
    f"ALTER TABLE {_LOG} ENABLE ALWAYS TRIGGER append_only"
)
_NO_TRUNCATE = "BEFORE TRUNCATE FOR EACH STATEMENT"
_OF_LOG = {"append_only": "BEFORE DELETE OR UPDATE FOR EACH ROW", "no_truncate": _NO_TRUNCATE}
_OF_OTHERS = {
    "audit_position": "new.chain <> old.chain OR new.next_seq < old.next_seq",
    "audit_checkpoint": "old.ends_segment OR new.ends_segment OR new.chain <> old.chain OR new.size < old.size",
}
_TRIGGERS = f"""
    SELECT c.relname AS table, t.tgname AS name, t.tgenabled = 'A' AS always, pg_get_triggerdef(t.oid) AS says,
        t.tgfoid = to_regprocedure('{SCHEMA}.audit_refuse()') AS refuses
    FROM pg_class c LEFT JOIN pg_trigger t ON t.tgrelid = c.oid AND NOT t.tgisinternal
    WHERE c.oid = ANY(ARRAY['{_LOG}', '{SCHEMA}.audit_position', '{SCHEMA}.audit_checkpoint']::regclass[])
        OR c.oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = '{_LOG}'::regclass)
    ORDER BY c.relname, t.tgname
"""
_FUNCTION = f"""
    SELECT p.prosrc AS body, l.lanname AS language FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
    WHERE p.oid = to_regprocedure('{SCHEMA}.audit_refuse()')
"""
_ITS_BODY = re.compile(r"CREATE FUNCTION public\.audit_refuse\(\).*?AS \$\$(.*?)\$\$;", re.DOTALL)
_WORDS = re.compile(r"[()\s]+")


def _triggers(asking: Asking) -> Outcome:
    rows = asking.fetch("reader", _TRIGGERS)
    wrong = _function(asking)
    tables = sorted({str(row["table"]) for row in rows})
    for table in tables:
        for name, expected in _expected(table).items():
            (found,) = [row for row in rows if (row["table"], row["name"]) == (table, name)] or [None]
            if found is None:
                wrong.append(f"{table} lacks {name}")
            elif not found["always"]:
                wrong.append(f"{table} lacks {name} (ENABLE ALWAYS)")
            elif not found["refuses"] or _plain(found["says"], table, name) != _WORDS.sub(" ", expected).strip():
                wrong.append(f"{name} on {table} is not this release's: {found['says']}")
    if wrong:
        return failed(*wrong[:10], to_do=_TO_DO)
    months = len(tables) - 1 - len(_OF_OTHERS)
    return passed(
        f"{' and '.join(_OF_LOG)} fire always, and refuse, on {_LOG} and its {months} months; "
        f"{' and '.join(_OF_OTHERS)} go forward only"
    )


def _function(asking: Asking) -> list[str]:
    """What is wrong with the function that refuses; empty: it is the release's."""
    released = next(found for step in migrations() if (found := _ITS_BODY.search(step.sql)))
    rows = asking.fetch("reader", _FUNCTION)
    if rows and (rows[0]["language"], rows[0]["body"].split()) == ("plpgsql", released[1].split()):
        return []
    body = " ".join(rows[0]["body"].split())[:200] if rows else "there is none"
    return [f"{SCHEMA}.audit_refuse() is not this release's: {body}"]


def _expected(table: str) -> dict[str, str]:
    condition = _OF_OTHERS.get(table)
    if condition is None:
        return _OF_LOG
    return {
        "forward_only": f"BEFORE UPDATE FOR EACH ROW WHEN {condition}",
        "no_delete": "BEFORE DELETE FOR EACH ROW",
        "no_truncate": _NO_TRUNCATE,
    }


def _plain(says: str, table: str, name: str) -> str:
    """When a trigger fires, of its definition as Postgres writes it: no names, no brackets."""
    head = f"CREATE TRIGGER {name} "
    fires, _, _ = says.removeprefix(head).partition(" EXECUTE FUNCTION ")
    return _WORDS.sub(" ", fires.replace(f" ON {SCHEMA}.{table}", "", 1)).strip()


CHECKS = (
    Check(
        "postgres.triggers",
        "the append-only triggers stand on the log and each of its months, for everybody, and refuse",
        "pg_trigger and pg_proc, held against this release's migrations",
        _triggers,
    ),
)
