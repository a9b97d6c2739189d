"""Rebuilding: stores compared, and what is wrong or lost in one made again from the others.

Nothing is taken for the truth but what folds to a root that the chain's key has signed. `reconcile` finds each entry
that differs; `repair_postgres` and `replay_postgres` build months anew beside those that stand; `SinkReplay` fills a
user's own sink; `restore_kafka` brings a chain's topics back from the archive and Postgres.
"""

from sealstream.rebuild.activity_replay import replay_activity
from sealstream.rebuild.archive_replay import replay_archive, segments_of_archive, segments_of_kafka
from sealstream.rebuild.archive_view import Verified
from sealstream.rebuild.differences import Difference
from sealstream.rebuild.own_sink import OwnSink, SinkEntry, load_sink
from sealstream.rebuild.postgres_rebuild import MonthDone
from sealstream.rebuild.reconcile import reconcile
from sealstream.rebuild.reconciliation import ComparedStore, Reconciliation, Sources
from sealstream.rebuild.remaining import PublishedNote, Remainder
from sealstream.rebuild.repair import (
    Done,
    PostgresTarget,
    drop_replaced,
    repair_postgres,
    replay_postgres,
    verified_archive,
)
from sealstream.rebuild.restoring import Restored, TailLost, restore_kafka
from sealstream.rebuild.sink_replay import SinkReplay

__all__ = [
    "ComparedStore",
    "Difference",
    "Done",
    "MonthDone",
    "OwnSink",
    "PostgresTarget",
    "PublishedNote",
    "Reconciliation",
    "Remainder",
    "Restored",
    "SinkEntry",
    "SinkReplay",
    "Sources",
    "TailLost",
    "Verified",
    "drop_replaced",
    "load_sink",
    "reconcile",
    "repair_postgres",
    "replay_activity",
    "replay_archive",
    "replay_postgres",
    "restore_kafka",
    "segments_of_archive",
    "segments_of_kafka",
    "verified_archive",
]
