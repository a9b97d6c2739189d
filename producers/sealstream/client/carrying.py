"""What is bound, in threads and executors: a job has what was bound where it was handed over, and nothing else.

Tasks of asyncio and `asyncio.to_thread` inherit it from Python. Threads and executors do not: `carry(function)` takes
it along for one call, and `carry_into_threads()` does so for every thread and `ThreadPoolExecutor` of the process,
`loop.run_in_executor` included.

The invariant: nobody's name stays behind. A job that was handed over with nothing bound runs with nothing bound, and
the threads that a pool keeps inherit nothing from the job for which they were started. Threads of one request share
what its `bind_shared` sets; another process gets a copy. Nothing here outlives the process.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import update_wrapper
from threading import Thread
from typing import Any, Generic, ParamSpec, TypeVar

from sealstream.client.context import captured, resumed

__all__ = ["carry", "carry_into_threads"]

P = ParamSpec("P")
R = TypeVar("R")

# Threads that outlive the job for which they were started; each of their jobs is carried by itself, or by `carry`.
_POOLS = ("asyncio", "concurrent", "multiprocessing", "asgiref", "sealstream")


class _Carried(Generic[P, R]):
    """A call with what is bound now; can be pickled if the function and the bound values can."""

    def __init__(self, function: Callable[P, R]) -> None:
        self.function = function
        self.bound = captured()
        update_wrapper(self, function, updated=())

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        with resumed(self.bound):
            return self.function(*args, **kwargs)


def carry(function: Callable[P, R]) -> Callable[P, R]:
    """`function` as it would run here: with what is bound at this moment, in whatever thread or process it runs."""
    return _Carried(function)


def carry_into_threads() -> None:
    """From now on every thread and every job of a `ThreadPoolExecutor` has what is bound where it is started.

    Changes `threading.Thread.start` and `ThreadPoolExecutor.submit`, once for the process. A pool of other make that
    keeps its threads gets its workers' context from whoever made it: hand its jobs over with `carry`.
    """
    if getattr(Thread.start, "_carries", False):
        return
    start, submit = Thread.start, ThreadPoolExecutor.submit

    def carrying_start(self: Thread) -> None:
        if captured().empty or _belongs_to_pool(self):
            return start(self)
        run = carry(self.run)

        def run_once() -> None:
            del self.run  # so that thread and function do not hold each other
            run()

        self.run = run_once  # type: ignore[method-assign]
        return start(self)

    def carrying_submit(self: ThreadPoolExecutor, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return submit(self, carry(fn), *args, **kwargs)

    carrying_start._carries = True  # type: ignore[attr-defined]
    Thread.start = carrying_start  # type: ignore[method-assign]
    ThreadPoolExecutor.submit = carrying_submit  # type: ignore[method-assign,assignment]


def _belongs_to_pool(thread: Thread) -> bool:
    work = getattr(thread, "_target", None) or type(thread)
    return (getattr(work, "__module__", None) or "").partition(".")[0] in _POOLS
