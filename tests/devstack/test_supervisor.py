"""The supervisor with small programs: order, restarts, alarms, the end, and what a killed supervisor leaves behind."""

from __future__ import annotations

import json
import os
import pwd
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sealstream.devstack import ProcessSpec, ServerFailed, status_of, stop_stack, supervisor_of
from sealstream.devstack.logs import bound_log, tail
from sealstream.devstack.running import Identity, identity_of, is_alive
from sealstream.devstack.supervisor import Supervisor, end_recorded

SLEEPS = "import time; time.sleep(600)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
CLINGS = (  # outlives the supervisor, as nothing should
    "import ctypes, time; ctypes.CDLL(None).prctl(1, 0, 0, 0, 0); print('clings', flush=True); time.sleep(600)"
)


def python(name: str, code: str, **options: object) -> ProcessSpec:
    return ProcessSpec(name, [sys.executable, "-S", "-c", code], **options)  # type: ignore[arg-type]


def says(data_dir: Path, name: str, word: str) -> Callable[[int], bool]:
    log = data_dir / "logs" / f"{name}.log"
    return lambda pid: log.exists() and word in log.read_text()


def wait_for(what: Callable[[], object], timeout_s: float = 15) -> None:
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    made = Supervisor(tmp_path)
    yield made
    made.stop()


def state_of(supervisor: Supervisor, name: str) -> str:
    return next(each.state for each in supervisor.statuses() if each.name == name)


def test_programs_start_in_order_when_the_one_before_is_ready_and_stop_in_reverse(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    code = textwrap.dedent("""
        import signal, sys, time
        def note(what):
            with open("order", "a") as file: file.write(f"{sys.argv[1]} {what}\\n")
        def leave(*_):
            note("stops"); sys.exit(0)
        signal.signal(signal.SIGTERM, leave)
        time.sleep(0.2); note("ready"); print("ready", flush=True); time.sleep(600)
    """)
    for name in ("first", "second"):
        argv = [sys.executable, "-S", "-c", code, name]
        supervisor.start([ProcessSpec(name, argv, ready=says(tmp_path, name, "ready"), cwd=tmp_path)])
    assert [each.state for each in supervisor.statuses()] == ["running", "running"]
    supervisor.stop()
    assert (tmp_path / "order").read_text().splitlines() == [
        "first ready",
        "second ready",
        "second stops",
        "first stops",
    ]
    assert [each.state for each in supervisor.statuses()] == ["stopped", "stopped"]


def test_a_killed_program_is_started_again_and_other_shells_see_it(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.start([python("worker", SLEEPS)])
    before = supervisor.statuses()[0].pid
    assert before is not None
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: supervisor.step() and state_of(supervisor, "worker") == "restarting")
    wait_for(lambda: supervisor.step() and state_of(supervisor, "worker") == "running")
    (seen,) = status_of(tmp_path)
    assert seen == supervisor.statuses()[0]
    assert seen.pid != before
    assert (seen.restarts, seen.exit_code) == (1, -signal.SIGKILL)


def test_one_that_keeps_failing_is_started_ever_more_slowly(supervisor: Supervisor) -> None:
    supervisor.start([python("failing", "import sys; sys.exit(2)")])
    deadline = time.monotonic() + 2.2  # tries at 0, 0.5, 1.5 and 3.5 s, and the time that it takes to fail
    while time.monotonic() < deadline:
        supervisor.step()
        time.sleep(0.02)
    assert 1 <= supervisor.statuses()[0].restarts <= 2


def test_an_alarm_is_shown_and_never_started_again(supervisor: Supervisor) -> None:
    supervisor.start([python("sequencer", "import sys; sys.exit(1)")])
    wait_for(lambda: supervisor.step() or state_of(supervisor, "sequencer") == "stopped: alarm")
    time.sleep(0.7)
    assert not supervisor.step()
    supervisor.stop()
    assert supervisor.statuses()[0].state == "stopped: alarm"
    assert supervisor.statuses()[0].restarts == 0


def test_one_that_is_not_ready_says_why(supervisor: Supervisor, tmp_path: Path) -> None:
    with pytest.raises(ServerFailed, match=r"broken ended with exit code 3 .*broken\.log.*no such flower"):
        supervisor.start([python("broken", "print('no such flower'); raise SystemExit(3)", ready=lambda pid: False)])
    with pytest.raises(ServerFailed, match=r"slow was not ready within 0\.3 s"):
        supervisor.start([python("slow", SLEEPS, ready=lambda pid: False, ready_timeout_s=0.3)])


def test_one_that_ignores_sigterm_is_killed(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.start([python("deaf", DEAF, ready=says(tmp_path, "deaf", "deaf"), stop_timeout_s=0.3)])
    began = time.monotonic()
    supervisor.stop()
    assert 0.3 <= time.monotonic() - began < 5
    assert supervisor.statuses()[0].exit_code == -signal.SIGKILL


def _killed_supervisor(data_dir: Path, *names_and_codes: tuple[str, str]) -> list[int]:
    """Another process supervises these programs in `data_dir`, and is killed by signal 9; the programs' pids."""
    code = textwrap.dedent("""
        import json, sys, time
        from pathlib import Path
        from sealstream.devstack import ProcessSpec
        from sealstream.devstack.supervisor import Supervisor
        supervisor = Supervisor(Path(sys.argv[1]))
        for name, code in json.loads(sys.argv[2]):
            supervisor.start([ProcessSpec(name, [sys.executable, "-S", "-c", code])])
        print("up", flush=True)
        time.sleep(600)
    """)
    command = [sys.executable, "-c", code, str(data_dir), json.dumps(names_and_codes)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"up\n"
        for name, program in names_and_codes:
            if program == CLINGS:
                wait_for(lambda name=name: says(data_dir, name, "clings")(0))  # type: ignore[misc]
        assert supervisor_of(data_dir) == running.pid
        programs = [each.pid or 0 for each in status_of(data_dir)]
        running.kill()
    return programs


def test_the_kernel_ends_what_a_killed_supervisor_ran(tmp_path: Path) -> None:
    programs = _killed_supervisor(tmp_path, ("a", SLEEPS), ("b", SLEEPS))
    wait_for(lambda: not any(map(identity_of, programs)))
    assert supervisor_of(tmp_path) is None
    assert [each.state for each in status_of(tmp_path)] == ["stopped", "stopped"]
    assert not stop_stack(tmp_path)


@pytest.mark.parametrize("finish", [end_recorded, stop_stack])
def test_what_outlives_a_killed_supervisor_is_found_and_ended(tmp_path: Path, finish: Callable[[Path], object]) -> None:
    clinging, mortal = _killed_supervisor(tmp_path, ("clinging", CLINGS), ("mortal", SLEEPS))
    wait_for(lambda: identity_of(mortal) is None)
    assert [each.state for each in status_of(tmp_path)] == ["running", "stopped"]
    assert finish(tmp_path)
    assert identity_of(clinging) is None
    assert not finish(tmp_path)


def test_a_process_that_merely_has_the_pid_is_left_alone(tmp_path: Path) -> None:
    mine = identity_of(os.getpid())
    assert mine is not None
    assert is_alive(mine)
    assert not is_alive(mine._replace(started=mine.started + "0"))
    assert not is_alive(Identity(0, ""))
    child = subprocess.Popen([sys.executable, "-c", ""])
    wait_for(lambda: identity_of(child.pid) is None)  # a corpse is not alive
    child.wait()


def test_a_log_is_bounded_while_its_program_writes_on(supervisor: Supervisor, tmp_path: Path) -> None:
    code = "import time\nfor n in range(10**9): print(n, 'x' * 200, flush=True); time.sleep(0.001)"
    supervisor.start([python("chatty", code)])
    log = supervisor.statuses()[0].log
    wait_for(lambda: log.stat().st_size > 20_000)
    assert bound_log(log, 20_000)
    assert not bound_log(log, 20_000)
    older = int(tail(log.with_name("chatty.log.1"), 1)[0].split()[0])
    wait_for(lambda: log.stat().st_size > 2_000)
    assert log.stat().st_size < 20_000  # no hole: it appends
    first = log.read_text().splitlines()[0]
    assert first.endswith("xxx")
    assert int(tail(log, 1)[0].split()[0]) > older


def test_the_end_of_a_log_is_what_was_thrown_not_where(tmp_path: Path) -> None:
    log = tmp_path / "kafka.log"
    frames = "\tat kafka.server.KafkaRaftServer$.$anonfun$1(A.scala:165)\n\tat java.base/java.util.I.f(Unknown)\n"
    log.write_text(f"begun\nERROR Exiting (Kafka$)\njava.lang.Error: no node ID\n{frames * 9}\t... 12 more\n")
    assert tail(log, 2) == ["ERROR Exiting (Kafka$)", "java.lang.Error: no node ID"]
    log.write_text("  at last it runs (well)\n")
    assert tail(log) == ["  at last it runs (well)"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to give up")
def test_roots_program_runs_as_the_account_and_keeps_one_right(supervisor: Supervisor, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    (closed / "inside").write_text("seen")
    code = (
        "import os, time; print(os.getuid(), os.getgroups(), os.access('inside', os.R_OK), open('inside').read(), "
        "[line for line in open('/proc/self/status') if line.startswith('CapEff')][0], 'done', flush=True); "
        "time.sleep(600)"
    )
    ready = says(tmp_path, "dropped", "done")
    supervisor.start([ProcessSpec("dropped", [sys.executable, "-c", code], ready=ready, user="nobody", cwd=closed)])
    said = supervisor.statuses()[0].log.read_text().split()
    assert said[0] == str(pwd.getpwnam("nobody").pw_uid)
    assert said[1:4] == ["[]", "True", "seen"]
    assert int(said[5], 16) == 1 << 1  # CAP_DAC_OVERRIDE, see capabilities(7)
