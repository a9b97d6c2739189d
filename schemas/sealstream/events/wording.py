"""How a refusal names what came: short, printable ASCII, whatever a stranger sent.

The invariant: every sentence made with these stays printable ASCII, so that it can stand in a log line, in a Kafka
header and in the chain's account of refused records. Pure; nothing to lose in a crash.
"""

from __future__ import annotations

__all__ = ["got", "printable", "type_of"]

_MAX_SHOWN = 48


def printable(text: str, limit: int = _MAX_SHOWN) -> str:
    """`text` in printable ASCII, at most `limit` characters; what is left out shows as `...` after them."""
    head = text[:limit]
    shown = head if head.isascii() and head.isprintable() else ascii(head)[1:-1]
    return shown if len(text) <= limit and len(shown) <= limit else shown[:limit] + "..."


def type_of(value: object) -> str:
    """What JSON calls the value: `null`, `a boolean`, `a number`, `text`, `a list` or `an object`."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "text"
    if isinstance(value, list | tuple):
        return "a list"
    return "an object" if isinstance(value, dict) else f"a Python {type(value).__name__}"


def got(value: object) -> str:
    """The value as a refusal shows it: text in quotes, a scalar as it is, containers by their type alone."""
    if isinstance(value, str):
        return f"'{printable(value)}'"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        # Beyond 200 bits str() is slow, and beyond 4,300 digits Python refuses it.
        return str(value) if value.bit_length() < 200 else f"an integer of {value.bit_length()} bits"
    if isinstance(value, float):
        return repr(value)
    return type_of(value)
