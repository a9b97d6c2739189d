"""`sealstream import`: other people's logs become events of a chain, each once, however often the command is run."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from sealstream.cli.context import context_of, counted, out
from sealstream.cli.harmless import told
from sealstream.cli.import_explaining import explain
from sealstream.cli.import_known import KnownEvents
from sealstream.cli.import_progress import ImportProgress
from sealstream.cli.import_running import Import, Imported, Refusal
from sealstream.cli.import_sources import SourceFile, source_files
from sealstream.cli.import_validating import validated, vouched_content, vouched_files
from sealstream.cli.settings import Settings
from sealstream.cli.stopping import interrupted
from sealstream.errors import Misconfigured
from sealstream.importers import IMPORTERS, Event, Importer, auth_log, importer_of_mapping
from sealstream.importers.digests import Validation
from sealstream.kafka import KafkaSettings
from sealstream.layout import ChainTopics
from sealstream.relaying.sending import BatchSender

__all__ = ["import_command"]

_REFUSALS_SHOWN = 1_000


class Kind(StrEnum):
    """What can be imported."""

    cloudtrail = "cloudtrail"
    kubernetes = "kubernetes"
    github = "github"
    okta = "okta"
    microsoft365 = "microsoft365"
    authlog = "authlog"
    journald = "journald"
    mapped = "mapped"


def import_command(
    context: typer.Context,
    kind: Annotated[
        Kind, typer.Argument(help="Whose log it is; `mapped`: any JSON or CSV, by a mapping file.", show_default=False)
    ],
    paths: Annotated[
        list[str],
        typer.Argument(help="Files, folders, s3://bucket/prefix; - reads standard input.", show_default=False),
    ],
    chain: Annotated[str, typer.Option("--chain", help="The chain that the events go to.")] = "main",
    mapping: Annotated[
        Path | None, typer.Option("--mapping", "-m", help="For `mapped`: what becomes what, as TOML.")
    ] = None,
    explaining: Annotated[
        bool, typer.Option("--explain", help="Show what becomes of the first ten records, and send nothing.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read everything, count, say what can't be imported, and send nothing.")
    ] = False,
    year: Annotated[
        int | None,
        typer.Option("--year", min=1970, max=9999, help="authlog: of times without one. Default: by the file."),
    ] = None,
    timezone: Annotated[
        str, typer.Option("--timezone", help="authlog: of times without one, such as Europe/Berlin.")
    ] = "UTC",
    validate: Annotated[
        bool,
        typer.Option(
            "--validate", help="cloudtrail: hold the logs against their digests, import what these vouch for."
        ),
    ] = False,
    keys: Annotated[
        Path | None,
        typer.Option("--keys", help="CloudTrail's public keys, a folder of them. Default: CloudTrail's API is asked."),
    ] = None,
    since: Annotated[
        datetime | None, typer.Option("--since", help="With --validate: older digests need not be there. UTC.")
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option("--until", help="With --validate: digests must reach so far, or the newest are missing. UTC."),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Look at files again that were imported before; nothing is sent twice.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one document.")] = False,
) -> None:
    """Bring another system's log into a chain: each record once, with its own time and the record itself.

    Repeatable: a second run sends nothing that the log has. Ctrl-C is harmless, and the same command goes on. What
    can't be read is said with file and line, and passed over. Files may be gzip.

      sealstream import cloudtrail --explain trail.json.gz
      sealstream import cloudtrail s3://my-trail/AWSLogs/
      sealstream import mapped --mapping billing.toml billing.jsonl
    """
    importer = _importer(kind, mapping, year, timezone)
    refusals = _Refusals(as_json)
    passed_over: list[str] = []
    files = source_files(paths, importer, passed_over.append)
    content: Callable[[SourceFile], Iterator[bytes]] | None = None
    verdict: Validation | None = None
    if validate:
        if kind != Kind.cloudtrail or len(paths) != 1:
            raise Misconfigured("--validate is for `import cloudtrail` with one folder or prefix of a trail")
        verdict, by_name = validated(
            paths[0], keys, since and since.replace(tzinfo=UTC), until and until.replace(tzinfo=UTC)
        )
        refusals.say_verdict(verdict, by_name)
        files, content = vouched_files(verdict, by_name), partial(vouched_content, verdict, by_name)
    if explaining:
        explain(importer, files, as_json=as_json)
        return
    shared = context_of(context)
    with ExitStack() as stack:
        stopping = stack.enter_context(interrupted())
        target: _Chain | None = None
        progress: ImportProgress | None = None
        if not dry_run:
            settings = shared.settings()
            known = settings.running_chain(chain)
            what = (kind.value, known.origin, str(year), timezone, *_identity(mapping))
            progress = stack.enter_context(ImportProgress(shared.config, chain, what))
            target = _Chain(settings, chain, stopping)
            stack.callback(target.close)
        bar = stack.enter_context(_bar(paths))
        refusals.console = bar.console
        noted = None if again else progress
        run = Import(importer, target, noted, refuse=refusals, show=bar.show, stopping=stopping, content=content)
        done = run.run(files)
    _say(done, passed_over, chain, verdict, dry_run=dry_run, as_json=as_json)
    code = 1 if refusals.count else 0 if verdict is None else verdict.exit_code
    if code:
        raise typer.Exit(code)


class _Chain:
    """The chain's input, and what is known of it."""

    def __init__(self, settings: Settings, chain: str, stopping: Callable[[], bool]) -> None:
        topics = ChainTopics.of(chain, settings.kafka.prefix)
        self._known = KnownEvents(settings, chain, stopping=stopping)
        self._kafka: KafkaSettings = settings.kafka_settings()
        self._sender = BatchSender(self._kafka, topics.raw, client_id="sealstream-import")

    def unsent(self, events: list[Event]) -> list[Event]:
        return self._known.unsent(events)

    def send(self, values: list[bytes]) -> int:
        return self._sender.send(values)

    def close(self) -> None:
        self._sender.close()


def _importer(kind: Kind, mapping: Path | None, year: int | None, timezone: str) -> Importer:
    if kind == Kind.authlog and mapping is None:
        try:
            return auth_log(year, ZoneInfo(timezone))
        except (KeyError, ValueError, OSError) as error:
            raise Misconfigured(f"--timezone: expected a name such as Europe/Berlin, got {timezone!r}") from error
    if kind.value in IMPORTERS:
        if mapping is not None:
            raise Misconfigured(f"--mapping is for `import mapped`: {kind.value} has its own (--explain shows it)")
        return IMPORTERS[kind.value]
    if mapping is None:
        raise Misconfigured("`import mapped` needs --mapping FILE, which says what becomes what (docs/importing.md)")
    try:
        return importer_of_mapping(tomllib.loads(mapping.read_text()))
    except OSError as error:
        raise Misconfigured(f"{mapping} can't be read: {error.strerror}") from error
    except (ValueError, Misconfigured) as error:
        raise Misconfigured(f"{mapping}: {error}") from error


def _identity(mapping: Path | None) -> Sequence[str]:
    return () if mapping is None else (mapping.read_text(),)


class _Refusals:
    """Says what can't be imported, the first thousand."""

    def __init__(self, as_json: bool) -> None:
        self.count = 0
        self.console = Console(stderr=True, soft_wrap=True, highlight=False)

    def __call__(self, refusal: Refusal) -> None:
        self.count += 1
        if self.count <= _REFUSALS_SHOWN:
            self.console.print(told(f"sealstream: not imported: {refusal}"), soft_wrap=True)
        elif self.count == _REFUSALS_SHOWN + 1:
            self.console.print(
                f"sealstream: and more, which are only counted from here ({_REFUSALS_SHOWN:,} are shown)"
            )

    def say_verdict(self, verdict: Validation, files: dict[str, SourceFile]) -> None:
        """Every finding, with its file."""
        for kind, name, why in verdict.findings:
            place = files[name].name if name in files else name
            self.console.print(told(f"sealstream: {kind}: {place} {why}".replace("  ", " ")), soft_wrap=True)


class _Bar(NamedTuple):
    """How far it is, on standard error, where that is a terminal."""

    console: Console
    progress: Progress | None = None
    task: Any = None

    def show(self, done: Imported, read: int) -> None:
        """As of now; `read`: bytes."""
        if self.progress is not None:
            told_ = f"{done.sent:,} sent, {done.known:,} in the log already, {done.refused:,} refused"
            self.progress.update(self.task, completed=read, description=told_)


@contextmanager
def _bar(paths: Sequence[str]) -> Iterator[_Bar]:
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    if not console.is_terminal:
        yield _Bar(console)
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        yield _Bar(progress.console, progress, progress.add_task("reading", total=_size(paths)))


def _size(paths: Sequence[str]) -> int | None:
    """Bytes of all that is to be read; None where that is not known."""
    total = 0
    for each in map(Path, paths):
        if not each.exists():
            return None
        total += (
            sum(file.stat().st_size for file in each.rglob("*") if file.is_file())
            if each.is_dir()
            else each.stat().st_size
        )
    return total


def _say(
    done: Imported,
    passed_over: Sequence[str],
    chain: str,
    verdict: Validation | None,
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    if as_json:
        document: dict[str, Any] = {**done.as_dict(), "files_passed_over": len(passed_over)}
        if verdict is not None:
            document["validation"] = {
                "digests": verdict.digests,
                "valid_digests": verdict.valid_digests,
                "named_logs": verdict.named_logs,
                "valid_logs": len(verdict.vouched),
                "findings": [each._asdict() for each in verdict.findings],
            }
        print(json.dumps(document, indent=2))
        return
    if verdict is not None:
        out.print(
            f"{verdict.valid_digests:,} of {counted(verdict.digests, 'digest')} and {len(verdict.vouched):,} of "
            f"{counted(verdict.named_logs, 'log file')} are as CloudTrail delivered them"
        )
    verb = "would be sent to" if dry_run else "sent to"
    parts = [f"{counted(done.sent, 'event')} {verb} chain {chain}"]
    if not dry_run:
        parts.append(f"{done.known:,} in the log already")
    parts += [f"{count:,} left out ({why})" for why, count in sorted(done.left_out.items())]
    parts.append(f"{done.refused:,} refused")
    out.print(
        told(f"{counted(done.records, 'record')} of {counted(done.files, 'file')}: {', '.join(parts)}"), soft_wrap=True
    )
    if done.files_done_before:
        out.print(f"{counted(done.files_done_before, 'file')} imported before (--again looks at them again)")
    if passed_over:
        out.print(told(f"{counted(len(passed_over), 'file')} passed over by the name: {', '.join(passed_over[:3])}"))
