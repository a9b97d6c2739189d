"""Who acts is known in threads, tasks and executors, and nobody's name stays behind in a pool."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing.pool import ThreadPool

import pytest

from sealstream.client import bind, bind_shared, bound, carry, carry_into_threads, clear, context, sharing


def actor() -> object:
    return bound().get("actor_id")


@pytest.fixture
def _carried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading.Thread, "start", threading.Thread.start)
    monkeypatch.setattr(ThreadPoolExecutor, "submit", ThreadPoolExecutor.submit)
    carry_into_threads()
    carry_into_threads()  # once is enough, twice is no harm


def in_thread(work: object) -> None:
    thread = threading.Thread(target=work)  # type: ignore[arg-type]
    thread.start()
    thread.join()


def test_a_carried_function_has_what_was_bound_where_it_was_handed_over() -> None:
    seen: list[object] = []
    bind(actor_id="ann")
    job = carry(lambda: seen.append(actor()))
    bind(actor_id="bob")
    in_thread(job)
    job()
    assert seen == ["ann", "ann"]
    assert actor() == "bob"


def test_a_request_is_shared_with_its_threads() -> None:
    with sharing(trace_id="t"):
        in_thread(carry(lambda: bind_shared(actor_id="ann")))
        assert bound() == {"actor_id": "ann", "actor_type": "user", "on_behalf_of": None, "trace_id": "t"}


def test_another_process_gets_a_copy() -> None:
    with (
        ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool,
        context(actor_id="ann"),
    ):
        assert pool.submit(carry(actor)).result(60) == "ann"
        assert pool.submit(actor).result(60) is None


@pytest.mark.usefixtures("_carried")
def test_threads_and_executors_once_asked_to() -> None:
    seen: list[object] = []
    bind(actor_id="ann")
    in_thread(lambda: seen.append(actor()))
    pool = ThreadPoolExecutor(1)
    assert pool.submit(actor).result() == "ann"  # starts the worker
    bind(actor_id="bob")
    assert pool.submit(actor).result() == "bob"
    assert list(pool.map(lambda _n: actor(), range(2))) == ["bob", "bob"]
    clear()
    assert pool.submit(actor).result() is None
    in_thread(lambda: seen.append(actor()))
    pool.shutdown()
    assert seen == ["ann", None]


@pytest.mark.usefixtures("_carried")
def test_a_pool_of_the_standard_library_keeps_nobody() -> None:
    with context(actor_id="ann"), ThreadPool(1) as pool:
        assert pool.apply(actor) is None
        assert pool.apply(carry(actor)) == "ann"
        assert pool.apply(actor) is None


@pytest.mark.usefixtures("_carried")
def test_a_thread_by_inheritance_and_one_that_is_its_own_parent() -> None:
    seen: list[object] = []

    class Job(threading.Thread):
        def run(self) -> None:
            seen.append(actor())
            if len(seen) < 3:
                again = Job()
                again.start()
                again.join()

    with context(actor_id="ann"):
        job = Job()
        job.start()
    job.join()
    assert seen == ["ann"] * 3
    assert "run" not in vars(job)


@pytest.mark.usefixtures("_carried")
def test_asyncio_tasks_threads_and_executors() -> None:
    async def run() -> list[object]:
        loop = asyncio.get_running_loop()
        with context(actor_id="ann"):
            task = asyncio.create_task(asyncio.sleep(0.01, result=None))
            inside = asyncio.create_task(_actor())
            return [
                await inside,
                await asyncio.to_thread(actor),
                await loop.run_in_executor(None, actor),
                await task,
            ]

    async def _actor() -> object:
        await asyncio.sleep(0.01)
        return actor()

    assert asyncio.run(run()) == ["ann", "ann", "ann", None]
    assert actor() is None
