"""What is mapped: entries of all shapes that may be sealed, statements, alerts, and records of the real world."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import strategies as st
from tests.events.conftest import BASE, CORPUS, FULL, Changed
from tests.events.test_statements import EXAMPLES
from tests.importers.conftest import STRATUS
from tests.mappings import ecs_judge

from sealstream.errors import InvalidEvent
from sealstream.events import FIELDS, SOURCE_FIELDS, STATEMENTS, validate_event
from sealstream.importers import IMPORTERS, Composer, Event, Record, records_of
from sealstream.layout.activity import ACCOUNT_TYPES
from sealstream.sealing import Written, seal

LOG = "audit.example.com/acme"
TIME = "2026-11-24T03:00:01.000000Z"


def sealed(event: bytes, kind: str = "event", seq: int = 7, received: str | None = TIME) -> bytes:
    """A canonical event as a sealed entry of the chain `main`."""
    return seal(event, Written("main", -1, kind, 4, received, seq, TIME), b"\1" * 32).to_bytes()


def entry(kind: str = "event", **changes: Any) -> bytes:
    """The plain event with changes, sealed; None leaves a field out."""
    event = {name: value for name, value in (BASE | changes).items() if value is not None}
    return sealed(validate_event(json.dumps(event).encode()).canonical, kind, received=None if kind == "log" else TIME)


ACTIONS = [
    "sts:AssumeRole",
    "user.impersonate",
    "read",
    "write",
    "delete",
    "login",
    "export",
    "user.login",
    "user.logout",
    "SignOut",
    "session.create",
    "session.delete",
    "mfa.verify",
    "mfa.enable",
    "role.grant",
    "role.revoke",
    "AttachUserPolicy",
    "DetachUserPolicy",
    "password.change",
    "password.reset",
    "user.create",
    "user.delete",
    "user.disable",
    "user.enable",
    "user.lock",
    "user.unlock",
    "account.suspend",
    "account.resume",
    "device.enroll",
    "device.unenroll",
    "get:/patients/{id}",
    "post:/patients",
    "put:/a",
    "patch:/a",
    "delete:/a",
    "other:/a",
    "head:/",
    "post:/api/login",
    "get:unmatched call:/billing.Invoices/Read call:/a.B/Do",
    "query",
    "backup",
    "table.drop",
    "encrypt",
    "decrypt",
    "list",
    "connect",
    "invoice.approve",
    "break_glass",
    "alert.raised",
    "alert.closed",
    "sequencer.started",
    "chain.created",
    "log.read",
    "move",
    "activate",
    "deactivate",
    "config.update",
]
TYPES = [*ACCOUNT_TYPES, "patient_record", "role", "group", "policy", "database", "table", "s3_bucket", "db", "session"]
RIGHTS = {"role": "admin", "roles": ["a", "b"], "groups": [], "user": "u-2", "account": ["x", "y"], "policy": 3}


def _texts(limit: int | None, *, empty: bool) -> st.SearchStrategy[str]:
    text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
    odd = st.sampled_from(["a", "é" * 9, "%", "\x01", "\x85", "\ufdd0", "\uffff", "\U0001ffff", "a" * (limit or 2_000)])
    found = text | odd
    return found if empty else found.filter(bool)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(-1e9, 1e9) | _texts(None, empty=True),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts(20, empty=True), inner, max_size=3),
    max_leaves=6,
)
_METADATA_NAMES = st.sampled_from(
    [
        *("http_status", "duration_ms", "severity", "summary", "window", "alert", "detector", "rule", "confidence"),
        *("reason", "note", "as", "seqs", "version", *RIGHTS),
    ]
)
_LIKELY = st.sampled_from(
    [200, 404, -1, 2**53 - 1, 1.5, "high", "x", True, "", [], ["a"], ["2026-01-01T00:00:00Z"] * 2]
)
_OBJECTS = st.dictionaries(_METADATA_NAMES | _texts(20, empty=True), _LIKELY | _VALUES, max_size=4) | st.sampled_from(
    [RIGHTS, {"duration_ms": 1e300}, {"duration_ms": 12.5, "http_status": 200}]
)
_SOURCES = st.dictionaries(st.sampled_from(list(SOURCE_FIELDS)), _texts(512, empty=True), max_size=5)
_TIMES = st.datetimes().map(lambda moment: moment.isoformat(timespec="microseconds") + "Z")


def _member(name: str) -> st.SearchStrategy[Any]:
    field = FIELDS[name]
    if field.kind == "choice":
        return st.sampled_from(field.choices)
    if name in ("old_values", "new_values", "metadata"):
        return _OBJECTS
    if name == "action":
        return st.sampled_from(ACTIONS) | _texts(128, empty=False)
    if name == "resource_type":
        return st.sampled_from(TYPES) | _texts(128, empty=False)
    special = {
        "id": st.uuids().map(str),
        "timestamp": _TIMES,
        "ip_address": st.ip_addresses().map(str),
        "source": _SOURCES,
        "changed_fields": st.lists(_texts(20, empty=True), max_size=3),
        "producer_seq": st.integers(0, 2**53 - 1),
    }
    return special.get(name, _texts(field.limit, empty=field.may_be_empty))


@st.composite
def events(draw: st.DrawFn) -> bytes:
    """A canonical event: any that the validation lets through."""
    names = draw(st.lists(st.sampled_from([name for name in FIELDS if name not in BASE]), unique=True))
    event = {name: draw(_member(name)) for name in [*BASE, *names]}
    if ("producer_id" in event) != ("producer_seq" in event):
        event.pop("producer_id", None)
        event.pop("producer_seq", None)
    try:
        return validate_event(json.dumps(event).encode()).canonical
    except InvalidEvent:  # a size, a number too large once rounded
        return validate_event(json.dumps(BASE | {"action": event["action"]}).encode()).canonical


def entries() -> st.SearchStrategy[bytes]:
    """Sealed entries of applications; and as if the log had said the same, so that no statement is trusted to be well
    formed.
    """
    kinds = st.sampled_from(["event", "event", "event", "control", "log"])
    return st.builds(sealed, events(), kinds, st.integers(0, 2**53 - 1))


def known_entries() -> dict[str, bytes]:
    """Each by its name: the corpus of events, every statement, every action with every type, the real world's."""
    found = {"full": sealed(validate_event(json.dumps(FULL).encode()).canonical)}
    for case in CORPUS:
        if isinstance(case.outcome, Changed):
            found[case.name] = sealed(validate_event(case.data).canonical)
    for action, metadata in EXAMPLES.items():
        found[f"statement {action}"] = entry(STATEMENTS[action].kind, action=action, metadata=metadata)
        found[f"statement {action}, claimed"] = entry("control", action=action, metadata={"alert": 5, "window": [1]})
    for action in ACTIONS:
        for kind in TYPES:
            for address in ("10.0.0.7", None):
                told = {"new_values": RIGHTS, "old_values": RIGHTS, "session_id": "s-1"}
                found[f"{action} of {kind} from {address}"] = entry(
                    action=action, resource_type=kind, ip_address=address, **told
                )
    return found | dict(_real_entries())


def _real_entries() -> Iterator[tuple[str, bytes]]:
    """CloudTrail's records of real attacks, as the importer makes events of them."""
    importer = IMPORTERS["cloudtrail"]
    for path in sorted(STRATUS.glob("*.json")):
        composer = Composer(importer, None)
        for at, record in enumerate(records_of([path.read_bytes()], importer)):
            assert isinstance(record, Record)
            event = composer.event(record)
            if isinstance(event, Event):
                yield f"{path.name}[{at}]", sealed(event.value)


@pytest.fixture(scope="session")
def ecs_fields(tmp_path_factory: pytest.TempPathFactory) -> ecs_judge.Flat:
    try:
        return ecs_judge.fetch(tmp_path_factory.mktemp("ecs"))
    except ecs_judge.NoSchema as missing:
        pytest.skip(str(missing))
