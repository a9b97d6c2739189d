"""The product's modules see the world's time, threads and chance instead of the machine's.

`installed(world, ...)` replaces, in every loaded module of the product, the very objects that it has imported (`time`,
`threading`, `ThreadPoolExecutor`, the Kafka driver's classes, ...) by the world's, and puts them back. It goes by
identity, so it does not matter by which name a module knows a thing; default arguments keep the real ones and are
passed by whoever builds a process.

The invariant: a shim gives way only through the world, and does nothing for a dead process.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import random
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import structlog
from tests.simulation.world import Killed, Signal, Task, World

__all__ = ["Event", "Executor", "Future", "Lock", "Runner", "Thread", "clock_ns", "installed", "monotonic"]

_world: World | None = None


def _here() -> World:
    assert _world is not None, "no world is installed"
    return _world


class Event:
    """`threading.Event`."""

    def __init__(self) -> None:
        self._set = False
        self._signal = Signal(_here())

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True
        self._signal.notify()

    def clear(self) -> None:
        self._set = False

    def wait(self, timeout: float | None = None) -> bool:
        if not self._set:
            _here().wait(self._signal, timeout)
        return self._set


class Lock:
    """`threading.RLock`, and `Lock` for who never takes it twice."""

    def __init__(self) -> None:
        self._owner: Task | None = None
        self._depth = 0
        self._free = Signal(_here())

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        world = _here()
        world.check()
        while self._owner is not None and self._owner is not world.task:
            if not blocking or not world.wait(self._free, None if timeout < 0 else timeout):
                return False
        self._owner = world.task
        self._depth += 1
        return True

    def release(self) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._owner = None
            if _here().process is None or _here().process.alive:  # type: ignore[union-attr]
                self._free.notify()

    def __enter__(self) -> Lock:
        self.acquire()
        return self

    def __exit__(self, *_raised: object) -> None:
        self.release()


class Thread:
    """`threading.Thread`: another task of the process that starts it."""

    def __init__(
        self,
        target: Callable[..., Any] | None = None,
        name: str = "thread",
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        daemon: bool | None = None,
        group: None = None,
    ) -> None:
        self.name = name
        self.daemon = daemon
        self._target, self._args, self._kwargs = target, args, dict(kwargs or {})
        self._task: Task | None = None

    def start(self) -> None:
        world = _here()
        world.check()
        process = world.process
        assert process is not None
        assert self._target is not None
        target = self._target
        self._task = world.spawn(process, lambda: target(*self._args, **self._kwargs), f"{process.name}/{self.name}")

    def join(self, timeout: float | None = None) -> None:
        world, task = _here(), self._task
        if task is None or task.ended is None:
            return
        world.check()
        if self.is_alive():
            world.wait(task.ended, timeout)

    def is_alive(self) -> bool:
        return self._task is not None and self._task in self._task.process.tasks


class Future:
    """`concurrent.futures.Future`, as far as the product and the driver's answers use it."""

    def __init__(self) -> None:
        self._done = False
        self._result: Any = None
        self._error: BaseException | None = None
        self._signal = Signal(_here())

    def done(self) -> bool:
        return self._done

    def set_result(self, result: Any) -> None:
        self._done, self._result = True, result
        self._signal.notify()

    def set_exception(self, error: BaseException) -> None:
        self._done, self._error = True, error
        self._signal.notify()

    def result(self, timeout: float | None = None) -> Any:
        self._await(timeout)
        if self._error is not None:
            raise self._error
        return self._result

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self._await(timeout)
        return self._error

    def _await(self, timeout: float | None) -> None:
        world = _here()
        world.check()
        if not self._done and not world.wait(self._signal, timeout) and not self._done:
            raise TimeoutError


class Executor:
    """`ThreadPoolExecutor`: as many threads as it may have, begun with the first work."""

    def __init__(self, max_workers: int = 1, thread_name_prefix: str = "pool", **_more: object) -> None:
        self._workers = max_workers or 1
        self._name = thread_name_prefix
        self._work: deque[tuple[Future, Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = deque()
        self._came = Signal(_here())
        self._tasks: list[Task] = []
        self._ended = False

    def submit(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        world = _here()
        world.check()
        if self._ended:
            raise RuntimeError("cannot schedule new futures after shutdown")
        future = Future()
        self._work.append((future, call, args, kwargs))
        if len(self._tasks) < self._workers:
            process = world.process
            assert process is not None
            self._tasks.append(world.spawn(process, self._serve, f"{process.name}/{self._name}"))
        else:
            self._came.notify()
        return future

    def _serve(self) -> None:
        world = _here()
        while True:
            while not self._work:
                if self._ended:
                    return
                world.wait(self._came)
            future, call, args, kwargs = self._work.popleft()
            try:
                result = call(*args, **kwargs)
            except Killed:
                raise
            except BaseException as error:  # noqa: BLE001 - it is the future's
                future.set_exception(error)
            else:
                future.set_result(result)
            del future, call, args, kwargs

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        world = _here()
        self._ended = True
        if cancel_futures:
            for future, *_ in self._work:
                future.set_exception(concurrent.futures.CancelledError())
            self._work.clear()
        world.check()
        self._came.notify()
        for task in self._tasks if wait else ():
            if task in task.process.tasks and task.ended is not None:
                world.wait(task.ended)

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, *_raised: object) -> None:
        self.shutdown()


class Runner:
    """`asyncio.Runner` for coroutines that never wait for a loop: models that give way through the world."""

    def __init__(self, **_more: object) -> None:
        self._closed = False

    def run(self, coroutine: Coroutine[Any, Any, Any], **_more: object) -> Any:
        try:
            coroutine.send(None)
        except StopIteration as ended:
            return ended.value
        raise AssertionError("a coroutine waits for an event loop: its model must go through World.effect")

    def close(self) -> None:
        self._closed = True

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_raised: object) -> None:
        self.close()


class _Time:
    """The module `time`."""

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    @staticmethod
    def monotonic() -> float:
        return _here().now_ns / 1e9

    perf_counter = monotonic

    @staticmethod
    def time_ns() -> int:
        world = _here()
        return world.wall_ns(world.process)

    @staticmethod
    def time() -> float:
        return _Time.time_ns() / 1e9

    @staticmethod
    def sleep(seconds: float) -> None:
        _here().sleep(seconds)


class _Logger:
    """structlog's, into the story."""

    def bind(self, **_more: object) -> _Logger:
        return self

    def _say(self, event: str, **facts: object) -> None:
        _here().tell(" ".join([event, *(f"{name}={fact}" for name, fact in facts.items() if name != "chain")])[:400])

    debug = info = warning = error = critical = _say


class _Module:
    """A module with some names replaced."""

    def __init__(self, module: Any, **replaced: Any) -> None:
        self.__dict__.update(replaced)
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def _lifetimes() -> SimpleNamespace:
    return SimpleNamespace(
        no_fork=threading.RLock(),
        inherited=set(),
        register=lambda _client: None,
        forget=lambda _client: None,
        register_in_worker=lambda: None,
    )


def _replacements(world: World, driver: Mapping[Any, Any], of_os: Mapping[str, Any]) -> dict[int, Any]:
    chance = SimpleNamespace(uniform=world.rng.uniform, random=world.rng.random, randbytes=world.rng.randbytes)
    pairs: list[tuple[Any, Any]] = [
        (time, _Time()),
        (time.sleep, _Time.sleep),
        (time.monotonic, _Time.monotonic),
        (threading, _Module(threading, Event=Event, RLock=Lock, Lock=Lock, Thread=Thread)),
        (threading.Event, Event),
        (threading.RLock, Lock),
        (threading.Lock, Lock),
        (threading.Thread, Thread),
        (concurrent.futures.ThreadPoolExecutor, Executor),
        (concurrent.futures.Future, Future),
        (random, chance),
        (asyncio, _Module(asyncio, Runner=Runner)),
        (socket, _Module(socket, gethostname=lambda: "simulated")),
        (os, _Module(os, urandom=world.rng.randbytes, **of_os)),
        (structlog, _Module(structlog, get_logger=lambda *_a, **_k: _Logger())),
        *driver.items(),
    ]
    if (lifetimes := sys.modules.get("sealstream.client.lifetimes")) is not None:
        pairs.append((lifetimes, _lifetimes()))
    return {id(real): shim for real, shim in pairs}


@contextmanager
def installed(
    world: World,
    driver: Mapping[Any, Any],
    by_name: Mapping[tuple[str, str], Any] | None = None,
    of_os: Mapping[str, Any] | None = None,
) -> Iterator[None]:
    """While it lasts, the product's loaded modules use this world.

    `driver`: real object to its model. `by_name`: (module, attribute or Class.method) to whatever it should be.
    `of_os`: functions of the module `os`.
    """
    global _world
    places: list[tuple[dict[str, Any], str, Any]] = []
    replaced = _replacements(world, driver, of_os or {})
    for module_name, module in list(sys.modules.items()):
        if not module_name.startswith("sealstream.") or module is None:
            continue
        names = vars(module)
        for name, value in list(names.items()):
            shim = replaced.get(id(value))
            if shim is not None:
                places.append((names, name, value))
                names[name] = shim
    seams: list[tuple[Any, str, Any]] = []
    for (module_name, dotted), value in (by_name or {}).items():
        owner: Any = sys.modules[module_name]
        *classes, attribute = dotted.split(".")
        for name in classes:
            owner = getattr(owner, name)
        seams.append((owner, attribute, vars(owner)[attribute]))
        setattr(owner, attribute, value)
    before, _world = _world, world
    unraisable, sys.unraisablehook = sys.unraisablehook, _quiet(sys.unraisablehook)
    try:
        yield
    finally:
        sys.unraisablehook = unraisable
        _world = before
        for owner, attribute, value in reversed(seams):
            setattr(owner, attribute, value)
        for names, name, value in reversed(places):
            names[name] = value


def _quiet(hook: Callable[[Any], Any]) -> Callable[[Any], None]:
    """A generator of a dead process that is closed by the collector says that it was killed: that is no news."""

    def say(unraisable: Any) -> None:
        if not isinstance(unraisable.exc_value, Killed):
            hook(unraisable)

    return say


def clock_ns() -> int:
    """`time.time_ns` of the process that asks, for what takes a clock as an argument."""
    return _Time.time_ns()


def monotonic() -> float:
    """`time.monotonic`, likewise."""
    return _Time.monotonic()
