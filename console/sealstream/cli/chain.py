"""`sealstream chain`: make a chain (key, topics, bucket, roles, settings) and list those that there are.

Each step is repeatable and the settings are written last, by rename: after a crash at any line the same command goes
on, with the key that it made the first time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from sealstream.archive import init_bucket
from sealstream.checkpointing import create_key, load_signer
from sealstream.cli.anomaly_process import create_watch_topics
from sealstream.cli.context import context_of, out
from sealstream.cli.forward_process import create_forward_topics
from sealstream.cli.progress import chain_progress, progress_view
from sealstream.cli.settings import Settings, write_settings
from sealstream.cli.stores import archive_settings, migrate_postgres
from sealstream.cli.watch_process import create_watch_topic
from sealstream.errors import Misconfigured
from sealstream.health.asking import archived, stored
from sealstream.kafka import create_topics, topic_ids
from sealstream.kafka.settings import TopicMissing
from sealstream.layout import (
    RETENTION_HELP,
    ChainSettings,
    ChainTopics,
    SegmentLimits,
    check_chain_name,
    check_log_name,
    named_retention,
)

__all__ = ["TopicsLost", "app", "create_chain", "create_declared", "make_chain"]


class TopicsLost(Misconfigured):
    """A chain that has lived has no topics any more: they are restored, and never made anew."""

    runbook = "docs/runbooks/lost-kafka.md"


app = typer.Typer(help="Make chains, show them, keep them for longer.", no_args_is_help=True)


@app.command("create")
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The chain's name: a-z, 0-9 and '-', at most 39.")],
    log: Annotated[
        str | None,
        typer.Option(help="The log's name, a URL without scheme. Sealed for ever in the chain's origin <log>/<name>."),
    ] = None,
    retention: Annotated[
        str,
        typer.Option(
            help=f"{RETENTION_HELP} It can be extended later (`sealstream chain retention`), never shortened."
        ),
    ] = "soc2",
    segment_entries: Annotated[
        int, typer.Option(min=1, help="A segment (one Parquet object) ends at so many entries,")
    ] = 100_000,
    segment_bytes: Annotated[int, typer.Option(min=1, help="or at so many bytes,")] = 67_108_864,
    segment_seconds: Annotated[int, typer.Option(min=1, help="or so many seconds after its first event.")] = 300,
    declared: Annotated[
        bool,
        typer.Option(
            "--declared",
            help="The settings have the chain's section already, and its key is elsewhere: make its topics and bucket, "
            "and write nothing here. Other options are not used.",
        ),
    ] = False,
) -> None:
    """Make a chain: its signing key, its Kafka topics, the archive bucket, Postgres roles and tables, and settings.

    Repeatable: what is there already is checked and kept. Entry 0 seals origin, public key, retention and segment
    limits when the sequencer first runs; they can't be changed afterwards, but for retention, which can be extended.
    """
    shared = context_of(context)
    if declared:
        create_declared(shared.settings(), name, say=lambda line: out.print(Text(line), soft_wrap=True))
        return
    settings = shared.settings(must_exist=False)
    create_chain(
        shared.config,
        settings,
        name,
        log=log,
        retention=retention,
        limits=SegmentLimits(segment_entries, segment_bytes, segment_seconds),
        say=lambda line: out.print(Text(line), soft_wrap=True),
    )
    out.print(
        f"\nchain {name} is made; its processes are `sealstream run sequencer`, `run activity` and `run watch` (one of "
        f"each for all), and `run checkpointing|postgres-sink|archive-sink --chain {name}`. "
        "`sealstream up` starts them for every chain in its settings; one that runs already must be stopped first.",
        soft_wrap=True,
    )


def create_chain(
    config: Path,
    settings: Settings,
    name: str,
    *,
    log: str | None = None,
    retention: str = "soc2",
    limits: SegmentLimits = SegmentLimits(),
    say: Callable[[str], object] = lambda _: None,
) -> None:
    """Make the chain and write it into `config`. Raises `Misconfigured` where what is there contradicts the request."""
    make_chain(config, settings, check_chain_name(name), log=log, retention=retention, limits=limits, say=say)


def make_chain(
    config: Path,
    settings: Settings,
    name: str,
    *,
    log: str | None = None,
    retention: str,
    limits: SegmentLimits,
    beside: Mapping[str, Mapping[str, object]] | None = None,
    say: Callable[[str], object] = lambda _: None,
) -> None:
    """The same for a name of any form; `beside`: more members of chains' sections, written at once with the chain."""
    log = check_log_name(log or settings.log)
    if settings.chains and log != settings.log:
        raise Misconfigured(f"log {log!r}: these settings belong to {settings.log!r}; one settings file, one log")
    kept = settings.chains.get(name)
    if kept is not None and (retention, limits) != (
        kept.retention,
        SegmentLimits(kept.segment_entries, kept.segment_bytes, kept.segment_seconds),
    ):
        raise Misconfigured(
            f"chain {name!r} exists with retention {kept.retention} and segments of {kept.segment_entries} entries, "
            f"{kept.segment_bytes} bytes, {kept.segment_seconds} s: these are sealed in entry 0 and can't be changed; "
            f"`sealstream chain retention {name}` keeps it for longer"
        )
    days = named_retention(retention)
    origin = f"{log}/{name}"

    key_file = config.parent / "keys" / f"{name}.key"
    vkey = load_signer(key_file).vkey if key_file.exists() else create_key(key_file, origin)
    if kept is not None and kept.vkey != vkey:
        raise Misconfigured(
            f"key file {key_file} is not the key of chain {name!r}: its vkey is {vkey}, settings say {kept.vkey}"
        )
    if load_signer(key_file).name != origin:
        raise Misconfigured(f"key file {key_file} is the key of {load_signer(key_file).name!r}, not of {origin!r}")
    say(f"key       {key_file} (public key {vkey})")

    topics = ChainTopics.of(name, settings.kafka.prefix)
    if kept is not None:
        _check_not_lost(settings, name, topics, config)
    create_topics(settings.kafka_settings(), topics.configs(), replication=settings.kafka.replication)
    say(f"topics    {topics.raw}, {topics.chain} and {len(topics) - 2} more at {settings.kafka.bootstrap}")
    create_watch_topics(settings)
    create_forward_topics(settings)
    create_watch_topic(settings)

    if settings.archive.bucket:
        say(init_bucket(archive_settings(settings), days))
    if settings.postgres.admin_dsn:
        migrate_postgres(settings)
        say("postgres  tables and roles are as this version wants them")

    section = {
        "vkey": vkey,
        "key_file": f"keys/{name}.key",
        "retention": retention,
        "segment_entries": limits.entries,
        "segment_bytes": limits.bytes,
        "segment_seconds": limits.seconds,
    }
    more = {chain: dict(members) for chain, members in (beside or {}).items()}
    write_settings(config, {"log": log, "chains": more | {name: section | more.get(name, {})}})
    say(f"settings  {config}")


def create_declared(settings: Settings, name: str, *, say: Callable[[str], object] = lambda _: None) -> None:
    """Make the topics and the bucket of a chain that the settings declare, where they are not there yet.

    Raises `TopicsLost` when its topics are not there and a store holds entries of it: it has lived, and to begin it
    anew would be a fork. A store that can't be asked (`Unavailable`) is no answer, so nothing is made then.
    """
    chain = settings.running_chain(name)
    if settings.archive.bucket:
        say(init_bucket(archive_settings(settings), chain.retention))
    if settings.postgres.admin_dsn:
        migrate_postgres(settings)
        say("postgres  tables and roles are as this version wants them")
    topics = ChainTopics.of(name, settings.kafka.prefix)
    try:
        topic_ids(settings.kafka_settings(), [topics.chain])
    except TopicMissing:
        _check_never_lived(settings, chain, topics)
    create_topics(settings.kafka_settings(), topics.configs(), replication=settings.kafka.replication)
    create_watch_topics(settings)
    create_forward_topics(settings)
    create_watch_topic(settings)
    say(f"topics    {topics.raw}, {topics.chain} and {len(topics) - 2} more at {settings.kafka.bootstrap}")


def _check_never_lived(settings: Settings, chain: ChainSettings, topics: ChainTopics) -> None:
    """By each store that the settings name; one at least must be asked."""
    dsn = settings.postgres.reader_dsn or settings.postgres.admin_dsn
    held: dict[str, int] = {}
    if dsn:
        held["Postgres"] = stored(dsn, chain).size
    if settings.archive.bucket:
        held["the archive"] = archived(archive_settings(settings), chain).size
    if not held:
        raise Misconfigured(
            f"Kafka has no topic {topics.chain}, and no store is named that could say whether chain {chain.name} has "
            "lived: expected postgres.reader_dsn, or archive.bucket"
        )
    for store, size in held.items():
        if size:
            raise TopicsLost(
                f"chain {chain.name}: {store} holds {size:,} entries, but Kafka at {settings.kafka.bootstrap} has no "
                f"topic {topics.chain}: it was lost; `sealstream restore kafka --chain {chain.name}` brings it back "
                "from the stores; a new one would begin a second history"
            )


def _check_not_lost(settings: Settings, name: str, topics: ChainTopics, config: Path) -> None:
    """Settings are written when the topics are there: so topics that are missing now were lost, and a new, empty one
    would begin a second history.
    """
    try:
        topic_ids(settings.kafka_settings(), [topics.chain])
    except Misconfigured as error:
        raise TopicsLost(
            f"chain {name} is in {config}, but Kafka at {settings.kafka.bootstrap} has no topic {topics.chain}: it was "
            f"lost; `sealstream restore kafka --chain {name}` brings it back from the stores; "
            "if nothing was ever sealed in it, remove its section from the settings"
        ) from error


@app.command("status")
def chain_status(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="The chain. Default: all.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs and monitors.")] = False,
) -> None:
    """Show how far each chain is: sealed, signed, and how far each store is behind. Exit 2 when one can't be asked."""
    settings = context_of(context).settings()
    names = [settings.chain(name).name] if name is not None else sorted(settings.chains)
    found = [chain_progress(settings, each) for each in names]
    if as_json:
        print(json.dumps([progress._asdict() for progress in found], indent=2))
    else:
        out.print(Group(*map(progress_view, found)), soft_wrap=True)
    if any(progress.troubles for progress in found):
        raise typer.Exit(2)


@app.command("list")
def list_chains(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """List the chains in the settings. `sealstream chain show NAME` shows everything of one."""
    settings = context_of(context).settings()
    if as_json:
        listed = [
            {"chain": name, "origin": f"{settings.log}/{name}", **section.model_dump(exclude={"continues"})}
            for name, section in sorted(settings.chains.items())
        ]
        print(json.dumps(listed, indent=2))
        return
    table = Table("chain", "origin", "retention", "segments end at", "state", box=None)
    for name, section in sorted(settings.chains.items()):
        table.add_row(
            name,
            f"{settings.log}/{name}",
            section.retention,
            f"{section.segment_entries:,} entries, {section.segment_bytes:,} bytes, {section.segment_seconds} s",
            f"closed, goes on as {section.continued_as}" if section.closed_at else "open",
        )
    out.print(table if settings.chains else "no chains yet: make one with `sealstream chain create main`")
