"""What to do when Postgres lets a role not in, or does not answer: by its SQLSTATE, else by what the driver says. Pure.

docs/operating.md has the same as a table, under "What Postgres says".
"""

from __future__ import annotations

__all__ = ["TLS", "cure"]

TLS = "add ?sslmode=verify-full&sslrootcert=/path/ca.pem to its DSN"
_ADMIN = "postgres.admin_dsn is in the settings file, in plain (`config show` names the line and hides the password)"
_AS_ADMIN = f"as admin, with `psql` ({_ADMIN})"
_RUNS = (
    "is PostgreSQL running there, and are host and port in postgres.{role}_dsn right? A local stack: `sealstream up`, "
    "`sealstream logs postgres`"
)
_PASSWORD = (
    "check user and password in postgres.{role}_dsn; `sealstream migrate` sets the roles' passwords to those in the "
    "settings, with postgres.admin_dsn"
)
# The first words that stand in it count: a code before the driver's general words.
_CURES: tuple[tuple[tuple[str, ...], str], ...] = (
    (("no encryption",), f"the server lets nobody in without TLS: {TLS}"),
    (
        ("too many connections for role",),
        "the role's connection limit is reached: `ALTER ROLE {user} CONNECTION LIMIT -1` " + _AS_ADMIN,
    ),
    (
        ("too many connections for database",),
        f"the database's connection limit is reached: `ALTER DATABASE ... CONNECTION LIMIT -1` {_AS_ADMIN}",
    ),
    (
        ("[53300]",),
        "the server has no connection free: end idle ones (pg_stat_activity shows whose), or raise max_connections in "
        "its postgresql.conf and start it again",
    ),
    (("[28P01]",), _PASSWORD),
    (
        ("[28000]", "does not exist"),
        "the role is not there: `sealstream migrate` makes the roles, with postgres.admin_dsn; or mend the user in "
        "postgres.{role}_dsn",
    ),
    (
        ("[28000]", "not permitted to log in"),
        f"`ALTER ROLE {{user}} LOGIN` {_AS_ADMIN}",
    ),
    (
        ("[28000]",),
        "the server's pg_hba.conf lets this user not in from here to this database: add a line, and reload it; or mend "
        "user, host and database in postgres.{role}_dsn",
    ),
    (
        ("[3D000]",),
        "mend the database's name at the end of postgres.{role}_dsn, or make the database (`CREATE DATABASE`) and "
        "run `sealstream migrate`; a local stack: `sealstream up` makes it; was it there? "
        "docs/runbooks/lost-postgres.md",
    ),
    (
        ("[57P03]",),
        "the server is starting, recovering or stopping: wait a minute and ask again; its log says how far it is",
    ),
    (("[53100]",), "the server's disk is full: docs/runbooks/full-disk.md"),
    (("[53",), "the server lacks memory or room: its log says which"),
    (("[57",), "the server ends connections: it was stopped, or somebody ended this one; its log says which"),
    (
        ("certificate has expired",),
        "the server needs another certificate (its ssl_cert_file): nothing in these settings is wrong",
    ),
    (
        ("rejected SSL upgrade",),
        "the server has no TLS: turn it on there (ssl = on), or, on this machine alone, take sslmode out of "
        "postgres.{role}_dsn",
    ),
    (("certificate",), "check sslrootcert, and that the host is named as in the server's certificate"),
    (("does not exist", "sslrootcert"), "check the files that postgres.{role}_dsn names"),
    (("expected a DSN",), "mend postgres.{role}_dsn"),
    (("SSL",), "check sslmode in postgres.{role}_dsn, and that PostgreSQL with TLS listens at its host and port"),
    (("password",), _PASSWORD),
    (("[28",), _PASSWORD),
    (
        ("Name or service not known",),
        "no such host: mend the host in postgres.{role}_dsn, or the name server",
    ),
    (("Temporary failure in name resolution",), "the host in postgres.{role}_dsn can't be looked up: mend it, or DNS"),
    (("refused",), "nobody listens there: " + _RUNS),
    (("Connect call failed",), "nobody listens there: " + _RUNS),
    (
        ("TimeoutError",),
        "no answer in time: a firewall between, a wrong host, or a server that hangs: " + _RUNS,
    ),
    (("no answer from Postgres",), _RUNS),
)


def cure(said: str, role: str, user: str | None = None) -> str:
    """What to do about what was said while `role` (admin, sink, reader or keeper) came as `user`; empty: unknown."""
    for words, to_do in _CURES:
        if all(word in said for word in words):
            return to_do.replace("{role}", role).replace("{user}", user or f"sealstream_{role}")
    return ""
