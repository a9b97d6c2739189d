"""`--having '>5'`: which counts are wanted. Pure."""

from __future__ import annotations

import re

from sealstream.errors import Misconfigured
from sealstream.search.found import Having

__all__ = ["parse_having"]

_HAVING = re.compile(r"\s*(>=|<=|>|<|==?)\s*([0-9]{1,15})\s*")


def parse_having(text: str) -> Having:
    """The condition that `text` says. Raises `Misconfigured`."""
    match = _HAVING.fullmatch(text)
    if match is None:
        raise Misconfigured(f"having {text!r}: expected a comparison and a number, such as '>5' or '<=10'")
    return Having(match[1].replace("==", "="), int(match[2]))
