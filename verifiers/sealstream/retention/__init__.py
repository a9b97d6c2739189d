"""What leaves a store when its time is over: shown before, verified in the archive first, sealed by the chain.

`plan` shows what would go when; `PostgresExpiry` lets months leave Postgres; `ended_segments` and `destroy_listed` end
the archive.
"""

from sealstream.retention.destroying import (
    MAX_SEGMENTS,
    Doomed,
    Ended,
    destroy_listed,
    destroyed_statement_id,
    ended_segments,
    policy_ends,
    statement_members,
)
from sealstream.retention.expiring import MonthLeft, PostgresExpiry, expired_statement_id
from sealstream.retention.newest_manifest import Beginning, archived_beginning, archived_end, archived_holds
from sealstream.retention.planning import Going, inputs_line, plan
from sealstream.retention.stored_months import StoredMonth, stored_months

__all__ = [
    "MAX_SEGMENTS",
    "Beginning",
    "Doomed",
    "Ended",
    "Going",
    "MonthLeft",
    "PostgresExpiry",
    "StoredMonth",
    "archived_beginning",
    "archived_end",
    "archived_holds",
    "destroy_listed",
    "destroyed_statement_id",
    "ended_segments",
    "expired_statement_id",
    "inputs_line",
    "plan",
    "policy_ends",
    "statement_members",
    "stored_months",
]
