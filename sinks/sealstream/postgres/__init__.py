"""The Postgres sink: entries stored append-only, the schema's migrations, an auditor's questions, a reader's view.

`PostgresSink` needs Kafka; `migrate`, `AuditQueries` and `PostgresStore` only a database.
"""

from sealstream.layout.tables import Roles
from sealstream.postgres.migrating import migrate, migrate_back
from sealstream.postgres.queries import Access, Action, AuditQueries, ChainCounts, FailingActor
from sealstream.postgres.rows import ColumnFault
from sealstream.postgres.sink import PostgresSink
from sealstream.postgres.store import PostgresStore, StoredRow
from sealstream.postgres.stored import StoredNote

__all__ = [
    "Access",
    "Action",
    "AuditQueries",
    "ChainCounts",
    "ColumnFault",
    "FailingActor",
    "PostgresSink",
    "PostgresStore",
    "Roles",
    "StoredNote",
    "StoredRow",
    "migrate",
    "migrate_back",
]
