"""What alive and ready mean, what systemd is told, and a server that can't hold up or break anything."""

from __future__ import annotations

import socket
import threading
import time
import urllib.request

import pytest
from tests.pipeline import wait_until

from sealstream.cli.service import serve
from sealstream.errors import ChainBroken, Fenced, Unavailable
from sealstream.health import MetricsSection, Vitals, program_name
from sealstream.health.notify import ServiceManager
from sealstream.health.serving import MetricsServer
from sealstream.health.watching import Health
from sealstream.layout import Alarm, Figures, figures
from sealstream.sequencer.group import ChainWorker


class Clock:
    """One that is set by hand."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def vitals_of(clock: Clock, process: str = "postgres-sink") -> Vitals:
    return Vitals(process, ("main",), Figures(clock), alive_within_s=120, clock=clock, wall=clock)


def test_a_loop_that_stands_is_not_alive(clock: Clock) -> None:
    vitals = vitals_of(clock)
    vitals.stepped()
    clock.now += 119
    assert vitals.alive().holds
    clock.now += 2
    assert vitals.alive().because == ("the loop has not moved for 121 s (at most 120 s)",)


def test_who_takes_long_to_begin_or_waits_for_a_server_is_alive_and_not_ready(clock: Clock) -> None:
    vitals = vitals_of(clock)
    vitals.beginning()
    clock.now += 1_800
    assert vitals.alive().holds
    vitals.waiting("Kafka does not answer", "docs/runbooks/lost-kafka.md")
    assert vitals.alive().holds
    ready = vitals.ready()
    assert ready == (
        False,
        ("it has not taken its place: Kafka does not answer",),
        "docs/runbooks/lost-kafka.md",
    )
    clock.now += 3_601
    assert not vitals.alive().holds


def test_ready_needs_place_and_stores_and_no_alarm(clock: Clock) -> None:
    vitals = vitals_of(clock)
    vitals.stepped()
    assert vitals.ready().holds
    vitals.store_answered("postgres", "connection refused")
    assert vitals.ready().because == ("postgres does not answer: connection refused",)
    assert vitals.tally.value(figures.STORE_REACHABLE, "postgres") == 0
    vitals.store_answered("postgres")
    assert vitals.ready().holds
    vitals.stopped_by(Alarm("Forked", "two roots", "docs/runbooks/fork.md"))
    assert vitals.ready() == (
        False,
        ("chain main was stopped by an alarm, Forked: two roots",),
        "docs/runbooks/fork.md",
    )


def test_a_sequencer_is_ready_when_its_chains_are_taken_and_as_a_standby(clock: Clock) -> None:
    vitals = vitals_of(clock, "sequencer")
    vitals.stepped()
    assert vitals.ready().because == ("the group has not said yet which chains are its own",)
    clock.now += 11
    assert vitals.ready().holds, "a standby"
    vitals.tally.set(figures.CHAIN_TAKEN, 0, "main")
    assert vitals.ready().because == ("chain main is being taken",)
    vitals.tally.set(figures.CHAIN_TAKEN, 1, "main")
    vitals.tally.now(figures.STEP_TIME, "main")
    assert vitals.ready().holds
    clock.now += 200
    vitals.stepped()
    assert vitals.alive().because == ("the loop of chain main has not moved for 200 s",)


def test_the_service_tells_how_it_goes() -> None:
    stop = threading.Event()
    vitals = Vitals("postgres-sink", ("main",), Figures(time.time))
    seen: list[tuple[bool, ...]] = []
    outcomes: list[Exception | None] = [Fenced("another"), None, ChainBroken("entry 7")]

    class Scripted:
        def step(self) -> bool:
            seen.append((vitals.ready().holds,))
            if (outcome := outcomes.pop(0)) is not None:
                raise outcome
            return True

        def close(self) -> None:
            pass

    assert serve("postgres-sink", Scripted, stop, vitals) == 1
    assert seen == [(False,), (False,), (True,)]
    assert vitals.tally.value(figures.RESTARTS, "") == 1
    assert vitals.tally.value(figures.ALARMS, "main", "ChainBroken") == 1


def test_a_chain_that_an_alarm_has_stopped_does_not_make_the_others_process_look_dead(clock: Clock) -> None:
    vitals = vitals_of(clock, "sequencer")
    failing = [ChainBroken("entry 7")]

    class Sealing:
        transactions_seen = 1

        def step(self) -> bool:
            if failing and vitals.tally.value(figures.CHAIN_TAKEN, "main") == 1:
                raise failing.pop()
            time.sleep(0.001)
            return True

        def close(self) -> None:
            pass

        abandon = close

    worker = ChainWorker("main", Sealing, lambda _name: None, vitals.tally)  # type: ignore[arg-type]
    wait_until(lambda: worker.ended_by is not None, 5)
    clock.now += 500
    vitals.stepped()
    assert vitals.alive().holds
    assert vitals.ready().because == ("chain main was stopped by an alarm, ChainBroken: entry 7",)
    worker.give_up(lost=False)

    again = ChainWorker("main", Sealing, lambda _name: None, vitals.tally)  # type: ignore[arg-type]
    wait_until(lambda: vitals.tally.value(figures.CHAIN_TAKEN, "main") == 1, 5)
    assert vitals.ready().holds
    again.give_up(lost=False)
    assert vitals.tally.value(figures.CHAIN_TAKEN, "main") is None


def test_systemds_socket_is_found_by_either_name(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = str(tmp_path_factory.mktemp("s") / "notify")
    for address, name in (("\0sealstream-test-notify", "@sealstream-test-notify"), (path, path)):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(address)
            manager.settimeout(5)
            told = ServiceManager({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "30000000"})
            told.tell("READY=1", "STATUS=one\ntwo")
            assert manager.recv(1_000) == b"READY=1\nSTATUS=one two"
            assert told.watchdog_s == 30
    ServiceManager({"NOTIFY_SOCKET": "/no/such/socket"}).tell("READY=1")  # nobody there: nothing happens
    assert not ServiceManager({}).listens
    assert ServiceManager({"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"}).watchdog_s is None


def test_a_port_that_is_taken_ends_nothing_and_is_tried_again(capsys: pytest.CaptureFixture[str]) -> None:
    vitals = Vitals("checkpointing", ("main",), Figures())
    with socket.create_server(("127.0.0.1", 0)) as other:
        server = MetricsServer(vitals, "127.0.0.1", other.getsockname()[1])
        with Health(vitals, server, {}, manager=ServiceManager({})) as health:
            assert server.url == ""
            assert "can't serve metrics" in "".join(capsys.readouterr())
            other.close()
            health._bind_at = 0.0  # as if ten seconds had passed
            health._bind()
            assert urllib.request.urlopen(f"{server.url}/healthz", timeout=5).status == 200
    assert server.url == ""


def test_who_hangs_on_the_server_keeps_nobody_else_waiting_for_long() -> None:
    server = MetricsServer(Vitals("checkpointing", ("main",), Figures()), "127.0.0.1", 0)
    host, port = server.open().removeprefix("http://").split(":")
    hanging = [socket.create_connection((host, int(port))) for _ in range(20)]
    try:
        time.sleep(0.2)
        refused = 0
        for each in hanging:
            each.settimeout(0.1)
            try:
                refused += each.recv(1) == b""
            except ConnectionError:
                refused += 1
            except TimeoutError:
                pass
        assert refused == 16  # four are waited for, five seconds at most
    finally:
        for each in hanging:
            each.close()
    deadline = time.monotonic() + 5
    while True:
        try:
            assert b"sealstream_ready" in urllib.request.urlopen(f"{server.url}/metrics", timeout=5).read()
            break
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    server.close()


def test_a_store_that_is_away_is_said_and_the_next_one_is_asked_all_the_same() -> None:
    vitals = Vitals("archive-sink", ("main",), Figures())
    vitals.stepped()
    asked = threading.Event()

    def away() -> None:
        raise Unavailable("nobody there")

    with Health(
        vitals,
        MetricsServer(vitals, "127.0.0.1", 0),
        {"kafka": away, "archive": asked.set},
        manager=ServiceManager({}),
    ):
        assert asked.wait(5)
        assert vitals.ready().because == ("kafka does not answer: nobody there",)


def test_the_settings_section_refuses_what_can_t_be() -> None:
    assert program_name("postgres-sink", "main") == "postgres-sink"
    section = MetricsSection(ports={"sequencer": 9464, program_name("postgres-sink", "phi"): 0}, host="::")
    assert section.addresses() == {"sequencer": "http://[::1]:9464"}
    for wrong, words in (
        ({"ports": {"sequencre": 1}}, "'sequencre' is no process"),
        ({"ports": {"sequencer": 9464, "checkpointing": 9464}}, "have the same port 9464"),
        ({"ports": {"sequencer": 70_000}}, "less than or equal to 65535"),
        ({"targets": {"sequencer": "10.0.0.5:9464"}}, "expected http://host:port"),
    ):
        with pytest.raises(ValueError, match=words):
            MetricsSection.model_validate(wrong)
