"""`sealstream chain retention`: how long a chain is kept, and keeping it for longer. Never for less.

What is extended, in this order, each step repeatable: the settings (processes that start from now on lock for longer,
which is always allowed), the bucket's default, the statement `retention.extended`, which is seen sealed, and, when
asked for, the locks of what is archived already. So a kill between any two lines leaves a chain that keeps everything
at least as long as it has promised; the same command goes on.
"""

from __future__ import annotations

import json
import sys
import uuid
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from sealstream.archive import lengthen_default_retention, lengthen_locks
from sealstream.cli.context import Context, context_of, counted, out
from sealstream.cli.policies import Sealed, meaning, policy_line, sealed_retention
from sealstream.cli.saying import Message, Pending, person_says, say_until_sealed
from sealstream.cli.settings import Settings, write_settings
from sealstream.cli.stores import archive_settings
from sealstream.cli.verify import progress_bar
from sealstream.errors import Misconfigured
from sealstream.layout import (
    RETENTION_HELP,
    ChainSettings,
    ChainTopics,
    Retention,
    longest_retention,
    named_retention,
    retention_members,
    shortens,
)
from sealstream.layout.chains import RETENTION_EXTENDED

__all__ = ["chain_retention"]

_STORES = ("kafka", "postgres", "archive")


def chain_retention(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The chain.")] = "main",
    policy: Annotated[
        str | None,
        typer.Argument(
            help=f"Keep it so from now on: {RETENTION_HELP} Default: show what is in force.", show_default=False
        ),
    ] = None,
    extend_objects: Annotated[
        bool,
        typer.Option(
            "--extend-objects", help="Lengthen the locks of what is archived already, too. Safe to run again."
        ),
    ] = False,
    by: Annotated[
        str | None, typer.Option("--by", help="Who decides it, if not you: sealed beside who you are on this machine.")
    ] = None,
    wait: Annotated[float, typer.Option("--wait", min=1, help="Wait so many seconds until it is sealed.")] = 60,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask on a terminal before it is extended.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="What is in force, for programs.")] = False,
) -> None:
    """Show how long a chain is kept in Kafka, Postgres and the archive; or, with a policy, keep it for longer.

    A policy is extended, never shortened: entry 0 has promised it, and a COMPLIANCE lock can't be taken back. What it
    means for each store is shown before it is set, and the extension is sealed in the chain (retention.extended).
    docs/retention.md explains the policies.
    """
    shared = context_of(context)
    settings = shared.settings()
    if name not in settings.chains:
        _check_no_policy(settings, name, policy)
    chain = settings.chain(name)
    topics = ChainTopics.of(name, settings.kafka.prefix)
    sealed = sealed_retention(settings, name)
    before = chain.retention if sealed.retention is None else longest_retention(sealed.retention, chain.retention)
    if as_json and policy is not None:
        raise Misconfigured("--json shows what is in force: use it without a policy")
    if policy is None:
        _show(chain, topics, sealed, before, as_json)
    else:
        chain = _extend(shared, settings, chain, sealed, before, named_retention(policy), by, wait, yes)
        before = chain.retention
    if extend_objects:
        _extend_objects(settings, name, before)


def _check_no_policy(settings: Settings, name: str, policy: str | None) -> None:
    """What stands in the chain's place is no policy. Raises `Misconfigured`, with what was meant."""
    try:
        named_retention(name)
    except Misconfigured:
        if name.partition(":")[0] == "gdpr":
            raise
        return
    if policy is None:
        likely = "main" if "main" in settings.chains else next(iter(sorted(settings.chains)), "CHAIN")
    elif policy in settings.chains:
        likely = policy
    else:
        return
    known = ", ".join(sorted(settings.chains)) or "none yet"
    command = f"sealstream chain retention {likely}"
    raise Misconfigured(
        f"{name} is a retention policy and no chain (known: {known}): `{command} {name}` keeps {likely} by it, "
        f"`{command}` shows what is in force"
    )


def _show(chain: ChainSettings, topics: ChainTopics, sealed: Sealed, in_force: Retention, as_json: bool) -> None:
    means = meaning(in_force, topics)
    if as_json:
        document = {
            "chain": chain.name,
            "in_force": retention_members(in_force),
            "settings": retention_members(chain.retention),
            "sealed": [promise.to_json() for promise in sealed.promises],
            "means": means,
        }
        print(json.dumps(document, indent=2))
        return
    out.print(Text.assemble(("chain ", "dim"), (chain.name, "bold"), f"  {policy_line(in_force)}"), soft_wrap=True)
    table = Table("store", "what it means", box=None, padding=(0, 2, 0, 0))
    for store in _STORES:
        table.add_row(store, means[store])
    out.print(table)
    for promise in sealed.promises:
        what = "promises" if promise.seq == 0 else f"extended it (by {promise.by}) to"
        line = f"  entry {promise.seq}, {promise.sealed_at}, {what} {policy_line(promise.retention)}"
        out.print(Text(line, style="dim"), soft_wrap=True)
    if not sealed.promises:
        out.print(Text("  not sealed yet: entry 0 will say it when the sequencer first runs", style="dim"))
    elif (promised := sealed.retention) is not None and _days(promised) != _days(chain.retention):
        if shortens(promised, chain.retention):
            advice = f"less than is sealed, which the archive sink refuses; set it to {promised.policy!r}"
        else:
            advice = f"not sealed yet: `sealstream chain retention {chain.name} {chain.retention.policy}` does it"
        out.print(Text(f"  the settings say {policy_line(chain.retention)}: {advice}", style="yellow"), soft_wrap=True)


def _days(retention: Retention) -> tuple[int, int | None]:
    return retention.archive_days, retention.online_days


def _extend(
    shared: Context,
    settings: Settings,
    chain: ChainSettings,
    sealed: Sealed,
    before: Retention,
    after: Retention,
    by: str | None,
    wait: float,
    yes: bool,
) -> ChainSettings:
    """The chain as it is kept from now on."""
    name = chain.name
    why = shortens(before, after)
    if why:
        raise Misconfigured(
            f"chain {name} is kept by {policy_line(before)}; {after.policy} would shorten that: {why}. A policy is "
            "extended, never shortened: what is sealed and locked can't be taken back"
        )
    settings.running_chain(name)  # nothing can be sealed in one that is closed
    promised = sealed.retention
    own_id = str(uuid.uuid5(uuid.uuid5(uuid.NAMESPACE_URL, chain.origin), f"retention/{after}"))
    pending = Pending(shared.config, f"retention-{name}-{own_id}")
    if _days(before) == _days(after) and (promised is None or _days(promised) == _days(after)):
        pending.remove()
        if _days(chain.retention) != _days(after):
            write_settings(shared.config, {"chains": {name: {"retention": after.policy}}})
            told = f"{shared.config} said {chain.retention.policy}: it says {after.policy} now, as the chain does"
        else:
            told = "nothing was changed"
        out.print(f"chain {name} is kept so already: {policy_line(before)}; {told}", soft_wrap=True, markup=False)
        return chain._replace(retention=before)
    _show_change(chain, ChainTopics.of(name, chain.prefix), promised or before, after)
    if sys.stdin.isatty() and not yes:
        typer.confirm(f"keep chain {name} so from now on? It can't be shortened again", abort=True)
    write_settings(shared.config, {"chains": {name: {"retention": after.policy}}})
    out.print(Text(f"settings  {shared.config}: chains.{name}.retention is {after.policy}"), soft_wrap=True)
    if settings.archive.bucket:
        out.print(Text(f"archive   {lengthen_default_retention(archive_settings(settings), after)}"), soft_wrap=True)
    if promised is None:
        out.print(
            "chain     entry 0 is not sealed yet: it will say so; restart the sequencer if it runs", soft_wrap=True
        )
        return chain._replace(retention=after)
    if pending.read() is None:
        pending.write([Message("control", own_id, _statement(chain, promised, after, own_id, by))])
    (seq,) = say_until_sealed(settings, name, pending.read() or [], wait_s=wait).values()
    pending.remove()
    out.print(f"chain     entry {seq} says so ({RETENTION_EXTENDED})")
    out.print(
        f"Entries behind {seq} are kept so. What is archived already keeps its locks: `sealstream chain retention "
        f"{name} --extend-objects` lengthens them.\nProcesses that run elsewhere need the same settings; the archive "
        "sink ends when it comes to that entry with the old ones, and goes on when it is started with the new.",
        soft_wrap=True,
    )
    return chain._replace(retention=after)


def _show_change(chain: ChainSettings, topics: ChainTopics, before: Retention, after: Retention) -> None:
    out.print(Text(f"{policy_line(before)}\n→ {policy_line(after)}"), soft_wrap=True)
    now, then = meaning(before, topics), meaning(after, topics)
    table = Table("store", "now", "then", box=None, padding=(0, 2, 0, 0))
    for store in _STORES:
        table.add_row(store, now[store], "the same" if now[store] == then[store] else Text(then[store], style="bold"))
    out.print(table)
    if after.archive_days > before.archive_days:
        out.print("Nobody can take a COMPLIANCE lock back: what is archived from now on is paid for until then.")


def _statement(chain: ChainSettings, before: Retention, after: Retention, own_id: str, by: str | None) -> bytes:
    return person_says(
        RETENTION_EXTENDED,
        id=own_id,
        resource_type="chain",
        resource_id=chain.name,
        metadata={"from": retention_members(before), "to": retention_members(after)},
        by=by,
    )


def _extend_objects(settings: Settings, name: str, retention: Retention) -> None:
    """With progress on a terminal; what a kill leaves, the same command goes on with."""
    with progress_bar("lengthening locks", shown=True, unit="segments") as progress:
        done = lengthen_locks(archive_settings(settings), name, retention.archive_days, progress)
    out.print(
        f"archive   {counted(done.segments, 'segment')} looked at, {counted(done.lengthened, 'lock')} lengthened to "
        f"{counted(retention.archive_days, 'day')}; the others were long enough",
        soft_wrap=True,
    )
