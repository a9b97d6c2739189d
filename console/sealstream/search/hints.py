"""What somebody may have meant whose search found nothing. Pure."""

from __future__ import annotations

from sealstream.search.query import Query
from sealstream.search.terms import alternatives, terms

__all__ = ["hint"]


def hint(query: Query) -> str:
    """A sentence for whoever sees an empty answer to `query`; "" when there is nothing to say."""
    for term in terms(query.text):
        apart = [] if term.negated else alternatives(term, query.text)
        if apart:
            written = query.text[term.key_start : term.end]
            return f"the comma in {written} is part of its value: for either of these write {' '.join(apart)}"
    return ""
