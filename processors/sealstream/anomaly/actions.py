"""What an action's name says about it: `traits` of its words. Pure.

Applications name their actions freely: `role.grant`, `AttachUserPolicy`, `post:/users/{id}/roles`. So a name is cut
into its words, and the words decide. What they can't tell, settings can: detectors that rest on this take further names
(`is_named`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from sealstream.layout.activity import Activity, is_login

__all__ = [
    "ALL",
    "BREAK_GLASS",
    "DENIED",
    "ENABLE",
    "EXPORT",
    "GRANT",
    "LATE",
    "LOGIN",
    "POWER",
    "READ",
    "RECEIVED",
    "is_named",
    "traits",
    "traits_of",
    "words_of",
]

LOGIN = 1
"""An attempt to sign in."""
READ = 2
"""Looks at something and changes nothing."""
EXPORT = 4
"""Takes many things out at once."""
GRANT = 8
"""Gives an account more rights: a role, a permission, a policy, a key, a membership."""
POWER = 16
"""What only few may do: rights and policies, deletion, exports, impersonation, configuration."""
BREAK_GLASS = 32
"""Emergency access."""

ENABLE = 64
"""Lets an account be used again."""

DENIED = 128
"""Of a record alone: something in it was denied."""
LATE = 256
"""Of a record alone: something in it happened long before it was sealed."""

RECEIVED = 1 << 16
"""Of a record alone: others did something to the account."""
ALL = -1
"""As what concerns a detector: any record."""


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+")

_READS = _set(
    "check describe display fetch find get head list lookup open query read reads search select show"
    " validate verify view viewed views"
)
_ACCESSES = _set("access accessed")
_EXPORTS = _set("backup bulk download downloads dump export exported exports extract")
_RIGHTS = _set(
    "admin admins apikey entitlement entitlements grant granted grants group groups key keys membership owner"
    " ownership permission permissions policies policy privilege privileges promote promoted role roles scope scopes"
    " sudo"
)
_WITHDRAWS = _set("delete deleted demote demoted deny detach disable expire remove removed revoke revoked unassign")
_POWERS = _set(
    "assume config configuration configure decrypt delete deleted destroy disable drop impersonate purge restore secret"
    " secrets setting settings shutdown sudo truncate wipe"
)
_ENABLES = _set("enable enabled reactivate reactivated reenable unsuspend")
_EMERGENCIES = _set("breakglass emergency")
_NO_EMERGENCIES = _set("contact contacts department room")


@lru_cache(maxsize=8_192)
def words_of(name: str) -> frozenset[str]:
    """Its words in lower case, also where they are told apart by capitals alone."""
    return frozenset(word.lower() for word in _WORD.findall(name))


@lru_cache(maxsize=8_192)
def traits(action: str) -> int:
    """What holds of an action: `LOGIN`, `READ`, `EXPORT`, `GRANT`, `POWER`, `BREAK_GLASS`, `ENABLE`, added up."""
    words = words_of(action)
    found = LOGIN if is_login(action) else 0
    exports = bool(words & _EXPORTS)
    reads = bool(words & _READS or (words & _ACCESSES and not words & _RIGHTS))
    if exports:
        found |= EXPORT
    elif reads:
        found |= READ
    if words & _RIGHTS and not reads:
        found |= POWER if words & _WITHDRAWS else POWER | GRANT
    if exports or (words & _POWERS and not reads):
        found |= POWER
    if (words & _EMERGENCIES and not words & _NO_EMERGENCIES) or {"break", "glass"} <= words:
        found |= BREAK_GLASS
    if words & _ENABLES:
        found |= ENABLE
    return found


def traits_of(record: Activity) -> int:
    """What holds of any of a record's own cells, added up; with `DENIED`, `LATE` and `RECEIVED`.

    Each detector asks it first, one after the other of the same record: so the last answer is kept.
    """
    global _answer  # noqa: PLW0603 - a memo of one: the record and what holds of it, put and read in one step
    asked, found = _answer
    if asked is record:
        return found
    found = RECEIVED if record.received else 0
    for cell in record.cells:
        found |= traits(cell.action)
        if cell.result == "denied":
            found |= DENIED
        if cell.hour is not None:
            found |= LATE
    _answer = record, found
    return found


_answer: tuple[Activity | None, int] = (None, 0)


def is_named(action: str, names: Iterable[str]) -> bool:
    """Whether it is one of these; a name that ends with `*` stands for all that begin so."""
    return any(action.startswith(name[:-1]) if name.endswith("*") else action == name for name in names)
