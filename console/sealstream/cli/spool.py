"""`sealstream spool`: what waits in an application's spool directory, and sending it when the application is gone."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from sealstream.cli.context import context_of, out
from sealstream.cli.stopping import interrupted
from sealstream.client.spool_drain import Drained, DrainProgress, drain_spool
from sealstream.client.spool_status import StreamStatus, spool_status

__all__ = ["app"]

app = typer.Typer(
    help="Events that an application keeps on disk until Kafka has them (AuditClient's mode spool).",
    no_args_is_help=True,
)

Directory = Annotated[Path, typer.Argument(help="The client's spool_directory.", show_default=False)]

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, one document.")]


@app.command("status")
def status(directory: Directory, as_json: JsonOption = False) -> None:
    """Show what waits in a spool: events, bytes, whose they are, and whether that process still lives.

    Reads only, beside running applications too. Exit code 0: it could be read.
    """
    _print_streams(directory, spool_status(directory), as_json)


@app.command("drain", epilog="Exit codes: 0 all is sent, 1 all is sent and some events were lost, 2 something is left.")
def drain(
    context: typer.Context,
    directory: Directory,
    bootstrap: Annotated[
        str | None, typer.Option(help="Kafka, host:port,... Default: the settings'.", show_default=False)
    ] = None,
    patience: Annotated[
        float, typer.Option(min=1, help="Give up when Kafka has acknowledged nothing for so many seconds.")
    ] = 60.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be sent, and send nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Send what dead processes have left in a spool, each stream in its order, and remove what Kafka has.

    Events of a process that lives are left to it. The topic stands in the spool; how to reach Kafka (address, TLS,
    SASL) in the settings. Repeatable: after Ctrl-C, a crash or a broker that went away, the same command goes on. What
    Kafka had already is sent again with the same number, and sealed once. Events that can't be read any more, or that
    the dead process had dropped and not yet reported, are reported to the log as `audit.loss`.
    """
    if dry_run:
        _print_streams(directory, spool_status(directory), as_json)
        return
    settings = context_of(context).settings(must_exist=False)
    with interrupted() as stopping, _progress_bar() as progress:
        drained = drain_spool(
            directory,
            bootstrap or settings.kafka.bootstrap,
            kafka_options=settings.kafka_settings().options,
            patience_s=patience,
            on_progress=progress,
            stopping=stopping,
        )
    if as_json:
        print(json.dumps(drained._asdict(), indent=2))
    else:
        _print_drained(directory, drained)
    code = _exit_code(drained)
    if code:
        raise typer.Exit(code)


def _exit_code(drained: Drained) -> int:
    if drained.held or drained.unreadable:
        return 2
    return 1 if drained.lost else 0


def _print_drained(directory: Path, drained: Drained) -> None:
    _say(f"{drained.events:,} events of {drained.streams} dead processes sent; their files are removed")
    if drained.lost:
        _say(f"{drained.lost:,} events were lost before; the log was told of them (audit.loss)")
    if drained.held:
        _say(
            f"{len(drained.held)} streams are held by processes that live, which send them by themselves; end those "
            "processes first, or see them with `sealstream spool status`: " + ", ".join(drained.held)
        )
    for name in drained.unreadable:
        _say(f"{directory / name}: no segment says for which topic its events are; nothing was sent or removed")


def _print_streams(directory: Path, found: list[StreamStatus], as_json: bool) -> None:
    if as_json:
        print(json.dumps([each._asdict() for each in found], indent=2))
        return
    if not found:
        _say(f"{directory} is empty: Kafka has everything")
        return
    for each in found:
        _say(_line(each))
    waiting = sum(each.waiting for each in found if not each.held)
    if waiting:
        _say(f"{waiting:,} events of dead processes wait: `sealstream spool drain {directory}` sends them")


def _line(stream: StreamStatus) -> str:
    parts = [
        f"{stream.waiting:,} events wait for {stream.topic or 'an unknown topic'}",
        f"process {stream.pid} on {stream.host or 'an unknown host'} {'lives' if stream.held else 'is dead'}",
        f"{stream.bytes / 2**20:.1f} MiB",
        f"begun {_duration(stream.age_s)} ago",
    ]
    if stream.damaged:
        parts.append(f"{stream.damaged:,} can't be read")
    if stream.unreported:
        parts.append(f"{stream.unreported:,} were dropped and not yet reported")
    return f"{stream.producer_id}  {', '.join(parts)}"


def _duration(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _say(line: str) -> None:
    out.print(Text(line), soft_wrap=True)


class _Bar:
    """One bar a stream, on standard error."""

    def __init__(self) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("events"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[trouble]}"),
            console=Console(stderr=True),
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Callable[[DrainProgress], object]:
        self._progress.start()
        return self._show

    def _show(self, at: DrainProgress) -> None:
        if at.producer_id not in self._tasks:
            self._tasks[at.producer_id] = self._progress.add_task(at.producer_id, total=at.events, trouble="")
        self._progress.update(self._tasks[at.producer_id], completed=at.sent, trouble=at.trouble)

    def __exit__(self, *_: object) -> None:
        self._progress.stop()


def _progress_bar() -> AbstractContextManager[Callable[[DrainProgress], object]]:
    if sys.stderr.isatty():
        return _Bar()
    return nullcontext(lambda _: None)
