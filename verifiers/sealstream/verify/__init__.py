"""Verification: recompute every hash, link, root and signature of a store, and say what does not hold, and where."""

from sealstream.verify.history import ChainIdentity
from sealstream.verify.kept import default_state_dir, keep_checkpoint, kept_notes
from sealstream.verify.report import Fault, FaultKind, Report
from sealstream.verify.verification import Verification

__all__ = [
    "ChainIdentity",
    "Fault",
    "FaultKind",
    "Report",
    "Verification",
    "default_state_dir",
    "keep_checkpoint",
    "kept_notes",
]
