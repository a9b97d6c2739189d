"""`sealstream restore kafka`: bring a chain's topics back from the archive and Postgres, after checking everything.

Repeatable: it goes on behind what a killed one has written, and says so when nothing is missing. Ctrl-C leaves whole
transactions.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from sealstream.cli.anomaly_process import create_watch_topics
from sealstream.cli.context import context_of, counted, out
from sealstream.cli.settings import Settings
from sealstream.cli.stores import archive_settings
from sealstream.cli.watch_process import create_watch_topic
from sealstream.errors import Misconfigured, Unavailable
from sealstream.layout import ChainSettings
from sealstream.rebuild.remaining import PublishedNote, Remainder
from sealstream.rebuild.restoring import Restored, restore_kafka
from sealstream.sealing import BadNote, open_checkpoint
from sealstream.verify import default_state_dir, kept_notes

__all__ = ["CheckpointOption", "StateOption", "app", "given_notes", "open_remainder", "shown_progress"]

app = typer.Typer(help="Bring back what a store has lost, from the others.", no_args_is_help=True)

CheckpointOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--checkpoint",
        help="A file with a checkpoint of the chain that somebody has kept: an auditor, a witness. May be repeated.",
        show_default=False,
    ),
]
StateOption = Annotated[
    Path | None,
    typer.Option("--state-dir", help="Where this verifier keeps its own last checkpoints.", show_default=False),
]
WithoutArchive = Annotated[
    bool, typer.Option("--without-archive", help="The archive is lost too, or damaged: read Postgres alone.")
]
WithoutPostgres = Annotated[
    bool, typer.Option("--without-postgres", help="Postgres is lost too, or damaged: read the archive alone.")
]


@app.command("kafka")
def kafka(
    context: typer.Context,
    chain: Annotated[str, typer.Option("--chain", help="The chain.")] = "main",
    checkpoint: CheckpointOption = None,
    state_dir: StateOption = None,
    replace: Annotated[
        Path | None,
        typer.Option(
            "--replace",
            help="Kafka holds another history than the stores: write it to files in this folder, delete the chain's "
            "topics (never its input topics), and restore them.",
            show_default=False,
        ),
    ] = None,
    without_archive: WithoutArchive = False,
    without_postgres: WithoutPostgres = False,
) -> None:
    """Restore a chain's topics: entries and signed notes from the archive, and from Postgres above it.

    Stop the chain's sequencer and checkpointing first. Everything is checked before anything is written: every hash,
    link and signature, and every checkpoint that is known: the stores', this verifier's own, and those that you give.
    Then start the sequencer; where input topics were lost too, once with --accept-input-lost.
    """
    settings = context_of(context).settings()
    known = settings.chain(chain)
    kept = given_notes(known, checkpoint or [], state_dir)
    with open_remainder(settings, known, archive=not without_archive, postgres=not without_postgres) as remainder:
        out.print(f"checking what the stores hold of chain {chain}, before anything is written")
        with shown_progress() as progress:
            restored = restore_kafka(
                settings.kafka_settings(),
                known,
                remainder,
                kept=kept,
                replication=settings.kafka.replication,
                replace=replace,
                progress=progress,
            )
    create_watch_topics(settings)
    create_watch_topic(settings)
    _tell(chain, restored)


def open_remainder(settings: Settings, chain: ChainSettings, *, archive: bool, postgres: bool) -> Remainder:
    """What is left of the chain in the stores that are to be read."""
    if not archive and not postgres:
        raise Misconfigured("--without-archive and --without-postgres: there is no other store to read from")
    if postgres and not settings.postgres.reader_dsn:
        raise Misconfigured("postgres.reader_dsn is not set: set it, or do without Postgres (--without-postgres)")
    try:
        return Remainder(
            chain, archive_settings(settings) if archive else None, settings.postgres.reader_dsn if postgres else None
        )
    except (Unavailable, Misconfigured) as error:
        raise type(error)(
            f"{error}; if that store is lost, do without it: --without-postgres or --without-archive"
        ) from error


def given_notes(chain: ChainSettings, files: Sequence[Path], state_dir: Path | None) -> list[PublishedNote]:
    """The checkpoints that somebody has kept, opened with the chain's key: given ones, and this verifier's own."""
    found = []
    for path in files:
        try:
            note = path.read_bytes()
            found.append(PublishedNote(note, str(path), open_checkpoint(note, chain.vkey)))
        except OSError as error:
            raise Misconfigured(f"--checkpoint: can't read {path}: {error.strerror}") from error
        except BadNote as error:
            raise Misconfigured(f"--checkpoint: {path} is no checkpoint that {chain.origin} signed: {error}") from error
    for kept in kept_notes(state_dir or default_state_dir(), chain.origin, chain.vkey, ""):
        found.append(PublishedNote(kept.note, kept.place, open_checkpoint(kept.note, chain.vkey)))
    return found


def _tell(chain: str, restored: Restored) -> None:
    for file in restored.evidence:
        out.print(Text(f"kept as evidence: {file}"), soft_wrap=True)
    for note in restored.strange:
        out.print(
            Text(
                f"{note.place}: a checkpoint of {note.size} entries contradicts the stores, and the chain's key has "
                "signed it: treat the key as stolen (docs/runbooks/lost-signing-key.md)",
                style="bold red",
            ),
            soft_wrap=True,
        )
    if restored.made_topics:
        out.print("topics that were missing are made")
    if not restored.written:
        out.print(
            f"no entry is missing: chain {chain} has {restored.size:,} entries in Kafka, the stores hold no more; "
            "whether each of them holds `sealstream verify kafka` says",
            soft_wrap=True,
        )
        return
    signed = f"the last known checkpoint, of {restored.signed:,} entries, holds" if restored.signed else "none signed"
    out.print(
        f"chain {chain}: {restored.written:,} entries restored, {restored.size:,} in all, "
        f"{counted(restored.segments, 'segment')}; {signed}",
        soft_wrap=True,
    )
    if restored.begin:
        out.print(
            f"the topic begins with entry {restored.begin:,}: those before it are in no store any more, as the chain "
            "says itself",
            soft_wrap=True,
        )
    if restored.size > restored.signed:
        out.print(
            f"no checkpoint covers the last {restored.size - restored.signed:,} entries: they stand as Postgres held "
            "them, and the next checkpoint signs them",
            soft_wrap=True,
        )
    if restored.said_again:
        out.print(f"segment.archived was said again of {counted(restored.said_again, 'segment')}", soft_wrap=True)
    out.print("now start the chain's processes; if the input topics were lost too: docs/runbooks/input-lost.md")


@contextmanager
def shown_progress() -> Iterator[Callable[[str, int, int | None], None]]:
    """A bar on a terminal; elsewhere nothing."""
    if not sys.stderr.isatty():
        yield lambda _what, _done, _total: None
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("entries"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda what, done, total: bar.update(task, description=what, completed=done, total=total)
