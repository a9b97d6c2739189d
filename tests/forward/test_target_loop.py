"""One target between Kafka and a receiver: order, positions, letters, crashes at the worst line, and what is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import pytest
from tests.forward.conftest import LOOPBACK, SECRET, make_alert, unique
from tests.forward.receivers import HttpReceiver, Reply, Request
from tests.long_runs import long_run
from tests.postgres.conftest import SealedChain

from sealstream.forward import Sources, Target, TargetLoop, message_in, open_letters, sender_of, settle
from sealstream.forward.outcomes import Outcome, later, refused, taken, unsure
from sealstream.forward.pacing import Pace
from sealstream.forward.positions import kept_positions
from sealstream.forward.senders import Prepared, Sender
from sealstream.kafka import (
    KafkaSettings,
    StandingProducer,
    TransactionalProducer,
    create_topics,
    produce,
    read_until_end,
    trim,
)
from sealstream.kafka.offsets import bounds
from sealstream.layout import Figures, TopicConfig, figures
from sealstream.layout.activity import ActivityTopics
from sealstream.layout.alerts import Alert, encode_alert
from sealstream.layout.forwarding import ForwardTopics, Place

pytestmark = long_run

PARTITIONS = 3


class Recorder:
    """A sender that keeps what it was given, and answers as `answer` says."""

    def __init__(self, most: int = 1) -> None:
        self.most, self.most_bytes = most, 1_000_000
        self.attempts: list[list[str]] = []
        self.given: list[str] = []
        self.answer: Callable[[list[str]], Outcome] = lambda ids: taken("fine")

    def prepare(self, message: Any) -> Prepared:
        if message.alert is not None and message.alert.summary == "unwritable":
            raise ValueError("no form for it")
        return Prepared(message, message.value)

    def send(self, messages: Sequence[Prepared]) -> Outcome:
        ids = [each.message.id if each.message.what != "closing" else "closing" for each in messages]
        self.attempts.append(ids)
        outcome = self.answer(ids)
        if outcome.end == "taken":
            self.given += ids
        return outcome

    def try_out(self) -> str:
        return "fine"

    def close(self) -> None:
        pass


class World(NamedTuple):
    """Topics of their own for one test."""

    kafka: KafkaSettings
    producer: StandingProducer
    sources: Sources
    target: Target

    def loop(self, sender: Sender | None = None, **more: Any) -> TargetLoop:
        target = more.pop("target", self.target)
        sender = sender or sender_of(target, lambda seconds: False)
        quick = Pace(time.monotonic, lambda: 1.0, first_s=0.01)
        return TargetLoop(
            *(self.kafka, target, sender, self.sources, self.producer),
            **{"poll_s": 0.1, "pace": quick, **more},
        )

    def raise_alerts(self, *alerts: Alert) -> None:
        """By subject, as the workers do."""
        for alert in alerts:
            self.producer.send(self.sources.alerts, encode_alert(alert), key=alert.subject.encode())

    def position_total(self) -> int:
        kept = kept_positions(self.kafka, self.sources.own.positions).get(self.target.name)
        return -1 if kept is None else sum(each.next for each in kept.places.values())

    def letters(self) -> list[Any]:
        return open_letters(self.kafka, self.sources.own.deadletter)


@pytest.fixture(scope="module")
def producer(kafka: KafkaSettings) -> Iterator[StandingProducer]:
    with StandingProducer(kafka) as standing:
        yield standing


@pytest.fixture
def world(kafka: KafkaSettings, producer: StandingProducer) -> World:
    prefix = unique("fw")
    alerts, own = ActivityTopics.of(prefix).alerts, ForwardTopics.of(prefix)
    chain = f"{prefix}.chain.main"
    create_topics(kafka, [TopicConfig(alerts, {}, PARTITIONS), TopicConfig(chain, {}), *own.configs()])
    target = Target("soc", "webhook", "", secret=SECRET, allow_networks=LOOPBACK, timeout_s=2)
    return World(kafka, producer, Sources(alerts, {"main": chain}, own), target)


def step_until(loop: TargetLoop, done: Callable[[], bool], within_s: float = 60) -> None:
    deadline = time.monotonic() + within_s
    while not done():
        assert time.monotonic() < deadline, f"not within {within_s} s; {loop.trouble}"
        loop.step()


def ids(*alerts: Alert) -> list[str]:
    return [alert.id for alert in alerts]


def of_subject(given: Sequence[str], alerts: Sequence[Alert]) -> dict[str, list[str]]:
    """The ids in the order in which they came, by subject."""
    subjects = {alert.id: alert.subject for alert in alerts}
    found: dict[str, list[str]] = {}
    for each in given:
        found.setdefault(subjects[each], []).append(each)
    return found


def test_a_new_target_begins_now_and_that_is_one_moment(world: World) -> None:
    world.raise_alerts(make_alert(1))
    world.loop(Recorder()).close()  # stopped before its first step
    world.raise_alerts(make_alert(2))
    recorder = Recorder()
    loop = world.loop(recorder)
    step_until(loop, lambda: bool(recorder.given))
    for _ in range(3):
        loop.step()
    loop.close()
    assert recorder.given == ids(make_alert(2))


def test_a_new_target_that_is_to_have_everything_gets_it(world: World) -> None:
    alerts = [make_alert(n, subject=f"user-{n % 4}") for n in range(40)]
    world.raise_alerts(*alerts)
    recorder = Recorder(most=7)
    loop = world.loop(recorder, target=world.target._replace(start="earliest"))
    step_until(loop, lambda: len(recorder.given) >= len(alerts))
    loop.close()
    assert of_subject(recorder.given, alerts) == of_subject(ids(*alerts), alerts)
    assert max(map(len, recorder.attempts)) == 7


def test_an_attempt_that_is_killed_before_its_position_is_made_again_with_the_same_id(
    world: World, receiver: HttpReceiver
) -> None:
    target = world.target._replace(url=receiver.url)
    loop = world.loop(target=target)
    world.raise_alerts(make_alert(1))

    class Killed(BaseException):
        """As kill -9 leaves it: nothing after this line is done."""

    def die(*args: Any, **more: Any) -> None:
        raise Killed

    loop._write = die  # type: ignore[method-assign]
    with pytest.raises(Killed):
        step_until(loop, lambda: False)
    assert len(receiver.requests) == 1
    again = world.loop(target=target)
    step_until(again, lambda: len(receiver.requests) == 2)
    again.close()
    first, second = receiver.requests
    assert (first.headers["webhook-id"], first.body) == (second.headers["webhook-id"], second.body)
    third = world.loop(target=target)
    for _ in range(4):
        third.step()
    third.close()
    assert len(receiver.requests) == 2


def test_a_receiver_that_was_down_gets_everything_in_order(world: World, receiver: HttpReceiver) -> None:
    target, tally = world.target._replace(url=receiver.url), Figures(time.time)
    loop = world.loop(target=target, tally=tally)
    receiver.stop()
    alerts = [make_alert(n, subject="one") for n in range(12)]
    world.raise_alerts(*alerts)
    step_until(loop, lambda: (tally.value(figures.FORWARD_FAILURES, "soc") or 0) >= 3)
    assert "localhost" in loop.trouble
    before = world.position_total()
    receiver.start()
    step_until(loop, lambda: len(receiver.requests) == 12)
    loop.close()
    assert [request.headers["webhook-id"] for request in receiver.requests] == ids(*alerts)
    assert loop.trouble == ""
    assert world.position_total() == before + 12
    assert tally.value(figures.FORWARDED, "soc") == 12


def test_patience_is_as_long_as_the_receiver_asks_for(world: World, receiver: HttpReceiver) -> None:
    loop = world.loop(target=world.target._replace(url=receiver.url))
    replies = iter([Reply(429, headers={"Retry-After": "1"}), Reply(503, headers={"Retry-After": "1"})])
    receiver.answer = lambda request: next(replies, Reply())
    world.raise_alerts(make_alert(1))
    step_until(loop, lambda: len(receiver.requests) == 3)
    loop.close()
    first, second, third = (request.at for request in receiver.requests)
    assert 1.0 <= second - first < 2.0
    assert 1.0 <= third - second < 2.0


def test_what_is_refused_for_good_becomes_a_letter_and_the_others_go_on(world: World, receiver: HttpReceiver) -> None:
    target, tally = world.target._replace(url=receiver.url), Figures(time.time)
    alerts = [make_alert(n, subject="one") for n in range(5)]
    poison = alerts[2].id

    def answer(request: Request) -> Reply:
        return Reply(422, b"no such\x1b[2J field") if request.headers["webhook-id"] == poison else Reply()

    receiver.answer = answer
    loop = world.loop(target=target, tally=tally)
    world.raise_alerts(*alerts)
    step_until(loop, lambda: len(receiver.requests) == 5)
    step_until(loop, lambda: bool(world.letters()))
    loop.close()
    assert [request.headers["webhook-id"] for request in receiver.requests] == ids(*alerts)  # once each
    (letter,) = world.letters()
    assert (letter.told.target, letter.told.id, letter.told.what) == ("soc", poison, "alert")
    assert letter.told.reason.startswith("422: no such")
    assert letter.value == encode_alert(alerts[2])
    message = message_in(letter)
    assert message is not None
    assert message.alert == alerts[2]
    assert tally.value(figures.FORWARD_LETTERS, "soc") == 1
    settle(world.producer, world.sources.own.deadletter, letter, "delivered", "by a test")
    assert world.letters() == []


def test_a_letter_that_was_written_twice_is_one(world: World) -> None:
    """As a crash between the letter and the position leaves it."""
    recorder = Recorder()
    recorder.answer = lambda given: refused("400: no")

    class Killed(BaseException):
        """As kill -9 leaves it."""

    def die(*args: Any, **more: Any) -> None:
        raise Killed

    loop = world.loop(recorder)
    world.raise_alerts(make_alert(1))
    loop._settled = die  # type: ignore[method-assign]
    with pytest.raises(Killed):
        step_until(loop, lambda: False)
    again = world.loop(recorder)
    step_until(again, lambda: len(recorder.attempts) == 2)
    again.close()
    assert sum(len(records) for records in read_until_end(world.kafka, world.sources.own.deadletter)) == 2
    (letter,) = world.letters()
    settle(world.producer, world.sources.own.deadletter, letter, "dismissed", "by a test")
    assert world.letters() == []


def test_of_a_batch_that_is_refused_the_others_arrive(world: World) -> None:
    recorder = Recorder(most=10)
    alerts = [make_alert(n, subject="one") for n in range(10)]
    recorder.answer = lambda given: refused("400: no") if alerts[4].id in given else taken("fine")
    loop = world.loop(recorder)
    world.raise_alerts(*alerts)
    step_until(loop, lambda: len(recorder.given) == 9 and bool(world.letters()))
    loop.close()
    assert recorder.given == [each for each in ids(*alerts) if each != alerts[4].id]
    assert [letter.told.id for letter in world.letters()] == [alerts[4].id]


def test_a_batch_that_may_not_be_sent_again_becomes_letters_whole(world: World) -> None:
    recorder = Recorder(most=10)
    recorder.answer = lambda given: refused("2 of 4 rejected")._replace(whole=True)
    loop = world.loop(recorder)
    alerts = [make_alert(n, subject="one") for n in range(4)]
    world.raise_alerts(*alerts)
    step_until(loop, lambda: len(world.letters()) == 4)
    loop.close()
    assert sum(map(len, recorder.attempts)) == 4


def test_an_error_of_the_receivers_own_is_given_up_on_in_the_end_and_nobody_else_is(world: World) -> None:
    """A wrong password, or a message that the receiver chokes on: nobody can tell."""
    clock = [0.0]
    recorder = Recorder(most=10)
    alerts = [make_alert(n, subject="one") for n in range(3)]
    recorder.answer = lambda given: unsure("500: oops") if alerts[1].id in given else taken("fine")
    loop = world.loop(recorder, now=lambda: clock[0], target=world.target._replace(give_up_s=600))
    world.raise_alerts(*alerts)
    step_until(loop, lambda: len(recorder.attempts) >= 3)
    assert (recorder.given, world.letters()) == ([], [])
    clock[0] += 601  # of the batch: now each alone
    step_until(loop, lambda: recorder.given == [alerts[0].id] and len(recorder.attempts) >= 8)
    assert world.letters() == []
    clock[0] += 601  # of the one alone
    step_until(loop, lambda: recorder.given == [alerts[0].id, alerts[2].id])
    loop.close()
    (letter,) = world.letters()
    assert (letter.told.id, letter.told.reason) == (alerts[1].id, "500: oops (tried for 601 s)")


def test_what_was_tried_together_is_tried_together_again(world: World) -> None:
    """So that a mail that is made of several has the same Message-ID again, though more have come."""
    recorder = Recorder(most=10)
    recorder.answer = lambda given: later("down")
    loop = world.loop(recorder)
    alerts = [make_alert(n, subject="one") for n in range(8)]
    world.raise_alerts(*alerts[:3])
    step_until(loop, lambda: bool(recorder.attempts))
    world.raise_alerts(*alerts[3:])
    step_until(loop, lambda: len(recorder.attempts) >= 4)
    assert {tuple(each) for each in recorder.attempts} == {tuple(recorder.attempts[0])}
    recorder.answer = lambda given: taken("fine")
    step_until(loop, lambda: len(recorder.given) == 8)
    loop.close()


def test_a_fault_of_our_own_in_one_message_does_not_hold_the_others_up(world: World) -> None:
    recorder = Recorder()
    alerts = [make_alert(n, subject="one") for n in range(3)]

    def answer(given: list[str]) -> Outcome:
        if alerts[1].id in given:
            raise ZeroDivisionError
        return taken("fine")

    recorder.answer = answer
    loop = world.loop(recorder, target=world.target._replace(give_up_s=0.2))
    world.raise_alerts(*alerts)
    step_until(loop, lambda: len(recorder.given) == 2)
    loop.close()
    (letter,) = world.letters()
    assert "ZeroDivisionError" in letter.told.reason


def test_markers_behind_the_last_entry_do_not_wait(world: World, kafka: KafkaSettings) -> None:
    topic = world.sources.chains["main"]
    chain = SealedChain("main").add_many(2)
    writer = TransactionalProducer(kafka, unique("tx"))
    writer.open()
    for value in chain.values:
        writer.begin()
        writer.produce(topic, value)
        writer.commit()
    writer.close()
    recorder = Recorder()
    loop = world.loop(recorder, target=world.target._replace(what="entries", start="earliest"))
    step_until(loop, lambda: len(recorder.given) == 3)
    for _ in range(10):
        loop.step()
    loop.close()
    assert world.position_total() == 6 == bounds(kafka, [Place(topic)])[Place(topic)][1]


def test_nobody_there_is_never_given_up_on(world: World) -> None:
    clock = [0.0]
    recorder = Recorder()
    recorder.answer = lambda given: later("nobody answers")
    loop = world.loop(recorder, now=lambda: clock[0], target=world.target._replace(give_up_s=60))
    world.raise_alerts(make_alert(1))
    step_until(loop, lambda: len(recorder.attempts) >= 2)
    clock[0] += 30 * 86_400
    step_until(loop, lambda: len(recorder.attempts) >= 5)
    assert world.letters() == []
    recorder.answer = lambda given: taken("fine")
    step_until(loop, lambda: bool(recorder.given))
    loop.close()


def test_what_is_no_alert_or_has_no_form_becomes_a_letter(world: World) -> None:
    recorder = Recorder(most=10)
    loop = world.loop(recorder)
    world.producer.send(world.sources.alerts, b"no alert", key=b"one")
    world.raise_alerts(make_alert(1, subject="one", summary="unwritable"), make_alert(2, subject="one"))
    step_until(loop, lambda: bool(recorder.given))
    loop.close()
    assert recorder.given == ids(make_alert(2, subject="one"))
    reasons = {letter.told.what: letter.told.reason for letter in world.letters()}
    assert reasons["unreadable"].startswith("not an alert")
    assert "no form for it" in reasons["alert"]


def test_filtered_muted_and_repeated_alerts_are_passed_over_for_good(world: World) -> None:
    recorder = Recorder()
    quiet, muted = make_alert(1, severity="low", subject="one"), make_alert(2, detector="muted", subject="one")
    told, after = make_alert(3, subject="one"), make_alert(4, subject="one")
    target = world.target._replace(minimum_severity="medium")
    loop = world.loop(recorder, target=target, is_muted=lambda alert: alert.detector == "muted")
    world.raise_alerts(quiet, muted, told, told, after, told)
    step_until(loop, lambda: len(recorder.given) == 2)
    for _ in range(3):
        loop.step()
    loop.close()
    assert recorder.given == ids(told, after)
    assert world.position_total() == 6


def test_entries_arrive_in_the_chains_order_each_byte_of_them(world: World, receiver: HttpReceiver) -> None:
    target = world.target._replace(url=receiver.url, what="entries", start="earliest")
    chain = SealedChain("main").add_many(60)
    produce(world.kafka, world.sources.chains["main"], chain.values)
    loop = world.loop(target=target)
    step_until(loop, lambda: len(receiver.requests) == 61)
    loop.close()
    for value, request in zip(chain.values, receiver.requests, strict=True):
        assert b'"data":' + value + b"}" in request.body


def test_a_chains_topic_that_was_restored_is_gone_on_with_by_its_entries(world: World) -> None:
    """Offsets begin anew, numbers of entries do not."""
    topic = world.sources.chains["main"]
    target = world.target._replace(what="entries", start="earliest")
    chain = SealedChain("main").add_many(9)
    produce(world.kafka, topic, chain.values)
    recorder = Recorder(most=100)
    loop = world.loop(recorder, target=target)
    step_until(loop, lambda: len(recorder.given) == 10)
    loop.close()
    delete_topic(world.kafka, topic)
    create_topics(world.kafka, [TopicConfig(topic, {})])
    produce(world.kafka, topic, chain.add_many(5).values[4:])  # trimmed differently, too
    again = Recorder(most=100)
    loop = world.loop(again, target=target)
    step_until(loop, lambda: len(again.given) >= 5)
    loop.close()
    assert again.given == [sealed.hash.hex() for sealed in chain.sealed[10:]]


def test_alerts_of_a_topic_that_was_made_anew_are_all_sent(world: World) -> None:
    recorder = Recorder()
    loop = world.loop(recorder)
    world.raise_alerts(*(make_alert(n, subject="one") for n in range(5)))
    step_until(loop, lambda: len(recorder.given) == 5)
    loop.close()
    delete_topic(world.kafka, world.sources.alerts)
    create_topics(world.kafka, [TopicConfig(world.sources.alerts, {}, PARTITIONS)])
    world.raise_alerts(make_alert(10))
    again = Recorder()
    loop = world.loop(again)
    step_until(loop, lambda: bool(again.given))
    loop.close()
    assert again.given == ids(make_alert(10))


def test_what_was_trimmed_before_it_was_sent_is_told_and_the_rest_arrives(world: World) -> None:
    topic = world.sources.chains["main"]
    target, tally = world.target._replace(what="entries", start="earliest"), Figures(time.time)
    world.loop(Recorder(), target=target).close()
    chain = SealedChain("main").add_many(9)
    produce(world.kafka, topic, chain.values)
    trim(world.kafka, topic, 6)
    recorder = Recorder(most=100)
    loop = world.loop(recorder, target=target, tally=tally)
    step_until(loop, lambda: len(recorder.given) == 4)
    loop.close()
    assert recorder.given == [sealed.hash.hex() for sealed in chain.sealed[6:]]
    (letter,) = world.letters()
    assert (letter.told.what, letter.told.place, letter.value) == ("lost", Place(topic), None)
    assert letter.told.reason == f"the offsets 0 to 5 of {topic}/0 were gone before they were sent"
    assert message_in(letter) is None
    assert tally.value(figures.FORWARD_LETTERS, "soc") == 1


def test_that_an_alert_was_closed_is_told_after_the_alert_however_long_that_waited(world: World) -> None:
    target = world.target._replace(kind="pagerduty")
    recorder = Recorder()
    recorder.answer = lambda given: later("down")
    loop = world.loop(recorder, target=target)
    alerts = [make_alert(n) for n in range(6)]
    world.raise_alerts(*alerts)
    chain = SealedChain("main").add_many(3)
    closed = {"alert": alerts[5].id, "as": "benign", "reason": "r"}
    chain.add("control", action="alert.closed", metadata=closed)
    produce(world.kafka, world.sources.chains["main"], chain.values)
    step_until(loop, lambda: len(recorder.attempts) >= 3)
    loop.close()
    assert "closing" not in {each for attempt in recorder.attempts for each in attempt}
    again = Recorder()
    loop = world.loop(again, target=target)
    step_until(loop, lambda: "closing" in again.given)
    loop.close()
    assert (sorted(again.given[:6]), again.given[6:]) == (sorted(ids(*alerts)), ["closing"])


def test_how_much_waits_and_since_when_is_counted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sealstream.forward.target_loop._LAG_EVERY_S", 0.0)
    recorder, tally = Recorder(), Figures(time.time)
    recorder.answer = lambda given: later("down")
    loop = world.loop(recorder, tally=tally)
    world.raise_alerts(*(make_alert(n) for n in range(7)))
    step_until(loop, lambda: tally.value(figures.FORWARD_LAG, "soc") == 7)
    step_until(loop, lambda: (tally.value(figures.FORWARD_LAG_SECONDS, "soc") or 0) > 0.2)
    recorder.answer = lambda given: taken("fine")
    step_until(loop, lambda: len(recorder.given) == 7)
    step_until(loop, lambda: tally.value(figures.FORWARD_LAG, "soc") == 0)
    assert tally.value(figures.FORWARD_LAG_SECONDS, "soc") == 0
    loop.close()


def delete_topic(kafka: KafkaSettings, topic: str) -> None:
    from confluent_kafka.admin import AdminClient

    client = AdminClient({"bootstrap.servers": kafka.bootstrap})
    client.delete_topics([topic], operation_timeout=10)[topic].result(20)
    time.sleep(0.5)
