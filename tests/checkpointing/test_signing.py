"""What is signed: every committed entry, once each size, segments where the entries say, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from sealstream.checkpointing import Checkpointing, Pace
from sealstream.errors import ChainBroken, Fenced, Forked, InputLost, Misconfigured
from sealstream.kafka import TransactionalProducer, trim
from sealstream.layout import SegmentLimits
from sealstream.sealing import new_signing_key, signer


def test_each_segment_s_end_and_the_newest_size_are_signed(log: Any) -> None:
    log.entries.add(24)
    log.write(log.entries.values, each=7)
    log.sign_all()
    log.check_signed([10, 20])
    assert log.newest() == 25


def test_an_empty_chain_states_nothing_and_is_signed_once_it_begins(log: Any) -> None:
    process = log.checkpointing()
    assert [process.step() for _ in range(3)] == [False, False, False]
    assert log.checkpoints() == []
    log.write(log.entries.values)
    for _ in range(50):
        if process.step():
            break
    assert [noted.size for noted in log.checkpoints()] == [1]


def test_at_most_one_checkpoint_an_interval_and_none_while_idle(log: Any) -> None:
    now = [100.0]
    process = log.checkpointing(clock=lambda: now[0], pace=Pace(interval_s=1.0, wait_s=0.05))
    log.write(log.entries.values)
    _steps(process, 10)
    assert log.newest() == 1
    log.write(log.entries.add(2))
    now[0] = 100.9
    _steps(process, 10)
    assert log.newest() == 1
    now[0] = 101.0
    _steps(process, 3)
    assert log.newest() == 3
    now[0] = 500.0
    assert not any(_steps(process, 10))
    assert [noted.size for noted in log.checkpoints()] == [1, 3]


def test_a_segment_s_end_does_not_wait_for_the_interval(log: Any) -> None:
    process = log.checkpointing(clock=lambda: 100.0, pace=Pace(interval_s=1.0, wait_s=0.05))
    log.write(log.entries.values)
    _steps(process, 10)
    log.write(log.entries.add(10))
    _steps(process, 10)
    assert [noted.size for noted in log.checkpoints()] == [1, 10]
    assert [noted.size for noted in log.segments()] == [10]


def test_a_segment_ends_by_bytes_by_seconds_and_before_another_date(new_log: Callable[..., Any]) -> None:
    log = new_log(1000, bytes=3000, seconds=60)
    entries = log.entries
    entries.add(1, reason="x" * 3000)  # ends with it by bytes: size 2
    entries.add(3)
    entries.add(1, later=timedelta(seconds=60))  # 60 s after the segment's first event: size 6
    entries.add(2)
    entries.add(1, later=timedelta(hours=13))  # another date: the segment before ends at size 8
    entries.add(2)
    log.write(entries.values)
    log.sign_all()
    log.check_signed([2, 6, 8])
    assert log.newest() == len(entries.values)


def test_a_new_date_s_first_event_starts_its_segment_s_clock(new_log: Callable[..., Any]) -> None:
    log = new_log(1000, seconds=60)
    log.entries.add(2)
    log.entries.add(1, later=timedelta(hours=13))  # ends the segment before it, at size 3, and begins the next
    log.entries.add(1, later=timedelta(seconds=59))
    log.entries.add(1, later=timedelta(seconds=1))  # ends with it: size 6
    log.write(log.entries.values, each=2)
    log.sign_all()
    log.check_signed([3, 6])


def test_the_limits_that_entry_0_sealed_count_whatever_the_settings_say(log: Any) -> None:
    log.entries.add(24)
    log.write(log.entries.values)
    log.chain = log.chain._replace(limits=SegmentLimits(7))
    log.sign_all()
    log.write(log.entries.add(10))
    log.sign_all()
    log.check_signed([10, 20, 30])


def test_what_is_not_committed_is_not_signed_and_what_was_aborted_never_is(log: Any) -> None:
    log.write(log.entries.values)
    aborted = log.entries.add(5)
    del log.entries.values[1:], log.entries.hashes[1:]
    log.entries._raw = -1
    producer = TransactionalProducer(log.kafka, f"open-{log.chain.name}")
    producer.open()
    producer.begin()
    for value in aborted:
        producer.produce(log.topics.chain, value)
    producer.produce(log.topics.chain, aborted[0])
    producer._producer.flush(10)
    process = log.checkpointing()
    _steps(process, 10)
    assert log.newest() == 1
    producer.abort()
    producer.close()
    _steps(process, 5)
    assert log.newest() == 1
    log.write(log.entries.add(3))
    _steps(process, 10)
    process.close()
    log.check_signed([])
    assert log.newest() == 4


@pytest.mark.parametrize("wrong", ["edited", "skipped", "repeated", "not an entry"])
def test_a_chain_that_does_not_hold_stops_and_nothing_more_is_signed(log: Any, wrong: str) -> None:
    log.entries.add(14)
    log.write(log.entries.values)
    log.sign_all()
    first, second, third = log.entries.add(3)
    log.write(
        {
            "edited": [first, second.replace(b"user-1", b"user-2"), third],
            "skipped": [first, third],
            "repeated": [first, first, second],
            "not an entry": [first, b"{}", second],
        }[wrong]
    )
    process = log.checkpointing()
    with pytest.raises(ChainBroken, match=r"entry 1[56]: "):
        _steps(process, 20)
    process.close()
    assert log.newest() == 15
    again = log.checkpointing()
    with pytest.raises(ChainBroken):
        _steps(again, 20)
    assert log.newest() == 15


@pytest.mark.parametrize("field", ["origin", "vkey"])
def test_an_entry_0_of_another_chain_or_key_is_refused(log: Any, field: str) -> None:
    other = "log.example/other" if field == "origin" else signer(new_signing_key(log.chain.origin)).vkey
    log.entries = type(log.entries)(log.chain, **{field: other})
    log.entries.add(3)
    log.write(log.entries.values)
    process = log.checkpointing()
    with pytest.raises(Forked, match=field):
        _steps(process, 20)
    assert log.checkpoints() == []


def test_a_key_that_is_not_the_chain_s_is_refused(log: Any) -> None:
    with pytest.raises(Misconfigured, match="not that of chain"):
        Checkpointing(log.kafka, log.chain, signer(new_signing_key(log.chain.origin)))


def test_a_trimmed_chain_goes_on_as_long_as_the_last_segment_is_there(log: Any) -> None:
    log.entries.add(34)
    log.write(log.entries.values, each=5)
    log.sign_all()
    trim(log.kafka, log.topics.chain, log.segments()[1].headers.chain_offset)
    log.write(log.entries.add(10))
    process = log.checkpointing()
    for _ in range(20):
        process.step()
    process.close()
    assert [noted.size for noted in log.segments()] == [10, 20, 30, 40]
    assert log.checkpoints()[-1].checkpoint.root == log.entries.root(45)
    trim(log.kafka, log.topics.chain, log.segments()[3].headers.chain_offset)
    with pytest.raises(InputLost, match="no longer has entry 30"):
        log.checkpointing().step()


def _steps(process: Checkpointing, count: int) -> list[bool]:
    return [process.step() for _ in range(count)]


def test_a_chain_that_is_trimmed_after_a_start_has_looked_is_no_alarm(
    log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the driver has fetched already would hide it, so the reader's word is given here."""
    log.entries.add(34)
    log.write(log.entries.values, each=5)
    log.sign_all()

    def lost() -> bool:
        raise InputLost("no longer has the offset 0")

    for trimmed in (False, True):
        process = log.checkpointing()
        assert process.step() is False
        monkeypatch.setattr(process._running, "step", lost)
        if trimmed:
            trim(log.kafka, log.topics.chain, log.segments()[1].headers.chain_offset)
        with pytest.raises(Fenced if trimmed else InputLost):
            process.step()
        process.close()
    log.write(log.entries.add(10))
    log.sign_all()
    assert log.checkpoints()[-1].checkpoint.root == log.entries.root(45)
