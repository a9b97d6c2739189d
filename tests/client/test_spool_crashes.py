"""Mode spool, killed: at every line that touches the disk, amid a write, and at random; then everything is there, once.

Each death is real (SIGKILL of a real process against a real broker). An application notes each id that `emit` gave it;
afterwards the raw topic must hold all of them, each producer's numbers without a gap and first seen in order, a repeat
with the same bytes, and the sequencer's own judgement must leave each event once.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections import defaultdict
from pathlib import Path

from tests.long_runs import long_run

from sealstream.client.spool_drain import drain_spool
from sealstream.events import digest, validate_event
from sealstream.kafka import KafkaSettings, read_until_end
from sealstream.layout import ChainSettings, ChainTopics
from sealstream.sequencer.deduplication import Deduplication

pytestmark = long_run

# The application. `Dying(point)` makes the process kill itself before (even) or after (odd) its point/2-th call that
# touches the disk, or, `torn`, in the middle of it.
APPLICATION = """
import itertools, os, random, signal, sys, time, traceback
from sealstream.client import AuditClient, spool_drain, spool_journal

CHAIN, KAFKA, DIRECTORY, NOTES = sys.argv[1:5]
NOWHERE = "127.0.0.1:1"
sys.stderr = open(os.devnull, "w")

def die():
    os.kill(os.getpid(), signal.SIGKILL)

class Dying:
    def __init__(self, point, torn=False):
        self.tickets, self.fatal, self.after, self.torn = itertools.count(), point // 2, point % 2, torn
        for module, names in (
            (os, "open mkdir rename unlink rmdir pwrite posix_fallocate fsync ftruncate"),
            (spool_journal, "_pwrite _sync_data"),
        ):
            for name in names.split():
                setattr(module, name, self.wrap(name, getattr(module, name)))

    def wrap(self, name, call):
        def counted(*args, **named):
            if next(self.tickets) != self.fatal:
                return call(*args, **named)
            if self.after:
                try:
                    call(*args, **named)
                finally:
                    die()  # also after a failure, such as of the second to make one folder
            elif self.torn and name == "_pwrite":
                call(args[0], args[1], args[2] // 2, args[3])
            die()
        return counted

def client(kafka, **more):
    options = {"max_pending_bytes": 65536, "spool_max_bytes": 1 << 28, "exit_timeout_s": 0.2, **more}
    made = AuditClient(CHAIN, kafka, mode="spool", spool_directory=DIRECTORY, **options)
    made._stream._journal._segment_bytes = 131072  # many ends of segments
    return made

notes = os.open(NOTES, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
def emit(client, size=300, **more):
    event_id = client.emit("read", resource_type="r", resource_id="1", metadata={"pad": "x" * size}, **more)
    if event_id is not None:
        os.write(notes, f"{event_id} {client._stream.producer_id}\\n".encode())

def child(run, *args):
    pid = os.fork()
    if pid == 0:
        try:
            run(*args)
        except BaseException:
            traceback.print_exc(file=sys.stdout)
            sys.stdout.flush()
            os._exit(1)
        os._exit(0)
    return pid

def ended(pid):
    "Whether it ended by itself; nothing else than SIGKILL may end it."
    status = os.waitpid(pid, 0)[1]
    assert status == 0 or os.WTERMSIG(status) == signal.SIGKILL, status
    return status == 0
"""


def run(kafka: KafkaSettings, chain: ChainSettings, folder: Path, script: str, *more: str) -> str:
    code = APPLICATION + textwrap.dedent(script)
    arguments = [chain.name, kafka.bootstrap, str(folder / "spool"), str(folder / "notes"), *more]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done
    return done.stdout


def check(kafka: KafkaSettings, chain: ChainSettings, folder: Path) -> tuple[int, int]:
    """Everything that was noted is sealed once and in order; how many events, how many repeats."""
    noted = dict(line.split() for line in (folder / "notes").read_text().splitlines())
    judge, sealed, repeats = Deduplication(), 0, 0
    numbers: dict[str, int] = defaultdict(int)
    ids = set()
    for records in read_until_end(kafka, ChainTopics.of(chain.name).raw):
        for record in records:
            assert record.value is not None
            event = validate_event(record.value)
            assert event.canonical == record.value
            verdict = judge.judge(event, digest(event.canonical))
            if verdict is not None:
                assert verdict.what == "repeat", json.loads(record.value)
                repeats += 1
                continue
            assert event.producer_id is not None
            assert event.producer_seq == numbers[event.producer_id], json.loads(record.value)
            numbers[event.producer_id] += 1
            judge.sealed(event, digest(event.canonical), sealed, "2026-11-24T03:00:00.000000Z")
            ids.add(event.id)
            sealed += 1
    lost = [f"{producer}: sealed {numbers[producer]}" for each, producer in noted.items() if each not in ids]
    assert not lost, f"{len(lost)} of {len(noted)} lost: {sorted(set(lost))}"
    return sealed, repeats


def test_a_writer_killed_at_every_touch_of_the_disk_loses_nothing_it_has_acknowledged(
    kafka: KafkaSettings, chain: ChainSettings, tmp_path: Path
) -> None:
    said = run(
        kafka,
        chain,
        tmp_path,
        """
        def life(point, torn):
            Dying(point, torn)
            audit = client(NOWHERE)
            for n in range(4):
                emit(audit, 56_000)  # two to a segment
            audit.close(0)

        point, finished = 0, False
        while not finished:  # ten at once, since each waits more than it works
            lives = [child(life, point + n, False) for n in range(10)]
            lives += [child(life, point + n, True) for n in range(0, 10, 2)]
            finished = any([ended(pid) for pid in lives])
            point += 10
        print(point)
        """,
    )
    assert int(said) > 30
    drained = drain_spool(tmp_path / "spool", kafka.bootstrap)
    assert drained.held == drained.unreadable == ()
    assert drained.lost <= drained.streams  # a torn record was never acknowledged, but is said
    assert not list((tmp_path / "spool").glob("0*"))
    sealed, _repeats = check(kafka, chain, tmp_path)
    assert sealed > 100


def test_a_drain_killed_at_every_touch_of_the_disk_is_taken_up_by_the_next(
    kafka: KafkaSettings, chain: ChainSettings, tmp_path: Path
) -> None:
    said = run(
        kafka,
        chain,
        tmp_path,
        """
        def life():
            audit = client(NOWHERE)
            for n in range(4):
                emit(audit, 56_000)
            die()

        def drain(point):
            Dying(point)
            spool_drain.drain_spool(DIRECTORY, KAFKA)

        point, finished = 0, False
        while not finished:
            ended(child(life))
            finished = ended(child(drain, point))
            point += int(sys.argv[5])
        print(point)
        """,
        os.environ.get("SEALSTREAM_SPOOL_STRIDE", "5"),
    )
    assert int(said) > 15
    drained = drain_spool(tmp_path / "spool", kafka.bootstrap)
    assert drained.lost == 0
    check(kafka, chain, tmp_path)


def test_applications_killed_at_random_with_kafka_there_or_not(
    kafka: KafkaSettings, chain: ChainSettings, tmp_path: Path
) -> None:
    rounds = int(os.environ.get("SEALSTREAM_SPOOL_ROUNDS", "6"))
    run(
        kafka,
        chain,
        tmp_path,
        """
        chance = random.Random(int(sys.argv[5]))

        def life(kafka, seed):
            chance = random.Random(seed)
            audit = client(kafka, spool_fsync=chance.choice(["never", "interval", "interval", "always"]))
            while True:
                for _ in range(chance.randrange(1, 300)):
                    emit(audit, chance.randrange(3000))
                time.sleep(chance.random() * 0.02)
                if chance.random() < 0.05:
                    audit.close(0.3)
                    return

        def drain():
            spool_drain.drain_spool(DIRECTORY, KAFKA)

        for number in range(int(sys.argv[6])):
            lives = [child(life, KAFKA if chance.random() < 0.6 else NOWHERE, chance.random()) for _ in range(3)]
            lives.append(child(drain))
            for pid in lives:
                time.sleep(chance.random() * 0.3)
                os.kill(pid, signal.SIGKILL)
            for pid in lives:
                os.waitpid(pid, 0)
        """,
        os.environ.get("SEALSTREAM_SPOOL_SEED", "1"),
        str(rounds),
    )
    drained = drain_spool(tmp_path / "spool", kafka.bootstrap)
    assert drained.held == drained.unreadable == ()
    sealed, repeats = check(kafka, chain, tmp_path)
    print(f"{rounds} rounds: {sealed} events, {repeats} repeats, {drained}")
