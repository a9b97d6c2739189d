"""What the log said of an event's own signature: `signature.refused`, behind it and before the next event.

It is the log's word, read as it is stored; `sealstream verify` computes it anew. Reads only.
"""

from __future__ import annotations

from typing import NamedTuple

from sealstream.errors import NotCanonical
from sealstream.events import WHY_REFUSED
from sealstream.search.found import Found, SearchSource

__all__ = ["SignatureRefusal", "signature_refusal"]

_STATEMENTS_BETWEEN = 8  # the log may say a few other things first


class SignatureRefusal(NamedTuple):
    """Entry `seq` says that an event is not signed as it should be; `why` in words."""

    seq: int
    why: str


def signature_refusal(source: SearchSource, found: Found) -> SignatureRefusal | None:
    """The refusal of this event's signature, or of its lack; None: the log says none, as far as `source` holds."""
    try:
        if found.entry["written"]["kind"] != "event":
            return None
        for seq in range(found.seq + 1, found.seq + 1 + _STATEMENTS_BETWEEN):
            behind = source.entry(f"{found.chain}/{seq}")
            if behind is None or behind.entry["written"]["kind"] != "log":
                return None
            said = behind.entry.get("metadata") or {}
            if behind.entry["action"] == "signature.refused" and said.get("seq") == found.seq:
                return SignatureRefusal(seq, WHY_REFUSED.get(str(said.get("why")), "for a reason that is none"))
    except NotCanonical:  # an entry was changed; `verify` tells
        return None
    return None
