"""The audit event: its fields, its validation and canonical form, its JSON Schema, and the log's own statements.

Pure: values in, values out, and the one error `InvalidEvent`.
"""

from sealstream.events.addresses import canonical_ip
from sealstream.events.canonical_events import ValidEvent
from sealstream.events.constructors import control_statement, log_statement
from sealstream.events.fields import FIELDS, MAX_EVENT_BYTES, MAX_INTEGER, MAX_NESTING, SIGNATURE_FIELDS, SOURCE_FIELDS
from sealstream.events.identifiers import new_event_id, uuid7
from sealstream.events.json_schemas import json_schema, statement_schemas
from sealstream.events.producer_keys import KEY_STATEMENTS, MAX_KEYS, KeyRing, ProducerKey, RefusedSignature
from sealstream.events.statements import MAX_LETTERS, STATEMENTS, WHY_REFUSED, Statement, check_metadata
from sealstream.events.timestamps import canonical_timestamp, format_timestamp, parse_timestamp
from sealstream.events.validation import canonical_event, digest, validate_control, validate_event

__all__ = [
    "FIELDS",
    "KEY_STATEMENTS",
    "MAX_EVENT_BYTES",
    "MAX_INTEGER",
    "MAX_KEYS",
    "MAX_LETTERS",
    "MAX_NESTING",
    "SIGNATURE_FIELDS",
    "SOURCE_FIELDS",
    "STATEMENTS",
    "WHY_REFUSED",
    "KeyRing",
    "ProducerKey",
    "RefusedSignature",
    "Statement",
    "ValidEvent",
    "canonical_event",
    "canonical_ip",
    "canonical_timestamp",
    "check_metadata",
    "control_statement",
    "digest",
    "format_timestamp",
    "json_schema",
    "log_statement",
    "new_event_id",
    "parse_timestamp",
    "statement_schemas",
    "uuid7",
    "validate_control",
    "validate_event",
]
