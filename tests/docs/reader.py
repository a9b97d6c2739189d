"""Someone who does what a page says, on a chain named `main` whose processes run: in a folder and a shell of their own.

A `sealstream` command without shell syntax runs in this process, which takes a second less; anything else in bash,
where `sealstream` is the same command. What does not end by itself (`tail -f`, `--follow`) is ended by Ctrl-C.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import tomllib
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path

import yaml
from tests.deploy.charts import EXAMPLES, faults_of_values, over
from tests.docs.blocks import Block, Line, console_lines, shell_lines
from tests.docs.samples import differences
from tests.pipeline import PROCESSES, Pipeline, Said, say, sql, wait_until
from tests.runbooks.pages import matches
from tests.settings.secured_servers import token_listener

from sealstream.cli.settings import load_settings

__all__ = ["ROOT", "Reader"]

ROOT = Path(__file__).parents[2]
_SHELL_SYNTAX = re.compile(r"[|&;<>$`*(){}~]")
_SERVERS = r"\bserve\b|\buvicorn\b|\bcollect --port|\bnode app\.mjs"
_ENDLESS = re.compile(rf"\btail\b.*\s-f\b|--follow\b|--every\b|outbox relay(?!.*--once)|{_SERVERS}")
_SERVER = re.compile(_SERVERS)
_PATIENCE_S = 60.0
_BEGINS_S = 10.0


class Reader:
    """One reader of one page. `names`: what the page calls something, and what it is here; `acts`: what a
    page has a person do besides commands.
    """

    def __init__(self, pipeline: Pipeline, folder: Path) -> None:
        self.pipeline = pipeline
        self.folder = folder
        self.names: dict[str, str | Callable[[], str]] = {}
        self.before_python = ""
        self.after_python: Callable[[], object] = lambda: None
        self.acts: dict[str, Callable[[], object]] = {
            "wait until everything is sealed and stored": lambda: pipeline.wait_stored(pipeline.wait_sealed()),
            "wait until it has caught up": lambda: wait_until(lambda: pipeline.command("status").code == 0, 60),
            **{f"stop {name}": lambda name=name: pipeline.stop(name) for name in PROCESSES},
            **{f"start {name}": lambda name=name: pipeline.start(name) for name in PROCESSES},
        }
        self.keep_toml_as = ""  # a file that is no settings file: the page's commands are given it
        self.said = Said(0, "", "")
        self.heard = ""
        self.running: list[tuple[str, subprocess.Popen[bytes], Path]] = []
        shim = folder / "bin" / "sealstream"
        shim.parent.mkdir()
        shim.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m sealstream.cli.entry "$@"\n')
        shim.chmod(0o755)
        # A page may make chains and tokens: the next one begins with the settings as they were.
        self.config = folder / "settings" / pipeline.config.name
        shutil.copytree(pipeline.folder, self.config.parent, ignore=shutil.ignore_patterns("*.log"))
        self.environment = {
            **os.environ,
            "PATH": f"{shim.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "SEALSTREAM_CONFIG": str(self.config),
            "COLUMNS": "160",
        }

    def named(self, text: str) -> str:
        """The text with this reader's names."""
        for name, here in self.names.items():
            if name in text:
                text = text.replace(name, here if isinstance(here, str) else here())
        return text

    def do(self, block: Block) -> None:
        """Run one block as its language says."""
        runs = {
            "sh": lambda: [self.run(line) for line in shell_lines(block.body)],
            "console": lambda: [self.run(line) for line in console_lines(block.body)],
            "python": lambda: self.python(block.body),
            "js": lambda: self.javascript(block.body),
            "toml": lambda: self.settings(block.body),
            "json": lambda: self.sample(block.body),
            "yaml": lambda: (
                self.sigma_rules(block.body) if "logsource:" in block.body else self.helm_values(block.body)
            ),
            "properties": lambda: self.properties(block.body),
            "sql": lambda: sql(self.pipeline.reader_dsn, self.named(block.body)),
        }
        runs[block.language]()

    def run(self, line: Line) -> None:
        """One command, held to what the page says of it."""
        if line.act:
            self.acts[line.act]()
            return
        command = self.named(line.command)
        if command.startswith("export "):
            name, _, value = command.removeprefix("export ").partition("=")
            self.environment[name] = shlex.split(value)[0]
            return
        if command.startswith("cd "):
            self.folder = self.folder / command.removeprefix("cd ")
            return
        self.said = said = self._run(command)
        self.heard += said.out
        assert said.code == line.code, f"$ {command}\nexit code {said.code}\n{said.out}\n{said.err}"
        for wanted in line.says:
            assert matches(self.named(wanted), said.out + said.err), f"$ {command}\n{wanted!r} is not in\n{said}"

    def _run(self, command: str) -> Said:
        if _ENDLESS.search(command):
            return self._begin(command)
        if command.startswith("sealstream ") and not _SHELL_SYNTAX.search(command):
            before = dict(os.environ)
            os.environ.update(self.environment)
            try:
                with chdir(self.folder):
                    return say(self.config, *shlex.split(command)[1:])
            finally:
                os.environ.clear()
                os.environ.update(before)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def _begin(self, command: str) -> Said:
        """A command that does not end by itself: a server goes on until the page's end, anything else until it has
        said something.
        """
        log = self.folder / f"running-{time.monotonic_ns()}.log"
        with log.open("wb") as file:
            running = subprocess.Popen(
                ["bash", "-c", f"exec {command}"], cwd=self.folder, env=self.environment, stdout=file, stderr=file
            )
        self.running.append((command, running, log))
        server = _SERVER.search(command)
        ready = re.compile(r"running on|\blistening\b" if server else r"\S")
        deadline = time.monotonic() + (_PATIENCE_S if server else _BEGINS_S)
        while not ready.search(log.read_text()) and running.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        code = running.poll() or 0
        if not server:
            self.close()
        return Said(code, log.read_text(), "")

    def close(self) -> None:
        """Ctrl-C for whatever still runs: it must end in good order."""
        while self.running:
            command, running, log = self.running.pop()
            if running.poll() is None:
                running.send_signal(signal.SIGINT)
            try:
                code = running.wait(30)
            except subprocess.TimeoutExpired:
                running.kill()
                code = running.wait()
            assert code in (0, 130, -signal.SIGINT), f"$ {command}\nexit code {code} after Ctrl-C\n{log.read_text()}"

    def python(self, body: str) -> None:
        """A program of its own, after what the page takes for granted."""
        program = f"{self.before_python}\n{self.named(textwrap.dedent(body))}\n"
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=self.folder,
            env={**self.environment, "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"},
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, f"{program}\n{done.stdout}\n{done.stderr}"
        self.said = Said(0, done.stdout, done.stderr)
        self.after_python()

    def javascript(self, body: str) -> None:
        """A program, in the file that its first line names."""
        name = body.splitlines()[0].removeprefix("// ")
        (self.folder / name).write_text(self.named(body))

    def sample(self, body: str) -> None:
        """What the page's last command answered is like this."""
        real = json.loads(self.said.out)
        found = differences(json.loads(body), real)
        assert not found, f"{found}\nin {real}"

    def sigma_rules(self, body: str) -> None:
        """Each rule runs."""
        folder = self.folder / "rules"
        folder.mkdir(exist_ok=True)
        (folder / "page.yml").write_text(body)
        self.said = self.pipeline.command("anomaly", "rules", str(folder))
        assert self.said.code == 0, self.said.out

    def helm_values(self, body: str) -> None:
        """The chart takes them, laid over those of its least example."""
        minimal = yaml.safe_load((EXAMPLES / "minimal.yaml").read_text())
        assert not faults_of_values(over(minimal, yaml.safe_load(body)))

    def properties(self, body: str) -> None:
        """What makes the tests' broker take tokens, with this page's addresses."""
        given = dict(line.split("=", 1) for line in body.splitlines())
        jwks_url = given["listener.name.clients.sasl.oauthbearer.jwks.endpoint.url"]
        assert given == token_listener("clients", jwks_url, 3_600_000)

    def settings(self, body: str) -> None:
        """A settings file: every setting in it exists and its value is taken."""
        text = self.named(body)
        tomllib.loads(text)
        if self.keep_toml_as:
            (self.folder / self.keep_toml_as).write_text(text)
            return
        path = self.folder / "page.toml"
        path.write_text(text)
        load_settings(path)
