"""What the activity roll-up writes: who did what in one second, counted, with the entries behind each count. Pure.

A second is one of `sequenced_at`, which never runs backwards along a chain, so one chain's second is over when an entry
of a later one stands there. A record stands for the whole of that second as far as it was read: a later record of the
same (chain, subject, second) stands instead of it. So the last record of each is a function of the chain alone,
whenever and however often it was rolled up; a reader that counts takes the difference (`sealstream.anomaly.news_of`).

Only entries of kind `event` are counted: an alert must not raise alerts.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import msgspec

from sealstream.errors import NotCanonical
from sealstream.layout.topics import DEFAULT_PREFIX, TopicConfig

__all__ = [
    "ACCOUNT_TYPES",
    "MAX_CELLS",
    "MAX_RANGES",
    "MAX_RESOURCES",
    "MAX_TEXT",
    "OTHERS",
    "PARTITIONS",
    "Activity",
    "ActivityPosition",
    "ActivityTopics",
    "AddressActivity",
    "AddressCell",
    "Cell",
    "Received",
    "activity_transactional_id",
    "decode_activity",
    "decode_address_activity",
    "decode_position",
    "encode_activity",
    "encode_position",
    "is_login",
]

_DAY_MS = 86_400_000

PARTITIONS = 8
"""Of the topics with activity and alerts: how many workers can share the actors out."""
MAX_CELLS = 256
"""Of one record; what is beyond is counted in a cell whose action and resource type are `OTHERS`."""
MAX_RANGES = 16
"""Of the seqs of one cell; the last one reaches to the last entry, over whatever lies between."""
MAX_RESOURCES = 64
"""Digests of resource ids in one cell; how many more records came with others is counted."""
MAX_TEXT = 65_536
"""Characters of all that the cells of one record name, so that no record is too large for Kafka; beyond: `OTHERS`."""
OTHERS = "(others)"

ACCOUNT_TYPES = frozenset({"user", "user_account", "account", "service_account", "service", "admin", "principal"})
"""Resource types whose resource id names an actor: what is done to it is part of that actor's record, too."""


class ActivityTopics(NamedTuple):
    """The topics that all chains of a prefix share. `positions`: where the roll-up stands in each chain."""

    activity: str
    addresses: str
    positions: str
    alerts: str

    @classmethod
    def of(cls, prefix: str = DEFAULT_PREFIX) -> ActivityTopics:
        """The topics under this prefix."""
        return cls(
            f"{prefix}.activity", f"{prefix}.activity-addresses", f"{prefix}.activity-positions", f"{prefix}.alerts"
        )

    def configs(self, partitions: int = PARTITIONS) -> list[TopicConfig]:
        """How each topic is created; the topic of positions has one partition."""
        week, quarter = str(7 * _DAY_MS), str(90 * _DAY_MS)
        return [
            TopicConfig(self.activity, {"cleanup.policy": "delete", "retention.ms": week}, partitions),
            TopicConfig(self.addresses, {"cleanup.policy": "delete", "retention.ms": week}, partitions),
            TopicConfig(self.positions, {"cleanup.policy": "compact"}),
            TopicConfig(self.alerts, {"cleanup.policy": "delete", "retention.ms": quarter}, partitions),
        ]


def activity_transactional_id(prefix: str = DEFAULT_PREFIX) -> str:
    """Whoever opens a producer with this id fences the roll-up that wrote to this prefix before it."""
    return f"sealstream-activity-{prefix}"


class ActivityPosition(msgspec.Struct, frozen=True, gc=False):
    """Where the roll-up of one chain goes on: with the first entry of the second that was not over.

    `seq`: that entry's; `offset`: where it stood in the chain's topic; `second`: `YYYY-MM-DDTHH:MM:SSZ`. `told`:
    through which entry of that second records were written already; below `seq`: none were.
    """

    seq: int
    offset: int
    second: str
    told: int
    v: int = 1


class Cell(msgspec.Struct, omit_defaults=True, gc=False):
    """How often an actor did one thing in this second.

    `seqs`: closed ranges, ascending, at most `MAX_RANGES`. `resources`: the first 8 hex digits of the SHA-256 of each
    resource id, in order of appearance, at most `MAX_RESOURCES`; `unlisted`: entries whose resource is not among them.
    `reasons`: entries that state a reason. `browsers`: entries with a browser's user agent. `behalf`: entries on behalf
    of somebody else. `hour`: `YYYY-MM-DDTHH` in UTC of the event's own time, only where that is more than ten minutes
    from its place (an event that waited in a spool): part of what makes a cell.
    """

    action: str
    resource_type: str
    result: str
    actor_type: str
    count: int
    seqs: list[list[int]]
    ip_address: str | None = None
    hour: str | None = None
    resources: list[str] = []
    unlisted: int = 0
    reasons: int = 0
    browsers: int = 0
    behalf: int = 0


class Received(msgspec.Struct, omit_defaults=True, gc=False):
    """How often somebody did one thing to this account (a resource of one of `ACCOUNT_TYPES`)."""

    by: str
    action: str
    resource_type: str
    result: str
    count: int
    seqs: list[list[int]]
    ip_address: str | None = None


class Activity(msgspec.Struct, omit_defaults=True, gc=False):
    """One actor's second of one chain. `second`: `YYYY-MM-DDTHH:MM:SSZ`. `tenant`: of its last entry that names one."""

    chain: str
    second: str
    actor_id: str
    cells: list[Cell] = []
    received: list[Received] = []
    tenant: str | None = None
    v: int = 1

    @property
    def last_seq(self) -> int:
        """The last entry that is counted here."""
        return max([cell.seqs[-1][-1] for cell in self.cells] + [each.seqs[-1][-1] for each in self.received])


class AddressCell(msgspec.Struct, omit_defaults=True, gc=False):
    """How often one actor did one thing from this address, where that is a login or was not a success.

    `actor_id`: where an `anonymous` actor tries to sign in to an account (a resource of one of `ACCOUNT_TYPES`), that
    account: whoever is not known yet is everybody, and the account is what is tried.
    """

    actor_id: str
    action: str
    result: str
    count: int
    seqs: list[list[int]]


class AddressActivity(msgspec.Struct, omit_defaults=True, gc=False):
    """One address's second of one chain: logins, failures and denials only."""

    chain: str
    second: str
    ip_address: str
    cells: list[AddressCell]
    v: int = 1

    @property
    def last_seq(self) -> int:
        """The last entry that is counted here."""
        return max(each.seqs[-1][-1] for each in self.cells)


def is_login(action: str) -> bool:
    """Whether an action is an attempt to sign in: `login`, `user.login`, `login.mfa`, `session.login.sso`."""
    return not _LOGIN_WORDS.isdisjoint(action.lower().replace(":", ".").split("."))


_LOGIN_WORDS = frozenset({"login", "logon", "signin", "sign_in", "authenticate", "consolelogin"})


def encode_activity(record: Activity | AddressActivity) -> bytes:
    """JSON with members in the order of the classes: the same record is always the same bytes."""
    return _encoder.encode(record)


def decode_activity(value: bytes) -> Activity:
    """The reverse for `activity`. Raises `NotCanonical`."""
    return _decoded(_activity_decoder, value)


def decode_address_activity(value: bytes) -> AddressActivity:
    """The reverse for `addresses`. Raises `NotCanonical`."""
    return _decoded(_address_decoder, value)


def encode_position(position: ActivityPosition) -> bytes:
    """JSON with members in the order of the class."""
    return _encoder.encode(position)


def decode_position(value: bytes) -> ActivityPosition:
    """The reverse. Raises `NotCanonical`."""
    return _decoded(_position_decoder, value)


_Record = TypeVar("_Record", Activity, AddressActivity, ActivityPosition)

_encoder = msgspec.json.Encoder()
_activity_decoder = msgspec.json.Decoder(Activity)
_address_decoder = msgspec.json.Decoder(AddressActivity)
_position_decoder = msgspec.json.Decoder(ActivityPosition)


def _decoded(decoder: msgspec.json.Decoder[_Record], value: bytes) -> _Record:
    try:
        return decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NotCanonical(f"not a record of activity: {error}: {value[:80]!r}") from error
