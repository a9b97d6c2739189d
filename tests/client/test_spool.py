"""Mode spool against a real broker: what waits on disk arrives in order, its bounds hold, and every loss is said."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from sealstream.client import AuditClient, delivery, spool_directory, spool_journal
from sealstream.client.spool_drain import drain_spool
from sealstream.client.spool_status import spool_status
from sealstream.errors import Misconfigured, Unavailable
from sealstream.kafka import KafkaSettings, create_topics, read_until_end
from sealstream.layout import ChainSettings, ChainTopics

Sent = Callable[[], list[dict[str, Any]]]
MakeClient = Callable[..., AuditClient]
NOWHERE = "127.0.0.1:1"


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def make_spooling(chain: ChainSettings, kafka: KafkaSettings, spool: Path) -> Iterator[MakeClient]:
    """`make_spooling(bootstrap, **options)`: a client in mode spool, closed when the test ends."""
    made: list[AuditClient] = []

    def make(bootstrap: str = kafka.bootstrap, **options: Any) -> AuditClient:
        made.append(AuditClient(chain.name, bootstrap, **{"mode": "spool", "spool_directory": spool, **options}))
        return made[-1]

    yield make
    for client in made:
        client.close(0)


def emit(client: AuditClient, count: int = 1, **more: Any) -> list[str | None]:
    return [client.emit("read", **{"resource_type": "r", "resource_id": n, **more}) for n in range(count)]


def left(spool: Path) -> list[str]:
    return [folder.name for folder in spool_directory.streams(spool)]


def wait_for(condition: Callable[[], bool], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.02)


def losses(events: list[dict[str, Any]]) -> dict[str, int]:
    counted: dict[str, int] = {}
    for event in events:
        if event["action"] == "audit.loss":
            reason = event["metadata"]["reason"]
            counted[reason] = counted.get(reason, 0) + event["metadata"]["count"]
    return counted


def test_what_is_sent_leaves_nothing_on_disk(make_spooling: MakeClient, sent: Sent, spool: Path) -> None:
    client = make_spooling()
    ids = emit(client, 500)
    assert left(spool) == [client._stream.producer_id]
    assert client.flush(20) == 0
    stats = client.close(20)
    assert (stats.emitted, stats.delivered, stats.pending, stats.failed, stats.spool_bytes) == (501, 501, 0, 0, 0)
    assert left(spool) == []
    events = sent()
    assert [event["id"] for event in events[:-1]] == ids
    assert [event["producer_seq"] for event in events] == list(range(501))
    assert events[-1]["metadata"] == {"next": 501}


def test_what_overflows_memory_waits_on_disk_and_the_next_start_sends_it_in_order(
    make_spooling: MakeClient, sent: Sent, spool: Path
) -> None:
    away = make_spooling(NOWHERE, max_pending_bytes=65_536)
    ids = emit(away, 3_000)
    assert None not in ids
    stats = away.close(0)
    assert (stats.dropped, stats.delivered, stats.pending, stats.failed) == ({}, 0, 3_001, 0)
    (waiting,) = spool_status(spool)
    assert (waiting.waiting, waiting.held, waiting.damaged, waiting.pid) == (3_001, False, 0, os.getpid())

    back = make_spooling()
    ids += emit(back, 10)
    wait_for(lambda: left(spool) == [back._stream.producer_id])
    back.close(20)
    events = sent()
    for client, count in ((away, 3_001), (back, 11)):
        own = [event for event in events if event["producer_id"] == client._stream.producer_id]
        assert [event["producer_seq"] for event in own] == list(range(count))
        assert own[-1]["metadata"] == {"next": count}
    assert {event["id"] for event in events if event["action"] == "read"} == set(ids)
    assert left(spool) == []


def test_a_full_spool_drops_what_comes_counts_it_and_says_so(
    make_spooling: MakeClient, kafka: KafkaSettings, sent: Sent, spool: Path
) -> None:
    client = make_spooling(NOWHERE, max_pending_bytes=65_536, spool_max_bytes=1 << 20)
    told = emit(client, 1_500, metadata={"pad": "x" * 1_000})
    kept = [each for each in told if each is not None]
    assert 0 < len(kept) < 1_500
    used = sum(path.stat().st_blocks * 512 for path in spool.rglob("*.events"))
    assert used <= 1 << 20
    assert told == kept + [None] * (1_500 - len(kept))  # what is there stays, what comes is dropped
    stats = client.close(0.3)
    assert stats.dropped == {"spool full": 1_500 - len(kept)}
    assert stats.unreported == 0
    drained = drain_spool(spool, kafka.bootstrap)
    assert (drained.lost, drained.streams, drained.held) == (0, 1, ())
    events = sent()
    assert [event["id"] for event in events if event["action"] == "read"] == kept
    assert losses(events) == stats.dropped
    assert events[-1]["metadata"] == {"next": len(events)}


def test_strict_raises_for_a_full_spool(make_spooling: MakeClient) -> None:
    client = make_spooling(NOWHERE, max_pending_bytes=65_536, spool_max_bytes=1 << 20, strict=True)
    with pytest.raises(Unavailable, match="spool full"):
        emit(client, 100, metadata={"pad": "x" * 50_000})


def test_losses_that_a_dead_process_had_no_time_to_report_are_reported_for_it(
    chain: ChainSettings, kafka: KafkaSettings, sent: Sent, spool: Path
) -> None:
    child = os.fork()
    if child == 0:
        client = AuditClient(
            chain.name, NOWHERE, mode="spool", spool_directory=spool, max_pending_bytes=65_536, spool_max_bytes=1 << 20
        )
        for _ in range(3):  # the first round is reported at once, and while Kafka is away no other
            emit(client, 400, metadata={"pad": "x" * 3_000})
            time.sleep(0.4)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    kept = spool_status(spool)[0]
    assert kept.unreported > 0
    drained = drain_spool(spool, kafka.bootstrap)
    assert drained.lost == kept.unreported
    events = sent()
    told = losses(events)
    assert told["not reported before the process died"] == kept.unreported
    assert sum(told.values()) == 1_200 - sum(event["action"] == "read" for event in events)
    assert left(spool) == []


def test_where_the_disk_has_no_room_and_kafka_is_there_events_arrive_all_the_same(
    make_spooling: MakeClient, kafka: KafkaSettings, sent: Sent, spool: Path
) -> None:
    strangers = spool / "somebody-elses"
    strangers.mkdir(parents=True)
    with (strangers / "0000000000000000.events").open("wb") as file:
        file.truncate(1 << 20)
    client = make_spooling(spool_max_bytes=1 << 20)
    ids = emit(client, 200)
    assert None not in ids
    assert client.flush(20) == 0
    (strangers / "0000000000000000.events").unlink()
    time.sleep(0.6)
    ids += emit(client, 200)
    assert client._stream.producer_id in left(spool)
    stats = client.close(20)
    assert (stats.dropped, stats.delivered, stats.failed) == ({}, 401, 0)
    events = sent()
    assert [event["id"] for event in events[:-1]] == ids
    assert [event["producer_seq"] for event in events] == list(range(401))


def test_a_disk_that_refuses_every_write_costs_an_application_nothing_while_kafka_is_there(
    chain: ChainSettings, kafka: KafkaSettings, sent: Sent, spool: Path
) -> None:
    child = os.fork()
    if child == 0:
        import resource

        client = AuditClient(chain.name, kafka.bootstrap, mode="spool", spool_directory=spool)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))  # less than a segment
        emit(client, 100)
        stats = client.close(30)
        os._exit(0 if (stats.delivered, stats.dropped) == (101, {}) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert [event["producer_seq"] for event in sent()] == list(range(101))


def test_a_spool_that_somebody_empties_under_a_living_process_is_a_counted_loss(
    kafka: KafkaSettings, chain_name: str, spool: Path
) -> None:
    client = AuditClient(
        chain_name,
        kafka.bootstrap,
        mode="spool",
        spool_directory=spool,
        max_pending_bytes=65_536,
        kafka_options={"topic.metadata.propagation.max.ms": 500},
    )
    emit(client, 2_000, metadata={"pad": "x" * 1_000})
    wait_for(lambda: bool(client._stream._feed._said), 20)  # type: ignore[attr-defined]  # the driver's copy is gone
    for path in spool.rglob("*.events"):
        os.truncate(path, 2_000)
    topics = ChainTopics.of(chain_name)
    create_topics(kafka, topics.configs())
    wait_for(lambda: client.stats().pending == 0)
    emit(client, 10)
    stats = client.close(30)
    events = [json.loads(r.value or b"") for records in read_until_end(kafka, topics.raw) for r in records]
    lost = stats.dropped["spool damaged"]
    assert lost > 0
    assert losses(events) == {"spool damaged": lost}
    assert len(events) == stats.emitted - lost == stats.delivered


def test_a_damaged_and_torn_spool_gives_all_that_is_whole_and_says_what_is_not(
    make_spooling: MakeClient, kafka: KafkaSettings, sent: Sent, spool: Path
) -> None:
    client = make_spooling(NOWHERE)
    ids = emit(client, 20)
    client.close(0)
    (segment,) = spool.rglob("*.events")
    data = bytearray(segment.read_bytes())
    at = data.index(str(ids[7]).encode())
    data[at] ^= 1
    end = data.rindex(b"producer.closed")
    segment.write_bytes(data[:end])
    assert [(each.waiting, each.damaged) for each in spool_status(spool)] == [(19, 2)]
    drained = drain_spool(spool, kafka.bootstrap)
    assert drained.lost == 2
    events = sent()
    whole = [event for event in events if event["producer_id"] == client._stream.producer_id]
    assert [event["id"] for event in whole] == ids[:7] + ids[8:]
    assert losses(events) == {"spool damaged": 2}
    (loss,) = [event for event in events if event["action"] == "audit.loss"]
    assert loss["resource_id"] == client._stream.producer_id
    # Nobody can know which number came next, so nobody uses one.
    assert [e["producer_id"] for e in events if e["action"] == "producer.closed"] == [loss["producer_id"]]
    assert left(spool) == []


def test_a_segment_that_is_gone_is_counted_by_its_neighbours(
    make_spooling: MakeClient, kafka: KafkaSettings, sent: Sent, spool: Path
) -> None:
    client = make_spooling(NOWHERE, spool_max_bytes=8 << 20)
    emit(client, 1_000, metadata={"pad": "x" * 1_000})
    client.close(0)
    segments = sorted(spool.rglob("*.events"))
    first, second = (spool_directory.first_of(path) for path in segments[1:3])
    segments[1].unlink()
    assert drain_spool(spool, kafka.bootstrap).lost == second - first
    events = sent()
    assert losses(events) == {"spool damaged": second - first}
    own = [e["producer_seq"] for e in events if e["producer_id"] == client._stream.producer_id]
    assert own == [*range(first), *range(second, 1_001)]


def test_a_living_processes_events_are_left_to_it_also_when_its_parent_was_killed(
    chain: ChainSettings, kafka: KafkaSettings, sent: Sent, spool: Path
) -> None:
    ready, say_ready = os.pipe()
    wait, go = os.pipe()
    parent = os.fork()
    if parent == 0:
        client = AuditClient(chain.name, NOWHERE, mode="spool", spool_directory=spool)
        emit(client, 50)
        if os.fork() == 0:
            emit(client, 30)
            os.write(say_ready, b"1")
            os.read(wait, 1)
            os._exit(0)
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(parent, 0)
    os.read(ready, 1)
    drained = drain_spool(spool, kafka.bootstrap)
    assert (drained.streams, drained.events, len(drained.held)) == (1, 51, 1)
    assert {(each.held, each.waiting) for each in spool_status(spool)} == {(True, 30)}
    os.write(go, b"1")
    wait_for(lambda: not spool_directory.is_held(spool / drained.held[0]))
    assert drain_spool(spool, kafka.bootstrap).events == 31
    assert sorted(event["action"] for event in sent()) == ["producer.closed"] * 2 + ["read"] * 80


def test_many_drains_at_once_send_each_stream_once(
    make_spooling: MakeClient, kafka: KafkaSettings, sent: Sent, spool: Path
) -> None:
    for _ in range(6):
        client = make_spooling(NOWHERE)
        emit(client, 50)
        client.close(0)
    drained = []
    threads = [
        threading.Thread(target=lambda: drained.append(drain_spool(spool, kafka.bootstrap).events)) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(drained) == 6 * 51
    assert len(sent()) == 6 * 51


def test_a_drain_without_kafka_gives_up_and_leaves_everything(
    make_spooling: MakeClient, kafka: KafkaSettings, sent: Sent, spool: Path
) -> None:
    client = make_spooling(NOWHERE)
    emit(client, 50)
    client.close(0)
    with pytest.raises(Unavailable, match="51 events wait"):
        drain_spool(spool, NOWHERE, patience_s=1)
    assert drain_spool(spool, kafka.bootstrap).events == 51
    assert len(sent()) == 51


@pytest.mark.parametrize("policy", ["interval", "always"])
def test_signals_amid_emit_lose_nothing_whether_their_handlers_emit_or_raise(
    make_spooling: MakeClient, sent: Sent, policy: str
) -> None:
    client = make_spooling(spool_fsync=policy)
    ids = emit(client)
    from_handlers: list[str | None] = []
    raised = 0

    class Interrupt(BaseException):
        pass

    def handler(_signal: int, frame: FrameType | None) -> None:
        nonlocal raised
        from_handlers.extend(emit(client))
        if frame is not None and "sealstream/client/s" in frame.f_code.co_filename:  # amid `send` or what it calls
            raised += 1
            raise Interrupt

    previous = signal.signal(signal.SIGALRM, handler)
    try:
        while len(from_handlers) < 300 or raised < 20:
            with suppress(Interrupt):
                signal.setitimer(signal.ITIMER_REAL, 0.0005)
                ids += emit(client, 20)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    stats = client.close(30)
    assert (stats.dropped, stats.pending, stats.failed) == ({}, 0, 0)
    first: dict[int, str] = {}
    for event in sent():
        assert first.setdefault(event["producer_seq"], event["id"]) == event["id"]  # a repeat is the same event
    assert list(first) == list(range(stats.emitted))
    assert not {*ids, *from_handlers} - {*first.values()}
    assert not client._stream._busy


def test_events_wait_on_disk_while_kafka_refuses_them_and_keep_their_order(
    kafka: KafkaSettings, chain_name: str, spool: Path
) -> None:
    client = AuditClient(
        chain_name,
        kafka.bootstrap,
        mode="spool",
        spool_directory=spool,
        max_pending_bytes=65_536,
        kafka_options={"topic.metadata.propagation.max.ms": 500},
    )
    ids = emit(client, 2_000)
    wait_for(lambda: bool(client._stream._feed._said), 20)  # type: ignore[attr-defined]
    topics = ChainTopics.of(chain_name)
    create_topics(kafka, topics.configs())
    ids += emit(client, 100)
    stats = client.close(60)
    assert (stats.dropped, stats.delivered, stats.pending) == ({}, 2_101, 0)
    events = [json.loads(r.value or b"") for records in read_until_end(kafka, topics.raw) for r in records]
    assert [event["id"] for event in events[:-1]] == ids


def test_a_driver_that_gives_its_producer_up_loses_nothing(make_spooling: MakeClient, sent: Sent) -> None:
    class FailsOnce:
        """A real producer, until the 11th event: then a fatal error, as after a lost epoch."""

        made = 0

        def __init__(self, options: dict[str, Any], **more: Any) -> None:
            FailsOnce.made += 1
            self._real = Producer(options, **more)
            self._left = 10 if FailsOnce.made == 2 else 10**9

        def produce(self, *args: Any, **named: Any) -> None:
            self._left -= 1
            if self._left < 0:
                raise KafkaException(KafkaError(KafkaError.INVALID_PRODUCER_EPOCH, "fenced", fatal=True))
            self._real.produce(*args, **named)

        def __len__(self) -> int:
            return len(self._real)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._real, name)

    client = make_spooling(producer_factory=FailsOnce)
    ids = emit(client, 500)
    stats = client.close(30)
    assert FailsOnce.made > 2
    assert (stats.dropped, stats.delivered) == ({}, 501)
    first: dict[str, int] = {}
    for event in sent():
        assert first.setdefault(event["id"], event["producer_seq"]) == event["producer_seq"]
    assert list(first)[:-1] == ids
    assert list(first.values()) == list(range(501))


def test_a_producer_that_stands_still_gets_a_successor(
    make_spooling: MakeClient, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "_SPOOL_STANDSTILL_S", 1.0)
    made = 0
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and never answers

        def stuck_at_first(options: dict[str, Any], **more: Any) -> Producer:
            nonlocal made
            made += 1
            nowhere = {"bootstrap.servers": f"127.0.0.1:{silent.getsockname()[1]}"} if made == 2 else {}
            return Producer({**options, **nowhere}, **more)

        client = make_spooling(producer_factory=stuck_at_first)
        ids = emit(client, 20)
        stats = client.close(30)
    assert (stats.dropped, stats.pending, stats.delivered) == ({}, 0, 21)
    assert [event["id"] for event in sent()][:-1] == ids


@pytest.mark.parametrize(("policy", "syncs"), [("always", range(10, 31)), ("interval", range(1, 9)), ("never", [0])])
def test_the_disk_is_asked_as_often_as_the_user_chose(
    make_spooling: MakeClient, monkeypatch: pytest.MonkeyPatch, policy: str, syncs: range
) -> None:
    done: list[int] = []
    real = spool_journal._sync_data
    monkeypatch.setattr(spool_journal, "_sync_data", lambda descriptor: (real(descriptor), done.append(descriptor)))
    client = make_spooling(NOWHERE, spool_fsync=policy, spool_fsync_interval_s=0.2)
    for n in range(10):
        emit(client)
        assert policy != "always" or len(done) > n  # when emit returns, the disk has it
    time.sleep(0.5)
    assert len(done) in syncs
    assert client._stream._journal._synced == (0 if policy == "never" else 10)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"mode": "spool"}, "needs spool_directory"),
        ({"spool_directory": "/tmp/x"}, "spool_directory has no effect"),
        ({"mode": "durable"}, "mode 'durable' is unknown"),
        ({"mode": "spool", "spool_directory": "/proc/nowhere"}, "can't be used"),
        ({"mode": "spool", "spool_directory": "{}", "spool_max_bytes": 1000}, "spool_max_bytes is too small"),
        ({"mode": "spool", "spool_directory": "{}", "spool_fsync": "often"}, "spool_fsync is unknown"),
        ({"mode": "spool", "spool_directory": "{}", "spool_fsync_interval_s": 0}, "spool_fsync_interval_s is out of"),
    ],
)
def test_a_spool_that_could_not_keep_its_promise_is_refused(options: dict[str, Any], says: str, tmp_path: Path) -> None:
    if options.get("spool_directory") == "{}":
        options = {**options, "spool_directory": tmp_path}
    with pytest.raises(Misconfigured, match=says):
        AuditClient("main", NOWHERE, **options)
