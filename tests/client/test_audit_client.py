"""The client against a real broker: what is emitted arrives once, numbered without gaps, and every loss is counted."""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import re
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from sealstream.client import AuditClient, bind, bind_shared, context, sharing
from sealstream.errors import InvalidEvent, Misconfigured, Unavailable
from sealstream.kafka import KafkaSettings, create_topics, read_until_end
from sealstream.layout import ChainTopics

MakeClient = Callable[..., AuditClient]
Sent = Callable[[], list[dict[str, Any]]]


def read(client: AuditClient, **more: Any) -> str | None:
    return client.emit("read", **{"resource_type": "patient_record", "resource_id": "patient-456", **more})


def test_an_event_arrives_as_it_was_told(make_client: MakeClient, sent: Sent) -> None:
    client = make_client(source={"service": "clinic"})
    event_id = client.emit(
        "invoice.approve",
        actor_id="user-123",
        actor_type="admin",
        on_behalf_of="user-9",
        resource_type="invoice",
        resource_id="inv-7",
        result="failure",
        ip_address="::ffff:203.0.113.9",
        reason="limit",
        changed_fields=["state"],
        old_values={"state": "open"},
        new_values={"state": None},
        metadata={"http_status": 500, "duration_ms": 12.5},
        tenant="north",
        session_id="s-1",
        trace_id="0af7651916cd43dd8448eb211c80319c",
        user_agent="curl/8",
        subject_id="subject-1",
        timestamp=datetime(2026, 11, 24, 4, tzinfo=timezone(timedelta(hours=1))),
    )
    assert client.flush(10) == 0
    (event,) = sent()
    producer_id = event.pop("producer_id")
    assert uuid.UUID(producer_id).version == 7
    assert event == {
        "id": event_id,
        "timestamp": "2026-11-24T03:00:00.000000Z",
        "action": "invoice.approve",
        "actor_id": "user-123",
        "actor_type": "admin",
        "on_behalf_of": "user-9",
        "resource_type": "invoice",
        "resource_id": "inv-7",
        "result": "failure",
        "ip_address": "203.0.113.9",
        "reason": "limit",
        "changed_fields": ["state"],
        "old_values": {"state": "open"},
        "new_values": {"state": None},
        "metadata": {"http_status": 500, "duration_ms": 12.5},
        "tenant": "north",
        "session_id": "s-1",
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "user_agent": "curl/8",
        "subject_id": "subject-1",
        "source": {"service": "clinic", "host": socket.gethostname()},
        "producer_seq": 0,
    }


def test_threads_and_tasks_share_one_numbering_without_gaps_in_kafkas_order(
    make_client: MakeClient, sent: Sent
) -> None:
    client = make_client()
    ids: list[str | None] = []

    def work() -> None:
        ids.extend(read(client) for _ in range(300))

    async def task() -> None:
        for _ in range(50):
            ids.append(read(client))
            await asyncio.sleep(0)

    async def tasks() -> None:
        await asyncio.gather(*(task() for _ in range(10)))

    threads = [threading.Thread(target=work) for _ in range(6)] + [
        threading.Thread(target=asyncio.run, args=(tasks(),))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stats = client.close(20)
    events = sent()
    assert [event["producer_seq"] for event in events] == list(range(2_301))
    assert {event["id"] for event in events[:-1]} == set(ids)
    assert len(set(ids)) == 2_300
    assert events[-1]["action"] == "producer.closed"
    assert events[-1]["metadata"] == {"next": 2_301}
    assert (stats.emitted, stats.delivered, stats.pending, stats.failed, stats.statements) == (2_301, 2_301, 0, 0, 1)


async def test_what_is_bound_fills_every_event_and_stays_in_its_task(make_client: MakeClient, sent: Sent) -> None:
    client = make_client()

    async def request(user: str) -> None:
        bind(actor_id=user, tenant="north", session_id=f"s-{user}", ip_address="2001:DB8::1", reason="treatment")
        await asyncio.sleep(0)
        read(client)
        await asyncio.to_thread(read, client, reason="other")

    await asyncio.gather(request("a"), request("b"))
    read(client)
    await client.aflush(10)
    events = sent()
    for user in "ab":
        mine = [event for event in events if event["actor_id"] == user]
        assert [event["reason"] for event in mine] == ["treatment", "other"]
        assert {(e["tenant"], e["session_id"], e["ip_address"], e["actor_type"]) for e in mine} == {
            ("north", f"s-{user}", "2001:db8::1", "user")
        }
    (outside,) = [event for event in events if event["actor_id"] == "anonymous"]
    assert outside["actor_type"] == "anonymous"
    assert "tenant" not in outside


def test_an_actor_is_one_whole(make_client: MakeClient, sent: Sent) -> None:
    client = make_client()
    with context(actor_id="robot", actor_type="service", on_behalf_of="user-1"):
        read(client)
        read(client, actor_id="user-2")
        with context(actor_id="user-3"):
            read(client)
        read(client)
    client.flush(10)
    assert [(e["actor_id"], e["actor_type"], e.get("on_behalf_of")) for e in sent()] == [
        ("robot", "service", "user-1"),
        ("user-2", "user", None),
        ("user-3", "user", None),
        ("robot", "service", "user-1"),
    ]


def test_what_a_request_shares_is_known_to_all_its_threads_and_to_nobody_else(
    make_client: MakeClient, sent: Sent
) -> None:
    client = make_client()
    with sharing(ip_address="203.0.113.1"):
        login = threading.Thread(target=contextvars.copy_context().run, args=(lambda: bind_shared(actor_id="u-1"),))
        login.start()
        login.join()
        read(client)
    read(client)
    client.flush(10)
    assert [(event["actor_id"], event.get("ip_address")) for event in sent()] == [
        ("u-1", "203.0.113.1"),
        ("anonymous", None),
    ]


def test_a_refused_event_is_counted_logged_once_and_reported_in_the_log_itself(
    make_client: MakeClient, sent: Sent, caplog: pytest.LogCaptureFixture
) -> None:
    client = make_client()
    with caplog.at_level(logging.WARNING, logger="sealstream.client"):
        for _ in range(3):
            assert client.emit("read", resource_type="r", resource_id="1", timestamp="2026-11-24T03:00:00") is None
    complaints = [record.getMessage() for record in caplog.records if "dropped" in record.getMessage()]
    assert len(complaints) == 1
    assert "timestamp has no offset: expected RFC 3339 with Z or +hh:mm, got '2026-11-24T03:00:00'" in complaints[0]
    assert client.stats().refused == 3
    stats = client.close(10)
    assert stats.dropped == {"invalid": 3}
    assert stats.unreported == 0
    losses = [event for event in sent() if event["action"] == "audit.loss"]
    assert sum(event["metadata"]["count"] for event in losses) == 3
    assert {event["metadata"]["reason"] for event in losses} == {"invalid"}


def test_strict_raises_what_would_otherwise_be_counted(make_client: MakeClient) -> None:
    client = make_client(strict=True)
    with pytest.raises(InvalidEvent, match="result is none of its values"):
        read(client, result="perhaps")
    client.close(10)
    with pytest.raises(Unavailable, match="closed"):
        read(client)
    assert client.stats().dropped == {"invalid": 1, "closed": 1}


class _Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("no")

    __str__ = __repr__


class _HostileMapping(dict[str, Any]):
    def items(self) -> Any:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    "value", [{"x": _Hostile()}, {"x": b"bytes"}, {"x": object}, _HostileMapping(a=1), {"x": _HostileMapping(b=1)}, 7]
)
def test_no_object_makes_emit_raise(make_client: MakeClient, value: Any) -> None:
    client = make_client()
    read(client, metadata=value)
    read(client, resource_id=value if isinstance(value, _Hostile) else _Hostile())
    client.emit(_Hostile(), resource_type=_Hostile(), resource_id="1")  # type: ignore[arg-type]
    assert sum(client.stats().dropped.values()) == 3
    assert client.stats().emitted == 0


def test_unreachable_kafka_costs_neither_time_nor_memory_and_every_drop_is_counted() -> None:
    with socket.socket() as taken:  # bound, never listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        client = AuditClient("main", f"127.0.0.1:{taken.getsockname()[1]}", max_pending_bytes=1 << 20)
        read(client)
        before_kib, slowest = _resident_kib(), 0.0
        for _ in range(30_000):
            began = time.perf_counter()
            read(client)
            slowest = max(slowest, time.perf_counter() - began)
        stats = client.stats()
        assert stats.pending == stats.emitted
        assert stats.pending < 2_200
        assert stats.dropped == {"queue full": 30_001 - stats.emitted}
        assert stats.unreported == stats.dropped["queue full"]
        assert _resident_kib() - before_kib < 16_384
        assert slowest < 1  # a connection attempt or a full queue would wait for seconds
        began = time.perf_counter()
        closed = client.close(0.5)
        assert time.perf_counter() - began < 5
    assert closed.delivered == 0
    assert closed.pending == 0
    assert closed.undelivered == closed.failed == closed.emitted
    assert sum(closed.dropped.values()) == 30_001
    assert closed.dropped["not delivered at close"] == closed.emitted


def _resident_kib() -> int:
    with open("/proc/self/status") as status:
        return int(re.search(r"VmRSS:\s+(\d+)", status.read())[1])  # type: ignore[index]


def test_losses_are_reported_once_delivery_works_again(kafka: KafkaSettings, chain_name: str) -> None:
    # A chain whose topic is not there yet: to the client the same as a broker that does not take its events.
    client = AuditClient(f"{chain_name}-late", kafka.bootstrap, max_pending_bytes=65_536, delivery_timeout_s=2)
    told = [read(client) for _ in range(400)]
    queued = len([each for each in told if each is not None])
    assert 0 < queued < 400
    deadline = time.monotonic() + 60
    while client.stats().failed < queued and time.monotonic() < deadline:
        time.sleep(0.1)
    create_topics(kafka, ChainTopics.of(f"{chain_name}-late").configs())
    while client.stats().unreported and time.monotonic() < deadline:
        time.sleep(0.1)
    read(client)
    stats = client.close(30)
    assert stats.unreported == 0
    assert stats.pending == 0

    topic = ChainTopics.of(f"{chain_name}-late").raw
    events = [json.loads(record.value or b"") for records in read_until_end(kafka, topic) for record in records]
    assert len(events) == stats.delivered
    losses = [event for event in events if event["action"] == "audit.loss"]
    assert sum(event["metadata"]["count"] for event in losses) == sum(stats.dropped.values())
    assert {event["result"] for event in losses} == {"failure"}
    # What was numbered and failed is missing from the numbers, and the end says how many there were.
    assert events[-1]["metadata"] == {"next": stats.emitted}
    assert stats.emitted - len(events) == stats.failed


def test_after_close_nothing_is_sent_and_closing_again_changes_nothing(make_client: MakeClient, sent: Sent) -> None:
    client = make_client()
    with client:
        read(client)
    assert read(client) is None
    stats = client.close()
    assert stats.dropped == {"closed": 1}
    assert (stats.emitted, stats.delivered) == (2, 2)
    assert client.flush() == 0
    assert [event["action"] for event in sent()] == ["read", "producer.closed"]


async def test_a_coroutine_can_wait_without_holding_up_the_loop(make_client: MakeClient, sent: Sent) -> None:
    async with make_client() as client:
        read(client)
        assert await client.aflush(10) == 0
    assert [event["action"] for event in sent()] == ["read", "producer.closed"]


def test_an_event_emitted_by_a_signal_handler_amid_another_is_neither_lost_nor_out_of_number(
    make_client: MakeClient, sent: Sent
) -> None:
    client = make_client()
    interrupted: list[str | None] = []
    previous = signal.signal(
        signal.SIGALRM, lambda *_: interrupted.append(read(client, resource_id="from the handler"))
    )
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        ids = [read(client) for _ in range(20_000)]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    stats = client.close(30)
    events = sent()
    assert len(interrupted) > 50
    assert [event["producer_seq"] for event in events] == list(range(len(events)))
    assert {event["id"] for event in events[:-1]} == {*ids, *interrupted}
    assert stats.dropped == {}


def test_a_driver_that_gives_its_producer_up_is_replaced_and_the_numbers_go_on(
    make_client: MakeClient, sent: Sent
) -> None:
    class FailsOnce:
        """A real producer, until the 11th event: then a fatal error, as after a lost epoch."""

        made = 0

        def __init__(self, options: dict[str, Any], **more: Any) -> None:
            FailsOnce.made += 1  # the first only checks the options
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

    client = make_client(producer_factory=FailsOnce)
    first = [read(client) for _ in range(10)]
    client.flush(10)
    assert read(client) is None
    deadline = time.monotonic() + 20
    while FailsOnce.made == 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    later = [read(client) for _ in range(10)]
    stats = client.close(20)
    events = sent()
    assert None not in first + later
    assert [event["producer_seq"] for event in events] == list(range(len(events)))
    assert [event["id"] for event in events if event["action"] == "read"] == first + later
    assert stats.dropped == {"invalid producer epoch": 1}
    assert [e["metadata"] for e in events if e["action"] == "audit.loss"] == [
        {"reason": "invalid producer epoch", "count": 1}
    ]


def test_a_producer_that_stands_still_though_kafka_answers_is_given_up(
    make_client: MakeClient, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sealstream.client.stream._LOOK_AGAIN_S", 0.5)
    made: list[Any] = []
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and never answers

        class Stuck:
            """Asks Kafka, and sends to nobody."""

            def __init__(self, options: dict[str, Any], **more: Any) -> None:
                self._asks = Producer({"bootstrap.servers": options["bootstrap.servers"]})
                nowhere = {"bootstrap.servers": f"127.0.0.1:{silent.getsockname()[1]}"}
                self._sends = Producer({**options, **nowhere}, **more)
                self.list_topics = self._asks.list_topics

            def __len__(self) -> int:
                return len(self._sends)

            def __getattr__(self, name: str) -> Any:
                return getattr(self._sends, name)

        def stuck_at_first(options: dict[str, Any], **more: Any) -> Any:
            # The first one is made and freed by `Delivery.check`.
            made.append((Stuck if len(made) == 1 else Producer)(options, **more))
            return made[-1]

        client = make_client(producer_factory=stuck_at_first, delivery_timeout_s=2)
        assert read(client) is not None
        deadline = time.monotonic() + 30
        while len(made) == 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        later = [read(client) for _ in range(10)]
        stats = client.close(20)
    events = sent()
    assert [event["id"] for event in events if event["action"] == "read"] == later
    assert [event["producer_seq"] for event in events] == sorted(event["producer_seq"] for event in events)
    lost = sum(event["metadata"]["count"] for event in events if event["action"] == "audit.loss")
    assert stats.pending == 0
    assert lost == stats.failed == sum(stats.dropped.values()) >= 1
    assert set(stats.dropped) <= {"timed out", "given up with its producer"}
    assert events[-1]["metadata"] == {"next": events[-1]["producer_seq"] + 1}


def test_while_kafka_is_away_a_producer_keeps_what_may_still_arrive(make_client: MakeClient) -> None:
    made = 0

    def counted(options: dict[str, Any], **more: Any) -> Producer:
        nonlocal made
        made += 1
        return Producer({**options, "bootstrap.servers": "127.0.0.1:1"}, **more)

    client = make_client(producer_factory=counted, delivery_timeout_s=1)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        read(client)
        time.sleep(0.05)
    assert client.stats().failed > 0
    assert made == 2
    client.close(0)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"kafka_options": {"acks": "1"}}, "kafka_options has acks"),
        ({"kafka_options": {"no.such.option": 1}}, "no.such.option"),
        ({"source": {"servce": "typo"}}, "source.servce is not a known field"),
        ({"max_pending_bytes": 10}, "max_pending_bytes is too small"),
        ({"delivery_timeout_s": 0}, "delivery_timeout_s is out of range"),
        ({"exit_timeout_s": float("nan")}, "exit_timeout_s is out of range"),
    ],
)
def test_a_client_that_could_not_keep_its_promise_is_not_made(options: dict[str, Any], says: str) -> None:
    with pytest.raises(Misconfigured, match=re.escape(says)):
        AuditClient("main", **options)


def test_the_successor_of_a_lost_chain_can_be_written_to() -> None:
    client = AuditClient("main-r2", "127.0.0.1:1")
    assert client.close(0).delivered == 0
    with pytest.raises(Misconfigured):
        AuditClient("Main")


def test_times_are_the_clocks(make_client: MakeClient, sent: Sent) -> None:
    client = make_client(clock=lambda: datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC))
    read(client)
    client.flush(10)
    assert sent()[0]["timestamp"] == "2026-01-02T03:04:05.000006Z"


def test_the_largest_events_have_room_for_their_numbers(make_client: MakeClient, sent: Sent) -> None:
    client = make_client()
    read(client, metadata={"x": ""})
    client.flush(10)
    bare = len(json.dumps(sent()[0], separators=(",", ":")))
    for missing in range(30):
        assert read(client, metadata={"x": "y" * (61_440 - bare - missing)}) is not None
    assert client.close(10).dropped == {}
    texts = [event["metadata"] for event in sent()[1:-1]]
    assert sum("x" in metadata for metadata in texts) == 14  # the others are told by their length and digest
    assert all(metadata.get("left_out_bytes", 0) > 60_000 for metadata in texts if "x" not in metadata)
