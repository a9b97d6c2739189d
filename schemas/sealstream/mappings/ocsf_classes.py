"""Which class of OCSF an entry is, and which activity: by the action's words and the resource. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from sealstream.layout.activity import ACCOUNT_TYPES
from sealstream.mappings.exported import Exported
from sealstream.mappings.meaning import Meaning, Verb, meaning

__all__ = [
    "ACCESS",
    "ACCOUNT",
    "API",
    "AUTHENTICATION",
    "CLASSES",
    "DATASTORE",
    "ENTITY",
    "FINDING",
    "LIFECYCLE",
    "MFA",
    "OTHER",
    "Event",
    "OcsfClass",
    "classified",
    "store_of",
]

OTHER = 99


class OcsfClass(NamedTuple):
    """`when`: in words for the page. `activities`: captions by id. `verbs`: which activity a verb is."""

    uid: int
    caption: str
    category: tuple[int, str]
    when: str
    activities: Mapping[int, str]
    verbs: Mapping[Verb, int] = {}


_IAM = (3, "Identity & Access Management")
_APPLICATION = (6, "Application Activity")
_FINDINGS = (2, "Findings")
_CRUD: dict[Verb, int] = {"create": 1, "read": 2, "update": 3, "delete": 4}

FINDING = OcsfClass(
    2004,
    "Detection Finding",
    _FINDINGS,
    "the log's statements `alert.raised`, `alert.acknowledged`, `alert.closed`, and alerts themselves",
    {1: "Create", 2: "Update", 3: "Close"},
)
AUTHENTICATION = OcsfClass(
    3002,
    "Authentication",
    _IAM,
    "who signs in or out, or acts as another (`assume`, `impersonate`, `sudo`), by the words of the action",
    {1: "Logon", 2: "Logoff", 7: "Account Switch"},
    {"login": 1, "logout": 2, "switch": 7},
)
ACCESS = OcsfClass(
    3005,
    "User Access Management",
    _IAM,
    "rights given or taken, where the entry names both account and rights: an account as the resource and `role`, "
    "`permissions`, `groups`, ... in `new_values` (taken: `old_values`) or `metadata`; or a role, a policy, a group as "
    "the resource and `user`, `account`, `member`, ... in the same",
    {1: "Assign Privileges", 2: "Revoke Privileges"},
)
ACCOUNT = OcsfClass(
    3001,
    "Account Change",
    _IAM,
    "else what changes an account (`resource_type` `user`, `user_account`, `account`, `service_account`, `service`, "
    "`admin`, `principal`)",
    {
        1: "Create",
        2: "Enable",
        3: "Password Change",
        4: "Password Reset",
        5: "Disable",
        6: "Delete",
        7: "Attach Policy",
        8: "Detach Policy",
        9: "Lock",
        10: "MFA Factor Enable",
        11: "MFA Factor Disable",
        12: "Unlock",
        OTHER: "Other",
    },
    {
        "create": 1,
        "enable": 2,
        "activate": 2,
        "resume": 2,
        "disable": 5,
        "deactivate": 5,
        "suspend": 5,
        "delete": 6,
        "lock": 9,
        "unlock": 12,
    },
)
DATASTORE = OcsfClass(
    6005,
    "Datastore Activity",
    _APPLICATION,
    "a `resource_type` with the word `database`, `db`, `schema`, `table`, `bucket` or `databucket`, where the address "
    "is known (OCSF demands it)",
    {
        1: "Read",
        2: "Update",
        3: "Connect",
        4: "Query",
        5: "Write",
        6: "Create",
        7: "Delete",
        8: "List",
        9: "Encrypt",
        10: "Decrypt",
        OTHER: "Other",
    },
    {"read": 1, "export": 1, "update": 2, "create": 6, "delete": 7},
)
API = OcsfClass(
    6003,
    "API Activity",
    _APPLICATION,
    "a request or a call of the middleware (`get:/patients/{id}`, `call:/billing.Invoices/Read`), where the address is "
    "known (OCSF demands it)",
    {1: "Create", 2: "Read", 3: "Update", 4: "Delete", OTHER: "Other"},
    _CRUD,
)
LIFECYCLE = OcsfClass(
    6002,
    "Application Lifecycle",
    _APPLICATION,
    "the log's statements `sequencer.started` and `sequencer.stopped`",
    {3: "Start", 4: "Stop"},
)
ENTITY = OcsfClass(
    3004,
    "Entity Management",
    _IAM,
    "all else: what is done to a resource, and the log's other statements",
    {
        1: "Create",
        2: "Read",
        3: "Update",
        4: "Delete",
        5: "Move",
        6: "Enroll",
        7: "Unenroll",
        8: "Enable",
        9: "Disable",
        10: "Activate",
        11: "Deactivate",
        12: "Suspend",
        13: "Resume",
        OTHER: "Other",
    },
    {
        **_CRUD,
        "move": 5,
        "enroll": 6,
        "unenroll": 7,
        "enable": 8,
        "disable": 9,
        "activate": 10,
        "deactivate": 11,
        "suspend": 12,
        "resume": 13,
    },
)
CLASSES = (FINDING, LIFECYCLE, AUTHENTICATION, ACCESS, ACCOUNT, DATASTORE, API, ENTITY)
"""In the order in which they are asked: the first that fits it is."""

_FINDINGS_OF = {"alert.raised": 1, "alert.acknowledged": 2, "alert.closed": 3}
_LIFE_OF = {"sequencer.started": 3, "sequencer.stopped": 4}
_DATASTORE_VERBS = {"connect": 3, "query": 4, "write": 5, "list": 8, "encrypt": 9, "decrypt": 10}
_STORES = {"database": "database", "db": "database", "schema": "database", "table": "table", "bucket": "databucket",
           "databucket": "databucket"}  # fmt: skip
_RIGHTS = (
    "role", "roles", "permission", "permissions", "privilege", "privileges", "group", "groups", "policy", "policies",
    "scope", "scopes", "entitlement", "entitlements",
)  # fmt: skip
_GRANTED = frozenset({"role", "permission", "privilege", "group", "policy", "scope", "entitlement"})
_HOLDERS = ("user", "user_id", "account", "account_id", "member", "member_id", "grantee", "principal", "username")
MFA = frozenset({"mfa", "otp", "totp", "webauthn", "passkey"})


class Event(NamedTuple):
    """One entry or alert, its class and activity; of `ACCESS` whose `rights` they are."""

    exported: Exported
    told: Meaning
    kind: OcsfClass
    activity: int
    rights: tuple[str, list[str]] | None = None


def classified(exported: Exported) -> Event:
    fields = exported.fields
    told = meaning(fields.action)
    if exported.is_statement:
        if fields.action in _FINDINGS_OF:
            return Event(exported, told, FINDING, _FINDINGS_OF[fields.action])
        if fields.action in _LIFE_OF:
            return Event(exported, told, LIFECYCLE, _LIFE_OF[fields.action])
        return Event(exported, told, ENTITY, ENTITY.verbs.get(told.verb, OTHER))
    if told.verb in AUTHENTICATION.verbs:
        return Event(exported, told, AUTHENTICATION, AUTHENTICATION.verbs[told.verb])
    if told.rights and (rights := _rights(exported, told)):
        return Event(exported, told, ACCESS, 1 if told.rights == "given" else 2, rights)
    if fields.resource_type in ACCOUNT_TYPES and told.verb not in ("read", "export"):
        return Event(exported, told, ACCOUNT, _account_activity(told))
    if fields.ip_address:
        if store_of(fields.resource_type):
            exact = next((each for word, each in _DATASTORE_VERBS.items() if word in told.words), None)
            return Event(exported, told, DATASTORE, exact or DATASTORE.verbs.get(told.verb, OTHER))
        if told.request:
            return Event(exported, told, API, API.verbs.get(told.verb, OTHER))
    return Event(exported, told, ENTITY, ENTITY.verbs.get(told.verb, OTHER))


def _account_activity(told: Meaning) -> int:
    words = told.words
    if "password" in words or "passwd" in words:
        return 4 if "reset" in words else 3 if told.verb == "update" else OTHER
    if words & MFA:
        return {
            "enable": 10,
            "enroll": 10,
            "create": 10,
            "activate": 10,
            "disable": 11,
            "unenroll": 11,
            "delete": 11,
        }.get(told.verb, OTHER)
    if "policy" in words and told.rights:
        return 7 if told.rights == "given" else 8
    if told.rights:
        return OTHER
    return ACCOUNT.verbs.get(told.verb, OTHER)


def _rights(exported: Exported, told: Meaning) -> tuple[str, list[str]] | None:
    """Whose rights, and which, where the entry says both."""
    fields = exported.fields
    values = (fields.new_values if told.rights == "given" else fields.old_values) or {}
    if fields.resource_type in ACCOUNT_TYPES:
        named = [right for said in (values, fields.metadata) for name in _RIGHTS for right in _texts(said.get(name))]
        return (fields.resource_id, named) if named else None
    if not _GRANTED.isdisjoint(meaning(fields.resource_type).words):
        for said in (values, fields.metadata):
            for name in _HOLDERS:
                holders = _texts(said.get(name))
                if len(holders) == 1:
                    return holders[0], [fields.resource_id]
    return None


def _texts(value: Any) -> list[str]:
    if isinstance(value, str) and value:
        return [value]
    if isinstance(value, list):
        return [each for each in value if isinstance(each, str) and each]
    return []


def store_of(resource_type: str) -> str:
    """`database`, `table`, `databucket`, or nothing."""
    words = meaning(resource_type).words
    return next((store for word, store in _STORES.items() if word in words), "")
