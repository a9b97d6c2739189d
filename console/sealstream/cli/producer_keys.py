"""`sealstream producer-keys`: the keys that applications sign their own events with; who may, from where in the chain.

Registering and revoking are control statements, said once however often the command is run (`person_saying.py`): what
a crash leaves, the same command goes on with. What counts is their place in the chain. The private key is made and
stays where the application runs; only its public half comes here.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from rich.table import Table

from sealstream.checkpointing import create_key
from sealstream.cli.context import Context, context_of, out
from sealstream.cli.harmless import told
from sealstream.cli.person_saying import ByOption, WaitOption, say_as_person
from sealstream.cli.sealed import sealed_statements
from sealstream.cli.settings import Settings
from sealstream.errors import InvalidEvent, Misconfigured
from sealstream.events import KEY_STATEMENTS, KeyRing, ProducerKey, check_metadata, format_timestamp
from sealstream.layout import Entry, check_chain_name, check_log_name
from sealstream.sealing import PRODUCER_NAME, BadNote, Verifier, key_label, parse_vkey, producer_key_name

__all__ = ["app"]

app = typer.Typer(
    help="Keys that applications sign their own events with.",
    no_args_is_help=True,
    epilog="In this order: create (where the application runs), register, then give the client its signing_key.",
)

ChainOption = Annotated[str, typer.Option("--chain", help="The chain.")]
_DURATION = re.compile(r"([1-9][0-9]{0,4})([dwmy])")
_DAYS_EACH = {"d": 1, "w": 7, "m": 31, "y": 366}


class _Said(NamedTuple):
    """The keys as the chain has them, and the newest entry that says something of each, by label."""

    ring: KeyRing
    entries: dict[str, Entry]


@app.command("create")
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Whose key it is: billing, billing-eu-1. Of a-z, 0-9 and . _ -")],
    file: Annotated[Path, typer.Argument(help="Where the key goes; made with mode 0600 and never overwritten.")],
    chain: ChainOption = "main",
    origin: Annotated[
        str | None,
        typer.Option(help="The chain's origin, where there are no settings: audit.example.com/clinic/main."),
    ] = None,
) -> None:
    """Make an application's signing key and print its public half, for `producer-keys register`.

    Run it where the application runs, as the user it runs as: the file never has to leave that machine, and whoever
    has it can write in the application's name. A key counts in one chain.
    """
    if origin is None:
        origin = context_of(context).settings().chain(chain).origin
    else:
        log, _, chain_name = origin.rpartition("/")
        check_log_name(log)
        check_chain_name(re.sub("-r[0-9]+$", "", chain_name))
    try:
        named = producer_key_name(name, origin)
    except BadNote as error:
        raise Misconfigured(str(error)) from error
    print(create_key(file, named))
    typer.echo(f"key written to {file} (mode 0600); the line above is its public half: register it", err=True)


@app.command("register")
def register(
    context: typer.Context,
    vkey: Annotated[str, typer.Argument(help="The public key, as `producer-keys create` printed it.")],
    chain: ChainOption = "main",
    service: Annotated[
        str | None,
        typer.Option(help="Only for events whose source.service is this. Default: any.", show_default=False),
    ] = None,
    tenant: Annotated[
        str | None, typer.Option(help="Only for events of this tenant. Default: any.", show_default=False)
    ] = None,
    required: Annotated[
        bool,
        typer.Option(
            "--required",
            help="From now on every event of this service and tenant must be signed by such a key; without either, "
            "every event of the chain.",
        ),
    ] = False,
    expires: Annotated[str, typer.Option(help="It counts for 90d, 2w, 6m, 1y; or never expires.")] = "never",
    by: ByOption = None,
    wait: WaitOption = 60,
) -> None:
    """Let a key sign events of this chain, from this statement's place in the chain on.

    Said again for the same key, the new terms hold from there on. An event without a signature that counts is sealed
    all the same, with a `signature.refused` behind it.

    Examples:

      sealstream producer-keys register 'billing@audit.example.com/clinic/main+1a2b3c4d+AQ...' --service billing
      sealstream producer-keys register "$VKEY" --service billing --required --expires 1y
    """
    shared = context_of(context)
    settings = shared.settings()
    verifier = _producers_key(settings, chain, vkey)
    label = key_label(verifier)
    known = _said(settings, chain).ring.key(label)
    if known is not None and known.revoked is not None:
        raise Misconfigured(
            f"the key {label} was revoked by entry {known.revoked}, and a revoked key never counts again: make a new "
            "one with `sealstream producer-keys create`"
        )
    if known is not None and known.vkey != vkey:
        raise Misconfigured(f"another key is registered as {label} (entry {known.registered}): make a new one")
    terms = {
        "vkey": vkey,
        "signing": "required" if required else "optional",
        **({"service": service} if service is not None else {}),
        **({"tenant": tenant} if tenant is not None else {}),
    }
    days = _days(expires)
    already = ""
    if known is not None and _same_terms(known, terms) and (known.expires_at is None) == (days is None):
        already = "" if days is not None else f"entry {known.registered} of chain {chain} has registered {label} so"
    # What makes two commands one must not hold a time that is reckoned from now.
    key = ("producer_key.registered", label, terms, expires, known.registered if known is not None else None)
    if days is not None:
        terms["expires_at"] = format_timestamp(datetime.now(UTC) + timedelta(days=days))
    _check("producer_key.registered", terms)
    _say(shared, settings, chain, "producer_key.registered", label, terms, by, wait, key, already)


@app.command("revoke")
def revoke(
    context: typer.Context,
    key: Annotated[str, typer.Argument(help="The key's label, as `producer-keys list` shows it: billing+1a2b3c4d.")],
    reason: Annotated[str, typer.Option(help="Why, in your words: sealed with it.")],
    chain: ChainOption = "main",
    from_seq: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Nothing that it signed from this entry on is to be believed: since when it may have been stolen.",
            show_default=False,
        ),
    ] = None,
    no_longer_required: Annotated[
        bool,
        typer.Option("--no-longer-required", help="The events that it had to sign need no signature any more."),
    ] = False,
    by: ByOption = None,
    wait: WaitOption = 60,
) -> None:
    """End a key: from this statement's place in the chain on it counts no longer, for ever.

    What it signed before stays signed. If its events had to be signed they still have to, by another key; else whoever
    stole it could go on without one.
    """
    shared = context_of(context)
    settings = shared.settings()
    found = _said(settings, chain).ring
    known = found.key(key)
    if known is None:
        labels = ", ".join(each.label for each in found.listed() if each.revoked is None) or "none"
        raise Misconfigured(f"there is no key {key[:120]!r} in chain {chain} (those that count: {labels})")
    facts: dict[str, object] = {"key": key, "reason": reason}
    if from_seq is not None:
        facts["from_seq"] = from_seq
    if no_longer_required:
        facts["signing"] = "optional"
    already = ""
    if known.revoked is not None and not (
        (from_seq is not None and (known.doubted_from is None or from_seq < known.doubted_from))
        or (no_longer_required and known.demands)
    ):
        already = f"entry {known.revoked} of chain {chain} has revoked {key}"
    _check("producer_key.revoked", facts)
    _say(shared, settings, chain, "producer_key.revoked", key, facts, by, wait, None, already)


@app.command("list")
def list_keys(
    context: typer.Context,
    chain: ChainOption = "main",
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """List the keys of a chain's producers: what each may sign, which entry says so, and who said it.

    Reads what the chain says and does not verify it: `sealstream verify` does.
    """
    settings = context_of(context).settings()
    said = _said(settings, chain)
    now = format_timestamp(datetime.now(UTC))
    if as_json:
        print(json.dumps([_members(key, said.entries[key.label], now) for key in said.ring.listed()], indent=2))
        return
    table = Table("key", "service", "tenant", "signing", "entry", "said by", "state", box=None, padding=(0, 2, 0, 0))
    for key in said.ring.listed():
        entry = said.entries[key.label]
        cells = (
            key.label,
            key.service or "any",
            key.tenant or "any",
            "required" if key.demands else "optional",
            f"{key.registered:,}",
            _who(entry),
            _state(key, now),
        )
        table.add_row(*(told(cell) for cell in cells))
    out.print(table if len(said.ring) else "no keys: make one with `sealstream producer-keys create NAME FILE`")


def _producers_key(settings: Settings, chain: str, vkey: str) -> Verifier:
    origin = settings.chain(chain).origin
    try:
        verifier = parse_vkey(vkey)
    except BadNote as error:
        raise Misconfigured(f"{error}; give the line that `producer-keys create` printed") from error
    name, _, its_origin = verifier.name.partition("@")
    if its_origin != origin or not PRODUCER_NAME.fullmatch(name):
        raise Misconfigured(
            f"the key {verifier.name[:200]} is none of a producer of this chain: expected <name>@{origin}; a key "
            "counts in the chain that it was made for"
        )
    return verifier


def _said(settings: Settings, chain: str) -> _Said:
    ring = KeyRing(settings.chain(chain).origin)
    entries: dict[str, Entry] = {}
    for entry in sealed_statements(settings, chain, sorted(KEY_STATEMENTS)):
        try:
            check_metadata(entry.action, entry.metadata)
        except InvalidEvent:
            continue  # the sequencer seals no such; verify tells
        ring.say(entry.action, entry.metadata or {}, entry.written.seq)
        entries |= dict.fromkeys(ring.changed(), entry)
    return _Said(ring, entries)


def _same_terms(known: ProducerKey, terms: dict[str, str]) -> bool:
    return (known.service, known.tenant, known.demands) == (
        terms.get("service"),
        terms.get("tenant"),
        terms["signing"] == "required",
    )


def _days(text: str) -> int | None:
    if text == "never":
        return None
    match = _DURATION.fullmatch(text)
    if match is None:
        raise Misconfigured(f"--expires {text!r}: expected 90d, 2w, 6m, 1y or never")
    return int(match[1]) * _DAYS_EACH[match[2]]


def _check(action: str, facts: dict[str, object] | dict[str, str]) -> None:
    try:
        check_metadata(action, facts)
    except InvalidEvent as error:
        raise Misconfigured(f"this can't be sealed: {error.reason}") from error


def _say(
    shared: Context,
    settings: Settings,
    chain: str,
    action: str,
    label: str,
    facts: dict[str, object] | dict[str, str],
    by: str | None,
    wait: float,
    key: tuple[object, ...] | None,
    already: str,
) -> None:
    say_as_person(shared, settings, chain, action, "producer_key", label, facts, by, wait, key=key, already=already)


def _state(key: ProducerKey, now: str) -> str:
    if key.revoked is not None:
        doubted = f"; not to be believed from {key.doubted_from:,} on" if key.doubted_from is not None else ""
        return f"revoked by entry {key.revoked:,}{doubted}"
    if key.expires_at is None:
        return "counts"
    return f"{'counts until' if key.expires_at > now else 'expired'} {key.expires_at[:16]}Z"


def _who(entry: Entry) -> str:
    by = (entry.metadata or {}).get("by")
    return f"{entry.actor_id}, for {by}" if by else entry.actor_id


def _members(key: ProducerKey, entry: Entry, now: str) -> dict[str, object]:
    return {
        "key": key.label,
        "vkey": key.vkey,
        "service": key.service,
        "tenant": key.tenant,
        "signing": "required" if key.demands else "optional",
        "expires_at": key.expires_at,
        "registered_by_entry": key.registered,
        "revoked_by_entry": key.revoked,
        "not_believed_from": key.doubted_from,
        "state": _state(key, now),
        "said_by": _who(entry),
        "said_at": entry.written.sequenced_at,
    }
