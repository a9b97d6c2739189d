"""The client: what an application imports to report who did what to which resource.

audit = AuditClient("main", "kafka:9092", source={"service": "billing"})
audit.emit("invoice.approve", actor_id="user-123", resource_type="invoice", resource_id="inv-7")
"""

from sealstream.client.actions import Action
from sealstream.client.carrying import carry, carry_into_threads
from sealstream.client.changes import changes
from sealstream.client.client import AuditClient
from sealstream.client.context import bind, bind_shared, bound, clear, context, sharing, unbind
from sealstream.client.outbox import Outbox
from sealstream.client.redaction import Redaction
from sealstream.client.spool_drain import Drained, drain_spool
from sealstream.client.stats import Stats

__all__ = [
    "Action",
    "AuditClient",
    "Drained",
    "Outbox",
    "Redaction",
    "Stats",
    "bind",
    "bind_shared",
    "bound",
    "carry",
    "carry_into_threads",
    "changes",
    "clear",
    "context",
    "drain_spool",
    "sharing",
    "unbind",
]
