"""`sealstream anomaly`: the detectors and their thresholds, what they know of somebody, what they would have raised.

These commands only read. What they read of the log is recorded in it (`log.read`) before it is shown; Ctrl-C ends them
and leaves nothing behind.
"""

from __future__ import annotations

import ipaddress
import json
import os
import sys
import time
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Literal

import typer

from sealstream.anomalies import History, Trial, backtest, ends_of, explained, size_of
from sealstream.anomalies.knowing import from_history, from_workers, nearest_actor
from sealstream.anomaly.detectors import DETECTORS
from sealstream.anomaly.settings import thresholds_of
from sealstream.cli.anomaly_showing import (
    TrialProgress,
    detector_rows,
    detectors_as_json,
    print_detectors,
    print_explained,
    print_outcome,
    trial_as_json,
)
from sealstream.cli.context import context_of, out, warn
from sealstream.cli.harmless import harmless, told
from sealstream.cli.reading import ReadLog
from sealstream.cli.settings import Settings, read_settings
from sealstream.cli.stores import archive_settings
from sealstream.errors import Misconfigured
from sealstream.search import QueryError, Stores, choose_source, nearest_key, parse, render

__all__ = ["app"]

app = typer.Typer(help="The watch: its detectors, what they know, what they would raise.", no_args_is_help=True)

_PATIENCE_S = 900.0
_HEARTBEAT = timedelta(minutes=1)


class _Store(StrEnum):
    auto = "auto"
    archive = "archive"
    postgres = "postgres"


class _Knower(StrEnum):
    auto = "auto"
    workers = "workers"
    history = "history"


SinceOption = Annotated[
    str, typer.Option("--since", help="A UTC date, a time such as 2026-11-01T08:00:00Z, or so long ago (7d, 24h).")
]
ChainsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--chain", help="Only this chain; may be repeated. Default: as the settings say, else all.", show_default=False
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="For programs.")]


@app.command("detectors")
def detectors_command(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="Only this one.", show_default=False)] = None,
    as_json: JsonOption = False,
) -> None:
    """List the detectors: what each looks for, its thresholds, their defaults, and where others were set."""
    shared = context_of(context)
    loaded = read_settings(shared.config, must_exist=False)
    warn(loaded.warnings)
    rows = detector_rows(loaded, [name] if name is not None and _known(name) else list(DETECTORS))
    if as_json:
        print(json.dumps(detectors_as_json(rows), indent=2))
    else:
        print_detectors(rows, whole=name is not None)


@app.command("backtest")
def backtest_command(
    context: typer.Context,
    since: SinceOption = "7d",
    until: Annotated[
        str | None, typer.Option("--until", help="The same, the end exclusive. Default: now.", show_default=False)
    ] = None,
    chain: ChainsOption = None,
    source: Annotated[
        _Store,
        typer.Option(
            "--source", help="auto: the archive, where there is one, else Postgres. The archive ends before now."
        ),
    ] = _Store.auto,
    detector: Annotated[
        list[str] | None,
        typer.Option("--detector", help="Only this detector; may be repeated. Default: all.", show_default=False),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="DETECTOR.THRESHOLD=VALUE",
            help="Try another threshold beside the present one; may be repeated.",
            show_default=False,
        ),
    ] = None,
    warm_up: Annotated[
        float, typer.Option("--warm-up", min=0, help="Days before that are watched to learn what is usual.")
    ] = 30.0,
    listing: Annotated[bool, typer.Option("--list", help="Each alert, too.")] = False,
    processes: Annotated[
        int | None,
        typer.Option(
            "--processes", min=1, max=64, help="How many share the work. Default: one a core.", show_default=False
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Try the detectors on history: alerts a day by detector, and what other thresholds would change.

    sealstream anomaly backtest --since 30d

    sealstream anomaly backtest --since 2026-11-01 --until 2026-12-01 --set mass_read.factor=2.5

    sealstream anomaly backtest --since 7d --detector password_spray --list

    Nothing is raised: it only counts. Sigma rules are not part of it. Where standard error is a terminal it shows how
    far it is.
    """
    settings = context_of(context).settings()
    names = [name for name in DETECTORS if detector is None or name in detector]
    for name in detector or ():
        _known(name)
    changed = thresholds_of(changes or ())
    for name in changed:
        if name not in names:
            raise Misconfigured(f"--set {name}...: --detector leaves {name} out")
    begun = time.monotonic()
    history = _history(settings, chain, since, until, source)
    words = [f"sealed_after:{history.since.isoformat()} sealed_before:{history.until.isoformat()}"]
    words += [f"--detector {name}" for name in detector or ()] + [f"--set {each}" for each in changes or ()]
    read = ReadLog(settings, "anomaly backtest", " ".join(words), history.chains)
    history, short = _as_far_as_it_goes(settings, history)
    trial = Trial(history, history.since - timedelta(days=warm_up), settings.anomaly.thresholds(), changed, names)
    with read.streaming(history.store) as given, TrialProgress() as progress:
        progress.total(sum(size_of(history.spanning(trial.learned_from)).values()))
        outcome = backtest(
            trial, processes or os.cpu_count() or 1, lambda entries: progress.entries(sum(entries.values()))
        )
        given(Counter(outcome.entries))
    took_s = time.monotonic() - begun
    if as_json:
        print(json.dumps(trial_as_json(trial, outcome, took_s), indent=2))
    else:
        print_outcome(trial, outcome, took_s, short, listing=listing)


@app.command("explain")
def explain_command(
    context: typer.Context,
    subject: Annotated[str, typer.Argument(metavar="ACTOR", help="An actor's id, or an IP address.")],
    chain: ChainsOption = None,
    knower: Annotated[
        _Knower,
        typer.Option("--from", help="auto: what the workers know; where they know nothing, the entries themselves."),
    ] = _Knower.auto,
    since: SinceOption = "60d",
    as_json: JsonOption = False,
) -> None:
    """Say what is usual for an actor: hours, rates, networks, and from what on each detector would alert.

    sealstream anomaly explain user-123

    sealstream anomaly explain 203.0.113.7

    sealstream anomaly explain user-123 --from history --since 30d
    """
    settings = context_of(context).settings()
    kind, name = _kind(subject)
    now = datetime.now(UTC)
    thresholds = settings.anomaly.thresholds()
    chains = _chains(settings, chain)
    read = ReadLog(settings, "anomaly explain", f"{kind} {name}", chains)
    known, source, nobody = None, "the workers", ""
    if knower is not _Knower.history:
        known = from_workers(settings.kafka_settings(), settings.kafka.prefix, kind, name, thresholds)
        if known is None and knower is _Knower.workers:
            raise Misconfigured(
                f"the workers know nothing of {harmless(name)}: does `sealstream run anomaly` run? --from history "
                "reads the entries themselves"
            )
    if known is not None:
        read.counted("kafka", dict.fromkeys(chains, 0))
    else:
        begins, ends = _span(since, None, now)
        stores = Stores(
            settings.postgres.reader_dsn, archive_settings(settings) if settings.archive.bucket else None, _PATIENCE_S
        )
        asked = parse(f"sealed_after:{begins:%Y-%m-%dT%H:%M:%SZ} sealed_before:{ends:%Y-%m-%dT%H:%M:%SZ}", now=now)
        with closing(choose_source(stores, chains, asked)) as log:
            known, entries = from_history(log, kind, name, asked.text, thresholds, now)
            if not sum(entries.values()):
                near = nearest_actor(log, name, asked.text, now) if kind == "actor" else ""
                hint = f"; did you mean {near}?" if near else ""
                nobody = f"nothing is known of {name}: no entry since {begins:%Y-%m-%d %H:%M} in {log.name}{hint}"
            read.counted(log.name, dict.fromkeys(chains, 0) | entries)
            source = f"{sum(entries.values()):,} entries since {begins:%Y-%m-%d %H:%M} in {log.name}"
    lines = explained(kind, known, thresholds, int(now.timestamp()))
    if as_json:
        print(json.dumps({"subject": name, "kind": kind, "from": source, "detectors": [e._asdict() for e in lines]}))
    elif nobody:
        out.print(told(nobody), soft_wrap=True)
    else:
        print_explained(name, source, lines)


def _known(name: str) -> bool:
    if name not in DETECTORS:
        near = nearest_key(name, tuple(DETECTORS))
        hint = f"did you mean {near}?" if near else f"there are {', '.join(DETECTORS)}"
        raise Misconfigured(f"there is no detector {harmless(name)}: {hint}")
    return True


def _chains(settings: Settings, asked: list[str] | None) -> tuple[str, ...]:
    names = asked or settings.anomaly.chains or sorted(settings.chains)
    if not names:
        raise Misconfigured("there is no chain yet: make one with `sealstream chain create main`")
    return tuple(dict.fromkeys(settings.chain(name).name for name in names))


def _history(settings: Settings, chains: list[str] | None, since: str, until: str | None, source: _Store) -> History:
    begins, ends = _span(since, until, datetime.now(UTC))
    history = History(_chains(settings, chains), begins, ends)
    if source is _Store.postgres or (source is _Store.auto and not settings.archive.bucket):
        return history._replace(reader_dsn=settings.postgres.reader_dsn)
    if not settings.archive.bucket:
        raise Misconfigured("archive.bucket is not set: there is no archive to read; --source postgres reads Postgres")
    return history._replace(archive=archive_settings(settings))


def _as_far_as_it_goes(settings: Settings, history: History) -> tuple[History, dict[str, datetime | None]]:
    """The history until where the archive ends, and of each chain that it has not to the end of the span until when it
    goes, which is said on standard error. A chain that was closed has no more.
    """
    going = settings.open_chains()
    short = {
        chain: end
        for chain, end in ends_of(history).items()
        if chain in going and (end is None or history.until - end > _HEARTBEAT)
    }
    for chain, end in short.items():
        said = "holds nothing of it" if end is None else f"goes until {end:%Y-%m-%d %H:%M:%S} (UTC)"
        rest = "; --source postgres has the rest" if settings.postgres.reader_dsn else ""
        print(f"sealstream: chain {chain}: the archive {said}, which is all that is watched{rest}", file=sys.stderr)
    if len(short) == len(history.chains):
        ends = [end.replace(microsecond=0) + timedelta(seconds=1) for end in short.values() if end is not None]
        history = history._replace(until=max([history.since, *ends]))
    return history, short


def _span(since: str, until: str | None, now: datetime) -> tuple[datetime, datetime]:
    """Whole seconds, since activity is counted by them."""
    text = f"sealed_after:{since}" + (f" sealed_before:{until}" if until is not None else "")
    try:
        query = parse(text, now=now)
    except QueryError as error:
        raise Misconfigured(f"--since, --until: this is no span of time\n\n{render(error)}") from error
    begins, ends = query.sealed_after, query.sealed_before or now
    assert begins is not None
    if begins >= ends:
        raise Misconfigured(f"--since {since} is not before {until or 'now'}")
    return begins.replace(microsecond=0), ends.replace(microsecond=0)


def _kind(subject: str) -> tuple[Literal["actor", "address"], str]:
    try:
        return "address", str(ipaddress.ip_address(subject))
    except ValueError:
        return "actor", subject
