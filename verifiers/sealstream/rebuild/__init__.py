"""Rebuilding: what is lost in one store is made again from the others, checked against what was signed.

`restore_kafka` brings a chain's topics back from the archive and Postgres.
"""

from sealstream.rebuild.remaining import PublishedNote, Remainder
from sealstream.rebuild.restoring import Restored, TailLost, restore_kafka

__all__ = ["PublishedNote", "Remainder", "Restored", "TailLost", "restore_kafka"]
