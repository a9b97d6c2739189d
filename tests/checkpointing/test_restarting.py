"""Whatever fails, wherever: the next start goes on from what was signed, and no size is ever signed with two roots."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from tests.long_runs import long_run

from sealstream.checkpointing import Checkpointing, Pace, checkpointing
from sealstream.errors import Fenced, Forked, SealstreamError, Unavailable
from sealstream.kafka import CommittedReader, TransactionalProducer, trim
from sealstream.layout import CheckpointHeaders, SegmentLimits
from sealstream.sealing import EMPTY_RANGE, Checkpoint, extend, new_signing_key, sign_checkpoint, signer

pytestmark = long_run


class Calls:
    """Counts calls of a process on its stores; one of them fails, before or after it was carried out."""

    def __init__(self, fails_at: int, after: bool) -> None:
        self.count = 0
        self._fails_at = fails_at
        self._after = after

    def make(self, call: Callable[..., Any], *arguments: Any) -> Any:
        self.count += 1
        if self.count == self._fails_at and not self._after:
            raise Unavailable("made to fail before it was done")
        result = call(*arguments)
        if self.count == self._fails_at:
            raise Unavailable("made to fail after it was done")
        return result

    def producer(self, *arguments: Any) -> TransactionalProducer:
        calls = self

        class Failing(TransactionalProducer):
            def open(self) -> None:
                calls.make(super().open)

            def begin(self) -> None:
                calls.make(super().begin)

            def produce(self, *arguments: Any, **named: Any) -> None:
                calls.make(lambda: super(Failing, self).produce(*arguments, **named))

            def commit(self) -> None:
                calls.make(super().commit)

        return Failing(*arguments)

    def reader(self, *arguments: Any) -> CommittedReader:
        calls = self

        class Failing(CommittedReader):
            def read(self, limit: int, timeout_s: float) -> list[Any]:
                records: list[Any] = super().read(min(limit, 12), timeout_s)
                return calls.make(lambda: records) if records else records

        return Failing(*arguments)


@pytest.mark.parametrize("after", [False, pytest.param(True, marks=long_run)], ids=["before", "after"])
def test_a_crash_at_any_call_gives_the_same_notes(new_log: Callable[..., Any], after: bool) -> None:
    fails_at, done = 0, False
    while not done:  # each round signs a new chain, until the failing call lies beyond what a whole run does
        fails_at += 1
        log = new_log(5)
        log.entries.add(7)
        log.write(log.entries.values)
        calls = Calls(fails_at, after)
        log.sign_all(open_producer=calls.producer, open_reader=calls.reader)
        log.check_signed([5])
        done = calls.count < fails_at
    assert fails_at > 8


def test_a_transaction_that_was_reported_and_is_not_there_is_signed_again(log: Any) -> None:
    class Losing(TransactionalProducer):
        lost = 0

        def commit(self) -> None:
            if Losing.lost == 0:
                Losing.lost += 1
                self.abort()
            else:
                super().commit()

    log.entries.add(14)
    log.write(log.entries.values)
    process = log.checkpointing(open_producer=Losing)
    with pytest.raises(Fenced, match="not seen within"):
        _steps(process, 20)
    process.close()
    assert log.checkpoints() == []
    log.sign_all(open_producer=Losing)
    log.check_signed([10])
    assert log.newest() == 15


@pytest.mark.parametrize("torn", ["checkpoints", "segments"])
def test_a_torn_transaction_is_seen_and_what_is_missing_is_signed_again(log: Any, torn: str) -> None:
    class Tearing(TransactionalProducer):
        torn = False

        def produce(self, topic: str, *arguments: Any, **named: Any) -> None:
            if topic == getattr(log.topics, torn) and not Tearing.torn:
                Tearing.torn = True
                return
            super().produce(topic, *arguments, **named)

    log.entries.add(14)
    log.write(log.entries.values)
    process = log.checkpointing(open_producer=Tearing)
    with pytest.raises(Fenced):
        _steps(process, 20)
    process.close()
    log.sign_all(open_producer=Tearing)
    log.write(log.entries.add(10))
    log.sign_all()
    for noted in (*log.checkpoints(), *log.segments()):
        assert noted.checkpoint.root == log.entries.root(noted.size)
    assert [noted.size for noted in log.segments()] == [10, 20]
    assert log.newest() == 25


def test_the_second_process_fences_the_first_and_no_size_has_two_notes(log: Any) -> None:
    log.entries.add(14)
    log.write(log.entries.values)
    first, second = log.checkpointing(), log.checkpointing()
    _steps(first, 5)
    assert log.newest() == 15
    _steps(second, 5)
    log.write(log.entries.add(10))
    with pytest.raises(Fenced):
        _steps(first, 20)
    _steps(second, 20)
    first.close()
    log.check_signed([10, 20])
    assert log.newest() == 25


def test_what_another_process_signs_during_a_start_is_no_alarm(log: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The chain's end that was read before does not fit the notes that are read after: the start was overtaken."""
    log.entries.add(4)
    log.write(log.entries.values)
    real = checkpointing.read_signed

    def overtaken(*arguments: Any, **named: Any) -> Any:
        monkeypatch.setattr(checkpointing, "read_signed", real)
        log.write(log.entries.add(12))
        log.sign_all()
        return real(*arguments, **named)

    monkeypatch.setattr(checkpointing, "read_signed", overtaken)
    process = log.checkpointing()
    with pytest.raises(Fenced, match="another process signs"):
        _steps(process, 5)
    process.close()
    assert log.newest() == 17
    log.write(log.entries.add(5))
    log.sign_all()
    assert log.newest() == 22


def test_two_processes_at_once_over_and_over_sign_one_history(log: Any) -> None:
    log.write(log.entries.values)
    stop = threading.Event()
    failures: list[BaseException] = []

    def run() -> None:
        while not stop.is_set():
            process = log.checkpointing()
            try:
                while not stop.is_set():
                    process.step()
            except Unavailable:
                continue
            except SealstreamError as error:
                failures.append(error)
                return
            finally:
                process.close()

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(12):
        log.write(log.entries.add(4))
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    log.sign_all()
    log.check_signed([10, 20, 30, 40])
    by_size: dict[int, set[bytes]] = {}
    for noted in (*log.checkpoints(), *log.segments()):
        by_size.setdefault(noted.size, set()).add(noted.note)
    assert all(len(notes) == 1 for notes in by_size.values())
    assert log.newest() == 49


@pytest.mark.parametrize("deleted", [["checkpoints"], ["segments"], ["checkpoints", "segments"]])
def test_deleted_notes_are_signed_again_with_the_same_bytes(log: Any, deleted: list[str]) -> None:
    log.entries.add(34)
    log.write(log.entries.values)
    log.sign_all()
    before = [noted.note for noted in log.segments()]
    for name in deleted:
        log.recreate(getattr(log.topics, name))
    log.write(log.entries.add(1))
    log.sign_all()
    log.check_segments([10, 20, 30])
    assert [noted.note for noted in log.segments()] == before
    assert log.newest() == 36


def test_a_segment_note_missing_among_others_is_signed_again(log: Any) -> None:
    log.entries.add(39)
    log.write(log.entries.values)
    for end in (10, 20, 40):
        log.write_note(Checkpoint(log.chain.origin, end, log.entries.root(end)), segment_from=end - 10)
    log.write(log.entries.add(1))
    log.sign_all()
    assert [noted.size for noted in log.segments()] == [10, 20, 40, 30]
    log.write(log.entries.add(10))
    log.sign_all()  # begins behind 30 again
    assert [noted.size for noted in log.segments()] == [10, 20, 40, 30, 50]


def test_a_note_of_somebody_else_is_an_alarm_and_nothing_is_written(log: Any) -> None:
    log.entries.add(14)
    log.write(log.entries.values)
    thief = signer(new_signing_key(log.chain.origin))
    hashes = extend(EMPTY_RANGE, log.entries.hashes[:10]).hashes
    note = sign_checkpoint(Checkpoint(log.chain.origin, 10, log.entries.root(10)), thief)
    log.write_record(note, CheckpointHeaders(hashes, 10, 0, 9), log.topics.segments)
    with pytest.raises(Forked, match=r"not a checkpoint that .* has signed"):
        log.checkpointing().step()
    assert log.checkpoints() == []


@pytest.mark.parametrize(
    "where", ["last segment", "open segment", "old", "below the beginning", "same size twice", "not reached"]
)
def test_another_history_with_our_signature_is_an_alarm_and_nothing_is_written(log: Any, where: str) -> None:
    log.entries.add(34)
    log.write(log.entries.values)
    log.sign_all()
    count = len(log.checkpoints())
    pace = Pace(wait_s=0.05, read_again=20 if where == "old" else 0)
    sizes = {"last segment": 25, "open segment": 33, "old": 15, "below the beginning": 17, "not reached": 36}
    size = sizes.get(where, 30)
    other = type(log.entries)(log.chain)
    other.add(39, actor_id="somebody-else")
    compact_range = extend(EMPTY_RANGE, other.hashes[:size])
    note = sign_checkpoint(Checkpoint(log.chain.origin, size, other.root(size)), log.signer)
    log.write_record(note, CheckpointHeaders(compact_range.hashes, size), log.topics.checkpoints)
    if where == "not reached":
        with pytest.raises(Forked, match="rolled back"):
            log.checkpointing().step()
        log.write(log.entries.add(5))
    process = log.checkpointing(pace=pace)
    with pytest.raises(Forked):
        _steps(process, 20)
    process.close()
    assert len(log._records(log.topics.checkpoints)) == count + 1
    assert [noted.size for noted in log.segments()] == [10, 20, 30]


def test_a_note_whose_range_is_not_its_root_is_an_alarm(log: Any) -> None:
    log.entries.add(14)
    log.write(log.entries.values)
    note = sign_checkpoint(Checkpoint(log.chain.origin, 10, log.entries.root(10)), log.signer)
    log.write_record(note, CheckpointHeaders((b"\0" * 32, b"\1" * 32), 10), log.topics.checkpoints)
    with pytest.raises(Forked, match="does not hash to the signed root"):
        log.checkpointing().step()


@pytest.mark.parametrize("entries", [0, 12])
def test_a_chain_shorter_than_what_is_signed_was_rolled_back(log: Any, entries: int) -> None:
    log.entries.add(24)
    log.write(log.entries.values)
    log.sign_all()
    log.recreate(log.topics.chain)
    log.write(log.entries.values[:entries])
    with pytest.raises(Forked, match="rolled back"):
        log.checkpointing().step()


def test_a_rewritten_chain_is_a_fork(log: Any) -> None:
    log.entries.add(34)
    log.write(log.entries.values)
    log.sign_all()
    count = len(log.checkpoints())
    log.recreate(log.topics.chain)
    values = log.entries.values
    other = type(log.entries)(log.chain)
    other.add(25)
    other.add(20, actor_id="somebody-else")
    assert other.values[:26] == values[:26]
    log.write(other.values)
    process = log.checkpointing()
    with pytest.raises(Forked, match="not the one that was published"):
        _steps(process, 20)
    assert len(log.checkpoints()) == count


def test_a_chain_that_was_copied_to_other_offsets_goes_on(log: Any) -> None:
    log.entries.add(34)
    log.write(log.entries.values, each=3)
    log.sign_all()
    log.recreate(log.topics.chain)
    log.write(log.entries.values, each=1000)
    log.write(log.entries.add(10))
    log.sign_all()
    assert [noted.size for noted in log.segments()] == [10, 20, 30, 40]
    assert log.checkpoints()[-1].checkpoint.root == log.entries.root(45)


def test_a_segment_that_the_entries_do_not_end_is_an_alarm(log: Any) -> None:
    log.entries.add(24)
    log.write(log.entries.values)
    for first, end in ((0, 10), (10, 15)):
        log.write_note(Checkpoint(log.chain.origin, end, log.entries.root(end)), segment_from=first)
    process = log.checkpointing()
    with pytest.raises(Forked, match="none does"):
        _steps(process, 20)
    assert log.checkpoints() == []


def test_other_limits_than_those_signed_by_are_found_where_entry_0_is_gone(log: Any) -> None:
    log.entries.add(34)
    log.write(log.entries.values)
    log.sign_all()
    trim(log.kafka, log.topics.chain, log.segments()[1].headers.chain_offset)
    log.chain = log.chain._replace(limits=SegmentLimits(7))
    process = log.checkpointing()
    with pytest.raises(Forked):
        _steps(process, 20)
    assert len(log.segments()) == 3


def _steps(process: Checkpointing, count: int) -> None:
    for _ in range(count):
        process.step()
