"""Rebuilding: stores compared, and what is wrong or lost in one made again from the others.

Nothing is taken for the truth but what folds to a root that the chain's key has signed. `reconcile` finds each entry
that differs; `restore_kafka` brings a chain's topics back from the archive and Postgres.
"""

from sealstream.rebuild.archive_view import Verified
from sealstream.rebuild.differences import Difference
from sealstream.rebuild.reconcile import ComparedStore, Reconciliation, Sources, reconcile
from sealstream.rebuild.remaining import PublishedNote, Remainder
from sealstream.rebuild.restoring import Restored, TailLost, restore_kafka

__all__ = [
    "ComparedStore",
    "Difference",
    "PublishedNote",
    "Reconciliation",
    "Remainder",
    "Restored",
    "Sources",
    "TailLost",
    "Verified",
    "reconcile",
    "restore_kafka",
]
