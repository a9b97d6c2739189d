"""`sealstream up`, `down`, `logs`: the whole pipeline on this machine, from packages, without Docker.

`up` may be repeated: where a stack runs already it says so and ends well. Ctrl-C, SIGTERM or a kill -9 at any moment
leave nothing running and nothing broken; the next `up` goes on with the same data, ports and keys.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from sealstream.cli.context import out
from sealstream.cli.pipeline import prepare, specs_of
from sealstream.cli.progress import ChainProgress, chain_progress, progress_view, span
from sealstream.cli.settings import DEFAULT_DATA_DIR, Settings, load_settings
from sealstream.devstack import AlreadyRunning, ProcessStatus, ServerFailed, Stack, status_of, stop_stack, supervisor_of
from sealstream.errors import Misconfigured
from sealstream.layout import SegmentLimits

__all__ = ["down_command", "logs_command", "up_command"]

_CONFIG = "sealstream.toml"
_DETACHED_START_TIMEOUT_S = 300
_ENDED_AS_TOLD = (None, 0, 143, -15)  # 128 + SIGTERM is how a JVM says it
_STATE_STYLE = {"running": "green", "starting": "yellow", "restarting": "yellow", "stopped": "dim"}

DataDirOption = Annotated[
    Path, typer.Option("--data-dir", "-d", help="Where everything local lives.", envvar="SEALSTREAM_HOME")
]


def up_command(
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    detach: Annotated[bool, typer.Option("--detach", help="Leave it running in the background.")] = False,
    kafka_port: Annotated[int | None, typer.Option(min=1, max=65535, help="Default 19092.", show_default=False)] = None,
    postgres_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Default 15432.", show_default=False)
    ] = None,
    s3_port: Annotated[int | None, typer.Option(min=1, max=65535, help="Default 18333.", show_default=False)] = None,
    retention: Annotated[
        str | None, typer.Option(help="For a chain main that is made now; default soc2.", show_default=False)
    ] = None,
    segment_seconds: Annotated[
        int | None,
        typer.Option(min=1, help="For a chain main that is made now; default 300.", show_default=False),
    ] = None,
) -> None:
    """Start Kafka, PostgreSQL, S3 and every Sealstream process, with a live view. Ctrl-C stops them, data stays."""
    ports = {
        name: port
        for name, port in (("kafka", kafka_port), ("postgres", postgres_port), ("s3", s3_port))
        if port is not None
    }
    running = supervisor_of(data_dir)
    if running is not None:
        out.print(f"running already, under process {running}:")
        out.print(_view(data_dir, _settings(data_dir)))
        return
    if detach:
        _start_detached(data_dir, sys.argv[1:])
        out.print(_view(data_dir, _settings(data_dir)))
        out.print(f"running in the background; stop it with `sealstream down{_data_dir_option(data_dir)}`")
        return
    limits = SegmentLimits(seconds=segment_seconds) if segment_seconds is not None else None
    _run(data_dir, ports, retention, limits)


def _run(data_dir: Path, ports: Mapping[str, int], retention: str | None, limits: SegmentLimits | None) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):  # also where a shell had SIGINT ignored
        signal.signal(number, _interrupt)
    config = data_dir / _CONFIG
    stack = Stack(data_dir, ports=ports, progress=lambda what: out.print(Text(what, style="dim")))
    try:
        endpoints = stack.start()
        settings = prepare(
            config, endpoints, retention=retention, limits=limits, say=lambda what: out.print(Text(what, style="dim"))
        )
        stack.start_processes(specs_of(config, settings))
        _watch(stack, settings)
    except AlreadyRunning as other:
        out.print(f"{other}")
    except KeyboardInterrupt:
        out.print("stopping; data stays where it is")
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):  # a second Ctrl-C must not leave half of it running
            signal.signal(number, signal.SIG_IGN)
        stack.stop()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


class _Progress(threading.Thread):
    """Asks the stores in the background, so that looking after the programs never waits for one of them."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(daemon=True)
        self._settings = settings
        self.latest: list[ChainProgress] = []

    def run(self) -> None:
        while True:
            self.latest = [chain_progress(self._settings, name) for name in sorted(self._settings.chains)]
            time.sleep(1)


def _watch(stack: Stack, settings: Settings) -> None:
    """Look after the programs for as long as nobody says stop."""
    progress = _Progress(settings)
    progress.start()
    hint = Text("Ctrl-C stops everything; `sealstream logs NAME` shows a process's log", style="dim")
    if not sys.stdout.isatty():
        out.print(_processes(stack.status()))
        while True:
            if stack.step():
                out.print(_processes(stack.status()))
            time.sleep(0.25)
    with Live(console=out, refresh_per_second=4) as live:
        while True:
            stack.step()
            live.update(Group(_processes(stack.status()), Text(), *map(progress_view, progress.latest), Text(), hint))
            time.sleep(0.25)


def _start_detached(data_dir: Path, arguments: list[str]) -> None:
    """Run `up` once more in a session of its own, and wait until everything runs or it gave up."""
    # Into the data directory only when it is ours; whether it may become ours is for the stack to say.
    ours = (data_dir / "stack.json").exists()
    log = data_dir / "logs" / "up.log" if ours else Path(tempfile.mkstemp(prefix="sealstream-up-", suffix=".log")[1])
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "sealstream.cli.entry", *(a for a in arguments if a != "--detach")]
    with log.open("ab") as output:
        begins_at = output.tell()
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    deadline = time.monotonic() + _DETACHED_START_TIMEOUT_S
    with out.status("starting Kafka, PostgreSQL, S3 and the pipeline"):
        while time.monotonic() < deadline:
            code = child.poll()
            if code is not None:
                said = log.read_bytes()[begins_at:].decode(errors="replace").strip().splitlines()
                last = said[-1].removeprefix("sealstream: error: ") if said else ""
                error = ServerFailed(last or f"`sealstream up` ended with exit code {code}; see {log}")
                error.exit_code = code or error.exit_code
                raise error
            statuses = status_of(data_dir)
            begun = supervisor_of(data_dir) == child.pid and any(s.name == "watch" for s in statuses)
            if begun and all(status.state == "running" for status in statuses):
                return
            time.sleep(0.2)
    child.terminate()
    raise ServerFailed(f"not everything ran within {_DETACHED_START_TIMEOUT_S} s: see {log}")


def down_command(data_dir: DataDirOption = DEFAULT_DATA_DIR) -> None:
    """Stop a stack that runs in the background, or what a killed one left. Data stays."""
    with out.status("stopping"):
        stopped = stop_stack(data_dir)
    out.print("stopped; data stays where it is" if stopped else f"nothing was running in {data_dir}")


def logs_command(
    name: Annotated[
        str | None, typer.Argument(help="A process; without one, those that have a log are listed.")
    ] = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="The last so many lines.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as they are written; Ctrl-C ends.")] = False,
) -> None:
    """Show a process's log."""
    known = sorted(path.stem for path in (data_dir / "logs").glob("*.log"))
    if name is None:
        out.print("\n".join(known) or f"no logs in {data_dir / 'logs'}: nothing was started there")
        return
    if name not in known:
        raise Misconfigured(f"no log of {name!r} in {data_dir / 'logs'}: there are {', '.join(known) or 'none'}")
    path = data_dir / "logs" / f"{name}.log"
    with path.open(errors="replace") as file:
        sys.stdout.writelines(deque(file, maxlen=lines))
        sys.stdout.flush()
        with suppress(KeyboardInterrupt):
            while follow:
                line = file.readline()
                if line:
                    sys.stdout.write(line)
                    sys.stdout.flush()
                elif path.stat().st_size < file.tell():  # the log was bounded: begin with what is left
                    file.seek(0)
                else:
                    time.sleep(0.2)


def _settings(data_dir: Path) -> list[Settings]:
    """The stack's settings, or none before they were first written."""
    config = data_dir / _CONFIG
    return [load_settings(config)] if config.exists() else []


def _data_dir_option(data_dir: Path) -> str:
    return "" if data_dir == DEFAULT_DATA_DIR else f" --data-dir {data_dir}"


def _view(data_dir: Path, settings: list[Settings]) -> Group:
    statuses = status_of(data_dir)
    if not any(status.state == "running" for status in statuses):
        return Group(
            _processes(statuses), Text(f"\nnothing runs: `sealstream up{_data_dir_option(data_dir)}` starts it")
        )
    chains = [chain_progress(known, name) for known in settings for name in sorted(known.chains)]
    return Group(_processes(statuses), Text(), *map(progress_view, chains))


def _processes(statuses: list[ProcessStatus]) -> Table:
    table = Table("process", "state", "pid", "for", "restarts", box=None, padding=(0, 2, 0, 0))
    for status in statuses:
        told = status.state if status.exit_code in _ENDED_AS_TOLD else f"{status.state} (exit {status.exit_code})"
        table.add_row(
            status.name,
            Text(told, style=_STATE_STYLE.get(status.state, "bold red")),
            str(status.pid or "-"),
            span(time.time() - status.since),
            str(status.restarts or "-"),
        )
    return table
