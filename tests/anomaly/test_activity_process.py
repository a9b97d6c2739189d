"""The roll-up on a real broker: what is written stands for the whole chain, once, however it was interrupted."""

from __future__ import annotations

import time

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from tests.anomaly.conftest import Board, Chain, until
from tests.long_runs import long_run

from sealstream.anomaly import ActivityRollUp, Pace
from sealstream.anomaly.beginning import read_positions
from sealstream.errors import ChainBroken, Fenced, HistoryLost, InputLost, Misconfigured, RolledBack
from sealstream.kafka import KafkaSettings, create_topics, trim
from sealstream.layout import ChainTopics, Figures, figures
from sealstream.layout.activity import ActivityPosition, ActivityTopics

pytestmark = long_run

SOON = Pace(wait_s=0.02, quiet_s=0.15, open_s=0.3, read_back_s=2.0)
NEVER = Pace(wait_s=0.02, quiet_s=1e9, open_s=1e9)


def position(board: Board, chain: Chain) -> ActivityPosition | None:
    return read_positions(board.kafka, board.topics.positions).get(chain.name)


def test_what_is_written_stands_for_the_whole_chain(board: Board, chain: Chain) -> None:
    chain.write(chain.add(500, later_s=0.02))
    process = board.roll_up(chain, pace=SOON)
    until(process, board.through(chain))
    board.check(chain)
    for record in board.told(board.topics.activity):
        assert record.key.decode() == record.identity[1]


def test_a_second_is_written_when_a_later_one_begins(board: Board, chain: Chain) -> None:
    process = board.roll_up(chain, pace=NEVER)
    chain.write(chain.add(3, actor_id="user-1", action="read"))
    until(process, lambda: position(board, chain) is not None)
    assert board.told(board.topics.activity) == []
    chain.write(chain.add(1, later_s=1, actor_id="user-2"))
    until(process, lambda: len(board.told(board.topics.activity)) >= 1)
    assert {record.identity[1:] for record in board.told(board.topics.activity)} >= {("user-1", "2026-11-02T09:00:00Z")}
    assert {record.identity[2] for record in board.told(board.topics.activity)} == {"2026-11-02T09:00:00Z"}
    at = position(board, chain)
    assert at is not None
    assert (at.seq, at.told, at.second) == (3, 2, "2026-11-02T09:00:01Z")


def test_a_quiet_chain_is_told_and_only_what_grew_is_told_again(board: Board, chain: Chain) -> None:
    process = board.roll_up(chain, pace=SOON)
    chain.write(
        [
            *chain.add(2, actor_id="user-1", resource_type="record"),
            *chain.add(1, actor_id="user-2", resource_type="record"),
        ]
    )
    until(process, board.through(chain))
    chain.write(chain.add(1, actor_id="user-1", resource_type="record"))
    until(process, board.through(chain))
    chain.write(chain.add(1, later_s=5, kind="log"))
    until(process, board.through(chain))
    told = [(record.identity[1], record.last_seq) for record in board.told(board.topics.activity)]
    assert sorted(told) == [("user-1", 1), ("user-1", 3), ("user-2", 2)]
    board.check(chain)


def test_while_time_stands_still_what_grows_is_told_all_the_same(board: Board, chain: Chain) -> None:
    process = board.roll_up(chain, pace=SOON._replace(quiet_s=1e9))
    for _ in range(4):
        chain.write(chain.add(30))
        seen = len(chain.values) - 1
        until(process, board.through(chain, seen))
    at = position(board, chain)
    assert at is not None
    assert (at.seq, at.told) == (0, 119)
    board.check(chain)


def test_several_chains_are_rolled_up_by_one_process_and_a_new_one_joins(board: Board) -> None:
    first, second, new = board.chain(), board.chain(), board.chain()
    first.write(first.add(200, later_s=0.05))
    second.write(second.add(100, later_s=0.4))
    process = board.roll_up(first, second, pace=SOON)
    until(process, lambda: board.through(first)() and board.through(second)())
    process.close()
    new.write(new.add(50, later_s=0.1))
    first.write(first.add(50, later_s=0.1))
    process = board.roll_up(first, second, new, pace=SOON)
    until(process, lambda: board.through(first)() and board.through(new)())
    board.check(first, second, new)


def test_a_chain_that_cannot_go_on_stops_alone_and_what_came_before_is_written(board: Board) -> None:
    sound, broken = board.chain(), board.chain()
    tally = Figures()
    process = board.roll_up(sound, broken, pace=SOON, tally=tally)
    broken.write([*broken.add(60, later_s=0.1), b'{"not":"an entry"}'])
    sound.write(sound.add(60, later_s=0.1))
    until(process, board.through(sound))
    alarm = tally.alarms()[broken.name]
    assert alarm.kind == "ChainBroken"
    assert "not a sealed entry" in alarm.reason
    assert tally.value(figures.ALARMS, broken.name, "ChainBroken") == 1
    at = position(board, broken)
    assert at is not None
    assert at.second == "2026-11-02T09:00:06Z"
    sound.write(sound.add(10, later_s=1))
    until(process, board.through(sound))


@pytest.mark.parametrize("what", ["gap", "bytes", "backwards"])
def test_the_last_chain_that_cannot_go_on_ends_the_process(board: Board, chain: Chain, what: str) -> None:
    chain.add(10, later_s=0.5)
    if what == "gap":
        del chain.values[5]
    elif what == "bytes":
        chain.values[5] = chain.values[5].replace(b'"actor_id"', b'"actor"')
    else:
        chain.add(1, later_s=-3)
    chain.write(chain.values)
    process = board.roll_up(chain, pace=SOON)
    with pytest.raises(ChainBroken):
        until(process, lambda: False)


def test_a_topic_with_another_cleanup_policy_is_refused(board: Board, chain: Chain) -> None:
    client = AdminClient({"bootstrap.servers": board.kafka.bootstrap})
    wrong = ConfigResource(
        ResourceType.TOPIC,
        board.topics.positions,
        incremental_configs=[ConfigEntry("cleanup.policy", "delete", incremental_operation=AlterConfigOpType.SET)],
    )
    for future in client.incremental_alter_configs([wrong]).values():
        future.result(20)
    with pytest.raises(Misconfigured, match=r"cleanup\.policy=delete: expected compact"):
        board.roll_up(chain).step()


def test_missing_topics_and_another_number_of_partitions_are_told(
    kafka: KafkaSettings, board: Board, chain: Chain
) -> None:
    with pytest.raises(Misconfigured, match="expected 5"):
        ActivityRollUp(kafka, [chain.settings], partitions=5).step()
    elsewhere = chain.settings._replace(prefix=f"{board.prefix}x")
    with pytest.raises(Misconfigured, match="sealstream chain create"):
        ActivityRollUp(kafka, [elsewhere]).step()
    create_topics(kafka, ActivityTopics.of(elsewhere.prefix).configs(1))
    with pytest.raises(Misconfigured, match="sealstream restore kafka"):
        ActivityRollUp(kafka, [elsewhere], partitions=1).step()


def test_a_first_start_on_a_trimmed_chain_begins_with_what_is_there(board: Board, chain: Chain) -> None:
    chain.write(chain.add(400, later_s=0.05), each=10_000)
    trim(board.kafka, chain.topic, 101)
    process = board.roll_up(chain, pace=SOON)
    until(process, board.through(chain))
    whole, there = chain.rolled_up()[0], board.newest(board.topics.activity)
    second = "2026-11-02T09:00:06Z"
    assert {key: value for key, value in there.items() if key[2] >= second} == {
        key: value for key, value in whole.items() if key[2] >= second
    }
    assert min(key[2] for key in there) == "2026-11-02T09:00:05Z"


def test_a_chain_trimmed_beyond_its_roll_up_is_an_alarm_until_a_person_decides(board: Board, chain: Chain) -> None:
    chain.write(chain.add(100, later_s=0.05), each=10_000)
    process = board.roll_up(chain, pace=SOON)
    until(process, board.through(chain))
    process.close()
    chain.write(chain.add(100, later_s=0.05), each=10_000)
    trim(board.kafka, chain.topic, 151)
    with pytest.raises(InputLost, match="no activity is known of 50 entries") as raised:
        board.roll_up(chain, pace=SOON).step()
    assert raised.value.runbook.endswith("input-lost.md")
    process = board.roll_up(chain, pace=SOON, accept_lost=True)
    until(process, board.through(chain))
    assert board.newest(board.topics.activity)


def test_a_chain_trimmed_no_further_than_it_was_told_goes_on(board: Board, chain: Chain) -> None:
    chain.write(chain.add(100, later_s=0.05), each=10_000)
    process = board.roll_up(chain, pace=SOON)
    until(process, board.through(chain))
    process.close()
    chain.write(chain.add(100, later_s=2), each=10_000)
    trim(board.kafka, chain.topic, 101)
    process = board.roll_up(chain, pace=SOON)
    until(process, board.through(chain))
    board.check(chain)


def test_a_chain_restored_at_other_offsets_goes_on_and_one_rolled_back_does_not(board: Board, chain: Chain) -> None:
    chain.write(chain.add(100, later_s=0.05))
    process = board.roll_up(chain, pace=SOON)
    until(process, board.through(chain))
    process.close()
    remake(board.kafka, chain)
    with pytest.raises(HistoryLost, match="is empty"):
        board.roll_up(chain, pace=SOON).step()
    chain.write(chain.values[:90], each=7)
    with pytest.raises(RolledBack, match="ends with entry 89"):
        board.roll_up(chain, pace=SOON).step()
    chain.write(chain.values[90:], each=3)
    chain.write(chain.add(100, later_s=0.05))
    process = board.roll_up(chain, pace=SOON)
    until(process, board.through(chain))
    board.check(chain)


def remake(kafka: KafkaSettings, chain: Chain) -> None:
    client = AdminClient({"bootstrap.servers": kafka.bootstrap})
    client.delete_topics([chain.topic], operation_timeout=30)[chain.topic].result()
    configs = ChainTopics.of(chain.name, chain.settings.prefix).configs()
    create_topics(kafka, [config for config in configs if config.name == chain.topic])


def test_whoever_starts_later_fences_who_runs(board: Board, chain: Chain) -> None:
    first = board.roll_up(chain, pace=SOON)
    chain.write(chain.add(50, later_s=0.1))
    until(first, board.through(chain))
    second = board.roll_up(chain, pace=SOON)
    second.step()
    chain.write(chain.add(50, later_s=0.1))
    with pytest.raises(Fenced):
        until(first, lambda: False)
    until(second, board.through(chain))
    board.check(chain)


def test_what_it_counts(board: Board, chain: Chain) -> None:
    tally = Figures()
    chain.write(chain.add(200, later_s=0.02))
    process = board.roll_up(chain, pace=SOON, tally=tally)
    until(process, board.through(chain))
    process.step()
    records = len(board.told(board.topics.activity)) + len(board.told(board.topics.addresses))
    assert tally.value(figures.ENTRIES, chain.name) == 200
    assert tally.value(figures.LAST_SEQ, chain.name) == 199
    assert tally.value(figures.ACTIVITY_RECORDS, chain.name) == records
    assert tally.value(figures.NEXT_OFFSET, chain.name) == 204  # four markers


def test_an_entry_is_told_soon(board: Board, chain: Chain) -> None:
    process = board.roll_up(chain)
    process.step()
    chain.write(chain.add(1))
    written = time.monotonic()
    until(process, board.through(chain))
    assert time.monotonic() - written < 4
