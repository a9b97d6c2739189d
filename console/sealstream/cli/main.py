"""The `sealstream` command: its groups and what they share. Each subcommand's words live in a module of its own."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import current_thread, main_thread
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console

from sealstream.cli import (
    alerts,
    anomaly,
    anomaly_sigma,
    archive_copy,
    chain,
    chain_showing,
    collect,
    collect_keys,
    config,
    continuing,
    deadletters,
    dismissing,
    doctor,
    forward,
    holds,
    importing,
    keys,
    outbox,
    producer_keys,
    producers,
    reconcile,
    repair,
    replay,
    report,
    restore,
    retention,
    retention_destroy,
    retention_plan,
    retention_run,
    retrying,
    review,
    review_list,
    run_process,
    search,
    serve,
    spool,
    stack,
    status,
    stores,
    tokens,
    verify,
)
from sealstream.cli.context import Context, internal_error
from sealstream.cli.harmless import harmless_lines
from sealstream.cli.settings import find_config, is_named
from sealstream.errors import ChainStopped, SealstreamError, Unavailable

__all__ = ["app", "run"]

_START_HINT = " (does it run? `sealstream status` shows a local stack, `sealstream up` starts it)"

app = typer.Typer(
    name="sealstream",
    help="A tamper-evident audit log: Kafka in; a sealed chain; Postgres for questions; Object-Locked S3 for ever.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    epilog="First time? `sealstream up` starts everything locally; `sealstream verify all` checks every store.",
)
app.add_typer(chain.app, name="chain")
chain.app.command("continue")(continuing.continue_chain)
chain.app.command("show")(chain_showing.show_chain)
chain.app.command("retention")(retention.chain_retention)
app.add_typer(config.app, name="config")
app.add_typer(keys.app, name="keys")
stores.archive_app.command("copy")(archive_copy.copy_command)
app.add_typer(stores.archive_app, name="archive")
app.command("migrate")(stores.migrate_command)
app.add_typer(stores.ask_app, name="ask")
app.command("search", cls=search.QueryCommand, help=search.SEARCH_HELP)(search.search_command)
app.command("show")(search.show_command)
app.command("tail", cls=search.QueryCommand)(search.tail_command)
app.add_typer(verify.app, name="verify")
app.add_typer(restore.app, name="restore")
deadletters.app.command("retry")(retrying.retry_letter)
deadletters.app.command("dismiss")(dismissing.dismiss_letters)
app.add_typer(deadletters.app, name="deadletter")
app.add_typer(alerts.app, name="alerts")
app.add_typer(deadletters.app, name="deadletters", hidden=True)  # what it was called first
app.add_typer(forward.app, name="forward")
app.command("producers")(producers.producers_command)
app.add_typer(producer_keys.app, name="producer-keys")
app.command("import")(importing.import_command)
app.add_typer(outbox.app, name="outbox")
app.add_typer(spool.app, name="spool")
app.command("report")(report.report_command)
anomaly.app.command("rules")(anomaly_sigma.rules_command)
app.add_typer(anomaly.app, name="anomaly")
review.app.command("list")(review_list.list_reviews)
app.add_typer(review.app, name="review")
app.command("reconcile")(reconcile.reconcile_command)
app.add_typer(repair.app, name="repair")
retention_run.app.add_typer(holds.app, name="hold")
retention_run.app.command("destroy")(retention_destroy.destroy_command)
retention_run.app.command("plan")(retention_plan.plan_command)
app.add_typer(retention_run.app, name="retention")
app.command("replay")(replay.replay_command)
app.command("run")(run_process.run_command)
app.command("serve")(serve.serve_command)
app.add_typer(tokens.app, name="tokens")
collect.app.add_typer(collect_keys.app, name="keys")
app.add_typer(collect.app, name="collect")
app.command("up")(stack.up_command)
app.command("down")(stack.down_command)
app.command("status")(status.status_command)
app.command("doctor")(doctor.doctor_command)
app.command("logs")(stack.logs_command)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"sealstream {version('sealstream')}")
        raise typer.Exit


@app.callback()
def shared(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            help="The settings file. Default: $SEALSTREAM_CONFIG, ./sealstream.toml, or sealstream.toml in "
            "$SEALSTREAM_HOME (./.sealstream).",
            show_default=False,
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Options that every command shares."""
    context.obj = Context(find_config(config), is_named(config))


def run(arguments: list[str]) -> int:
    """Run one command; every error of ours is one clear sentence and an exit code."""
    with _noting_interrupts() as interrupts:
        return _run(arguments, interrupts)


def _run(arguments: list[str], interrupts: list[int]) -> int:
    try:
        app(args=arguments, prog_name="sealstream")
    except SystemExit as end:  # usage errors (2), typer.Exit (a command's own code) and the normal end (0)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        return _stopped()
    except SealstreamError as error:
        word = "ALARM" if isinstance(error, ChainStopped) else "error"
        hint = _START_HINT if isinstance(error, Unavailable) and arguments[:1] != ["up"] else ""
        what_to_do = f"\nwhat to do: {error.runbook}" if error.runbook else ""
        _complain(f"sealstream: {word}: {error}{hint}{what_to_do}")
        return error.exit_code
    except ModuleNotFoundError:
        raise  # entry.py knows which extra is missing
    except Exception as error:  # noqa: BLE001 - no traceback reaches a person who did not ask for it
        if interrupts:
            return _stopped()
        _complain(f"sealstream: {internal_error(error)}")
        return 2
    return 0


@contextmanager
def _noting_interrupts() -> Iterator[list[int]]:
    """Ctrl-C as ever, and noted: Kafka's driver makes a TypeError of the exception while it opens a client."""
    came: list[int] = []
    before = signal.getsignal(signal.SIGINT)

    def interrupted(number: int, _frame: FrameType | None) -> None:
        came.append(number)
        raise KeyboardInterrupt

    if before is not signal.default_int_handler or current_thread() is not main_thread():
        yield came
        return
    signal.signal(signal.SIGINT, interrupted)
    try:
        yield came
    finally:
        signal.signal(signal.SIGINT, before)


def _stopped() -> int:
    print("sealstream: stopped", file=sys.stderr)
    return 130


def _complain(sentence: str) -> None:
    Console(stderr=True, soft_wrap=True, highlight=False).print(harmless_lines(sentence), markup=False)
