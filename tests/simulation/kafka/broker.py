"""A small model of one Kafka cluster (4.x): partitions with transactions, their coordinator, groups of members.

Kept: offsets that markers and aborted records take; the last stable offset; commit in two phases, the answer before the
markers, each partition's marker in its own time; epochs, on each partition as of what was written to it; verification
of a partition's first transactional write (KIP-890, part 1: what a broker does for clients that do not speak the new
protocol); transaction timeouts; start offsets; topic ids; compaction by key; group members that are dropped. Left out:
replicas, several partitions, quotas, security, the log's files.

Clients (`producer`, `consumer`, `admin`) call these methods as *changes* of an effect: at once, and never waiting.
Timers of the broker's own run as the world. The anomalies that Jepsen found are made here: an EndTxn that is doubled
and arrives late ends the next transaction of the same epoch; one that was answered is lost, wholly or for some of the
partitions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple

from confluent_kafka import KafkaError
from tests.simulation.world import Process, Signal, World

__all__ = ["Broker", "Held", "PartitionTransaction", "Topic", "Transaction"]

SESSION_TIMEOUT_S = 6.0
Headers = Sequence[tuple[str, bytes]]


class PartitionTransaction:
    """What one producer has written to one partition since its last marker there."""

    __slots__ = ("first", "state")

    def __init__(self, first: int) -> None:
        self.first = first
        self.state: Literal["open", "committed", "aborted"] = "open"


class Held(NamedTuple):
    """A record, or a marker, at its offset."""

    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    transaction: PartitionTransaction | None
    is_marker: bool = False


class Topic:
    """One partition."""

    def __init__(self, world: World, name: str, topic_id: str, config: dict[str, str]) -> None:
        self.name = name
        self.id = topic_id
        self.config = config
        self.start = 0
        self.end = 0
        self.held: list[Held] = []
        """By offset; where compaction has passed, offsets are missing."""
        self.came = Signal(world)
        self.epochs: dict[int, int] = {}
        self.open: dict[int, PartitionTransaction] = {}
        self._contiguous = True

    @property
    def by_broker_clock(self) -> bool:
        return self.config.get("message.timestamp.type") == "LogAppendTime"

    @property
    def stable(self) -> int:
        """The last stable offset."""
        if not self.open:
            return self.end
        return min(one.first for one in self.open.values())

    def add(self, held: Held) -> None:
        self.held.append(held)
        self.end = held.offset + 1

    def index(self, offset: int) -> int:
        """Of the first record at or after an offset."""
        if self._contiguous:
            return max(0, offset - self.start)
        low, high = 0, len(self.held)
        while low < high:
            middle = (low + high) // 2
            if self.held[middle].offset < offset:
                low = middle + 1
            else:
                high = middle
        return low

    def visible(self, offset: int, limit: int) -> tuple[list[Held], int]:
        """Up to `limit` committed records from `offset` on, and where to go on: behind all that was looked at."""
        stable, found = self.stable, []
        at = self.index(offset)
        while at < len(self.held) and (held := self.held[at]).offset < stable and len(found) < limit:
            offset = held.offset + 1
            at += 1
            if not held.is_marker and (held.transaction is None or held.transaction.state == "committed"):
                found.append(held)
        if len(found) < limit:
            offset = max(offset, stable)
        return found, offset

    def committed(self) -> list[Held]:
        """Everything that a reader sees."""
        return self.visible(self.start, 1 << 60)[0]

    def trim(self, before: int) -> None:
        """Delete the records below an offset."""
        if before > self.start:
            self.held = self.held[self.index(before) :]
            self.start = before
            self.came.notify()

    def compact(self) -> None:
        """Keep each key's last committed record; what is open, and the last record, stay."""
        stable = self.stable
        last: dict[bytes | None, int] = {}
        for held in self.held:
            if held.offset < stable and self._is_committed(held):
                last[held.key] = held.offset
        self.held = [
            held
            for index, held in enumerate(self.held)
            if held.offset >= stable
            or index == len(self.held) - 1
            or (self._is_committed(held) and last[held.key] == held.offset)
        ]
        self._contiguous = False

    @staticmethod
    def _is_committed(held: Held) -> bool:
        return not held.is_marker and (held.transaction is None or held.transaction.state == "committed")


class Transaction:
    """What the coordinator knows of one transactional id."""

    def __init__(self, producer_id: int, timeout_s: float) -> None:
        self.producer_id = producer_id
        self.epoch = -1
        self.timeout_s = timeout_s
        self.state: Literal["empty", "ongoing", "ending", "committed", "aborted"] = "empty"
        self.topics: list[str] = []
        self.number = 0
        self.markers = 0


class Broker:
    """The cluster. `seen`: every record that was ever written, by topic, for the judge."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.topics: dict[str, Topic] = {}
        self.lives: dict[str, list[Topic]] = {}
        self.transactions: dict[str, Transaction] = {}
        self.groups: dict[str, Group] = {}
        self.offsets: dict[tuple[str, str], int] = {}
        self.up_at_ns = 0
        self.ever: dict[str, list[Held]] = {}
        self._next_id = 0
        self.observer: Callable[[Process, str, bytes | None, str], None] = lambda *_: None

    # --- topics

    @property
    def is_up(self) -> bool:
        return self.world.now_ns >= self.up_at_ns

    def go_down(self, seconds: float) -> None:
        """Nobody is answered for so long."""
        self.up_at_ns = max(self.up_at_ns, self.world.now_ns + int(seconds * 1e9))
        self.world.tell(f"Kafka answers nobody for {seconds:.1f} s")

    def create(self, name: str, config: dict[str, str] | None = None) -> KafkaError | None:
        if name in self.topics:
            return KafkaError(KafkaError.TOPIC_ALREADY_EXISTS, f"Topic '{name}' already exists.")
        self._next_id += 1
        topic = Topic(self.world, name, f"topic-id-{self._next_id:04d}", dict(config or {}))
        self.topics[name] = topic
        self.lives.setdefault(name, []).append(topic)
        return None

    def recreate(self, name: str) -> None:
        """Delete a topic and make it again."""
        gone = self.topics.pop(name)
        gone.came.notify()
        self.create(name, gone.config)
        self.world.tell(f"{name} is deleted and made again")

    # --- writing

    def append(
        self,
        name: str,
        records: Sequence[tuple[bytes | None, bytes | None, Headers, int]],
        producer: tuple[int, int] | None = None,
        transactional: str = "",
    ) -> tuple[int, int] | KafkaError:
        """Key, value, headers, create time of each; first offset and the broker's time, or why not.

        `producer`: id and epoch. `transactional`: the id of the transaction that the records belong to.
        """
        topic = self.topics.get(name)
        if topic is None:
            return KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, f"{name}: unknown topic")
        part: PartitionTransaction | None = None
        if transactional and producer is not None:
            refused = self._check_write(topic, producer, transactional)
            if refused is not None:
                return refused
            producer_id, epoch = producer
            topic.epochs[producer_id] = epoch
            part = topic.open.get(producer_id)
            if part is None:
                part = topic.open[producer_id] = PartitionTransaction(topic.end)
        now_ms = self.world.wall_ns() // 1_000_000
        first = topic.end
        ever = self.ever.setdefault(name, [])
        for key, value, headers, created_ms in records:
            held = Held(topic.end, now_ms if topic.by_broker_clock else created_ms, key, value, headers, part)
            topic.add(held)
            ever.append(held)
        topic.came.notify()
        return first, now_ms

    def _check_write(self, topic: Topic, producer: tuple[int, int], transactional: str) -> KafkaError | None:
        producer_id, epoch = producer
        if epoch < topic.epochs.get(producer_id, -1):
            return _stale()
        if producer_id in topic.open:
            return None
        known = self.transactions[transactional]
        if known.epoch != epoch:
            return _stale()
        if known.state != "ongoing" or topic.name not in known.topics:
            return KafkaError(
                KafkaError.INVALID_TXN_STATE, "the partition is not in the transaction", txn_requires_abort=True
            )
        return None

    # --- transactions

    def init_producer(self, transactional: str, timeout_s: float) -> tuple[int, int] | KafkaError:
        """Producer id and a new epoch; whoever had the one before is fenced."""
        known = self.transactions.get(transactional)
        if known is None:
            self._next_id += 1
            known = self.transactions[transactional] = Transaction(self._next_id, timeout_s)
        known.timeout_s = timeout_s
        if known.state == "ongoing":
            known.epoch += 1
            self._begin_end(transactional, known, commit=False)
        if known.state == "ending":
            return _concurrent()
        known.epoch += 1
        known.state = "empty"
        known.topics.clear()
        return known.producer_id, known.epoch

    def add_to_transaction(self, transactional: str, epoch: int, topic: str) -> KafkaError | None:
        """A partition joins the transaction, which begins with the first."""
        known = self.transactions[transactional]
        if epoch != known.epoch:
            return _fenced()
        if known.state == "ending":
            return _concurrent()
        if known.state != "ongoing":
            known.state = "ongoing"
            known.topics = []
            known.number += 1
            number = known.number
            self.world.after(known.timeout_s, lambda: self._time_out(transactional, number))
        if topic not in known.topics:
            known.topics.append(topic)
        return None

    def end_transaction(
        self, transactional: str, epoch: int, commit: bool, *, how: str = "", slow_s: float = 0.0
    ) -> KafkaError | None:
        """EndTxn. `how`: absent, torn: the answer says committed, and it is not, or not everywhere."""
        known = self.transactions[transactional]
        if epoch != known.epoch:
            return _fenced()
        if known.state == "ending":
            return _concurrent()
        if known.state == "ongoing":
            self._begin_end(transactional, known, commit=commit, how=how, slow_s=slow_s)
            return None
        if known.state == ("committed" if commit else "aborted"):
            return None
        return KafkaError(KafkaError.INVALID_TXN_STATE, f"the transaction is {known.state}", txn_requires_abort=True)

    def _begin_end(
        self, transactional: str, known: Transaction, *, commit: bool, how: str = "", slow_s: float = 0.0
    ) -> None:
        rng = self.world.rng
        known.state = "ending"
        topics = list(known.topics)
        lost: list[str] = []
        if how == "absent" or (how == "torn" and len(topics) < 2):
            lost = topics
        elif how == "torn":
            lost = rng.sample(topics, rng.randrange(1, len(topics)))
        if lost:
            self.world.tell(f"the transaction of {transactional} is answered as committed, and lost in {lost}")
        known.markers = len(topics) + 1  # the coordinator's own word is the last
        epoch = known.epoch
        for name in topics:
            kept = commit and name not in lost
            delay_s = slow_s * rng.random() + 0.0002 + 0.004 * rng.random() ** 4
            self.world.after(delay_s, lambda name=name, kept=kept: self._mark(name, known, epoch, kept, commit))  # type: ignore[misc]
        self.world.after(0.0002 + 0.003 * rng.random(), lambda: self._one_ended(known, commit))

    def _mark(self, name: str, known: Transaction, epoch: int, commit: bool, ends_as: bool) -> None:
        topic = self.topics.get(name)
        if topic is not None:
            part = topic.open.pop(known.producer_id, None)
            if part is not None:
                part.state = "committed" if commit else "aborted"
            topic.epochs[known.producer_id] = max(epoch, topic.epochs.get(known.producer_id, -1))
            topic.add(Held(topic.end, self.world.wall_ns() // 1_000_000, None, None, (), None, True))
            topic.came.notify()
        self._one_ended(known, ends_as)

    @staticmethod
    def _one_ended(known: Transaction, ends_as: bool) -> None:
        known.markers -= 1
        if known.markers == 0:
            known.state = "committed" if ends_as else "aborted"
            known.topics = []

    def _time_out(self, transactional: str, number: int) -> None:
        known = self.transactions[transactional]
        if known.state == "ongoing" and known.number == number:
            self.world.tell(f"the broker aborts the transaction of {transactional}: its time is up")
            known.epoch += 1
            self._begin_end(transactional, known, commit=False)

    # --- groups

    def group(self, name: str) -> Group:
        if name not in self.groups:
            self.groups[name] = Group(self, name)
        return self.groups[name]


class Member:
    """One consumer in a group. `events`: what it is told at its next poll."""

    def __init__(self, world: World, process: Process, topics: Iterable[str]) -> None:
        self.process = process
        self.topics = list(topics)
        self.owned: list[str] = []
        self.events: list[tuple[str, list[str]]] = []
        self.seen_ns = world.now_ns
        self.dropped = False
        self.closed = False
        self.changed = Signal(world)


class Group:
    """Members share the topics that they subscribe to; cooperative: a topic moves once its owner has let it go."""

    def __init__(self, broker: Broker, name: str) -> None:
        self._broker = broker
        self._world = broker.world
        self.name = name
        self.members: list[Member] = []
        self._wanted: dict[str, Member] = {}
        self._look()

    def join(self, member: Member) -> None:
        member.dropped = False
        member.seen_ns = self._world.now_ns
        self.members.append(member)
        self._balance()

    def leave(self, member: Member) -> None:
        if member in self.members:
            self.members.remove(member)
            member.owned.clear()
            self._balance()

    def drop(self, member: Member) -> None:
        """The member was not heard; it learns of it when it polls."""
        if member not in self.members:
            return
        self._world.tell(f"group {self.name} drops {member.process.name}")
        self.members.remove(member)
        member.dropped = True
        if member.owned:
            member.events = [("lost", list(member.owned))]
            member.owned.clear()
        self._balance()

    def released(self, member: Member, topics: Iterable[str]) -> None:
        """The member has let go of what was revoked."""
        for topic in topics:
            if topic in member.owned:
                member.owned.remove(topic)
        self._balance()

    def move(self, chance: Callable[[Sequence[Any]], Any]) -> None:
        """Rebalance: some topic goes to another member, if there is one."""
        owned = [(member, topic) for member in self.members for topic in member.owned]
        if owned and len(self.members) > 1:
            member, topic = chance(owned)
            self._wanted[topic] = chance([other for other in self.members if other is not member])
            self._world.tell(f"group {self.name}: {topic} moves to {self._wanted[topic].process.name}")
            self._balance()

    def _look(self) -> None:
        """Once a second: who was not heard for the session timeout is dropped."""
        world = self._world
        if self._broker.is_up:
            for member in list(self.members):
                if member.process.alive and not member.closed and member.process.paused_until_ns <= world.now_ns:
                    member.seen_ns = world.now_ns
                elif world.now_ns - member.seen_ns > SESSION_TIMEOUT_S * 1e9:
                    self.drop(member)
        else:
            for member in self.members:
                member.seen_ns = world.now_ns
        world.after(1.0, self._look)

    def _balance(self) -> None:
        for topic in sorted({topic for member in self.members for topic in member.topics}):
            owner = next((member for member in self.members if topic in member.owned), None)
            wanted = self._wanted.get(topic)
            if wanted is None or wanted not in self.members:
                wanted = self._wanted[topic] = owner or min(
                    (member for member in self.members if topic in member.topics), key=lambda one: len(one.owned)
                )
            if owner is wanted:
                continue
            if owner is not None:
                if not any(topic in topics for kind, topics in owner.events if kind == "revoke"):
                    owner.events.append(("revoke", [topic]))
                    owner.changed.notify()
                continue
            wanted.owned.append(topic)
            wanted.events.append(("assign", [topic]))
            wanted.changed.notify()


def _stale() -> KafkaError:
    return KafkaError(
        KafkaError.INVALID_PRODUCER_EPOCH, "a newer producer has this transactional id", txn_requires_abort=True
    )


def _fenced() -> KafkaError:
    return KafkaError(KafkaError._FENCED, "a newer producer has this transactional id", fatal=True)


def _concurrent() -> KafkaError:
    return KafkaError(KafkaError.CONCURRENT_TRANSACTIONS, "the last transaction is still being ended", retriable=True)
