"""Access to the log is itself in the log: who read what, as `log.read` statements through the control topic.

`AccessLog.record` for an answer that is at hand and not yet shown, `AccessLog.streamed` for rows that flow. Both raise
`NotRecorded` before anything is shown when Kafka does not acknowledge.
"""

from sealstream.access.log import AccessLog, NotRecorded, Streamed
from sealstream.access.people import person_at_this_machine
from sealstream.access.statements import MAX_QUERY_BYTES, Access, Reader

__all__ = ["MAX_QUERY_BYTES", "Access", "AccessLog", "NotRecorded", "Reader", "Streamed", "person_at_this_machine"]
