"""How one entry is named: by its id, or by its place, `chain/seq`. Pure."""

from __future__ import annotations

import re
import uuid
from typing import NamedTuple

from sealstream.search.errors import BadPlace

__all__ = ["EntryPlace", "parse_place"]

_PLACE = re.compile(r"([a-z0-9][a-z0-9-]{0,38})/([0-9]{1,18})")


class EntryPlace(NamedTuple):
    """Which entry of which chain."""

    chain: str
    seq: int


def parse_place(text: str) -> EntryPlace | uuid.UUID:
    """The place or the id that `text` names. Raises `BadPlace`."""
    named = _PLACE.fullmatch(text)
    if named is not None:
        return EntryPlace(named[1], int(named[2]))
    try:
        if len(text) == 36:
            return uuid.UUID(text)
    except ValueError:
        pass
    raise BadPlace(f"{text[:80]!r} names no entry: expected its id (a UUID), or chain/seq such as main/4711")
