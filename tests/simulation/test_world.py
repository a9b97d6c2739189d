"""The simulated world: one seed is one history, and a killed process does nothing more."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
from tests.simulation import shims
from tests.simulation.world import EffectFault, Stuck, World


class Server:
    """The least model: a list that processes append to."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.written: list[str] = []

    def write(self, text: str) -> None:
        self.world.effect("server.write", lambda: self.written.append(text), lambda how: ConnectionError(how))


def _turn(seed: int, prepare: Callable[[World, Server], None]) -> Server:
    world = World(seed)
    server = Server(world)
    with shims.installed(world, {}):
        prepare(world, server)
        world.run(lambda: False, 60)
    return server


def _three_writers(world: World, server: Server) -> None:
    def write(name: str) -> None:
        for n in range(20):
            server.write(f"{name}{n}")

    for name in "abc":
        world.start(name, lambda name=name: write(name))  # type: ignore[misc]


def test_a_seed_is_one_history_and_seeds_differ() -> None:
    histories = {tuple(_turn(seed, _three_writers).written) for seed in range(20)}
    assert len(histories) == 20
    assert _turn(7, _three_writers).written == _turn(7, _three_writers).written


@pytest.mark.parametrize(
    ("how", "left"), [("before", []), ("after", ["x"]), ("kill_before", []), ("kill_after", ["x"]), ("slow", ["x"])]
)
def test_an_effect_fails_before_or_after_it_happened(how: str, left: list[str]) -> None:
    told: list[str] = []

    def prepare(world: World, server: Server) -> None:
        def write() -> None:
            try:
                server.write("x")
                told.append("done")
            except ConnectionError as error:
                told.append(str(error))
            finally:
                server.write("a dead process's finally") if how.startswith("kill") else None

        world.armed.append(EffectFault("server.", how, seconds=3))
        world.start("p", write)

    assert _turn(1, prepare).written == left
    assert told == {"before": ["before"], "after": ["after"], "slow": ["done"]}.get(how, [])


def test_a_kill_tears_down_every_thread_and_a_pause_stops_them() -> None:
    counted: list[int] = []

    def prepare(world: World, server: Server) -> None:
        def write() -> None:
            executor = shims.Executor(1)
            executor.submit(forever)
            try:
                forever()
            finally:
                server.write("last words")

        def forever() -> None:
            while True:
                server.write(".")
                world.sleep(1)

        process = world.start("p", write)
        world.after(10, lambda: counted.append(len(server.written)) or world.pause(process, 10))
        world.after(19, lambda: counted.append(len(server.written)))
        world.after(30, lambda: world.kill(process))
        world.after(30.1, lambda: counted.append(len(server.written)))

    server = _turn(3, prepare)
    assert "last words" not in server.written
    assert 18 <= counted[0] <= counted[1] <= 22
    assert counted[2] - counted[1] >= 18
    assert len(server.written) == counted[2]


def test_locks_events_and_futures_are_those_of_threading() -> None:
    seen: list[str] = []

    def prepare(world: World, server: Server) -> None:
        def main() -> None:
            lock, event = shims.Lock(), shims.Event()

            def hold() -> None:
                with lock, lock:
                    event.set()
                    world.sleep(2)
                    seen.append("held")

            thread = shims.Thread(target=hold)
            thread.start()
            assert event.wait(5)
            assert not lock.acquire(timeout=1)
            with lock:
                seen.append("mine")
            thread.join()
            with shims.Executor(1) as pool:
                assert pool.submit(lambda: 1).result() == 1
                with pytest.raises(ZeroDivisionError):
                    pool.submit(lambda: 1 / 0).result()
                slow = pool.submit(lambda: world.sleep(3))
                with pytest.raises(TimeoutError):
                    slow.result(1)
            seen.append("end")

        world.start("p", main)

    _turn(5, prepare)
    assert seen == ["held", "mine", "end"]


def test_who_runs_in_circles_is_found() -> None:
    world = World(1)

    def circle() -> None:
        while True:
            world.sleep(0)

    def another() -> None:
        while True:
            world.sleep(0)

    world.start("p", circle)
    world.start("q", another)
    with pytest.raises(Stuck):
        world.run(lambda: False, 60, most_events=1000)


def test_a_process_knows_its_own_clock() -> None:
    world = World(1)
    times: list[int] = []

    def look() -> None:
        times.append(world.wall_ns(world.process) - world.wall_ns())

    world.start("p", look, clock_offset_ns=5)
    world.run(lambda: bool(times), 1)
    assert times == [5]


def test_a_history_does_not_hang_on_the_interpreters_hashes() -> None:
    program = "from tests.simulation.test_world import _turn, _three_writers; print(_turn(7, _three_writers).written)"
    runs = {
        subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True, text=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(runs) == 1
