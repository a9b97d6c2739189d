"""`sealstream tokens`: make, list and revoke tokens for the API; making and revoking are sealed in the log.

A token is sealed as made before it counts, and counts no longer before it is sealed as revoked: a crash between leaves
a statement of a token that was never shown, or a revoked token whose statement the same command says again.
"""

from __future__ import annotations

import json
import re
import uuid
from contextlib import closing
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from sealstream.access import AccessLog, Reader, person_at_this_machine
from sealstream.access.statements import reader_fields
from sealstream.cli.context import context_of, out
from sealstream.cli.reading import access_log
from sealstream.cli.serve import tokens_file
from sealstream.cli.settings import Settings
from sealstream.errors import Misconfigured, SealstreamError, Unavailable
from sealstream.events import control_statement, format_timestamp
from sealstream.web import ALL_CHAINS, ROLES, Token, new_token

__all__ = ["CREDENTIAL_NAME", "app", "expiry_of"]

app = typer.Typer(
    help="Tokens for the API (`sealstream serve`): who may see what.",
    no_args_is_help=True,
    epilog="Roles: " + "; ".join(f"{role}: {says}" for role, says in ROLES.items()) + ".",
)

CREDENTIAL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9@._-]{0,63}")
_DURATION = re.compile(r"([1-9][0-9]{0,4})([hdwmy])")
_DAYS_EACH = {"d": 1, "w": 7, "m": 31, "y": 366}


class RoleName(StrEnum):
    """The roles, as the command line offers them."""

    READER = "reader"
    EXPORTER = "exporter"
    AUDITOR = "auditor"


@app.command("create")
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Whom or what it is for; `log.read` names it as who reads.")],
    chain: Annotated[
        list[str],
        typer.Option("--chain", help="A chain that it may read; repeatable. '*': all, also later ones."),
    ],
    role: Annotated[RoleName, typer.Option(help="What it may do.")] = RoleName.READER,
    tenant: Annotated[
        str | None,
        typer.Option(help="Only entries of this tenant, in searches, exports and by id alike.", show_default=False),
    ] = None,
    expires: Annotated[
        str, typer.Option(help="After 12h, 90d, 2w, 6m, 1y; or never (then look at `tokens list` now and then).")
    ] = "90d",
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Make a token and print it, once: only its SHA-256 is kept.

    Examples:

      sealstream tokens create siem --role exporter --chain main
      sealstream tokens create acme-support --chain main --tenant acme --expires 30d
    """
    shared = context_of(context)
    settings = shared.settings()
    if not CREDENTIAL_NAME.fullmatch(name):
        raise Misconfigured(f"token name {name!r}: expected 1 to 64 of A-Z, a-z, 0-9 and @ . _ -")
    if tenant is not None and not 0 < len(tenant.encode()) <= 128:
        raise Misconfigured("--tenant: expected 1 to 128 bytes")
    chains = tuple(dict.fromkeys(chain))
    if ALL_CHAINS in chains:
        chains = (ALL_CHAINS,)
    for each in chains:
        if each != ALL_CHAINS:
            settings.chain(each)
    now = datetime.now(UTC)
    file, person = tokens_file(settings, shared.config), person_at_this_machine()
    token_id, shown, digest = new_token()
    token = Token(
        id=token_id,
        name=name,
        sha256=digest,
        role=role.value,
        chains=chains,
        tenant=tenant,
        created_at=now,
        created_by=person.id,
        expires_at=expiry_of(expires, now),
    )

    def add(tokens: list[Token]) -> list[Token]:
        if any(other.name == name and other.counts(now) for other in tokens):
            raise Misconfigured(f"token {name!r} exists: choose another name, or revoke it first")
        with closing(access_log(settings)) as log:
            for each in _sealed_in(settings, chains):
                log.say(each, _created(token, each, person, now))
        return [*tokens, token]

    file.change(add)
    if as_json:
        print(json.dumps({"token": shown, **_public(token, now)}, indent=2))
        return
    print(shown)
    until = "never expires" if token.expires_at is None else f"expires {token.expires_at:%Y-%m-%d %H:%MZ}"
    bounds = f"{token.role} of {', '.join(token.chains)}" + (f", tenant {tenant}" if tenant else "")
    typer.echo(f"{token.id}: {bounds}, {until}. This is the only time that it is shown; keep it secret.", err=True)


@app.command("list")
def list_tokens(
    context: typer.Context,
    everything: Annotated[bool, typer.Option("--all", help="Also those that expired or were revoked.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """List tokens: by id and name, never the token itself."""
    shared = context_of(context)
    now = datetime.now(UTC)
    tokens = [
        token for token in tokens_file(shared.settings(), shared.config).tokens() if everything or token.counts(now)
    ]
    if as_json:
        print(json.dumps([_public(token, now) for token in tokens], indent=2))
        return
    table = Table("id", "name", "role", "chains", "tenant", "made", "expires", "state", box=None, padding=(0, 2, 0, 0))
    for token in tokens:
        expires = "never" if token.expires_at is None else f"{token.expires_at:%Y-%m-%d}"
        chains, made = ", ".join(token.chains), f"{token.created_at:%Y-%m-%d}"
        cells = (token.id, token.name, token.role, chains, token.tenant or "", made, expires, token.state(now))
        table.add_row(*map(Text, cells))
    out.print(table if tokens else "no tokens: make one with `sealstream tokens create NAME --chain main`")


@app.command("revoke")
def revoke(
    context: typer.Context,
    token: Annotated[str, typer.Argument(help="Its id or its name, as `tokens list` shows them.")],
) -> None:
    """Revoke a token: it counts no longer, at once, in every service that reads this file. Repeatable."""
    shared = context_of(context)
    settings = shared.settings()
    now = datetime.now(UTC)
    revoked: list[Token] = []

    def end(tokens: list[Token]) -> list[Token]:
        named = [each for each in tokens if token == each.id] or [
            each for each in tokens if token == each.name and each.counts(now)
        ]
        named = named or [each for each in tokens if token == each.name][-1:]
        if not named:
            known = ", ".join(each.name for each in tokens if each.counts(now)) or "none"
            raise Misconfigured(f"there is no token {token[:16]!r} (those that count: {known})")
        revoked.extend(each if each.revoked_at is not None else _with(each, revoked_at=now) for each in named)
        by_id = {each.id: each for each in revoked}
        return [by_id.get(each.id, each) for each in tokens]

    tokens_file(settings, shared.config).change(end)
    try:
        with closing(access_log(settings)) as log:
            _seal_revoked(log, settings, revoked[0])
    except SealstreamError as error:
        raise Unavailable(
            f"token {revoked[0].name} is revoked and counts no longer, but this is not sealed yet ({error}): run the "
            "same command again"
        ) from error
    out.print(Text(f"token {revoked[0].name} ({revoked[0].id}) is revoked"))


def expiry_of(text: str, now: datetime) -> datetime | None:
    """When something ends that is made now; None: never. Raises `Misconfigured`."""
    if text == "never":
        return None
    match = _DURATION.fullmatch(text)
    if match is None:
        raise Misconfigured(f"--expires {text!r}: expected 12h, 90d, 2w, 6m, 1y or never")
    number, unit = int(match[1]), match[2]
    return now + (timedelta(hours=number) if unit == "h" else timedelta(days=number * _DAYS_EACH[unit]))


def _with(token: Token, **changes: Any) -> Token:
    from msgspec.structs import replace

    return replace(token, **changes)


def _public(token: Token, now: datetime) -> dict[str, Any]:
    return {
        "id": token.id,
        "name": token.name,
        "role": token.role,
        "chains": list(token.chains),
        "tenant": token.tenant,
        "created_at": format_timestamp(token.created_at),
        "created_by": token.created_by,
        "expires_at": None if token.expires_at is None else format_timestamp(token.expires_at),
        "revoked_at": None if token.revoked_at is None else format_timestamp(token.revoked_at),
        "state": token.state(now),
    }


def _sealed_in(settings: Settings, chains: tuple[str, ...]) -> list[str]:
    """The chains that are told of a token: those that it reads."""
    return settings.open_chains() if chains == (ALL_CHAINS,) else list(chains)


def _statement_id(token: Token, said: str, chain: str) -> str:
    """The same for the same statement, so that one said twice is one."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"urn:sealstream:token:{token.id}/{said}/{chain}"))


def _created(token: Token, chain: str, person: Reader, now: datetime) -> bytes:
    facts: dict[str, object] = {"name": token.name, "role": token.role, "chains": list(token.chains)}
    if token.tenant is not None:
        facts["tenant"] = token.tenant
    if token.expires_at is not None:
        facts["expires_at"] = format_timestamp(token.expires_at)
    return _statement("token.created", _statement_id(token, "created", chain), token, person, now, facts)


def _seal_revoked(log: AccessLog, settings: Settings, token: Token) -> None:
    person, at = person_at_this_machine(), token.revoked_at
    assert at is not None
    for chain in _sealed_in(settings, token.chains):
        log.say(
            chain,
            _statement(
                "token.revoked", _statement_id(token, "revoked", chain), token, person, at, {"name": token.name}
            ),
        )


def _statement(
    action: str, statement_id: str, token: Token, person: Reader, at: datetime, facts: dict[str, object]
) -> bytes:
    return control_statement(
        action,
        id=statement_id,
        timestamp=format_timestamp(at),
        actor_id=person.id,
        actor_type=person.type,
        resource_type="token",
        resource_id=token.id,
        metadata=facts,
        context=reader_fields(person),
    )
