"""`sealstream status`: every process, every chain in each store, and what is wrong in words, on one screen.

Everything is asked at the same time and given up on after a few seconds, so that a part that is down costs its own
lines and no more. Where the settings name no address of a process, its chain's stores tell how it does. Reads only.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from sealstream.cli.context import context_of, out
from sealstream.cli.last_words import last_error
from sealstream.cli.reviewing import overdue_by_postgres
from sealstream.cli.settings import DEFAULT_DATA_DIR, Settings, load_settings
from sealstream.cli.status_view import document, screen
from sealstream.cli.stores import archive_settings
from sealstream.devstack import ProcessStatus, status_of, supervisor_of
from sealstream.devstack.logs import tail
from sealstream.errors import Misconfigured
from sealstream.health import program_name
from sealstream.health.asking import (
    Archived,
    RolledUp,
    Sealed,
    Signed,
    Stored,
    Trouble,
    archived,
    at_once,
    check_listens,
    producers,
    refused_letters,
    rolled_up,
    sealed,
    signed,
    stored,
    waiting_since,
)
from sealstream.health.judging import ChainView, Finding, ProcessView, exit_code, findings, of_letters
from sealstream.health.letters import dead_letters
from sealstream.health.scraping import scraped
from sealstream.health.views import LateReview
from sealstream.layout import ChainTopics

__all__ = ["processes_of", "status_command"]

_CONFIG = "sealstream.toml"
_ANSWER_S = 3.5
_STARTS_WITHIN_S = 60.0
_SINCE = ("behind_since", "began_at", "unarchived_since", "untold_since")
_CHAIN_PROCESSES = ("checkpointing", "postgres-sink", "archive-sink")


def status_command(
    context: typer.Context,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            "--data-dir",
            "-d",
            help="Where a local stack lives. Default: .sealstream.",
            envvar="SEALSTREAM_HOME",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as data, for programs.")] = False,
    timeout: Annotated[
        float, typer.Option(min=0.5, max=60, help="How many seconds a part may take to answer.")
    ] = _ANSWER_S,
) -> None:
    """Show every process and chain on one screen, and say what is wrong and which page helps.

    Asks the processes for their own figures, where the settings' section metrics says where they are, and the stores
    themselves: Kafka, Postgres, the archive. Answers within some five seconds, whatever is down (--timeout).

    Exit code 0: all is well. 1: something is wrong. 2: nothing is known to be wrong, but not everything could be asked.

    Examples:

      sealstream status                     the settings in force, or the local stack of this folder

      sealstream status --json | jq -r '.findings[].words'

      sealstream status >/dev/null || echo "somebody should look"
    """
    folder = data_dir or DEFAULT_DATA_DIR
    shared = context_of(context)
    config = shared.config if shared.named or data_dir is None else data_dir / _CONFIG
    local = status_of(folder)
    never = "" if local else f", and no stack was ever started in {folder}"
    if config.absolute().parent != folder.absolute():
        local = []  # the settings are another system's than the local stack's
    if not config.exists() and not local:
        raise Misconfigured(
            f"no settings file at {config}{never}: start the local stack with `sealstream up`, or name the settings of "
            "a system that runs with --config"
        )
    settings = load_settings(config, must_exist=False)
    supervised = bool(local) and supervisor_of(folder) is not None
    now = time.time()
    views, chains, refused = _ask(settings, local, now, timeout)
    found = findings([view for view in views if supervised or view.state != "stopped"], chains, now)
    found += of_letters(refused)
    if local and not supervised:
        again = "" if folder == DEFAULT_DATA_DIR else f" --data-dir {folder}"
        found = [Finding("unknown", "", f"nothing runs here: `sealstream up{again}` starts it"), *found]
    if not views and not chains:
        words = f"there is no chain in {config}, and no process to ask: `sealstream chain create main` makes a chain"
        found = [Finding("unknown", "", words), *found]
    if supervised:
        found += _unserved(settings, local, now)
    code = exit_code(found)
    if as_json:
        print(json.dumps(document(local, views, chains, found, code, now), indent=2))
    else:
        out.print(screen(local, views, chains, found, now))
    sys.stdout.flush()
    raise typer.Exit(code)


def _ask(
    settings: Settings, local: list[ProcessStatus], now: float, timeout_s: float
) -> tuple[list[ProcessView], list[ChainView], Mapping[str, int] | Trouble]:
    """Everything at the same time; then, in a third of the time, once more what was not of one moment."""
    views = processes_of(settings, local, now)
    questions: dict[str, Callable[[], Any]] = {
        f"process {view.name}": lambda view=view: scraped(view, timeout_s / 3)  # type: ignore[misc]
        for view in views
        if view.url and view.state in (None, "running")
    }
    for name in sorted(settings.chains):
        questions |= {f"{part} {name}": question for part, question in _of_chain(settings, name, now).items()}
    if settings.forward.targets:
        questions["forward letters"] = lambda: _refused(settings)
    answers = at_once(questions, timeout_s)
    views = [_answered(view, answers.get(f"process {view.name}")) for view in views]
    chains = [_chain_view(settings, name, answers) for name in sorted(settings.chains)]
    return views, _once_more(settings, chains, timeout_s / 3), answers.get("forward letters", {})


def _refused(settings: Settings) -> Mapping[str, int]:
    check_listens(settings.kafka.bootstrap.split(","))
    return refused_letters(settings.kafka_settings(), settings.kafka.prefix)


def processes_of(settings: Settings, local: list[ProcessStatus], now: float) -> list[ProcessView]:
    """The local stack's programs, those that have an address, and those that a chain needs."""
    addresses = settings.metrics.addresses()
    views = {
        status.name: _explained(
            ProcessView(
                *(status.name, status.state, status.exit_code, addresses.get(status.name, "")),
                running_s=now - status.since,
                restarts=status.restarts,
            ),
            status,
        )
        for status in local
    }
    ended = _ended(settings)
    needed = ["sequencer"] if settings.open_chains() and "sequencer" not in ended else []
    needed += ["forward"] if settings.forward.targets else []
    needed += ["collect"] if settings.has_collector else []
    needed += [program_name(process, chain) for chain in settings.open_chains() for process in _each_needs(settings)]
    for name in [*needed, *(name for name in addresses if name not in ended)]:
        views.setdefault(name, ProcessView(name, url=addresses.get(name, "")))
    shared = views.get("sequencer")
    if shared is not None and not shared.url and any(name.startswith("sequencer-") for name in views):
        del views["sequencer"]  # each chain has a sequencer of its own
    return list(views.values())


def _ended(settings: Settings) -> set[str]:
    """The programs that the settings may still name a port for, and that nobody runs any more.

    What the settings here have no section for may run elsewhere, where `metrics.targets` says so.
    """
    running, addresses = settings.open_chains(), settings.metrics.addresses()
    closed = settings.chains.keys() - running
    ended = {program_name(process, chain) for chain in closed for process in ("sequencer", *_CHAIN_PROCESSES)}
    if any(program_name("sequencer", chain) not in addresses for chain in running):
        ended -= {"sequencer"}  # where chains share one, it is that of all
    unused = set() if settings.forward.targets else {"forward"}
    if not settings.archive.bucket:
        unused |= {program_name("archive-sink", chain) for chain in running}
    return ended | (unused - settings.metrics.targets.keys())


def _each_needs(settings: Settings) -> list[str]:
    """The processes that each chain has of its own; no sink of an archive where there is none."""
    return [name for name in _CHAIN_PROCESSES if name != "archive-sink" or settings.archive.bucket]


def _explained(view: ProcessView, status: ProcessStatus) -> ProcessView:
    """With its last words, from its log: of the alarm, or of the end after which it was started again."""
    if status.state in ("starting", "running", "restarting") and status.exit_code is not None:
        return view._replace(last_error=last_error(tail(status.log, 40, most_bytes=65_536)))
    if status.state != "stopped: alarm":
        return view
    for line in reversed(tail(status.log, 20)):
        try:
            told = json.loads(line)
        except ValueError:
            continue
        if isinstance(told, dict) and told.get("level") == "critical":
            return view._replace(because=(str(told.get("reason", "")),), runbook=str(told.get("runbook", "")))
    return view


def _answered(view: ProcessView, answer: ProcessView | Trouble | None) -> ProcessView:
    if isinstance(answer, Trouble):
        return view._replace(trouble=answer.reason)
    return view if answer is None else answer


def _of_chain(settings: Settings, name: str, now: float) -> dict[str, Callable[[], Any]]:
    """The questions about one chain, by part; each looks first whether anybody listens at all."""
    chain, kafka = settings.chain(name), settings.kafka_settings()
    servers = kafka.bootstrap.split(",")

    def ask_kafka(question: Callable[[], Any]) -> Callable[[], Any]:
        def ask() -> Any:
            check_listens(servers)
            return question()

        return ask

    def ask_postgres() -> Stored:
        check_listens([settings.postgres.reader_dsn])
        return stored(settings.postgres.reader_dsn, chain)

    def ask_reviews() -> tuple[LateReview, ...]:
        late = overdue_by_postgres(settings, name, datetime.fromtimestamp(now, UTC))
        return tuple(LateReview(str(each.period), each.due_at.timestamp()) for each in late)

    def ask_archive() -> Any:
        if settings.archive.endpoint_url:
            check_listens([settings.archive.endpoint_url])
        return archived(archive_settings(settings), chain)

    questions: dict[str, Callable[[], Any]] = {
        "sealed": ask_kafka(lambda: sealed(kafka, chain)),
        "signed": ask_kafka(lambda: signed(kafka, chain)),
        "letters": ask_kafka(lambda: dead_letters(kafka, chain, now, settings.postgres.reader_dsn)),
        "producers": ask_kafka(lambda: producers(kafka, chain)),
        "rolled_up": ask_kafka(lambda: rolled_up(kafka, chain)),
    }
    if settings.archive.bucket:
        questions["archived"] = ask_archive
    if settings.postgres.reader_dsn:
        questions["stored"] = ask_postgres
        questions["reviews"] = ask_reviews
    return questions


def _chain_view(settings: Settings, name: str, answers: dict[str, Any]) -> ChainView:
    section = settings.chains[name]
    late = answers.get(f"reviews {name}")
    return ChainView(
        name,
        bool(section.closed_at),
        section.segment_entries,
        section.segment_seconds,
        sealed=answers[f"sealed {name}"],
        signed=answers[f"signed {name}"],
        letters=answers[f"letters {name}"],
        producers=answers[f"producers {name}"],
        stored=answers.get(f"stored {name}"),
        archived=answers.get(f"archived {name}"),
        rolled_up=answers.get(f"rolled_up {name}"),
        late_reviews=None if isinstance(late, Trouble) else late,  # what "stored" says of Postgres says why
    )


def _once_more(settings: Settings, views: list[ChainView], timeout_s: float) -> list[ChainView]:
    """A store that seems to be ahead of Kafka was asked a moment later, perhaps; one behind or empty: since when?"""
    kafka = settings.kafka_settings()
    questions: dict[str, Callable[[], Any]] = {}
    for view in views:
        if not isinstance(view.sealed, Sealed):
            continue
        chain = settings.chain(view.chain)
        topics = ChainTopics.of(chain.name, chain.prefix)
        stores = (view.signed, view.stored, view.archived)
        others = [part.size for part in stores if part is not None and not isinstance(part, Trouble)]
        if others and max(others) > view.sealed.size:
            questions[f"sealed {view.chain}"] = lambda chain=chain: sealed(kafka, chain)  # type: ignore[misc]
        since: dict[str, tuple[str, int]] = {}
        if isinstance(view.stored, Stored) and view.stored.size < view.sealed.size:
            since["behind_since"] = (topics.chain, view.stored.next_offset)
        if isinstance(view.rolled_up, RolledUp) and view.rolled_up.size < view.sealed.size:
            since["untold_since"] = (topics.chain, view.rolled_up.next_offset)
        if isinstance(view.signed, Signed) and view.sealed.size:
            if view.signed.segment_at is None:
                since["began_at"] = (topics.chain, 0)
            elif isinstance(view.archived, Archived) and not view.archived.size:
                since["unarchived_since"] = (topics.segments, 0)
        for what, place in since.items():
            questions[f"{what} {view.chain}"] = lambda place=place: waiting_since(kafka, *place)  # type: ignore[misc]
    answers = at_once(questions, timeout_s)
    seen = []
    for view in views:
        again = answers.get(f"sealed {view.chain}")
        newest = again if isinstance(again, Sealed | Trouble) else view.sealed
        behind, began, unarchived, untold = (
            at if isinstance(at, float) else None for at in (answers.get(f"{what} {view.chain}") for what in _SINCE)
        )
        seen.append(
            view._replace(
                sealed=newest, behind_since=behind, began_at=began, unarchived_since=unarchived, untold_since=untold
            ),
        )
    return seen


def _unserved(settings: Settings, local: list[ProcessStatus], now: float) -> list[Finding]:
    """A chain that was made while the stack ran has no processes yet; nor has any while the stack is being started."""
    started = {status.name for status in local}
    sequencer = next((status for status in local if status.name == "sequencer"), None)
    if not settings.chains:
        return [Finding("unknown", "", "there is no chain yet: `sealstream up` makes the first once the servers run")]
    if sequencer is None or (not sequencer.restarts and now - sequencer.since < _STARTS_WITHIN_S):
        unserved = partial(Finding, "unknown", "")
        advice = "the stack is being started"
    else:
        unserved = partial(Finding, "wrong", "")
        advice = "`sealstream down`, then `sealstream up`"
    return [
        unserved(f"chain {chain} is served by no process yet: {advice}")
        for chain in settings.open_chains()
        if not {program_name(process, chain) for process in _each_needs(settings)} <= started
    ]
