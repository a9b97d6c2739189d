"""Event ids: UUIDv7 (RFC 9562 section 5.7), so that ids made by one producer sort by time.

The invariant: 62 bits of every id are random, so producers need no coordination. Pure but for the defaults of
`new_event_id`, which fetch the system's randomness for some hundred ids at once: asking for each costs more than the
rest of the id. A forked child throws its parent's away. Nothing to lose in a crash.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

__all__ = ["new_event_id", "uuid7"]

_AT_ONCE = 512
_fetched: list[bytes] = []
os.register_at_fork(after_in_child=_fetched.clear)


def _eight_random_bytes(_size: int) -> bytes:
    try:
        return _fetched.pop()  # one operation: neither a thread nor a signal handler gets the same ones
    except IndexError:
        fresh = os.urandom(8 * _AT_ONCE)
        _fetched.extend([fresh[at : at + 8] for at in range(8, len(fresh), 8)])
        return fresh[:8]


def uuid7(unix_ns: int, randomness: bytes) -> str:
    """The UUIDv7 of a time (nanoseconds since 1970) and 8 random bytes, of which 62 bits are used.

    The 12 bits after the milliseconds hold the fraction of the millisecond (RFC 9562 section 6.2, method 3).
    """
    milliseconds, rest_ns = divmod(unix_ns, 1_000_000)
    fraction = (rest_ns << 12) // 1_000_000
    low = int.from_bytes(randomness[:8], "big") & 0x3FFF_FFFF_FFFF_FFFF | 0x8000_0000_0000_0000
    digits = f"{(milliseconds & 0xFFFF_FFFF_FFFF) << 80 | 0x7000 << 64 | fraction << 64 | low:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def new_event_id(
    now_ns: Callable[[], int] = time.time_ns, randomness: Callable[[int], bytes] = _eight_random_bytes
) -> str:
    """A new id for an event that happens now."""
    return uuid7(now_ns(), randomness(8))
