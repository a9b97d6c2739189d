"""Whether a sealed `store.expired` counts: whoever may write to the control topic can have one sealed. Pure.

What is held to facts here is what the statement says of itself and what the chain has promised; that the entries which
it names are those that its month ends with is for whoever has read them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sealstream.errors import NotCanonical
from sealstream.events import parse_timestamp
from sealstream.layout.chains import Retention, month_leaves, read_retention

__all__ = ["why_not_expired"]

_HASH = re.compile(r"[0-9a-f]{64}")


def why_not_expired(said: Mapping[str, Any], seq: int, at: str, promise: Retention | None) -> str:
    """Why a `store.expired` that was sealed as entry `seq`, `at` a time, lets nothing go; empty: it may.

    `promise`: what the chain had promised before it; None where that was not read: then what the statement itself says
    was in force.
    """
    month, last, last_hash = said.get("month"), said.get("last_seq"), said.get("last_hash")
    if not isinstance(month, str) or not isinstance(last_hash, str) or not _HASH.fullmatch(last_hash):
        return "it names no month, or not the hash of its last entry"
    if not isinstance(last, int) or not 0 <= last < seq:
        return f"it says {last}, which was not sealed before it"
    try:
        if promise is None:
            retention = said.get("retention")
            promise = read_retention(retention if isinstance(retention, Mapping) else {})
        until = "for ever"
        if promise.online_days is not None:
            due = month_leaves(month, promise.online_days)
            if parse_timestamp(at) >= due:
                return ""
            until = f"until {due.isoformat()}"
    except NotCanonical as error:
        return str(error)
    return f"{promise.policy} promises that it stays online {until}"
