"""Which ACLs each process needs, and no more. Pure; `docs/configuration.md` and `sealstream config acls` show them.

A permission to read, write or delete implies that to describe (Kafka, authorization). Whoever writes with idempotence
needs no permission of the cluster since Kafka 3.0. A test gives each process exactly these, and it works.
"""

from __future__ import annotations

from typing import NamedTuple

from sealstream.layout import (
    ChainTopics,
    checkpointing_transactional_id,
    sequencer_group,
    sequencer_transactional_id,
)
from sealstream.layout.activity import ActivityTopics, activity_transactional_id
from sealstream.layout.forwarding import ForwardTopics
from sealstream.layout.pipeline_watch import watch_topic
from sealstream.layout.workers import WorkerTopics, worker_group

__all__ = ["CLIENTS", "Permission", "permissions"]

READ, WRITE, DELETE, DESCRIBE = "READ", "WRITE", "DELETE", "DESCRIBE"
DESCRIBE_CONFIGS = "DESCRIBE_CONFIGS"


class Permission(NamedTuple):
    """`resource`: topic, group, transactional-id or cluster. `operations`: as Kafka spells them, in capitals."""

    resource: str
    name: str
    operations: tuple[str, ...]


_ON_TOPICS: dict[str, dict[str, tuple[str, ...]]] = {
    "producer": {"raw": (WRITE,)},
    "outbox-relay": {"raw": (READ, WRITE)},
    "sequencer": {
        "raw": (READ, DESCRIBE_CONFIGS),
        "control": (READ, DESCRIBE_CONFIGS),
        "chain": (READ, WRITE, DESCRIBE_CONFIGS),
        "producers": (READ, WRITE, DESCRIBE_CONFIGS),
        "deadletter": (WRITE, DESCRIBE_CONFIGS),
        "checkpoints": (READ, DESCRIBE_CONFIGS),
        "segments": (READ, DESCRIBE_CONFIGS),
    },
    "checkpointing": {
        "chain": (READ, DESCRIBE_CONFIGS),
        "checkpoints": (READ, WRITE, DESCRIBE_CONFIGS),
        "segments": (READ, WRITE, DESCRIBE_CONFIGS),
    },
    "postgres-sink": {
        "chain": (READ, DESCRIBE_CONFIGS),
        "checkpoints": (READ, DESCRIBE_CONFIGS),
        "segments": (READ, DESCRIBE_CONFIGS),
    },
    "archive-sink": {
        "raw": (READ, DELETE, DESCRIBE_CONFIGS),  # to trim
        "control": (READ, WRITE, DELETE, DESCRIBE_CONFIGS),
        "chain": (READ, DELETE, DESCRIBE_CONFIGS),
        "segments": (READ, DESCRIBE_CONFIGS),
    },
    "activity": {"chain": (READ, DESCRIBE_CONFIGS)},
    "forward": {"chain": (READ,)},  # for targets that want entries, and for who is told of closed alerts
    "watch": {"control": (WRITE,), "chain": (READ,), "checkpoints": (READ,), "segments": (READ,)},
    "verifier": dict.fromkeys(ChainTopics._fields, (READ,)) | {"control": (READ, WRITE)},
    "anomaly": {"control": (WRITE,)},
    # Each read is recorded in control; `tail` follows the chain; the API shows the newest checkpoint.
    "reader": {"control": (WRITE,), "chain": (READ,), "checkpoints": (READ,)},
    "import": {"raw": (READ, WRITE), "chain": (READ,)},  # it looks what is there already
    # It reads what all others write, and each reading is recorded in control.
    "doctor": dict.fromkeys(ChainTopics._fields, (READ, DESCRIBE_CONFIGS))
    | {"control": (READ, WRITE, DESCRIBE_CONFIGS)},
}
# Topics that all chains of a prefix share.
_ON_SHARED_TOPICS: dict[str, dict[str, tuple[str, ...]]] = {
    "activity": {
        "activity": (WRITE, DESCRIBE_CONFIGS),
        "addresses": (WRITE, DESCRIBE_CONFIGS),
        "positions": (READ, WRITE, DESCRIBE_CONFIGS),
    },
    "verifier": {"positions": (READ,)},  # `sealstream status`
    "doctor": {"activity": (READ,), "alerts": (READ,), "positions": (READ,)},
    "anomaly": {
        "activity": (READ, DESCRIBE_CONFIGS),
        "addresses": (READ, DESCRIBE_CONFIGS),
        "alerts": (WRITE, DESCRIBE_CONFIGS),
        "actors": (READ, WRITE, DESCRIBE_CONFIGS),
        "address_states": (READ, WRITE, DESCRIBE_CONFIGS),
    },
}
CLIENTS = tuple(_ON_TOPICS)
"""Who connects to Kafka: applications (`producer`), the processes, `sealstream verify` and `reconcile`
(`verifier`), whoever searches the log, by command or through the API (`reader`), and `sealstream doctor`.
"""
CLUSTER = "kafka-cluster"
"""What Kafka calls the cluster as a resource, whatever its name."""


def permissions(client: str, chain: str, prefix: str) -> list[Permission]:
    """What this client needs for one chain, and of what all chains share."""
    topics = ChainTopics.of(chain, prefix)
    needed = [Permission("topic", getattr(topics, name), operations) for name, operations in _ON_TOPICS[client].items()]
    activity, states = ActivityTopics.of(prefix), WorkerTopics.of(prefix)
    shared = activity._asdict() | {"actors": states.actors, "address_states": states.addresses}
    needed += [Permission("topic", shared[name], each) for name, each in _ON_SHARED_TOPICS.get(client, {}).items()]
    if client == "anomaly":
        needed.append(Permission("group", worker_group(prefix), (READ,)))
    if client == "sequencer":
        needed += [
            Permission("group", sequencer_group(prefix), (READ,)),
            Permission("transactional-id", sequencer_transactional_id(chain), (WRITE,)),
        ]
    if client == "forward":
        own = ForwardTopics.of(prefix)
        needed += [
            Permission("topic", ActivityTopics.of(prefix).alerts, (READ,)),
            Permission("topic", own.positions, (READ, WRITE, DESCRIBE_CONFIGS)),
            Permission("topic", own.deadletter, (READ, WRITE, DESCRIBE_CONFIGS)),
        ]
    if client == "watch":
        needed += [
            Permission("topic", ActivityTopics.of(prefix).alerts, (WRITE,)),
            Permission("topic", watch_topic(prefix).name, (READ, WRITE, DESCRIBE_CONFIGS)),
        ]
    if client == "checkpointing":
        needed.append(Permission("transactional-id", checkpointing_transactional_id(chain), (WRITE,)))
    if client == "doctor":
        own, watch = ForwardTopics.of(prefix), watch_topic(prefix).name
        needed += [Permission("topic", name, (READ,)) for name in (own.positions, own.deadletter, watch)]
        needed += [
            Permission("group", worker_group(prefix), (DESCRIBE,)),
            Permission("cluster", CLUSTER, (DESCRIBE, DESCRIBE_CONFIGS)),  # the ACLs, and the brokers' settings
        ]
    if client == "activity":
        needed.append(Permission("transactional-id", activity_transactional_id(prefix), (WRITE,)))
    return needed
