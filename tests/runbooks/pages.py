"""Runbooks as the tests read them: what a page says one sees, and the commands that it says to run, run as they stand.

A page's ```text blocks hold the messages by which its trouble is known; `...` stands for what varies. Its ```console
blocks hold commands (`$ `), what they say (any order, `...` for what varies, an exit code other than 0 as `# exit N`),
and what a person does besides (`# stop ...`, `# start ...`, anything else by a handler of the test).
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.pipeline import PROCESSES, Pipeline, Said, wait_until

__all__ = ["PAGES", "Page", "Step", "play"]

RUNBOOKS = Path(__file__).parents[2] / "docs" / "runbooks"
PAGES = sorted(path.stem for path in RUNBOOKS.glob("*.md") if path.name != "README.md")
_BLOCK = re.compile(r"^```(text|console)\n(.*?)^```", re.M | re.S)
_EXIT = re.compile(r"\s+# exit (\d)$")


class Step(NamedTuple):
    """A command with what it says and its exit code, or (`command` empty) what a person does."""

    command: str
    says: list[str]
    code: int
    act: str


class Page(NamedTuple):
    """One runbook."""

    name: str
    text: str

    @classmethod
    def of(cls, name: str) -> Page:
        return cls(name, (RUNBOOKS / f"{name}.md").read_text())

    def seen(self) -> list[str]:
        """The messages by which the trouble is known."""
        return [line for kind, body in _BLOCK.findall(self.text) if kind == "text" for line in body.splitlines()]

    def blocks(self) -> Iterator[list[Step]]:
        for kind, body in _BLOCK.findall(self.text):
            if kind == "console":
                yield list(_steps(body))

    def steps(self, *which: int) -> list[Step]:
        """The steps of these console blocks (from 0), in the order given; all of them by default."""
        blocks = list(self.blocks())
        return [step for index in which or range(len(blocks)) for step in blocks[index]]


def _steps(body: str) -> Iterator[Step]:
    step: Step | None = None
    for line in body.splitlines():
        if line.startswith("$ "):
            if step is not None:
                yield step
            found = _EXIT.search(line)
            step = Step(_EXIT.sub("", line[2:]), [], int(found[1]) if found else 0, "")
        elif line.startswith("# "):
            if step is not None:
                yield step
            step = None
            yield Step("", [], 0, line[2:].strip())
        elif line.strip():
            assert step is not None, f"says something, but nothing was run: {line}"
            step.says.append(line.strip())
    if step is not None:
        yield step


def named(text: str, pipeline: Pipeline) -> str:
    """The page's `main` and its topics are the test's."""
    text = re.sub(
        r"\baudit\.(raw|control|chain|producers|deadletter|checkpoints|segments)\.", rf"{pipeline.prefix}.\1.", text
    )
    return re.sub(r"\bmain\b", pipeline.name, text)


def matches(pattern: str, said: str) -> bool:
    """Whether a line of the page, with `...` for what varies, is in what was said; lines may be broken anywhere."""
    parts = [re.escape(part.strip()) for part in " ".join(pattern.split()).split("...")]
    return re.search(r".*?".join(parts), " ".join(said.split())) is not None


def play(pipeline: Pipeline, steps: list[Step], handlers: dict[str, Callable[[], object]] | None = None) -> None:
    """Do as the page says. A process that is run goes on in the background."""
    for step in steps:
        if step.act:
            _act(pipeline, named(step.act, pipeline), handlers or {})
            continue
        command = shlex.split(named(step.command, pipeline))
        if command[:2] == ["sealstream", "run"] and not step.code:
            pipeline.start(command[2], accept_input_lost="--accept-input-lost" in command)
            size = pipeline.size()
            for line in step.says:
                wanted, name = named(line, pipeline), command[2]
                wait_until(lambda wanted=wanted, name=name: matches(wanted, pipeline.log(name)), 30, pipeline.why)
            assert pipeline.size() >= size
            continue
        said = _run(pipeline, command)
        assert said.code == step.code, f"{step.command}: exit {said.code}\n{said.out}\n{said.err}"
        for line in step.says:
            assert matches(named(line, pipeline), said.out + said.err), f"{line!r} is not in\n{said.out}\n{said.err}"


def _run(pipeline: Pipeline, command: list[str]) -> Said:
    if command[0] == "sealstream":
        return pipeline.command(*command[1:])
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, cwd=Path.cwd())
    return Said(done.returncode, done.stdout, done.stderr)


def _act(pipeline: Pipeline, act: str, handlers: dict[str, Callable[[], object]]) -> None:
    verb, _, rest = act.partition(" ")
    processes = PROCESSES if rest == "all" else tuple(rest.replace(",", " ").split())
    if verb == "stop" and set(processes) <= set(PROCESSES):
        pipeline.stop(*processes)
    elif verb == "start" and set(processes) <= set(PROCESSES):
        pipeline.start(*(each for each in processes if each not in pipeline.running))
    else:
        assert act in handlers, f"nobody does {act!r}: handlers know {sorted(handlers)}"
        handlers[act]()
