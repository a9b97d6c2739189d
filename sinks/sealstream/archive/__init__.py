"""The archive: one locked Parquet object and one manifest for each segment of a chain, in S3 with Object Lock.

`ArchiveSink` writes it and trims the topics of what is safe in it, `init_bucket` makes the bucket, `ArchiveStore` and
the functions on rows read it, from a bucket or from a copy in a folder.
"""

from sealstream.archive.bucket import Bucket, Lock, Stored, Version
from sealstream.archive.building import ObjectBuilder
from sealstream.archive.checking import check_object
from sealstream.archive.columns import (
    ColumnMaker,
    leaf_hashes,
    open_parquet,
    raw_hashes,
    read_groups,
    read_rows,
    sealed_table,
)
from sealstream.archive.copying import Copied, copy_archive
from sealstream.archive.folding import SegmentFold, Start
from sealstream.archive.holding import Applied, apply_holds
from sealstream.archive.init import init_bucket, lengthen_default_retention
from sealstream.archive.lengthening import Lengthened, lengthen_locks
from sealstream.archive.settings import ArchiveSettings
from sealstream.archive.sink import ArchiveSink
from sealstream.archive.store import ArchiveStore, StoredSegment
from sealstream.archive.trimming import INPUT_DAYS, KEPT_ENTRIES, Trimmer

__all__ = [
    "INPUT_DAYS",
    "KEPT_ENTRIES",
    "Applied",
    "ArchiveSettings",
    "ArchiveSink",
    "ArchiveStore",
    "Bucket",
    "ColumnMaker",
    "Copied",
    "Lengthened",
    "Lock",
    "ObjectBuilder",
    "SegmentFold",
    "Start",
    "Stored",
    "StoredSegment",
    "Trimmer",
    "Version",
    "apply_holds",
    "check_object",
    "copy_archive",
    "init_bucket",
    "leaf_hashes",
    "lengthen_default_retention",
    "lengthen_locks",
    "open_parquet",
    "raw_hashes",
    "read_groups",
    "read_rows",
    "sealed_table",
]
