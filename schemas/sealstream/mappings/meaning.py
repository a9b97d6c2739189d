"""What was done, in the few words that other people's schemas have for it: told by the words of an action's name. Pure.

What reads, signs in and gives rights is what detectors take for such (`sealstream.layout.actions`); of the rest, verbs
decide. Where the name is a request's (`get:/patients/{id}`), its method does; of a call (`call:/billing.Invoices/Read`)
the words again.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise
from typing import Literal, NamedTuple

from sealstream.layout.actions import EXPORT, GRANT, LOGIN, READ, names_rights, ordered_words, traits, words_of

__all__ = ["Meaning", "Verb", "meaning"]

Verb = Literal[
    "login", "logout", "switch", "read", "export", "create", "update", "delete", "enable", "disable", "activate",
    "deactivate", "suspend", "resume", "lock", "unlock", "move", "enroll", "unenroll", "other",
]  # fmt: skip


class Meaning(NamedTuple):
    """`request`: whether it is a request's or a call's; `method`: its HTTP method in capitals, else empty. `rights`:
    whether they are given or withdrawn. `words`: of the name.
    """

    verb: Verb
    request: bool = False
    method: str = ""
    rights: Literal["given", "withdrawn", ""] = ""
    words: frozenset[str] = frozenset()


_REQUEST = re.compile(r"(get|head|options|trace|post|put|patch|delete|connect|other|call):(?=/|unmatched$)")
_METHODS: dict[str, Verb] = {
    "get": "read",
    "head": "read",
    "options": "read",
    "trace": "read",
    "post": "create",
    "put": "update",
    "patch": "update",
    "delete": "delete",
}
_SWITCHES = frozenset({"assume", "assumed", "impersonate", "impersonated", "impersonation", "become", "sudo"})
_ENDS = frozenset({"logout", "logoff", "signout"})
_END_PAIRS = frozenset(
    [("sign", "out"), ("log", "out"), ("log", "off"), ("logged", "out"), ("signed", "out")]
    + [("session", step) for step in ("end", "ended", "delete", "deleted", "close", "closed", "expire", "expired")]
)
_BEGIN_PAIRS = frozenset(
    [("logged", "in"), ("logged", "on"), ("signed", "in")]
    + [("session", step) for step in ("open", "opened", "start", "started", "begin", "begun")]
)
# In this order: the first whose words are in the name.
_VERBS: tuple[tuple[Verb, str], ...] = (
    ("unenroll", "unenroll unenrolled"),
    ("enroll", "enroll enrolled"),
    ("unlock", "unlock unlocked"),
    ("lock", "lock locked"),
    ("deactivate", "deactivate deactivated"),
    ("activate", "activate activated reactivate reactivated"),
    ("suspend", "suspend suspended"),
    ("resume", "resume resumed unsuspend unsuspended"),
    ("disable", "disable disabled block blocked ban banned"),
    ("enable", "enable enabled reenable unblock unblocked"),
    ("delete", "delete deleted deletes destroy destroyed erase erased purge purged remove removed drop dropped wipe"
               " wiped"),
    ("move", "move moved transfer transferred"),
    ("create", "create created creates add added insert inserted register registered new upload uploaded import"
               " imported"),
    ("update", "update updated updates change changed changes edit edited modify modified patch patched put set"
               " rename renamed write writes written save saved configure configured restore restored reset rotate"
               " rotated attach attached detach detached assign assigned unassign"),
)  # fmt: skip
_WORDS = tuple((verb, frozenset(words.split())) for verb, words in _VERBS)
_TAKEN = "revoke revoked deny remove removed unassign detach detached withdraw delete deleted demote demoted"
_TAKES = frozenset(_TAKEN.split())


@lru_cache(maxsize=8_192)
def meaning(action: str) -> Meaning:
    """Of an action's name."""
    words = words_of(action)
    found = traits(action)
    request = _REQUEST.match(action)
    method = request[1].upper() if request and request[1] not in ("other", "call") else ""
    rights: Literal["given", "withdrawn", ""] = ""
    if not found & (READ | EXPORT) and method not in ("GET", "HEAD", "OPTIONS", "TRACE"):
        if names_rights(action) and (words & _TAKES or method == "DELETE"):
            rights = "withdrawn"
        elif found & GRANT:
            rights = "given"
    return Meaning(_verb(action, words, found, request[1] if request else ""), bool(request), method, rights, words)


def _verb(action: str, words: frozenset[str], found: int, method: str) -> Verb:
    in_order = ordered_words(action)
    if words & _ENDS or any(pair in _END_PAIRS for pair in pairwise(in_order)):
        return "logout"
    if found & LOGIN or any(pair in _BEGIN_PAIRS for pair in pairwise(in_order)):
        return "login"
    if words & _SWITCHES:
        return "switch"
    if method not in ("", "call"):
        return _METHODS.get(method, "other")
    if found & EXPORT or "downloaded" in words:
        return "export"
    if found & READ:
        return "read"
    return next((verb for verb, names in _WORDS if words & names), "other")
