"""`sealstream replay`: rebuild from Kafka or from the archive: Postgres, the archive, activity, a sink of one's own.

Repeatable: it goes on where a killed one has stopped. Ctrl-C leaves what is stored so far, and the live store as it
was.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from contextlib import closing
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from sealstream.archive import ArchiveSettings, init_bucket
from sealstream.cli.context import context_of, counted, out
from sealstream.cli.reading import ReadLog
from sealstream.cli.repair import postgres_target, tell_done
from sealstream.cli.settings import Settings, write_settings
from sealstream.cli.stores import archive_settings
from sealstream.cli.verify import progress_bar
from sealstream.errors import Misconfigured, Unavailable
from sealstream.kafka import KafkaSettings
from sealstream.layout import ChainSettings
from sealstream.layout.activity import ActivityTopics
from sealstream.rebuild import (
    MonthDone,
    SinkReplay,
    load_sink,
    replay_activity,
    replay_archive,
    replay_postgres,
    segments_of_archive,
    segments_of_kafka,
    verified_archive,
)
from sealstream.retention import archived_end
from sealstream.verify import default_state_dir

__all__ = ["Origin", "replay_command"]


_PREFIX = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,99}")


class Origin(StrEnum):
    """Where a store is rebuilt from."""

    KAFKA = "kafka"
    ARCHIVE = "archive"


def replay_command(
    context: typer.Context,
    store: Annotated[
        str,
        typer.Argument(
            help="postgres, archive, activity, or a sink of your own as module:Class, such as sqlite_sink:SqliteSink."
        ),
    ],
    source: Annotated[Origin, typer.Option("--from", help="Where the entries come from.")],
    chain: Annotated[str, typer.Option("--chain", help="The chain.")] = "main",
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            help="An own sink's target, handed to its class: a file, a DSN. Activity: the prefix of the topics.",
            show_default=False,
        ),
    ] = None,
    afresh: Annotated[
        bool,
        typer.Option(
            "--afresh", help="An own sink: fill TARGET.beside from entry 0, prove it, and let the class swap it in."
        ),
    ] = False,
    follow: Annotated[
        bool, typer.Option("--follow", help="An own sink, from Kafka: stay, and store entries as they are sealed.")
    ] = False,
    bucket: Annotated[
        str | None,
        typer.Option("--bucket", help="Archive: the new bucket; made where it is not there.", show_default=False),
    ] = None,
    switch: Annotated[
        bool, typer.Option("--switch", help="Archive: name the new bucket in the settings once it has been verified.")
    ] = False,
    keep_old: Annotated[
        bool, typer.Option("--keep-old", help="Postgres: keep the months that are replaced, under another name.")
    ] = False,
    without_kafka: Annotated[
        bool, typer.Option("--without-kafka", help="Postgres, from the archive: Kafka is gone; do without it.")
    ] = False,
    wait_s: Annotated[
        float, typer.Option("--wait", min=0, help="Postgres: seconds to wait for readers before each swap.")
    ] = 600.0,
    state_dir: Annotated[
        Path | None,
        typer.Option("--state-dir", help="Where it is noted how far a replay has come.", show_default=False),
    ] = None,
) -> None:
    """Rebuild a store from Kafka or from the archive alone, verify it, and swap it in without a gap in reading.

    Postgres: each month is built beside the log, hashed again by the database, folded to the signed roots, and swapped
    in; sinks and readers go on. Archive: each object and manifest is put into a new bucket, byte by byte as sealed,
    locked, and verified; each chain with its --chain, since the settings name one bucket for all; stop the archive
    sinks before the last run, which has --switch. Activity: rolled up into topics under another prefix, for detectors
    to be tried on; the same chain gives the same bytes. An own sink: a class of three methods (examples/sqlite-sink);
    every entry is checked before it is handed over. Killed at any moment, the same command goes on.
    """
    settings = context_of(context).settings()
    known = settings.chain(chain)
    if store == "postgres":
        if to is not None or afresh or follow:
            raise Misconfigured("--to, --afresh and --follow are for a sink of your own")
        if without_kafka and source is Origin.KAFKA:
            raise Misconfigured("--without-kafka and --from kafka contradict each other")
        kafka = None if without_kafka else settings.kafka_settings()
        _postgres(settings, known, source, kafka, keep_old, wait_s, state_dir or default_state_dir())
        return
    if store == "archive":
        if bucket is None:
            raise Misconfigured("--bucket is missing: the new bucket, into which the archive is replayed")
        _archive(context_of(context).config, settings, known, source, bucket, switch=switch)
        return
    if store == "activity":
        if afresh or follow:
            raise Misconfigured("--afresh and --follow are for a sink of your own")
        _activity(settings, known, source, to)
        return
    if to is None:
        raise Misconfigured(f"--to is missing: what {store} is to be opened with, such as a file's name")
    if follow and source is not Origin.KAFKA:
        raise Misconfigured("--follow needs --from kafka: the archive gets an entry only when its segment has ended")
    _own(settings, known, source, store, to, afresh=afresh, follow=follow)


def _postgres(
    settings: Settings,
    chain: ChainSettings,
    source: Origin,
    kafka: KafkaSettings | None,
    keep: bool,
    wait_s: float,
    state_dir: Path,
) -> None:
    job = state_dir / f"{chain.origin.replace('/', '%2F')}@replay-postgres.json"
    first, begun = _where_to_go_on(job, source)
    if first:
        out.print(f"going on with entry {first:,}: the replay of {begun} had come so far")

    def note(done: MonthDone) -> None:
        job.parent.mkdir(parents=True, exist_ok=True)
        beside = job.with_name(f".{job.name}.{os.getpid()}")
        beside.write_text(json.dumps({"from": source.value, "begun": begun, "next_seq": done.stop}))
        beside.replace(job)

    with progress_bar("entries", shown=True) as progress:
        done = replay_postgres(
            chain,
            postgres_target(settings),
            archive_settings(settings) if source is Origin.ARCHIVE else None,
            kafka,
            from_kafka=source is Origin.KAFKA,
            first=first,
            keep=keep,
            workers=os.cpu_count() or 1,
            wait_s=wait_s,
            say=lambda line: out.print(Text(line), soft_wrap=True),
            progress=progress,
            done_month=note,
        )
    job.unlink(missing_ok=True)
    tell_done(done, "nothing to replay: the chain has no entries")


def _where_to_go_on(job: Path, source: Origin) -> tuple[int, str]:
    """The entry to go on with, and when the replay began; one from another source begins anew."""
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    try:
        noted: dict[str, Any] = json.loads(job.read_text())
        if noted["from"] == source.value:
            return int(noted["next_seq"]), str(noted["begun"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # none under way, or a note that can't be read: months are built again, which harms nothing
    return 0, now


def _archive(
    config: Path, settings: Settings, chain: ChainSettings, source: Origin, bucket: str, *, switch: bool
) -> None:
    old = archive_settings(settings)
    if bucket == old.bucket:
        raise Misconfigured(f"--bucket {bucket} is the bucket that the archive is in: name another")
    new = old._replace(bucket=bucket, replayed=True)
    out.print(Text(init_bucket(new, chain.retention).splitlines()[0]), soft_wrap=True)
    if switch:
        _check_others_are_there(settings, chain.name, old, new)
    kafka = settings.kafka_settings()
    with progress_bar("entries", shown=True) as progress:
        if source is Origin.ARCHIVE:
            out.print("verifying the archive")
            verified_archive(old, chain, workers=os.cpu_count() or 1, progress=progress)
            segments = segments_of_archive(old, chain)
        else:
            segments = segments_of_kafka(kafka, chain)
        put = replay_archive(segments, new, progress=progress)
        out.print(f"{counted(put, 'segment')} put; verifying bucket {bucket}")
        report = verified_archive(new, chain, workers=os.cpu_count() or 1, progress=progress)
    out.print(f"bucket {bucket} holds the archive of {chain.name} up to the signed size {report.size:,}")
    if switch:
        write_settings(config, {"archive": {"bucket": bucket, "replayed": True}})
        out.print(f"the settings name {bucket} now; start the archive sink again", soft_wrap=True)
    else:
        out.print(
            "to go over to it: stop the archive sink, run this again with --switch (it puts what came since), start it",
            soft_wrap=True,
        )


def _check_others_are_there(settings: Settings, replayed: str, old: ArchiveSettings, new: ArchiveSettings) -> None:
    """The settings name one bucket for all chains, closed ones too: the others must have been replayed before."""
    others = sorted(set(settings.chains) - {replayed})
    behind = [name for name in others if archived_end(new, name) < archived_end(old, name)]
    if behind:
        commands = "".join(
            f"\n  sealstream replay archive --from archive --bucket {new.bucket} --chain {name}" for name in behind
        )
        raise Misconfigured(
            f"--switch: the settings name one bucket for all chains, and bucket {new.bucket} does not hold all that is "
            f"archived of {', '.join(behind)}. With the archive sinks stopped, run first:{commands}"
        )


def _activity(settings: Settings, chain: ChainSettings, source: Origin, prefix: str | None) -> None:
    if prefix is None or not _PREFIX.fullmatch(prefix):
        said = "is missing" if prefix is None else f"{prefix!r} is no prefix of topics"
        raise Misconfigured(f"--to {said}: expected what their names begin with, such as replayed")
    with progress_bar("entries", shown=True) as progress:
        counted_entries = replay_activity(
            chain,
            settings.kafka_settings(),
            archive_settings(settings) if source is Origin.ARCHIVE else None,
            prefix,
            partitions=settings.activity.partitions,
            replication=settings.kafka.replication,
            progress=progress,
        )
    topics = ActivityTopics.of(prefix)
    out.print(
        f"{counted_entries:,} entries of chain {chain.name} rolled up into {topics.activity} and {topics.addresses}",
        soft_wrap=True,
    )


def _own(
    settings: Settings, chain: ChainSettings, source: Origin, store: str, to: str, *, afresh: bool, follow: bool
) -> None:
    replay = SinkReplay(
        chain,
        load_sink(store),
        to,
        archive_settings(settings) if source is Origin.ARCHIVE else None,
        settings.kafka_settings() if source is Origin.KAFKA else None,
        afresh=afresh,
    )
    # The entries leave the log's own stores: that is an export.
    read = ReadLog(settings, "export", f"replay {store}", [chain.name])
    with closing(replay), read.streaming(source.value) as given:
        with progress_bar(store, shown=True) as progress:
            handed = replay.fill(progress)
            given({chain.name: handed})
            proven = replay.prove()
        out.print(f"{handed:,} entries stored in {replay.filling}; it holds {replay.position:,}")
        if proven is None:
            out.print("its class has no `hashes`, so what it holds was not proven", style="dim")
        else:
            out.print(f"its hashes fold to the root that was signed over {proven:,} entries")
        if afresh:
            replay.swap()
            out.print(f"{replay.filling} was put in the place of {to}")
        while follow:
            try:
                stored = replay.fill()
                given({chain.name: stored})
            except Unavailable as error:
                print(f"waiting: {error}", file=sys.stderr, flush=True)
                stored = 0
            if not stored:
                time.sleep(0.5)
