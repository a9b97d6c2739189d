"""Whether Postgres itself records who connects and what is read around Sealstream (docs/access.md).

`judged_pgaudit` and `judged_connections` are pure.
"""

from __future__ import annotations

from collections.abc import Sequence

from sealstream.doctor.asking import Asking
from sealstream.doctor.outcomes import Check, Outcome, failed, passed

__all__ = ["CHECKS", "judged_connections", "judged_pgaudit"]

# A setting that somebody has made up is no setting of an extension: pg_settings holds those that are defined alone.
_PGAUDIT = "SELECT setting FROM pg_settings WHERE name = 'pgaudit.log'"
_BY_ROLE = """
    SELECT coalesce(r.rolname, '') AS role, setting FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole,
        unnest(s.setconfig) setting
    WHERE setting LIKE 'pgaudit.log=%'
        AND s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
"""
_LOGGED = """
    SELECT name, setting FROM pg_settings
    WHERE name IN ('log_connections', 'log_disconnections', 'logging_collector', 'log_destination')
"""
_READS = frozenset({"read", "all"})


def _pgaudit(asking: Asking) -> Outcome:
    found = asking.fetch("reader", _PGAUDIT)
    by_role = [f"{row['role']}: {row['setting'].partition('=')[2]}" for row in asking.fetch("reader", _BY_ROLE)]
    return judged_pgaudit(found[0]["setting"] if found else None, by_role)


def judged_pgaudit(log: str | None, by_role: Sequence[str]) -> Outcome:
    """`log`: pgaudit.log as this role has it, None where pgaudit is not loaded; `by_role`: what single roles have."""
    to_do = (
        "add pgaudit to shared_preload_libraries, restart, and ALTER ROLE ... SET pgaudit.log = 'read' for each role "
        "that people connect as (docs/access.md)"
    )
    if log is None:
        return failed("pgaudit is not loaded: who reads with psql leaves no trace", to_do=to_do)
    words = {word.strip().lower() for word in log.split(",")}
    for each in by_role:
        words |= {word.strip().lower() for word in each.partition(":")[2].split(",")}
    said = f"pgaudit is loaded; pgaudit.log is {log!r}" + (f"; by role: {'; '.join(by_role)}" if by_role else "")
    if not words & _READS:
        return failed(f"{said}: reads are not recorded", to_do=to_do)
    return passed(said)


def _connections(asking: Asking) -> Outcome:
    return judged_connections({row["name"]: row["setting"] for row in asking.fetch("reader", _LOGGED)})


def judged_connections(settings: dict[str, str]) -> Outcome:
    """`log_connections` is on or off, or, from PostgreSQL 18 on, a list of what of a connection is logged."""
    connections = {word.strip().lower() for word in settings.get("log_connections", "").split(",")} - {""}
    said = ", ".join(f"{name} = {value or 'nothing'}" for name, value in sorted(settings.items()))
    lacking = []
    if not connections & {"on", "true", "yes", "1", "all", "authentication", "authorization"}:
        lacking.append("log_connections = all (on, before PostgreSQL 18)")
    if settings.get("log_disconnections") != "on":
        lacking.append("log_disconnections = on")
    if lacking:
        return failed(said, to_do=f"set {' and '.join(lacking)}, and ship the log off the machine")
    return passed(said)


CHECKS = (
    Check(
        "postgres.pgaudit",
        "Postgres records who reads around Sealstream (pgaudit)",
        "pg_settings and pg_db_role_setting",
        _pgaudit,
    ),
    Check(
        "postgres.connections",
        "Postgres logs each connection and its end",
        "pg_settings: log_connections, log_disconnections",
        _connections,
    ),
)
