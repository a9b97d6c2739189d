"""Verification: recompute every hash, link, root and signature of a store, and say what does not hold, and where."""

from sealstream.verify.archive import ARCHIVE_STALE_AFTER, verify_archive
from sealstream.verify.history import ChainIdentity
from sealstream.verify.kafka import verify_kafka
from sealstream.verify.kept import default_state_dir, keep_checkpoint, kept_notes
from sealstream.verify.postgres import verify_postgres
from sealstream.verify.report import Fault, FaultKind, Report
from sealstream.verify.verification import Verification

__all__ = [
    "ARCHIVE_STALE_AFTER",
    "ChainIdentity",
    "Fault",
    "FaultKind",
    "Report",
    "Verification",
    "default_state_dir",
    "keep_checkpoint",
    "kept_notes",
    "verify_archive",
    "verify_kafka",
    "verify_postgres",
]
