"""`sealstream verify`: recompute every hash, link, root and signature of a store, and say what does not hold.

Trusts the chain's public key and, where kept, this verifier's own last checkpoints; nothing else. Exit codes: 0 all
holds, 1 tampering found, 2 could not verify; 1 wins over 2. Reads only, but for a `log.read` of each store that the
settings name, also of one that defeats it; where that can't be written the verdict says so and stands, since whoever
could stop Kafka must not be able to stop a verification. It shows no whole entry, but a fault may quote a value of one.
Ctrl-C leaves nothing behind.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from sealstream.access import Access, AccessLog, person_at_this_machine
from sealstream.cli.context import context_of, internal_error, out
from sealstream.cli.harmless import told
from sealstream.cli.reading import access_log
from sealstream.cli.settings import Settings
from sealstream.cli.stores import archive_settings
from sealstream.errors import Misconfigured, SealstreamError
from sealstream.events import format_timestamp, parse_timestamp
from sealstream.kafka import read_until_end, start_offset
from sealstream.kafka.settings import TopicMissing
from sealstream.layout import ChainTopics, decode_entry
from sealstream.sealing import Verifier, parse_vkey
from sealstream.verify import (
    ARCHIVE_STALE_AFTER,
    ChainIdentity,
    FaultKind,
    Report,
    Verification,
    default_state_dir,
    keep_checkpoint,
    kept_notes,
    verify_archive,
    verify_kafka,
    verify_postgres,
)

__all__ = [
    "STORES",
    "StateOption",
    "VerificationRequest",
    "app",
    "kafka_passed_over",
    "print_report",
    "progress_bar",
    "verify_store",
]

app = typer.Typer(
    help="Check that nobody has changed, removed, reordered, invented or left out an entry.",
    no_args_is_help=True,
    epilog="Exit codes: 0 all holds, 1 tampering found, 2 could not verify.",
)

STORES = ("kafka", "postgres", "archive")

ChainOption = Annotated[str, typer.Option("--chain", help="The chain.")]
SinceOption = Annotated[
    str | None,
    typer.Option(
        "--since",
        help="Begin with the segment that holds this time (RFC 3339, or a date). Default: entry 0.",
        show_default=False,
    ),
]
UntilOption = Annotated[
    str | None,
    typer.Option(
        "--until", help="When the copy was taken; ages are reckoned from it. Default: now.", show_default=False
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the report as JSON, one document a store.")]
StateOption = Annotated[
    Path | None,
    typer.Option(
        "--state-dir",
        help="Where this verifier keeps its own last checkpoints. "
        "Default: $XDG_STATE_HOME/sealstream, else ~/.local/state/sealstream.",
        show_default=False,
    ),
]
VkeyOption = Annotated[
    str | None,
    typer.Option(
        "--vkey",
        help="The chain's public key as you were given it. Default: the settings' (which the operator wrote). With it, "
        "a copy (--folder) needs no settings.",
        show_default=False,
    ),
]


ProducerKeysOption = Annotated[
    Path | None,
    typer.Option(
        "--producer-keys",
        help="A file with the public keys that producers gave you, one a line: any other that the chain registers is a "
        "fault. Default: those that the chain registers.",
        show_default=False,
    ),
]


class VerificationRequest(NamedTuple):
    """What is verified, since and until when (None: all, now), where the verifier keeps its checkpoints, and which keys
    of producers it was given (None: it takes those that the chain registers).
    """

    settings: Settings
    identity: ChainIdentity
    since: datetime | None
    until: datetime | None
    as_json: bool
    state_dir: Path
    producer_keys: frozenset[str] | None = None


def _moment(text: str | None, option: str) -> datetime | None:
    if text is None:
        return None
    try:
        return parse_timestamp(f"{text}T00:00:00Z" if len(text) == 10 else text)
    except SealstreamError as error:
        raise Misconfigured(f"{option}: {error}") from error


def _request(
    context: typer.Context,
    chain: str,
    since: str | None,
    until: str | None,
    as_json: bool,
    state: Path | None,
    vkey: str | None,
    producer_keys: Path | None,
    folder: Path | None = None,
) -> VerificationRequest:
    if folder is not None and vkey is not None:
        settings, identity, closed_at = Settings(), _named_by(vkey, chain), ""
    else:
        settings, identity, closed_at = _configured(context, chain, vkey, folder)
    return VerificationRequest(
        settings,
        identity,
        _moment(since, "--since"),
        _moment(until or closed_at or None, "--until"),  # a closed chain grows no older
        as_json,
        state or default_state_dir(),
        None if producer_keys is None else _given_keys(producer_keys),
    )


def _given_keys(path: Path) -> frozenset[str]:
    try:
        lines = [line.partition("#")[0].strip() for line in path.read_text().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"--producer-keys: can't read {path}: {error}") from error
    keys = frozenset(line for line in lines if line)
    for key in keys:
        try:
            parse_vkey(key)
        except SealstreamError as error:
            raise Misconfigured(f"--producer-keys: {path}: {error}") from error
    return keys


def _verifier(vkey: str) -> Verifier:
    try:
        return parse_vkey(vkey)
    except SealstreamError as error:  # a slip of the pen must not look like tampering
        raise Misconfigured(f"--vkey: {error}") from error


def _named_by(vkey: str, chain: str) -> ChainIdentity:
    """An auditor with a copy has no settings, and needs none: a public key names its log and chain."""
    origin = _verifier(vkey).name
    name = origin.rpartition("/")[2]
    if chain not in (name, "main"):
        raise Misconfigured(f"--chain {chain}: the key that --vkey gives is that of chain {name} ({origin})")
    return ChainIdentity(name, origin, vkey)


def _configured(
    context: typer.Context, chain: str, vkey: str | None, folder: Path | None
) -> tuple[Settings, ChainIdentity, str]:
    try:
        settings = context_of(context).settings()
        known = settings.chain(chain)
    except Misconfigured as error:
        if folder is None:
            raise
        raise Misconfigured(
            f"{error}; with a copy and no settings give the chain's public key: --vkey 'NAME+ID+KEY'"
        ) from error
    if vkey is not None and (named := _verifier(vkey).name) != known.origin:
        raise Misconfigured(
            f"--vkey is the key of {named}, but chain {chain} in the settings is {known.origin}: another log's key "
            "proves nothing about this one"
        )
    return settings, ChainIdentity(known.name, known.origin, vkey or known.vkey), settings.chains[chain].closed_at


@app.command("kafka")
def kafka(
    context: typer.Context,
    chain: ChainOption = "main",
    since: SinceOption = None,
    until: UntilOption = None,
    as_json: JsonOption = False,
    state_dir: StateOption = None,
    vkey: VkeyOption = None,
    producer_keys: ProducerKeysOption = None,
) -> None:
    """Verify the chain's topic, and that each record of its input topics was sealed or rightly refused."""
    _verify(_request(context, chain, since, until, as_json, state_dir, vkey, producer_keys), ["kafka"])


@app.command("postgres")
def postgres(
    context: typer.Context,
    chain: ChainOption = "main",
    since: SinceOption = None,
    until: UntilOption = None,
    as_json: JsonOption = False,
    state_dir: StateOption = None,
    vkey: VkeyOption = None,
    producer_keys: ProducerKeysOption = None,
) -> None:
    """Verify the table audit_log: every row's bytes and seal, and every column against the bytes."""
    _verify(_request(context, chain, since, until, as_json, state_dir, vkey, producer_keys), ["postgres"])


@app.command("archive")
def archive(
    context: typer.Context,
    chain: ChainOption = "main",
    since: SinceOption = None,
    until: UntilOption = None,
    as_json: JsonOption = False,
    state_dir: StateOption = None,
    vkey: VkeyOption = None,
    producer_keys: ProducerKeysOption = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--folder", help="Verify a copy in this folder instead of the bucket (offline).", show_default=False
        ),
    ] = None,
) -> None:
    """Verify the archive: objects, manifests, versions, locks, and every row in them."""
    _verify(
        _request(context, chain, since, until, as_json, state_dir, vkey, producer_keys, folder), ["archive"], folder
    )


@app.command("all")
def all_stores(
    context: typer.Context,
    chain: ChainOption = "main",
    since: SinceOption = None,
    until: UntilOption = None,
    as_json: JsonOption = False,
    state_dir: StateOption = None,
    vkey: VkeyOption = None,
    producer_keys: ProducerKeysOption = None,
) -> None:
    """Verify Kafka, Postgres and the archive, one after another; a store that is not set is named and passed over."""
    request = _request(context, chain, since, until, as_json, state_dir, vkey, producer_keys)
    absent = _absent(request.settings)
    for store, setting in absent.items():
        print(f"sealstream: {store} is passed over: {setting} is not set", file=sys.stderr)
    stores = [store for store in STORES if store not in absent]
    if why := kafka_passed_over(request.settings, chain, stores):
        print(f"sealstream: {why}", file=sys.stderr)
        stores.remove("kafka")
    _verify(request, stores)


def kafka_passed_over(settings: Settings, chain: str, stores: Sequence[str]) -> str:
    """Why Kafka is not among what is verified: a closed chain's topics may be lost, and other stores speak for it.

    Empty where it is there, is all that was asked for, or can't be asked: that is for its verification to say.
    """
    if "kafka" not in stores or len(stores) == 1 or not settings.chains[chain].closed_at:
        return ""
    topic = ChainTopics.of(chain, settings.kafka.prefix).chain
    try:
        start_offset(settings.kafka_settings(), topic)
    except TopicMissing:
        return f"kafka is passed over: chain {chain} was closed, and its topic {topic} does not exist any more"
    except SealstreamError:
        return ""
    return ""


def _absent(settings: Settings) -> dict[str, str]:
    """The stores that this installation does without, each with the setting that says so."""
    absent = {}
    if not settings.postgres.reader_dsn:
        absent["postgres"] = "postgres.reader_dsn"
    if not settings.archive.bucket:
        absent["archive"] = "archive.bucket"
    return absent


def _verify(request: VerificationRequest, stores: list[str], folder: Path | None = None) -> None:
    with closing(access_log(request.settings)) as log:
        # A copy in a folder is not the log's own store, and its verifier may be far from Kafka.
        _verify_stores(request, stores, folder, _Recording(log, request) if folder is None else None)


def _verify_stores(
    request: VerificationRequest, stores: list[str], folder: Path | None, recording: _Recording | None
) -> None:
    codes = []
    for store in stores:
        try:
            report = verify_store(request, store, folder)
        except SealstreamError as error:
            codes.append(2)
            if recording is not None:
                recording.record(store, None)
            _could_not(store, str(error), as_json=request.as_json)
            continue
        except Exception as error:  # noqa: BLE001 - one store that defeats us must not hide what the others hold
            codes.append(2)
            if recording is not None:
                recording.record(store, None)
            _could_not(store, internal_error(error), as_json=request.as_json)
            continue
        codes.append(report.exit_code)
        if recording is not None:
            recording.record(store, report)
        if request.as_json:
            print(json.dumps(report.to_json(), indent=2))
        else:
            print_report(report, out)
        if report.exit_code == 0 and report.checkpoint_note:
            identity = request.identity
            kept = keep_checkpoint(request.state_dir, identity.origin, identity.vkey, store, report.checkpoint_note)
            if not request.as_json:
                out.print(Text(f"          its signed checkpoint is kept in {kept}", style="dim"), soft_wrap=True)
    raise typer.Exit(1 if 1 in codes else max(codes))


def verify_store(request: VerificationRequest, store: str, folder: Path | None = None) -> Report:
    """The report on one of `STORES`, with a progress bar; `folder`: a copy of the archive instead of the bucket."""
    identity, settings = request.identity, request.settings
    with progress_bar(f"verify {store}", shown=not request.as_json) as progress:
        asked = Verification(
            identity,
            now=request.until or datetime.now(UTC),
            since=request.since,
            notes=kept_notes(request.state_dir, identity.origin, identity.vkey, store),
            progress=progress,
            workers=os.cpu_count() or 1,
            producer_keys=request.producer_keys,
        )
        started = time.monotonic()
        if store == "kafka":
            online_days = settings.chain(identity.name).retention.online_days
            kafka = settings.kafka_settings()
            report = verify_kafka(kafka, asked, prefix=settings.kafka.prefix, online_days=online_days)
        elif store == "postgres":
            if not settings.postgres.reader_dsn:
                raise Misconfigured(
                    "postgres.reader_dsn is not set: verification reads with the role sealstream_reader"
                )
            report = verify_postgres(settings.postgres.reader_dsn, asked)
        else:
            report = verify_archive(folder if folder is not None else archive_settings(settings), asked)
        report.elapsed_s = time.monotonic() - started
    if store == "archive" and folder is None and not report.entries:
        _not_begun(request, report)
    return report


class _Recording:
    """The `log.read` of each store verified. Kafka that did not take one is not waited for again."""

    def __init__(self, log: AccessLog, request: VerificationRequest) -> None:
        self._log = log
        self._request = request
        self._trouble = ""

    def record(self, store: str, report: Report | None) -> None:
        """Record the verdict (None: could not verify), or note in the report that it is not recorded."""
        asked = f"since {format_timestamp(self._request.since)}" if self._request.since else ""
        if not self._trouble:
            try:
                self._log.record(
                    person_at_this_machine(),
                    Access(self._request.identity.name, "verify", store, asked),
                    0 if report is None else report.entries,
                    result="failure" if report is None else "success",
                    facts={"verdict": "could not verify" if report is None else report.verdict},
                )
            except SealstreamError as error:
                self._trouble = str(error.__cause__ or error)
        if self._trouble and report is not None:
            report.notes.append(f"this verification is not recorded in the log: {self._trouble}")


def _not_begun(request: VerificationRequest, report: Report) -> None:
    """An archive is empty until the first segment ends: no fault while the chain itself is that young."""
    settings = request.settings
    topic = ChainTopics.of(request.identity.name, settings.kafka.prefix).chain
    try:
        kafka = settings.kafka_settings()
        first = next(read_until_end(kafka, topic), None) if start_offset(kafka, topic) == 0 else None
        began = parse_timestamp(decode_entry(first[0].value or b"").written.sequenced_at) if first else None
    except SealstreamError:
        return
    if began is None or (request.until or datetime.now(UTC)) - began < ARCHIVE_STALE_AFTER:
        report.faults = [fault for fault in report.faults if fault.kind is not FaultKind.STALE]
        report.notes.append("nothing is archived yet: the chain's first segment has not ended")


def _could_not(store: str, error: str, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"store": store, "verdict": "could not verify", "exit_code": 2, "error": error}, indent=2))
    else:
        Console(stderr=True, soft_wrap=True).print(told(f"{store}: could not verify: {error}", "yellow"))


class _Bar(AbstractContextManager[Callable[[int, int | None], None]]):
    def __init__(self, title: str, unit: str) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn(title),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(unit),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._progress.add_task(title, total=None)

    def __enter__(self) -> Callable[[int, int | None], None]:
        self._progress.start()
        return lambda done, total: self._progress.update(self._task, completed=done, total=total)

    def __exit__(self, *_: object) -> None:
        self._progress.stop()


def progress_bar(
    title: str, *, shown: bool, unit: str = "entries"
) -> AbstractContextManager[Callable[[int, int | None], None]]:
    if shown and sys.stderr.isatty():
        return _Bar(title, unit)
    return nullcontext(lambda _done, _total: None)


def print_report(report: Report, console: Console) -> None:
    """The verdict as a person reads it: one line when all holds, a table of faults otherwise."""
    style = {0: "bold green", 1: "bold red", 2: "bold yellow"}[report.exit_code]
    line = Text()
    line.append(f"{report.store:<9}", style="bold")
    line.append(f"{report.verdict:<17}", style=style)
    line.append(f"{report.entries:,} entries")
    if report.first_seq:
        line.append(f" from seq {report.first_seq:,}")
    line.append(f", signed size {report.size:,}, root {report.root.hex()[:16] or '-'}")
    if report.unsigned_entries:
        line.append(f", {report.unsigned_entries:,} not yet signed")
    line.append(f"  ({report.elapsed_s:.1f} s)", style="dim")
    console.print(line, soft_wrap=True)
    if report.faults:
        table = Table("kind", "seq", "place", "what was found", box=None, padding=(0, 2, 0, 0))
        for fault in report.faults[:50]:
            table.add_row(Text(str(fault.kind), style="red"), fault.seqs(), told(fault.place), told(fault.detail))
        console.print(table)
        if len(report.faults) > 50:
            console.print(f"and {len(report.faults) - 50} more: --json lists all", style="dim")
        console.print(Text("          what to do: docs/runbooks/README.md", style="dim"))
    for note in report.notes:
        console.print(told(f"          note: {note}", "dim"), soft_wrap=True)
    if report.assurance:
        assurance = ", ".join(report.assurance)
        newest = report.newest_sequenced_at or "-"
        console.print(told(f"          {assurance}; newest entry claims {newest}", "dim"), soft_wrap=True)
