"""`sealstream collect keys`: make, list and revoke keys of the collector; making and revoking are sealed in the log.

A key is sealed as made before it counts, and counts no longer before it is sealed as revoked: a crash between leaves a
statement of a key that was never shown, or a revoked key whose statement the same command says again.
"""

from __future__ import annotations

import json
import ssl
import uuid
from contextlib import closing
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import typer
from msgspec.structs import replace
from rich.table import Table
from rich.text import Text

from sealstream.access import AccessLog, Reader, person_at_this_machine
from sealstream.access.statements import reader_fields
from sealstream.cli.collect import keys_file
from sealstream.cli.context import context_of, out
from sealstream.cli.reading import access_log
from sealstream.cli.tokens import CREDENTIAL_NAME, expiry_of
from sealstream.collect import ACTOR_TYPES, Key, new_key
from sealstream.errors import Misconfigured, SealstreamError, Unavailable
from sealstream.events import control_statement, format_timestamp

__all__ = ["app"]

app = typer.Typer(help="Keys of the collector: who may write what.", no_args_is_help=True)


@app.command("create")
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Whom or what it is for; events name it in source.authenticated_as.")],
    chain: Annotated[str, typer.Option(help="The chain that it may write to.")],
    tenant: Annotated[
        str | None,
        typer.Option(help="The tenant of all its events. Default: events may name any.", show_default=False),
    ] = None,
    actor_type: Annotated[
        list[str] | None,
        typer.Option(
            "--actor-type",
            help=f"A type of actor that its events may claim ({', '.join(ACTOR_TYPES)}); repeatable. Default: all but "
            "admin and system.",
            show_default=False,
        ),
    ] = None,
    certificate: Annotated[
        Path | None,
        typer.Option(help="A client's certificate (PEM) that counts instead of a key: mTLS.", show_default=False),
    ] = None,
    expires: Annotated[str, typer.Option(help="After 12h, 90d, 2w, 6m, 1y; or never.")] = "90d",
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Make a key and print it, once: only its SHA-256 is kept. With --certificate there is nothing to print.

    Examples:

      sealstream collect keys create billing --chain main --tenant acme
      sealstream collect keys create scanner --chain main --actor-type service --certificate scanner.pem
    """
    shared = context_of(context)
    settings = shared.settings()
    if not CREDENTIAL_NAME.fullmatch(name):
        raise Misconfigured(f"key name {name!r}: expected 1 to 64 of A-Z, a-z, 0-9 and @ . _ -")
    if tenant is not None and not 0 < len(tenant.encode()) <= 128:
        raise Misconfigured("--tenant: expected 1 to 128 bytes")
    settings.running_chain(chain)
    now, person = datetime.now(UTC), person_at_this_machine()
    key_id, shown, digest = new_key()
    key = Key(
        id=key_id,
        name=name,
        sha256=digest if certificate is None else _fingerprint(certificate),
        chain=chain,
        tenant=tenant,
        actor_types=_types(actor_type),
        certificate=certificate is not None,
        created_at=now,
        created_by=person.id,
        expires_at=expiry_of(expires, now),
    )

    def add(keys: list[Key]) -> list[Key]:
        if any(other.name == name and other.counts(now) for other in keys):
            raise Misconfigured(f"key {name!r} exists: choose another name, or revoke it first")
        if any(other.sha256 == key.sha256 and other.counts(now) for other in keys):
            raise Misconfigured(f"the certificate {certificate} counts already: revoke its key first")
        with closing(access_log(settings)) as log:
            log.say(chain, _created(key, person, now))
        return [*keys, key]

    keys_file(settings, shared.config).change(add)
    if as_json:
        print(json.dumps(({} if key.certificate else {"key": shown}) | _public(key, now), indent=2))
        return
    if not key.certificate:
        print(shown)
    until = "never expires" if key.expires_at is None else f"expires {key.expires_at:%Y-%m-%d %H:%MZ}"
    bounds = f"writes to {chain}" + (f", tenant {tenant}" if tenant else "") + f", as {', '.join(key.actor_types)}"
    last = (
        "The certificate counts from now on."
        if key.certificate
        else "This is the only time that it is shown; keep it secret."
    )
    typer.echo(f"{key.id}: {bounds}, {until}. {last}", err=True)


@app.command("list")
def list_keys(
    context: typer.Context,
    everything: Annotated[bool, typer.Option("--all", help="Also those that expired or were revoked.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """List keys: by id and name, never the key itself."""
    shared = context_of(context)
    now = datetime.now(UTC)
    keys = [key for key in keys_file(shared.settings(), shared.config).all() if everything or key.counts(now)]
    if as_json:
        print(json.dumps([_public(key, now) for key in keys], indent=2))
        return
    table = Table(
        "id", "name", "kind", "chain", "tenant", "actors", "made", "expires", "state", box=None, padding=(0, 2, 0, 0)
    )
    for key in keys:
        expires = "never" if key.expires_at is None else f"{key.expires_at:%Y-%m-%d}"
        kind = "certificate" if key.certificate else "key"
        bounds = (key.chain, key.tenant or "", ", ".join(key.actor_types))
        cells = (key.id, key.name, kind, *bounds, f"{key.created_at:%Y-%m-%d}", expires, key.state(now))
        table.add_row(*map(Text, cells))
    out.print(table if keys else "no keys: make one with `sealstream collect keys create NAME --chain main`")


@app.command("revoke")
def revoke(
    context: typer.Context,
    key: Annotated[str, typer.Argument(help="Its id or its name, as `collect keys list` shows them.")],
) -> None:
    """Revoke a key: it counts no longer, at once, in every collector that reads this file. Repeatable."""
    shared = context_of(context)
    settings = shared.settings()
    now = datetime.now(UTC)
    revoked: list[Key] = []

    def end(keys: list[Key]) -> list[Key]:
        named = [each for each in keys if key == each.id] or [
            each for each in keys if key == each.name and each.counts(now)
        ]
        named = named or [each for each in keys if key == each.name][-1:]
        if not named:
            known = ", ".join(each.name for each in keys if each.counts(now)) or "none"
            raise Misconfigured(f"there is no key {key[:16]!r} (those that count: {known})")
        revoked.extend(each if each.revoked_at is not None else replace(each, revoked_at=now) for each in named)
        by_id = {each.id: each for each in revoked}
        return [by_id.get(each.id, each) for each in keys]

    keys_file(settings, shared.config).change(end)
    try:
        with closing(access_log(settings)) as log:
            _seal_revoked(log, revoked[0])
    except SealstreamError as error:
        raise Unavailable(
            f"key {revoked[0].name} is revoked and counts no longer, but this is not sealed yet ({error}): run the "
            "same command again"
        ) from error
    out.print(Text(f"key {revoked[0].name} ({revoked[0].id}) is revoked"))


def _types(given: list[str] | None) -> tuple[str, ...]:
    if not given:
        return tuple(each for each in ACTOR_TYPES if each not in ("admin", "system"))
    for each in given:
        if each not in ACTOR_TYPES:
            raise Misconfigured(f"--actor-type {each!r}: expected one of {', '.join(ACTOR_TYPES)}")
    return tuple(each for each in ACTOR_TYPES if each in given)


def _fingerprint(certificate: Path) -> str:
    """The SHA-256 of the first certificate in the file, as TLS shows it (DER)."""
    end = "-----END CERTIFICATE-----"
    try:
        text = certificate.read_text()
        first = text[text.index("-----BEGIN CERTIFICATE-----") : text.index(end) + len(end)]
        return sha256(ssl.PEM_cert_to_DER_cert(first)).hexdigest()
    except (OSError, ValueError) as error:
        raise Misconfigured(f"--certificate {certificate}: expected a certificate in PEM ({error})") from error


def _public(key: Key, now: datetime) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "kind": "certificate" if key.certificate else "key",
        "chain": key.chain,
        "tenant": key.tenant,
        "actor_types": list(key.actor_types),
        "created_at": format_timestamp(key.created_at),
        "created_by": key.created_by,
        "expires_at": None if key.expires_at is None else format_timestamp(key.expires_at),
        "revoked_at": None if key.revoked_at is None else format_timestamp(key.revoked_at),
        "state": key.state(now),
    }


def _created(key: Key, person: Reader, now: datetime) -> bytes:
    facts: dict[str, object] = {"name": key.name, "chain": key.chain, "actor_types": list(key.actor_types)}
    if key.tenant is not None:
        facts["tenant"] = key.tenant
    if key.expires_at is not None:
        facts["expires_at"] = format_timestamp(key.expires_at)
    if key.certificate:
        facts["certificate_sha256"] = key.sha256
    return _statement("created", key, person, now, facts)


def _seal_revoked(log: AccessLog, key: Key) -> None:
    assert key.revoked_at is not None
    log.say(key.chain, _statement("revoked", key, person_at_this_machine(), key.revoked_at, {"name": key.name}))


def _statement(said: str, key: Key, person: Reader, at: datetime, facts: dict[str, object]) -> bytes:
    """Its id is the same for the same statement, so that one said twice is one."""
    return control_statement(
        f"apikey.{said}",
        id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"urn:sealstream:apikey:{key.id}/{said}/{key.chain}")),
        timestamp=format_timestamp(at),
        actor_id=person.id,
        actor_type=person.type,
        resource_type="apikey",
        resource_id=key.id,
        metadata=facts,
        context=reader_fields(person),
    )
