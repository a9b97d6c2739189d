"""Kafka for processors and sinks: read what was committed, write in transactions, look after topics.

No exception of the driver crosses this package. `Unavailable`: try again later; `Fenced`: build the object anew;
`Misconfigured`: a topic or a setting must be mended; `InputLost`: a position no longer exists, a person must decide.
"""

from sealstream.kafka.lookup import last_record, offset_reaching, read_until_end, record_before
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
    "CommittedReader",
    "KafkaSettings",
    "Permission",
    "Record",
    "StandingProducer",
    "TransactionalProducer",
    "check_topics",
    "create_topics",
    "end_offset",
    "last_record",
    "offset_reaching",
    "permissions",
    "produce",
    "read_until_end",
    "record_before",
    "start_offset",
    "topic_configs",
    "topic_ids",
    "trim",
]
