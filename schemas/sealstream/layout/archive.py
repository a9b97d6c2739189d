"""Names in the archive: the keys of objects and manifests, and the id of the statement that seals a segment's.

    entries/chain=<chain>/date=<YYYY-MM-DD>/<first seq, 20 digits>-<last seq, 20 digits>.parquet
    manifests/chain=<chain>/date=<YYYY-MM-DD>/<first>-<last>.json

`date` is the UTC day of the entries' `sequenced_at`. Keys sort as the chain does. Pure, and the only spelling of them;
the same names hold in a bucket and in a folder that was copied from it.
"""

from __future__ import annotations

import re
import uuid
from typing import NamedTuple

__all__ = [
    "ARCHIVED_ACTION",
    "CANARIES",
    "DESTROYED_ACTION",
    "ENTRIES",
    "MANIFESTS",
    "SegmentName",
    "archive_prefix",
    "archived_statement_id",
    "canary_key",
    "parse_archive_key",
]

ENTRIES = "entries"
MANIFESTS = "manifests"
CANARIES = "doctor"
"""Of `sealstream doctor`: objects on which it tries what must be refused. No entry, and no part of any chain."""
ARCHIVED_ACTION = "segment.archived"
DESTROYED_ACTION = "archive.destroyed"
_SUFFIX = {ENTRIES: "parquet", MANIFESTS: "json"}
_KEY = re.compile(
    r"(?P<kind>entries|manifests)/chain=(?P<chain>[a-z0-9][a-z0-9-]{0,38})/date=(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})/"
    r"(?P<first>[0-9]{20})-(?P<last>[0-9]{20})\.(?P<suffix>parquet|json)"
)


class SegmentName(NamedTuple):
    """Which segment: its chain, its UTC day, and the seqs of its first and last entry. Orders as the chain does."""

    chain: str
    date: str
    first_seq: int
    last_seq: int

    @property
    def object_key(self) -> str:
        """The key of the Parquet object."""
        return self._key(ENTRIES)

    @property
    def manifest_key(self) -> str:
        """The key of its manifest."""
        return self._key(MANIFESTS)

    @property
    def decimal(self) -> str:
        """`<first>-<last>` in decimal: the segment's name in statements."""
        return f"{self.first_seq}-{self.last_seq}"

    def _key(self, kind: str) -> str:
        folder = archive_prefix(kind, self.chain, self.date)
        return f"{folder}{self.first_seq:020d}-{self.last_seq:020d}.{_SUFFIX[kind]}"


def archive_prefix(kind: str, chain: str, date: str | None = None) -> str:
    """What the keys of one chain (or of one of its days) begin with; `kind` is `ENTRIES` or `MANIFESTS`."""
    prefix = f"{kind}/chain={chain}/"
    return prefix if date is None else f"{prefix}date={date}/"


def canary_key(canary_id: str) -> str:
    """The key of one canary, under a prefix that no reader of the archive looks at."""
    return f"{CANARIES}/{canary_id}"


def parse_archive_key(key: str) -> tuple[str, SegmentName] | None:
    """The kind (`ENTRIES` or `MANIFESTS`) and the segment that a key names; None for any other key."""
    match = _KEY.fullmatch(key)
    if match is None or _SUFFIX[match["kind"]] != match["suffix"] or int(match["first"]) > int(match["last"]):
        return None
    return match["kind"], SegmentName(match["chain"], match["date"], int(match["first"]), int(match["last"]))


def archived_statement_id(origin: str, segment: SegmentName) -> str:
    """The id of a segment's `segment.archived`, the same from every sink: UUIDv5 of `<first>-<last>`.

    Its namespace is the UUIDv5 of the chain's origin in the URL namespace (RFC 9562 section 6.6).
    """
    return str(uuid.uuid5(uuid.uuid5(uuid.NAMESPACE_URL, origin), segment.decimal))
