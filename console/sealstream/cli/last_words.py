"""Why a program of the local stack ended: the last error in its log, in one line. Pure.

Our processes write JSON lines, and a sentence where they could not begin; servers and interpreters write as they like.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from sealstream.cli.harmless import harmless

__all__ = ["last_error"]

_ERROR = re.compile(r"\b(?:ERROR|FATAL|PANIC)\b|[Ee]rror\b|Exception\b|ALARM")
_BESIDES = ("what to do:", "%")
"""What to do stands below what is wrong; the Kafka driver's own lines begin with a percent sign."""
_MOST_CHARACTERS = 400


def last_error(lines: Sequence[str]) -> str:
    """The last line that tells of an error, else the last that is no JSON; "" when there is neither."""
    plain = ""
    for line in reversed(lines):
        told = _json(line)
        if told is not None:
            if told.get("level") in ("error", "critical"):
                return _short(str(told.get("reason") or told.get("event") or ""))
        elif not line.lstrip().startswith(_BESIDES):
            if _ERROR.search(line):
                return _short(line.removeprefix("sealstream: "))
            plain = plain or line
    return _short(plain)


def _json(line: str) -> dict[str, object] | None:
    try:
        told = json.loads(line)
    except ValueError:
        return None
    return told if isinstance(told, dict) else None


def _short(text: str) -> str:
    text = harmless(text.strip())
    return text if len(text) <= _MOST_CHARACTERS else text[:_MOST_CHARACTERS] + "..."
