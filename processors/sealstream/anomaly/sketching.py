"""How many different things there were, in a few bytes. Pure.

Linear counting (Whang, Vander-Zanden, Taylor: A Linear-Time Probabilistic Counting Algorithm, 1990): each thing sets
one bit of a bitmap by its digest, and the bits that are still empty tell how many things there were. Up to a tenth of
the bits it is right to about one; at as many things as bits, to 3 of 100.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from hashlib import sha256
from math import log

import msgspec

__all__ = ["Distinct", "digest_of", "mark", "marked"]


class Distinct(msgspec.Struct, array_like=True):
    """One bitmap. `filled`: bits that are set; `beyond`: what is known to be different without a digest."""

    bits: bytearray = bytearray()
    filled: int = 0
    beyond: int = 0

    def add(self, digest: int, size_bytes: int) -> bool:
        """Whether it was new. `digest`: uniform over more than the bits; `size_bytes` stays the same."""
        bits = self.bits
        if not bits:
            bits.extend(bytes(size_bytes))
        place = digest % (size_bytes << 3)
        byte, bit = place >> 3, 1 << (place & 7)
        if bits[byte] & bit:
            return False
        bits[byte] |= bit
        self.filled += 1
        return True

    def add_all(self, digests: Iterable[int], size_bytes: int) -> list[int]:
        """Those that were new, of several."""
        bits = self.bits
        if not bits:
            bits.extend(bytes(size_bytes))
        size, new = size_bytes << 3, []
        for digest in digests:
            place = digest % size
            byte, bit = place >> 3, 1 << (place & 7)
            if not bits[byte] & bit:
                bits[byte] |= bit
                new.append(digest)
        self.filled += len(new)
        return new

    def clear(self) -> None:
        """Nothing was seen."""
        self.bits.clear()
        self.filled = self.beyond = 0

    @property
    def least(self) -> int:
        """How many at least: what is quick to know."""
        return self.filled + self.beyond

    @property
    def count(self) -> int:
        """How many, about."""
        return _estimate(len(self.bits) << 3, self.filled) + self.beyond if self.filled else self.beyond


def mark(bits: bytearray, digest: int, size_bytes: int) -> None:
    """Note a thing in a bitmap without a count."""
    if not bits:
        bits.extend(bytes(size_bytes))
    place = digest % (size_bytes << 3)
    bits[place >> 3] |= 1 << (place & 7)


def marked(*bitmaps: bytearray) -> int:
    """How many different things were noted in these bitmaps of one size (empty ones are passed over) together."""
    together = size = 0
    for bits in bitmaps:
        together |= int.from_bytes(bits, "little")
        size = max(size, len(bits) << 3)
    return _estimate(size, together.bit_count()) if size else 0


@lru_cache(maxsize=8_192)
def digest_of(text: str) -> int:
    """The first four bytes of its SHA-256, as the roll-up digests resource ids."""
    return int.from_bytes(sha256(text.encode()).digest()[:4])


@lru_cache(maxsize=8_192)
def _estimate(size: int, filled: int) -> int:
    return round(size * log(size / max(size - filled, 1)))
