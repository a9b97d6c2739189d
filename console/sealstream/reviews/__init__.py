"""Reviews: a person looks at a period of the log, says what of it, and signs; the log seals that it was done.

What was reviewed is read from the chain's statements, nothing is kept beside them; what was seen is a document whose
SHA-256 the statements name.
"""

from sealstream.reviews.alerts_section import alerts_of, alerts_section
from sealstream.reviews.documents import (
    changes,
    document_bytes,
    document_sha256,
    main_figures,
    read_document,
    review_document,
)
from sealstream.reviews.due import Cadence, Overdue, PeriodState, overdue, periods_over, state_of
from sealstream.reviews.letters_section import letters_section
from sealstream.reviews.statements import ACTIONS, Review, Reviews, Signature, Started, fold, review_id

__all__ = [
    "ACTIONS",
    "Cadence",
    "Overdue",
    "PeriodState",
    "Review",
    "Reviews",
    "Signature",
    "Started",
    "alerts_of",
    "alerts_section",
    "changes",
    "document_bytes",
    "document_sha256",
    "fold",
    "letters_section",
    "main_figures",
    "overdue",
    "periods_over",
    "read_document",
    "review_document",
    "review_id",
    "state_of",
]
