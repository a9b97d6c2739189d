"""One task in several processes, with progress: each tells how far it is through a pipe, and last what it found.

Processes are started anew by `spawn`, as those that look ahead in an archive: only a program whose main module is
guarded may ask for them. The invariant: whoever calls has all results or an exception, and no process is left. Ctrl-C
is the caller's to hear.
"""

from __future__ import annotations

import gc
import multiprocessing
import signal
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, TypeVar

from sealstream.errors import SealstreamError, Unavailable

__all__ = ["Tell", "in_processes"]

Tell = Callable[[Mapping[str, int]], object]
"""Called with what was done since it was called last."""
Result = TypeVar("Result")

_ENDING_S = 5.0


def in_processes(
    work: Callable[..., Result], tasks: Sequence[tuple[Any, ...]], progress: Callable[[Mapping[str, int]], object]
) -> list[Result]:
    """What `work(*task, tell)` returns, for each task in a process of its own.

    `progress`: called with what all have done, the slowest counting. Raises the first error of ours that one raises,
    and `Unavailable` when one ends without a word.
    """
    context = multiprocessing.get_context("spawn")
    processes: list[SpawnProcess] = []
    pipes: dict[Connection, int] = {}
    results: list[Any] = [None] * len(tasks)
    done = [Counter[str]() for _ in tasks]
    try:
        for number, task in enumerate(tasks):
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(target=_run, args=(theirs, work, task), daemon=True)
            process.start()
            theirs.close()
            processes.append(process)
            pipes[ours] = number
        while pipes:
            for pipe in wait(list(pipes)):
                assert isinstance(pipe, Connection)
                number = pipes[pipe]
                what, said = _received(pipe)
                if what == "failed":
                    raise said
                if what == "done":
                    results[number] = said
                    del pipes[pipe]
                    pipe.close()
                    continue
                done[number].update(said)
                progress(_least(done))
        return results
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.join(_ENDING_S)
            if process.is_alive():
                process.kill()


def _least(done: Sequence[Counter[str]]) -> Counter[str]:
    return min(done, key=lambda counts: counts.total())


def _received(pipe: Connection) -> tuple[str, Any]:
    try:
        what, said = pipe.recv()
    except (EOFError, OSError) as error:
        raise Unavailable(
            "a process that reads history ended by itself: it was killed, or there was too little memory; with "
            "--processes 1 less is needed"
        ) from error
    return what, said


def _run(pipe: Connection, work: Callable[..., Any], task: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the main process's to hear
    gc.disable()  # many small objects and no cycles
    with suppress(BrokenPipeError):  # nobody listens any more
        try:
            found = work(*task, lambda counts: pipe.send(("read", dict(counts))))
        except SealstreamError as error:
            pipe.send(("failed", _sendable(error)))
            return
        except BrokenPipeError:
            raise
        except Exception as error:  # noqa: BLE001 - the caller is told, whatever it was
            pipe.send(("failed", RuntimeError(f"{type(error).__name__}: {error}")))
            return
        pipe.send(("done", found))


def _sendable(error: SealstreamError) -> SealstreamError:
    """The error with its kind and its words; what else it holds may not cross."""
    kind = type(error)
    try:
        same = kind(str(error))
    except TypeError:
        return SealstreamError(str(error))
    return same
