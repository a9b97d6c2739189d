"""Kafka for processors and sinks: read what was committed, write in transactions, look after topics.

No exception of the driver crosses this package. `Unavailable`: try again later; `Fenced`: build the object anew;
`Misconfigured`: a topic or a setting must be mended; `InputLost`: a position no longer exists, a person must decide.
"""

from sealstream.kafka.acknowledged import AcknowledgedProducer, Outgoing
from sealstream.kafka.admin import one_connection
from sealstream.kafka.groups import (
    Place,
    committed_offsets,
    end_offsets,
    first_offsets,
    first_record,
    partition_counts,
    set_offsets,
)
from sealstream.kafka.lookup import last_record, offset_reaching, read_partition, read_until_end, record_before
from sealstream.kafka.offsets import end_offset, start_offset
from sealstream.kafka.permissions import CLIENTS, Permission, permissions
from sealstream.kafka.reader import CommittedReader, Record
from sealstream.kafka.sending import produce
from sealstream.kafka.settings import KafkaSettings
from sealstream.kafka.standing import StandingProducer
from sealstream.kafka.topics import check_topics, create_topics, topic_configs, topic_ids, trim
from sealstream.kafka.transactions import TransactionalProducer

__all__ = [
    "CLIENTS",
    "AcknowledgedProducer",
    "CommittedReader",
    "KafkaSettings",
    "Outgoing",
    "Permission",
    "Place",
    "Record",
    "StandingProducer",
    "TransactionalProducer",
    "check_topics",
    "committed_offsets",
    "create_topics",
    "end_offset",
    "end_offsets",
    "first_offsets",
    "first_record",
    "last_record",
    "offset_reaching",
    "one_connection",
    "partition_counts",
    "permissions",
    "produce",
    "read_partition",
    "read_until_end",
    "record_before",
    "set_offsets",
    "start_offset",
    "topic_configs",
    "topic_ids",
    "trim",
]
