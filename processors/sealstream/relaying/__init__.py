"""Relaying: audit events that wait in applications' own databases (outboxes), taken to Kafka, each sealed once."""

from sealstream.relaying.operating import OutboxStatus, make_outbox, outbox_status, renew_outbox
from sealstream.relaying.relay import OutboxRelay

__all__ = ["OutboxRelay", "OutboxStatus", "make_outbox", "outbox_status", "renew_outbox"]
