"""IP addresses in one spelling each: IPv4 in dotted decimals, IPv6 as RFC 5952 says, by our own function.

Python's `ipaddress` changed its spelling of mapped addresses in 3.13; sealed bytes must not depend on that. The
invariant: `canonical_ip` is idempotent, and two texts give the same result if and only if they name the same host
(IPv4-mapped IPv6 being IPv4). Pure; nothing to lose in a crash.
"""

from __future__ import annotations

import re
from functools import lru_cache

from sealstream.errors import InvalidEvent
from sealstream.events.wording import got

__all__ = ["canonical_ip", "is_canonical_ip", "is_ipv4"]

_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
is_ipv4 = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}").fullmatch
"""IPv4 in its one spelling, dotted decimal without leading zeros."""
_GROUP = re.compile("[0-9A-Fa-f]{1,4}")
_LONGEST = 45  # eight groups of four with a dotted tail: 6 * 5 + 15


def canonical_ip(text: str, field: str = "ip_address") -> str:
    """The one spelling of an address; raises `InvalidEvent`.

    RFC 5952: lower case, no leading zeros, the longest run of two or more zero groups (the first of equals) as `::`.
    Never mixed notation; IPv4-mapped (`::ffff:1.2.3.4`) becomes IPv4; zones, prefixes and ports are refused.
    """
    canonical = _canonical(text) if len(text) <= _LONGEST else None
    if canonical is None:
        if "%" in text:
            fault, expected = "has a zone", "an address without %zone"
        elif "/" in text:
            fault, expected = "is a network", "one address without /prefix"
        else:
            fault, expected = "is not an IP address", "IPv4 (no leading zeros) or IPv6"
        raise InvalidEvent(f"{field} {fault}: expected {expected}, got {got(text)}", field)
    return canonical


def is_canonical_ip(text: str) -> bool:
    """Whether `text` is an address in its one spelling. Fast: most addresses come again soon."""
    return len(text) <= _LONGEST and _canonical(text) == text


@lru_cache(maxsize=16_384)  # texts of at most 45 characters, so a stranger can't fill the memory through it
def _canonical(text: str) -> str | None:
    if is_ipv4(text):
        return text
    groups = _ipv6_groups(text)
    if groups is None:
        return None
    if groups[:6] == [0, 0, 0, 0, 0, 0xFFFF]:  # RFC 4291 section 2.5.5.2
        return f"{groups[6] >> 8}.{groups[6] & 255}.{groups[7] >> 8}.{groups[7] & 255}"
    return _rfc5952(groups)


def _ipv6_groups(text: str) -> list[int] | None:
    """The eight 16-bit groups (RFC 4291 section 2.2), or None."""
    head_text, gap, tail_text = text.partition("::")
    head = _groups(head_text, may_end_dotted=not gap)
    tail = _groups(tail_text, may_end_dotted=True) if gap else []
    if head is None or tail is None:
        return None
    zeros = 8 - len(head) - len(tail)
    if (zeros < 1) if gap else (zeros != 0):
        return None
    return head + [0] * zeros + tail


def _groups(text: str, *, may_end_dotted: bool) -> list[int] | None:
    if not text:
        return []
    pieces = text.split(":")
    dotted = pieces.pop() if may_end_dotted and is_ipv4(pieces[-1]) else None
    if not all(_GROUP.fullmatch(piece) for piece in pieces):
        return None
    groups = [int(piece, 16) for piece in pieces]
    if dotted is not None:
        a, b, c, d = map(int, dotted.split("."))
        groups += [a << 8 | b, c << 8 | d]
    return groups


def _rfc5952(groups: list[int]) -> str:
    longest_at, longest, at = 0, 1, 0  # a single zero group is written out (section 4.2.2)
    while at < 8:
        end = at
        while end < 8 and groups[end] == 0:
            end += 1
        if end - at > longest:  # the first of equals (section 4.2.3)
            longest_at, longest = at, end - at
        at = end + 1
    if longest == 1:
        return ":".join(f"{group:x}" for group in groups)
    head = ":".join(f"{group:x}" for group in groups[:longest_at])
    tail = ":".join(f"{group:x}" for group in groups[longest_at + longest :])
    return f"{head}::{tail}"
