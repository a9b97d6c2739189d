"""The units under a live systemd, installed by the commands of docs/operating.md: ready, stopped, killed, hung."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import psycopg
import pytest
from tests.docs.blocks import blocks_of, shell_lines
from tests.long_runs import long_run
from tests.pipeline import PROCESSES, Pipeline, wait_until
from tests.systemd.live import ROOT, Machine, live_systemd, why_not_here

from sealstream.client import Outbox
from sealstream.devstack.ports import free_port

pytestmark = [
    long_run,
    pytest.mark.timeout(300),
]

UNITS = {name: f"sealstream-{name}@main" for name in PROCESSES}
BY_PIP = "python3 -m venv /opt/sealstream"
CLONE = "/srv/clone"


@pytest.fixture(scope="module")
def pipeline(make_pipeline: Callable[..., Pipeline]) -> Pipeline:
    """A chain that nothing runs yet."""
    return make_pipeline(chain="main")


@pytest.fixture(scope="module")
def machine(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """With everything installed and started as the page says."""
    if reason := why_not_here():
        pytest.skip(reason)
    with live_systemd(tmp_path_factory.mktemp("machine")) as running:
        running.run(f"mkdir -p {CLONE}/keys; ln -s /opt/source/deploy {CLONE}/deploy")
        running.write(f"{CLONE}/sealstream.toml", pipeline.config.read_text(), mode="600")
        running.write(f"{CLONE}/keys/main.key", (pipeline.folder / "keys" / "main.key").read_text(), mode="600")
        for command in commands_of_the_page():
            if not command.startswith(BY_PIP):  # `live_systemd` has installed it
                running.run(command, folder=CLONE)
        yield running


def commands_of_the_page() -> list[str]:
    """How docs/operating.md says that it is installed."""
    blocks = blocks_of(ROOT, ROOT / "docs" / "operating.md")
    (block,) = [block for block in blocks if BY_PIP in block.body]
    return [line.command for line in shell_lines(block.body)]


def sealed_and_stored(pipeline: Pipeline, first: int) -> None:
    """Five events of which each store has its share."""
    pipeline.send([pipeline.event(n) for n in range(first, first + 5)])
    pipeline.wait_stored(pipeline.wait_sealed())


def wait_state(machine: Machine, unit: str, name: str, wanted: str, timeout_s: float = 60) -> float:
    """Until a property of a unit is as wanted; seconds."""
    return wait_until(
        lambda: machine.state(unit, name) == wanted,
        timeout_s,
        lambda: f"{machine.state(unit, name)} {machine.log(unit)}",
    )


def test_all_units_are_ready_as_the_users_that_the_page_makes(machine: Machine, pipeline: Pipeline) -> None:
    for name, unit in UNITS.items():
        assert machine.state(unit, "ActiveState") == "active", machine.log(unit)
        assert machine.state(unit, "SubState") == "running"
        user = machine.run(f"stat -c %U:%G /proc/{machine.state(unit, 'MainPID')}").strip()
        assert user == ("sealstream-signer:sealstream" if name == "checkpointing" else "sealstream:sealstream")
    assert machine.state("sealstream.target", "ActiveState") == "active"
    sealed_and_stored(pipeline, 0)
    assert not [report for report in (pipeline.verify("kafka"), pipeline.verify("postgres")) if report.faults]


def test_the_signing_key_is_not_even_there_for_another_process(machine: Machine) -> None:
    def seen(name: str, code: int) -> str:
        inside = f"nsenter -t {machine.state(UNITS[name], 'MainPID')} -m --"
        return machine.run(f"{inside} cat /etc/sealstream/keys/main.key", code=code)

    assert "PRIVATE" in seen("checkpointing", 0)
    for name in ("sequencer", "postgres-sink", "archive-sink"):
        assert "PRIVATE" not in seen(name, 1)


def test_a_unit_stops_in_good_order_within_ten_seconds_and_goes_on(machine: Machine, pipeline: Pipeline) -> None:
    for unit in reversed(UNITS.values()):
        begun = time.monotonic()
        machine.run(f"systemctl stop {unit}")
        assert time.monotonic() - begun < 10
        assert machine.state(unit, "Result") == "success", machine.log(unit)
        assert machine.state(unit, "ActiveState") == "inactive"
    pipeline.send([pipeline.event(n) for n in range(10, 15)])
    machine.run(f"systemctl start {' '.join(UNITS.values())}")
    sealed_and_stored(pipeline, 15)
    machine.run("systemctl stop sealstream.target")  # it does not wait for them
    for unit in UNITS.values():
        wait_state(machine, unit, "ActiveState", "inactive", 10)
    machine.run("systemctl start sealstream.target")
    for unit in UNITS.values():
        wait_state(machine, unit, "ActiveState", "active")


def test_a_killed_process_is_back_in_seconds(machine: Machine, pipeline: Pipeline) -> None:
    for unit in UNITS.values():
        machine.run(f"systemctl kill --signal=KILL {unit}")
    for unit in UNITS.values():
        wait_state(machine, unit, "NRestarts", "1")
        wait_state(machine, unit, "ActiveState", "active")
    sealed_and_stored(pipeline, 20)


def test_a_process_that_hangs_is_started_anew_by_the_watchdog(machine: Machine, pipeline: Pipeline) -> None:
    unit = UNITS["postgres-sink"]
    machine.run("mkdir -p /etc/systemd/system/sealstream-postgres-sink@.service.d")
    quick = "[Service]\nWatchdogSec=8\nTimeoutAbortSec=2\n"  # three minutes are long for a test
    machine.write("/etc/systemd/system/sealstream-postgres-sink@.service.d/quick.conf", quick)
    machine.run(f"systemctl daemon-reload; systemctl restart {unit}")
    time.sleep(20)
    assert machine.state(unit, "NRestarts") == "0", machine.log(unit)
    machine.run(f"kill -STOP {machine.state(unit, 'MainPID')}")
    wait_state(machine, unit, "NRestarts", "1")
    assert "Watchdog timeout" in machine.log(unit)
    wait_state(machine, unit, "ActiveState", "active")
    sealed_and_stored(pipeline, 25)


def test_a_sequencer_on_another_machine_takes_over_and_the_unit_waits_in_its_turn(
    machine: Machine, pipeline: Pipeline
) -> None:
    unit = UNITS["sequencer"]
    pipeline.start("sequencer-2")
    time.sleep(5)
    machine.run(f"systemctl kill --signal=KILL {unit}; systemctl stop {unit}")
    sealed_and_stored(pipeline, 30)
    machine.run(f"systemctl start {unit}")  # ready: its place is to wait
    assert machine.state(unit, "ActiveState") == "active"
    pipeline.kill("sequencer-2")
    sealed_and_stored(pipeline, 35)


def test_a_unit_is_activating_and_says_why_until_its_servers_answer(machine: Machine, pipeline: Pipeline) -> None:
    unit = UNITS["checkpointing"]
    machine.run(f"systemctl stop {unit}")
    nowhere = f"127.0.0.1:{free_port()}"
    machine.write("/etc/sealstream/environment", f"SEALSTREAM_KAFKA__BOOTSTRAP={nowhere}\n")
    machine.run(f"systemctl start --no-block {unit}")
    wait_until(lambda: nowhere in machine.state(unit, "StatusText"), 60, lambda: machine.log(unit))
    assert machine.state(unit, "ActiveState") == "activating"
    machine.run(f"systemctl stop {unit}; : > /etc/sealstream/environment; systemctl start {unit}")
    sealed_and_stored(pipeline, 40)


def test_the_relays_unit_takes_its_dsn_from_the_chains_own_file(machine: Machine, pipeline: Pipeline) -> None:
    unit, dsn = "sealstream-outbox-relay@main", pipeline.admin_dsn
    assert pipeline.command("outbox", "init", "--dsn", dsn).code == 0
    machine.write("/etc/sealstream/outbox-main.environment", f"SEALSTREAM_OUTBOX_DSN={dsn}\n", mode="600")
    machine.run(f"systemctl start {unit}")
    assert machine.state(unit, "ActiveState") == "active"
    size = pipeline.size()
    with psycopg.connect(dsn) as connection:
        Outbox().emit(connection, "write", resource_type="r", resource_id="1", actor_id="a", actor_type="user")
    pipeline.wait_beyond(size)
    machine.run(f"systemctl stop {unit}")
    assert machine.state(unit, "Result") == "success"


def test_what_an_alarm_has_stopped_is_not_started_again(machine: Machine, pipeline: Pipeline) -> None:
    """The last of this file: the chain is beyond repair after it."""
    unit = UNITS["postgres-sink"]
    restarts = machine.state(unit, "NRestarts")
    pipeline.send([b"no entry"], pipeline.topics.chain)
    wait_state(machine, unit, "ActiveState", "failed")
    assert machine.state(unit, "ExecMainStatus") == "1"
    time.sleep(8)
    assert (machine.state(unit, "ActiveState"), machine.state(unit, "NRestarts")) == ("failed", restarts)
