"""The part of `config check` about Postgres: each role connects, over TLS or not, and may do what it needs and no more.

Only reads catalogues. `judged` is pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from sealstream.cli.findings import Finding, ok, skipped, warning, wrong
from sealstream.cli.postgres_cures import TLS, cure
from sealstream.errors import Misconfigured, SealstreamError
from sealstream.layout.tables import AUDIT_CHECKPOINT, AUDIT_LOG, AUDIT_POSITION, SCHEMA
from sealstream.postgres.driver import Session
from sealstream.postgres.migrating import check_schema

__all__ = ["MOST_SKEW_S", "check_role", "judged"]

MOST_SKEW_S = 60
"""The sequencer waits when its clock and the broker's are further apart."""
_TIMEOUT_S = 5.0
_LOCAL = ("", "localhost", "127.0.0.1", "::1")
_LOG, _POSITION, _NOTES = (f"{SCHEMA}.{table}" for table in (AUDIT_LOG, AUDIT_POSITION, AUDIT_CHECKPOINT))
_MUST: dict[str, tuple[tuple[str, str], ...]] = {
    "sink": ((_LOG, "INSERT"), (_POSITION, "SELECT"), (_NOTES, "INSERT")),
    "reader": ((_LOG, "SELECT"), (_POSITION, "SELECT"), (_NOTES, "SELECT")),
    "keeper": ((_LOG, "SELECT"),),
    "admin": (),
}
_MUST_NOT: dict[str, tuple[str, ...]] = {
    "sink": ("UPDATE", "DELETE", "TRUNCATE"),
    "reader": ("INSERT", "UPDATE", "DELETE", "TRUNCATE"),
    "keeper": ("INSERT", "UPDATE", "DELETE", "TRUNCATE"),
    "admin": (),
}
_WHO = """
    SELECT current_user AS role, rolsuper AS super, rolcreaterole AS creates_roles, clock_timestamp() AS now,
        s.ssl, s.version AS tls, current_setting('server_version') AS version
    FROM pg_roles, pg_stat_ssl s WHERE rolname = current_user AND s.pid = pg_backend_pid()
"""
_MAY = "SELECT has_table_privilege(to_regclass($1), $2)"


def check_role(role: str, dsn: str) -> Sequence[Finding]:
    """`role`: admin, sink, reader or keeper."""
    about = f"postgres {role}"
    if not dsn:
        return [skipped(about, f"postgres.{role}_dsn is not set")]
    try:
        session = Session(dsn, "sealstream config check", connect_timeout_s=_TIMEOUT_S)
    except SealstreamError as error:
        return [wrong(about, str(error), cure(str(error), role, urlsplit(dsn).username))]
    with session:
        try:
            return _asked(role, dsn, session)
        except SealstreamError as error:  # it was stopped meanwhile
            return [wrong(about, str(error), cure(str(error), role, urlsplit(dsn).username))]


def _asked(role: str, dsn: str, session: Session) -> Sequence[Finding]:
    about = f"postgres {role}"
    (row,) = session.fetch("asking who this is", _WHO)
    skew_s = (datetime.now(UTC) - row["now"]).total_seconds()
    findings = [_connected(about, dsn, dict(row)), *_clock(about, skew_s)]
    try:
        check_schema(session)
    except Misconfigured as error:
        return [*findings, wrong(about, str(error), "run `sealstream migrate` with postgres.admin_dsn")]
    asked = {*_MUST[role], *((_LOG, privilege) for privilege in _MUST_NOT[role])}
    may = {each: bool(session.fetch("asking for privileges", _MAY, *each)[0][0]) for each in sorted(asked)}
    return [*findings, *judged(role, dict(row), may)]


def judged(role: str, who: Mapping[str, Any], may: Mapping[tuple[str, str], bool]) -> list[Finding]:
    """Whether the role may do what it must and no more. `may`: by table and privilege."""
    about = f"postgres {role}"
    if role == "admin":
        if not (who["super"] or who["creates_roles"]):
            said = f"{who['role']} is neither superuser nor may it create roles"
            return [wrong(about, said, "name a superuser, or the database's owner with CREATEROLE")]
        return [ok(about, f"{who['role']} may migrate; the schema is up to date")]
    if who["super"]:
        said = f"{who['role']} is a superuser: it could change and delete what is stored"
        return [wrong(about, said, f"use the role sealstream_{role}, which `sealstream migrate` makes")]
    lacks = [f"{privilege} on {table}" for table, privilege in _MUST[role] if not may[table, privilege]]
    if lacks:
        said = f"{who['role']} lacks {', '.join(lacks)}"
        return [wrong(about, said, f"use the role sealstream_{role}, or run `sealstream migrate`")]
    beyond = [privilege for privilege in _MUST_NOT[role] if may[_LOG, privilege]]
    if beyond:
        said = f"{who['role']} may {', '.join(beyond)} on {_LOG}: more than it needs"
        return [wrong(about, said, f"REVOKE {', '.join(beyond)} ON {_LOG} FROM {who['role']}")]
    return [
        ok(about, f"{who['role']} has the privileges that it needs on {_LOG}, and none to change it; schema up to date")
    ]


def _connected(about: str, dsn: str, row: Mapping[str, Any]) -> Finding:
    parts = urlsplit(dsn)
    where = f"PostgreSQL {row['version'].split()[0]} at {parts.hostname or 'its socket'}:{parts.port or 5432}"
    mode = parse_qs(parts.query).get("sslmode", ["prefer"])[-1]
    local = (parts.hostname or "") in _LOCAL
    if not row["ssl"]:
        if local:
            return ok(about, f"{where}, without TLS")
        return warning(about, f"{where}, without TLS: passwords and events can be read on the way", TLS)
    if mode != "verify-full" and not local:
        return warning(about, f"{where}, {row['tls']}, but its certificate is not checked (sslmode={mode})", TLS)
    checked = "certificate and name checked" if mode == "verify-full" else f"sslmode={mode}"
    return ok(about, f"{where}, {row['tls']}, {checked}")


def _clock(about: str, skew_s: float) -> list[Finding]:
    if abs(skew_s) < MOST_SKEW_S:
        return []
    return [wrong("clock", f"this machine's clock is {skew_s:+.0f} s from {about}'s", "set both by NTP")]
