"""The fields of an audit event: the one table that validation, the typed decoder and the JSON Schema are made from.

The invariant: every field's name sorts before `written`, the member that the log adds when it seals an event, so that
a canonical event is a verbatim prefix of its sealed entry. Pure; nothing to lose in a crash.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

__all__ = [
    "FIELDS",
    "MAX_EVENT_BYTES",
    "MAX_INTEGER",
    "MAX_NESTING",
    "RESERVED",
    "SIGNATURE_FIELDS",
    "SOURCE_FIELDS",
    "Field",
    "Kind",
]

MAX_EVENT_BYTES = 61_440  # as sent and in canonical form: a leaf then fits a C2SP entry bundle's 65,535
MAX_INTEGER = 2**53 - 1  # every integer up to here is an IEEE double of its own (RFC 8785 section 3.2.2.3)
MAX_NESTING = 32  # objects and lists within each other; the event itself is the first

Kind = Literal["text", "choice", "uuid", "timestamp", "ip", "texts", "object", "source", "signature", "number"]


class Field(NamedTuple):
    """One field's rule. `limit` counts UTF-8 bytes; None: bounded by the event alone."""

    kind: Kind
    says: str
    required: bool = False
    limit: int | None = None
    choices: tuple[str, ...] = ()
    may_be_empty: bool = True


FIELDS: dict[str, Field] = {
    "id": Field("uuid", "the event's id, a UUID of any version in lower case", required=True),
    "timestamp": Field(
        "timestamp", "when it happened, by the producer's clock: RFC 3339, kept as UTC in microseconds", required=True
    ),
    "actor_id": Field("text", "who; `anonymous` for an unknown actor", limit=512, required=True, may_be_empty=False),
    "actor_type": Field(
        "choice", "what the actor is", required=True, choices=("user", "service", "admin", "system", "anonymous")
    ),
    "on_behalf_of": Field("text", "whom the actor acts for (impersonation, support access)", limit=512),
    "action": Field(
        "text", "what was done: read, login, invoice.approve", limit=128, required=True, may_be_empty=False
    ),
    "resource_type": Field("text", "to what kind of resource", limit=128, required=True, may_be_empty=False),
    "resource_id": Field("text", "to which resource", limit=512, required=True, may_be_empty=False),
    "result": Field("choice", "with what result", required=True, choices=("success", "failure", "denied")),
    "ip_address": Field("ip", "from where: IPv4, or IPv6 as RFC 5952 writes it"),
    "user_agent": Field("text", "the client's program"),
    "session_id": Field("text", "the session it happened in", limit=512),
    "trace_id": Field("text", "the request's trace", limit=512),
    "tenant": Field("text", "whose data it is, where several customers share a system", limit=128),
    "reason": Field("text", "why: a clinical justification, a business reason"),
    "source": Field("source", "the component that reports it (PCI DSS 10.2.2)"),
    "changed_fields": Field("texts", "which fields a write changed"),
    "old_values": Field("object", "their values before"),
    "new_values": Field("object", "their values after"),
    "metadata": Field("object", "anything else: http_status, duration_ms"),
    "producer_id": Field(
        "text",
        "the stream of events that producer_seq numbers; made new by each process",
        limit=512,
        may_be_empty=False,
    ),
    "producer_seq": Field("number", "the event's number in its stream, from 0 without gaps"),
    "subject_id": Field("text", "whose personal data the encrypted fields hold", limit=512),
    "signature": Field("signature", "the producer's own signature on this event; whether it holds, the log says"),
}

SOURCE_FIELDS: dict[str, Field] = {
    "service": Field("text", "the service's name", limit=512),
    "version": Field("text", "its version", limit=512),
    "host": Field("text", "the machine or container", limit=512),
    "environment": Field("text", "production, staging", limit=512),
    "authenticated_as": Field("text", "the identity that the component proved to the collector", limit=512),
}

SIGNATURE_FIELDS: dict[str, Field] = {
    "key": Field("text", "the key's label: its name, +, its key id", limit=512, required=True, may_be_empty=False),
    "value": Field("text", "base64 of the Ed25519 signature", limit=512, required=True, may_be_empty=False),
}

# What the log writes beside an event, or after it. A producer that sends one is told so rather than "unknown field".
RESERVED = frozenset(
    {
        "written",
        "kind",
        "seq",
        "hash",
        "prev_hash",
        "chain",
        "sequenced_at",
        "received_at",
        "raw_offset",
        "control_offset",
        "v",
    }
)
