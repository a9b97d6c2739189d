"""A world in one thread: processes, their threads, time and chance, all by one seed.

The product's own loops run unchanged. Each of their threads is a *task* (a greenlet); exactly one runs at a time, and
it gives way only inside a call into this world: a sleep, a wait, or an effect on a model of a server. Time is virtual:
when every task waits, it jumps to the next moment at which something happens. What happens at the same moment happens
in an order drawn from the seed. So the same seed gives the same history, to the byte.

**How a model hooks in.** A model is plain state plus methods with the driver's names. Each method that would ask the
server goes through `effect`, which is where time passes, others run, and faults happen:

    def put_object(self, ...):
        return self._world.effect(
            "s3.put",                                  # server, dot, operation: what faults are aimed at
            lambda: self._bucket.store(...),           # the change, all at once; no call into the world inside
            lambda how: ReadTimeoutError(...),         # the driver's error; how: "before", "during" or "after"
            partly=lambda: self._bucket.store_half(),  # optional: what is left when it fails "during"
        )

`effect` raises the error before the change, after a part of it, or after the whole; or is slow; or the process dies
before or after it. `effect` also refuses to do anything for a dead process: it raises `Killed`, which tears down the
task's stack, so that no `finally` of it reaches a model. Methods that ask no server (`close`, `purge`) call `check()`
first, or return at once when `self._process.alive` is false. What else a model needs:

    world.process, world.task      who is calling (None, None: the world itself)
    world.now_ns, world.rng        virtual time since the beginning; the only randomness
    world.wall_ns(process)         that process's clock, in ns since 1970 (`wall_ns()`: the servers' true clock)
    world.sleep(s), world.wait(signal, timeout_s), signal.notify()
    world.after(s, call)           a server's own timer (session and transaction timeouts, markers, retention)
    world.on_death(call)           call(process) when one has died: drop its sessions, roll back, forget its members
    world.tell("...")              a line of the story that a failing history prints

Code that uses asyncio is driven by `shims.Runner`: a model's coroutines call `effect` and never really await.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

from greenlet import GreenletExit, getcurrent, greenlet

__all__ = ["EffectFault", "Killed", "Process", "Signal", "Stuck", "Task", "World"]

T = TypeVar("T")

EPOCH_NS = 1_795_500_000_000_000_000  # 2026-11-24
SECOND_NS = 1_000_000_000
_LEAST_NS = 20_000
_LATENCY_NS = 3_000_000


class Killed(BaseException):
    """The process of this task is dead."""


class Stuck(Exception):
    """The world has turned too often without an end in sight."""


class Process:
    """One life of a process. A restart is another one with the same name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.paused_until_ns = 0
        self.clock_offset_ns = 0
        self.tasks: list[Task] = []

    def __repr__(self) -> str:
        return self.name


class Task:
    """One thread of a process. `outcome`: what ended it, None while it runs or when it returned."""

    __slots__ = ("ended", "greenlet", "name", "outcome", "process", "signalled", "turn")

    def __init__(self, process: Process, name: str) -> None:
        self.process = process
        self.name = name
        self.turn = 0  # a wake-up of an earlier turn is stale
        self.signalled = False
        self.outcome: BaseException | None = None
        self.greenlet: greenlet | None = None
        self.ended: Signal | None = None


class Signal:
    """What tasks wait for."""

    __slots__ = ("_waiting", "_world")

    def __init__(self, world: World) -> None:
        self._world = world
        self._waiting: list[tuple[Task, int]] = []

    def add(self, task: Task) -> None:
        """This task waits, in its present turn."""
        self._waiting.append((task, task.turn))

    def notify(self) -> None:
        """Wake everybody who waits."""
        waiting, self._waiting = self._waiting, []
        for task, turn in waiting:
            if task.turn == turn:
                task.signalled = True
                self._world.wake(task, turn, 0)


class EffectFault(NamedTuple):
    """The next effect whose operation begins with `operation` (by `process`, "" anybody's) fails so.

    `how`: before, during, after: the error; slow: it takes `seconds` longer, and is done; kill_before, kill_after: the
    process dies there. Anything else is the model's own (`take_fault`).
    """

    operation: str
    how: str
    process: str = ""
    seconds: float = 0.0


class World:
    """`run(done, limit_s)` turns it."""

    def __init__(self, seed: int | str) -> None:
        self.rng = random.Random(seed)
        self.now_ns = 0
        self.epoch_ns = EPOCH_NS
        self.task: Task | None = None
        self.story: list[tuple[int, str, str]] = []
        self.armed: list[EffectFault] = []
        self.injected: dict[str, int] = {}
        self.effects = 0
        self.crashes: list[tuple[Task, BaseException]] = []
        self._hub = getcurrent()
        self._events: list[tuple[int, float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0
        self._on_death: list[Callable[[Process], None]] = []
        self._horizon_ns = 0
        self._random = self.rng.random

    # --- time

    @property
    def process(self) -> Process | None:
        """Whose task runs."""
        return None if self.task is None else self.task.process

    def wall_ns(self, process: Process | None = None) -> int:
        """The clock of a process; the servers' without one."""
        return self.epoch_ns + self.now_ns + (0 if process is None else process.clock_offset_ns)

    def tell(self, text: str) -> None:
        """A line of the story."""
        self.story.append((self.now_ns, self.task.name if self.task else "", text))

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        """`call()` then, as the world itself; it must not wait."""
        self._push(self.now_ns + int(seconds * SECOND_NS), call)

    def _push(self, at_ns: int, call: Callable[..., None], *args: Any) -> None:
        self._count += 1
        heapq.heappush(self._events, (at_ns, self._random(), self._count, call, args))

    def wake(self, task: Task, turn: int, delay_ns: int) -> None:
        """Let this task go on then, unless it has gone on before."""
        self._push(self.now_ns + delay_ns, self._resume, task, turn)

    # --- what a task may call

    def check(self) -> None:
        """Raises `Killed` in a task of a dead process."""
        if self.task is not None and not self.task.process.alive:
            raise Killed

    def sleep(self, seconds: float) -> None:
        """Let time pass, and others run."""
        self._sleep(max(_LEAST_NS, int(seconds * SECOND_NS)))

    def _sleep(self, ns: int) -> None:
        task = self.task
        if task is None:
            return
        if not task.process.alive:
            raise Killed
        until = self.now_ns + ns
        if (
            until < self._horizon_ns
            and task.process.paused_until_ns <= until
            and (not self._events or self._events[0][0] > until)
        ):
            self.now_ns = until  # nobody has anything to do before
            return
        task.turn += 1
        self._push(until, self._resume, task, task.turn)
        self._hub.switch()

    def wait(self, signal: Signal, timeout_s: float | None = None) -> bool:
        """Until notified, or the time is over (then False)."""
        task = self.task
        assert task is not None, "the world itself can't wait"
        if not task.process.alive:
            raise Killed
        task.turn += 1
        task.signalled = False
        signal.add(task)
        if timeout_s is not None:
            self.wake(task, task.turn, max(_LEAST_NS, int(timeout_s * SECOND_NS)))
        self._hub.switch()
        return task.signalled

    def effect(
        self,
        operation: str,
        change: Callable[[], T],
        failed: Callable[[str], BaseException],
        partly: Callable[[], Any] | None = None,
    ) -> T:
        """Ask a server: `change()` happens there once, if nothing comes between."""
        task = self.task
        if task is None:
            return change()
        if not task.process.alive:
            raise Killed
        self.effects += 1
        fault = self.take_fault(operation, _GENERAL) if self.armed else None
        how = fault.how if fault is not None else ""
        if how:
            if how == "slow":
                self._sleep(int(fault.seconds * SECOND_NS))  # type: ignore[union-attr]
            elif how == "before":
                self._pass_time()
                raise failed("before")
            elif how == "kill_before":
                self.die()
        try:
            self._pass_time()
        except Killed:
            if self._random() < 0.5:  # the request was on its way
                change()
            raise
        if how == "during" and partly is not None:
            partly()
            self._pass_time()
            raise failed("during")
        result = change()
        if how == "kill_after":
            self.die()
        self._pass_time()
        if how in ("after", "during"):
            raise failed("after")
        return result

    def _pass_time(self) -> None:
        drawn = self._random()
        drawn *= drawn * drawn
        self._sleep(_LEAST_NS + int(_LATENCY_NS * drawn * drawn))

    def take_fault(self, operation: str, hows: frozenset[str], process: str = "") -> EffectFault | None:
        """The first armed fault of one of these kinds that is aimed here; it is used up."""
        name = process or (self.task.process.name if self.task is not None else "")
        for index, fault in enumerate(self.armed):
            if fault.how in hows and operation.startswith(fault.operation) and fault.process in ("", name):
                del self.armed[index]
                self.count(f"{fault.operation}: {fault.how}")
                self.tell(f"fault: {operation} {fault.how}" + (f" {fault.seconds:.1f} s" if fault.seconds else ""))
                return fault
        return None

    def count(self, kind: str) -> None:
        """One more fault of this kind has happened."""
        self.injected[kind] = self.injected.get(kind, 0) + 1

    # --- processes

    def start(self, name: str, main: Callable[[], Any], *, clock_offset_ns: int = 0) -> Process:
        """A new process that runs `main`."""
        process = Process(name)
        process.clock_offset_ns = clock_offset_ns
        self.spawn(process, main, name)
        return process

    def spawn(self, process: Process, body: Callable[[], Any], name: str) -> Task:
        """Another thread of a process."""
        task = Task(process, name)
        task.ended = Signal(self)
        task.greenlet = greenlet(lambda: self._run_task(task, body), self._hub)
        process.tasks.append(task)
        self.wake(task, 0, 0)
        return task

    def _run_task(self, task: Task, body: Callable[[], Any]) -> None:
        try:
            body()
        except (Killed, GreenletExit) as error:
            task.outcome = error
        except BaseException as error:  # noqa: BLE001 - the history says what ended a thread
            task.outcome = error
            self.crashes.append((task, error))
            self.tell(f"ended by {type(error).__name__}: {error}")
        finally:
            if task in task.process.tasks:
                task.process.tasks.remove(task)
            if task.ended is not None and task.process.alive:
                task.ended.notify()

    def die(self) -> None:
        """The process of the task that runs is killed here."""
        assert self.task is not None
        self.kill(self.task.process)
        raise Killed

    def kill(self, process: Process) -> None:
        """kill -9. Its tasks' stacks are torn down before anything else happens; nothing they do reaches a model."""
        if not process.alive:
            return
        process.alive = False
        self.tell(f"{process.name} is killed")
        self._count += 1
        heapq.heappush(self._events, (self.now_ns, -1.0, self._count, self._tear_down, (process,)))

    def _tear_down(self, process: Process) -> None:
        for task in list(process.tasks):
            if task.greenlet is not None and not task.greenlet.dead:
                self.task = task
                with suppress(Killed):  # when it had not begun
                    task.greenlet.throw(Killed())
        self.task = None
        process.tasks.clear()
        for call in self._on_death:
            call(process)

    def pause(self, process: Process, seconds: float) -> None:
        """SIGSTOP, and SIGCONT after so long."""
        process.paused_until_ns = max(process.paused_until_ns, self.now_ns + int(seconds * SECOND_NS))
        self.tell(f"{process.name} is paused for {seconds:.1f} s")

    def on_death(self, call: Callable[[Process], None]) -> None:
        """`call(process)` after each kill."""
        self._on_death.append(call)

    # --- turning

    def _resume(self, task: Task, turn: int) -> None:
        process = task.process
        if task.turn != turn or not process.alive or task.greenlet is None or task.greenlet.dead:
            return
        if process.paused_until_ns > self.now_ns:
            self._push(process.paused_until_ns, self._resume, task, turn)
            return
        task.turn += 1
        self.task = task
        task.greenlet.switch()
        self.task = None

    def run(self, done: Callable[[], bool], limit_s: float, most_events: int = 400_000) -> bool:
        """Turn until `done()` (asked four times a second) or for `limit_s`; whether it came to be."""
        end_ns = self.now_ns + int(limit_s * SECOND_NS)
        asked_ns = self.now_ns
        events = self._events
        for _ in range(most_events):
            if self.now_ns >= asked_ns:
                if done():
                    return True
                self._horizon_ns = asked_ns = min(self.now_ns + SECOND_NS // 4, end_ns)
            if not events or events[0][0] > end_ns:
                self.now_ns = max(self.now_ns, end_ns)
                return done()
            at_ns, _tie, _count, call, args = heapq.heappop(events)
            self.now_ns = max(self.now_ns, at_ns)
            call(*args)
        raise Stuck(f"{most_events} events in {limit_s:.0f} s of the world's time: somebody runs in circles")

    def end(self, processes: list[Process]) -> None:
        """Tear everything down."""
        for process in processes:
            if process.alive:
                process.alive = False
                self._tear_down(process)
        self._events.clear()


_GENERAL = frozenset(("before", "during", "after", "slow", "kill_before", "kill_after"))
