"""What an action's name says about it: `traits` of its words. Pure.

Applications name their actions freely: `role.grant`, `AttachUserPolicy`, `post:/users/{id}/roles`. So a name is cut
into its words, and the words decide: for detectors, and for what entries are called in other people's schemas.
"""

from __future__ import annotations

import re
from functools import lru_cache

from sealstream.layout.activity import is_login

__all__ = [
    "BREAK_GLASS",
    "ENABLE",
    "EXPORT",
    "GRANT",
    "LOGIN",
    "POWER",
    "READ",
    "names_rights",
    "ordered_words",
    "traits",
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
_BREAKS = _set("break breaks breaking broke broken")
_EMERGENCIES = _set("breakglass glassbreak btg emergency")
_NO_EMERGENCIES = _set("contact contacts department room")


@lru_cache(maxsize=8_192)
def words_of(name: str) -> frozenset[str]:
    """Its words in lower case, also where they are told apart by capitals alone."""
    return frozenset(ordered_words(name))


def ordered_words(name: str) -> list[str]:
    """The same in their order."""
    return [word.lower() for word in _WORD.findall(name)]


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
    if (words & _EMERGENCIES and not words & _NO_EMERGENCIES) or ("glass" in words and words & _BREAKS):
        found |= BREAK_GLASS
    if words & _ENABLES:
        found |= ENABLE
    return found


def names_rights(name: str) -> bool:
    """Whether a name speaks of what an account may do: a role, a permission, a policy, a key, a membership."""
    return bool(words_of(name) & _RIGHTS)
