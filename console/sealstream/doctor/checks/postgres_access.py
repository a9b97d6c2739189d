"""Who gets into Postgres, and what each role may do: read from its catalogue, and tried in rolled-back transactions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit, urlunsplit

from sealstream.doctor.asking import Asking
from sealstream.doctor.outcomes import Check, Outcome, failed, folded, passed, unknown
from sealstream.errors import Misconfigured
from sealstream.layout.tables import AUDIT_LOG, SCHEMA, migrations
from sealstream.postgres.driver import Session
from sealstream.postgres.trying import Tried, try_forbidden

__all__ = ["CHECKS", "judged_executors", "judged_others", "judged_tries"]

_LOG = f"{SCHEMA}.{AUDIT_LOG}"
_CONNECT_S = 10.0
_MODES = ("require", "verify-ca", "verify-full")
_MIGRATED = "`sealstream migrate` makes the roles; take from them what they have beyond it (REVOKE, ALTER ROLE)"
_TLS = (
    "turn `ssl` on in Postgres, and end each DSN with `?sslmode=verify-full&sslrootcert=FILE` (docs/configuration.md)"
)
_SSL = "SELECT s.ssl, s.version FROM pg_stat_ssl s WHERE s.pid = pg_backend_pid()"
_ROLE = f"""
    SELECT current_user AS role, r.rolsuper, r.rolcreaterole, r.rolcreatedb, r.rolbypassrls, r.rolreplication,
        pg_has_role(c.relowner, 'MEMBER') AS owns, owner.rolname AS owner, owner.rolcanlogin AS owner_logs_in,
        ARRAY(SELECT privilege FROM unnest($1::text[]) privilege WHERE has_table_privilege(c.oid, privilege)) AS may
    FROM pg_roles r, pg_class c JOIN pg_roles owner ON owner.oid = c.relowner
    WHERE r.rolname = current_user AND c.oid = '{_LOG}'::regclass
"""
_MIGHTY = ("super", "createrole", "createdb", "bypassrls", "replication")
_MUST_NOT = {
    "sink": ("UPDATE", "DELETE", "TRUNCATE", "TRIGGER"),
    "reader": ("INSERT", "UPDATE", "DELETE", "TRUNCATE", "TRIGGER"),
    "keeper": ("INSERT", "UPDATE", "DELETE", "TRUNCATE", "TRIGGER"),
}
# Anybody else who may log in, on the log or one of its months, by a right, or by one of a role that it can become; a
# superuser may everything, and is no grant. $1: as whom the sink logs in here, who alone may INSERT. `administrator`:
# who makes roles, and may become the owner, or the sink, and no other: as such a one `sealstream migrate` is run.
_OTHERS = f"""
    WITH sinks AS (
        SELECT ARRAY[regexp_replace(owner.rolname, '_owner$', '_sink')] || $1::text[] AS names
        FROM pg_class c JOIN pg_roles owner ON owner.oid = c.relowner WHERE c.oid = '{_LOG}'::regclass)
    SELECT r.rolname AS name,
        r.rolcreaterole AND bool_and(g.oid = c.relowner OR g.rolname = ANY(sinks.names)) AS administrator
    FROM sinks, pg_roles r JOIN pg_roles g ON pg_has_role(r.oid, g.oid, 'MEMBER') CROSS JOIN (
        SELECT '{_LOG}'::regclass::oid AS id UNION ALL
        SELECT inhrelid FROM pg_inherits WHERE inhparent = '{_LOG}'::regclass) t JOIN pg_class c ON c.oid = t.id
    WHERE r.rolcanlogin AND NOT r.rolsuper AND (
        g.rolsuper OR has_table_privilege(g.oid, t.id, 'UPDATE, DELETE, TRUNCATE, TRIGGER')
        OR has_any_column_privilege(g.oid, t.id, 'UPDATE') OR g.oid = c.relowner
        OR (has_any_column_privilege(g.oid, t.id, 'INSERT') AND r.rolname <> ALL(sinks.names)))
    GROUP BY r.rolname, r.rolcreaterole ORDER BY 1
"""
# Anybody else who logs in and may execute what the keeper alone may ($1), by a right or as a role that it can become.
# $2: as whom the keeper logs in here. Where everybody may, PUBLIC is the one who may.
_EXECUTORS = f"""
    WITH functions AS (
        SELECT p.oid, p.proname::text AS function, c.relowner AS owner,
            ARRAY[regexp_replace(owner.rolname, '_owner$', '_keeper')] || $2::text[] AS keepers,
            has_function_privilege('public', p.oid, 'EXECUTE') AS everybody
        FROM pg_proc p, pg_class c JOIN pg_roles owner ON owner.oid = c.relowner
        WHERE c.oid = '{_LOG}'::regclass AND p.pronamespace = '{SCHEMA}'::regnamespace AND p.proname = ANY($1::text[]))
    SELECT 'PUBLIC' AS name, false AS administrator, array_agg(DISTINCT function ORDER BY function) AS functions
    FROM functions WHERE everybody HAVING count(*) > 0
    UNION ALL (
        SELECT r.rolname::text, r.rolcreaterole AND bool_and(g.oid = f.owner OR g.rolname = ANY(f.keepers)),
            array_agg(DISTINCT f.function ORDER BY f.function)
        FROM functions f JOIN pg_roles g ON has_function_privilege(g.oid, f.oid, 'EXECUTE')
        JOIN pg_roles r ON pg_has_role(r.oid, g.oid, 'MEMBER')
        WHERE NOT f.everybody AND r.rolcanlogin AND NOT r.rolsuper AND r.rolname <> ALL(f.keepers)
        GROUP BY r.rolname, r.rolcreaterole ORDER BY 1)
"""
_KEEPERS = re.compile(r'GRANT EXECUTE ON FUNCTION ([^;]+) TO :"keeper"')
_FUNCTION = re.compile(rf"{SCHEMA}\.(\w+)\(")
_NEWEST = f"SELECT chain, seq FROM {_LOG} ORDER BY sequenced_at DESC LIMIT 1"


def _tls(asking: Asking) -> Outcome:
    return folded((f"postgres.{role}_dsn", _tls_of(dsn)) for role, dsn in _given(asking).items())


def _tls_of(dsn: str) -> Outcome:
    with Session(dsn, "sealstream doctor", connect_timeout_s=_CONNECT_S) as session:
        (row,) = session.fetch("asking about TLS", _SSL)
    mode = parse_qs(urlsplit(dsn).query).get("sslmode", ["prefer"])[-1]
    if not row["ssl"]:
        return failed("connected without TLS: passwords and events can be read on the way", to_do=_TLS)
    if mode != "verify-full":
        return failed(f"{row['version']}, but whose certificate it is is not checked (sslmode={mode})", to_do=_TLS)
    return passed(f"{row['version']}, certificate and name checked (sslmode=verify-full)")


def _authentication(asking: Asking) -> Outcome:
    return folded((f"postgres.{role}_dsn", _wrong_password(dsn)) for role, dsn in _given(asking).items())


def _wrong_password(dsn: str) -> Outcome:
    parts = urlsplit(dsn)
    if not parts.password:
        return unknown(
            "names no password, so a wrong one can't be tried",
            to_do="look into pg_hba.conf that no line for this role says trust",
        )
    credentials, _, where = parts.netloc.rpartition("@")
    user = credentials.partition(":")[0]
    wrong = urlunsplit(parts._replace(netloc=f"{user}:{quote('no password at all, by sealstream doctor')}@{where}"))
    Session(dsn, "sealstream doctor", connect_timeout_s=_CONNECT_S).close()  # else a refusal would prove nothing
    try:
        Session(wrong, "sealstream doctor", connect_timeout_s=_CONNECT_S).close()
    except Misconfigured as error:
        return passed(f"a wrong password was refused: {str(error).rpartition('Postgres says ')[2]}")
    return failed(
        "a wrong password was let in", to_do="set scram-sha-256 for this role in pg_hba.conf, in the place of trust"
    )


def _privileges(asking: Asking) -> Outcome:
    found = []
    logins: dict[str, list[str]] = {role: [] for role in _MUST_NOT}
    for role, must_not in _MUST_NOT.items():
        if role not in asking.system.dsns:
            found.append((role, _not_given(role)))
            continue
        (row,) = asking.fetch(role, _ROLE, list(must_not))
        logins[role].append(row["role"])
        mighty = [name for name in _MIGHTY if row[f"rol{name}"]]
        if mighty or row["owns"]:
            what = [*mighty, *(["a member of the owner"] if row["owns"] else [])]
            found.append((role, failed(f"{row['role']} is {', '.join(what)}", to_do=_MIGRATED)))
        elif row["may"]:
            found.append((role, failed(f"{row['role']} may {', '.join(row['may'])} on {_LOG}", to_do=_MIGRATED)))
        elif row["owner_logs_in"]:
            to_do = f"ALTER ROLE {row['owner']} NOLOGIN"
            found.append((role, failed(f"the owner {row['owner']} may log in", to_do=to_do)))
        else:
            said = f"{row['role']} may not {', '.join(must_not)}; the owner {row['owner']} can't log in"
            found.append((role, passed(said)))
    for role in asking.system.dsns:
        found.append(("all who log in", judged_others(asking.fetch(role, _OTHERS, logins["sink"]))))
        functions = _keepers_functions()
        executors = asking.fetch(role, _EXECUTORS, functions, logins["keeper"])
        found.append(("all who log in", judged_executors(executors, functions)))
        break
    return folded(found)


def _keepers_functions() -> list[str]:
    """By which alone a month is replaced, or dropped: as this release's migrations grant them."""
    granted = (grant for step in migrations() for grant in _KEEPERS.findall(step.sql))
    return sorted({name for grant in granted for name in _FUNCTION.findall(grant)})


def judged_others(rows: Sequence[Mapping[str, Any]]) -> Outcome:
    """Whether nobody but an administrator may change the log. `rows`: who may (`name`, `administrator`)."""
    who = f"may change {_LOG}, its months or some of their columns, or write to it beside the sink, or become who may"
    others = [str(row["name"]) for row in rows if not row["administrator"]]
    if others:
        return failed(f"{', '.join(others)} {who}", to_do="REVOKE it: no role that logs in needs it")
    administrators = [str(row["name"]) for row in rows]
    but = f" but {', '.join(administrators)}, who may make roles, and is for `sealstream migrate` alone"
    return passed(f"nobody {who}{but if administrators else ''}")


def judged_executors(rows: Sequence[Mapping[str, Any]], functions: Sequence[str]) -> Outcome:
    """Whether nobody but the keeper and an administrator may execute the keeper's functions. `rows`: who may (`name`,
    `administrator`), and which (`functions`).
    """
    who = "may do what is the keeper's: replace months, or drop them, or become who may"
    others = [
        f"{row['name']} ({'all of them' if len(row['functions']) == len(functions) else ', '.join(row['functions'])})"
        for row in rows
        if not row["administrator"]
    ]
    if others:
        to_do = "REVOKE it: EXECUTE ON FUNCTION, or membership in the keeper's role; no other role needs it"
        return failed(f"{', '.join(others)} {who}", to_do=to_do)
    administrators = [str(row["name"]) for row in rows]
    but = f" but {', '.join(administrators)}, who may make roles, and is for `sealstream migrate` alone"
    return passed(f"nobody else {who}{but if administrators else ''}")


def _forbidden(asking: Asking) -> Outcome:
    rows = asking.fetch("reader", _NEWEST)
    if not rows:
        return unknown("Postgres holds no entry to try it on", to_do="send an event, and ask again")
    entry = str(rows[0]["chain"]), int(rows[0]["seq"])
    found = []
    for role in ("sink", "reader", "keeper", "admin"):
        if role not in asking.system.dsns:
            if role != "admin":  # it belongs where migrations are run, and nowhere else
                found.append((role, _not_given(role)))
            continue
        with Session(asking.dsn(role), "sealstream doctor", connect_timeout_s=_CONNECT_S) as session:
            found.append((role, judged_tries(try_forbidden(session, *entry))))
    return folded(found)


def judged_tries(tries: Sequence[Tried]) -> Outcome:
    """Whether all of it was refused."""
    through = [f"{tried.what} ({tried.rows} rows)" for tried in tries if not tried.refusal]
    if through:
        return failed(
            f"went through, and was rolled back: {', '.join(through)}",
            to_do=f"{_MIGRATED}; enable its triggers again: ALTER TABLE {_LOG} ENABLE ALWAYS TRIGGER append_only",
        )
    return passed(f"refused: {', '.join(tried.what for tried in tries)}", f"Postgres said: {tries[0].refusal}")


def _given(asking: Asking) -> dict[str, str]:
    asking.dsn("reader")
    return dict(asking.system.dsns)


def _not_given(role: str) -> Outcome:
    return unknown(
        f"postgres.{role}_dsn is not set here",
        to_do=f"run the doctor where postgres.{role}_dsn is set, or give it for this run alone "
        f"(SEALSTREAM_POSTGRES__{role.upper()}_DSN_FILE)",
    )


CHECKS = (
    Check(
        "postgres.tls",
        "Postgres is reached over TLS, certificate and name checked",
        "a connection by each DSN; pg_stat_ssl",
        _tls,
    ),
    Check(
        "postgres.authentication",
        "Postgres lets nobody in with a wrong password",
        "a connection by each DSN with another password is tried",
        _authentication,
    ),
    Check(
        "postgres.privileges",
        "no role that logs in may change entries, nor any but the keeper replace months; the owner can't log in",
        "pg_roles, has_table_privilege and has_function_privilege, asked as each role",
        _privileges,
    ),
    Check(
        "postgres.forbidden",
        "UPDATE, DELETE and TRUNCATE of entries are refused",
        "each is tried as each role, in a transaction that is rolled back (TRUNCATE and DDL not as a superuser)",
        _forbidden,
    ),
)
