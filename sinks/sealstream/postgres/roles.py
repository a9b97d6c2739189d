"""The roles of a database: the owner, who can't log in, and sink, reader and keeper, who own nothing.

Roles belong to a whole cluster of databases, beyond the advisory lock of one: several migrations at once may make the
same role, so a role that appears meanwhile is taken as it is. Repeatable; a crash leaves some of the roles.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import os
from collections.abc import Callable, Mapping
from typing import Any

import asyncpg

from sealstream.errors import Misconfigured
from sealstream.layout.tables import Roles

__all__ = ["ensure_roles", "scram_verifier"]

_ITERATIONS = 4096


async def ensure_roles(connection: asyncpg.Connection[Any], roles: Roles, passwords: Mapping[str, str]) -> None:
    """Makes the roles that are missing and sets the passwords given, by short name (sink, reader, keeper)."""
    logins = roles.logins()
    unknown = set(passwords) - set(logins)
    if unknown:
        raise Misconfigured(f"passwords for {', '.join(sorted(unknown))}: expected some of {', '.join(logins)}")
    await _ensure(connection, roles.owner, "NOLOGIN")
    for name in logins.values():
        await _ensure(connection, name, "LOGIN")
    for role, password in passwords.items():
        await _alter(connection, f"ALTER ROLE \"{logins[role]}\" PASSWORD '{scram_verifier(password)}'")
    # An administrator who is no superuser must be a member of the owner to act as it.
    if not await connection.fetchval("SELECT pg_has_role(current_user, $1, 'SET')", roles.owner):
        await connection.execute(f'GRANT "{roles.owner}" TO CURRENT_USER WITH SET TRUE, INHERIT FALSE')


def scram_verifier(password: str, salt: Callable[[int], bytes] = os.urandom) -> str:
    """What the server stores for `password` (RFC 5803), made here so that no server log ever holds the password."""
    if not password or not password.isascii() or not password.isprintable():
        raise Misconfigured("a role's password: expected one or more printable ASCII characters")
    chosen = salt(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), chosen, _ITERATIONS)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    stored_key = hashlib.sha256(client_key).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    salt_text, stored, server = (base64.b64encode(part).decode() for part in (chosen, stored_key, server_key))
    return f"SCRAM-SHA-256${_ITERATIONS}:{salt_text}${stored}:{server}"


async def _ensure(connection: asyncpg.Connection[Any], name: str, may_log_in: str) -> None:
    rights = "NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"
    found = await connection.fetchrow(
        "SELECT rolcanlogin, rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls AS mighty "
        "FROM pg_roles WHERE rolname = $1",
        name,
    )
    if found is None:
        try:
            await connection.execute(f'CREATE ROLE "{name}" {may_log_in} {rights}')
        except (asyncpg.DuplicateObjectError, asyncpg.UniqueViolationError):
            return await _ensure(connection, name, may_log_in)
        return None
    if found["mighty"] or found["rolcanlogin"] != (may_log_in == "LOGIN"):
        raise Misconfigured(
            f"role {name} exists with other rights: expected {may_log_in} {rights}; "
            "choose another prefix for the roles, or mend it with ALTER ROLE"
        )
    return None


async def _alter(connection: asyncpg.Connection[Any], statement: str) -> None:
    for attempt in range(20):
        try:
            await connection.execute(statement)
            return
        except asyncpg.InternalServerError as error:  # "tuple concurrently updated": another migration of the cluster
            if attempt == 19 or "concurrently" not in str(error):
                raise
            await asyncio.sleep(0.05)
