"""Whoever may write to the control topic can have anything sealed that fits its schema: readers hold it to facts."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.archive.conftest import MadeChain
from tests.pipeline import Said, say

from sealstream.cli import holds, policies, retention_destroy
from sealstream.cli.holds import Known, known_holds
from sealstream.cli.policies import entry_0, sealed_retention
from sealstream.cli.settings import Settings
from sealstream.doctor import CHECKS
from sealstream.doctor.asking import Asking
from sealstream.errors import Misconfigured, Unavailable
from sealstream.events import control_statement, format_timestamp
from sealstream.layout import Entry, Retention, decode_entry, named_retention, retention_members
from sealstream.layout.archive import DESTROYED_ACTION
from sealstream.layout.chains import RETENTION_EXTENDED
from sealstream.layout.holds import HOLD_LIFTED, HOLD_SET, Hold, hold_members
from sealstream.retention import Beginning

PCI, TWO_YEARS = named_retention("pci"), named_retention("2y")
BEYOND = {"policy": "stranger", "archive_days": 2**53 - 1}
SETTINGS = Settings(archive={"bucket": "audit"})


def statement(action: str, metadata: Mapping[str, Any], by: str = "counsel") -> bytes:
    """As the sequencer takes it."""
    return control_statement(
        action, id=str(uuid.uuid4()), timestamp=format_timestamp(MadeChain().at), actor_id=by, actor_type="admin",
        resource_type="chain", resource_id="main", metadata=metadata,
    )  # fmt: skip


def sealed(*values: bytes) -> list[Entry]:
    chain = MadeChain()
    chain.events(30)
    return [decode_entry(chain.control(value).body) for value in values]


def hold_set(hold: Hold, reason: str = "a case", **more: str) -> bytes:
    return statement(HOLD_SET, hold_members(hold) | {"reason": reason} | more)


def new_hold(*days: str) -> Hold:
    return Hold(str(uuid.uuid4()), *days)


# --- holds ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Known]]:
    """What is known of holds where a manifest carries one, and the chain says these."""

    def ask(carried: Hold, *values: bytes) -> list[Known]:
        monkeypatch.setattr(holds, "archive_settings", lambda _: None)
        monkeypatch.setattr(holds, "archived_beginning", lambda *_: Beginning(20, 39, (carried,)))
        monkeypatch.setattr(holds, "sealed_statements", lambda *_, **__: sealed(*values))
        return known_holds(SETTINGS, "main")

    return ask


def test_a_hold_whose_entry_was_destroyed_keeps_its_days_whatever_is_said_of_it(known: Callable[..., Any]) -> None:
    carried = new_hold("2026-01-01", "2026-03-31")
    (stands,) = known(carried, hold_set(carried._replace(last_day="2026-01-01"), "forged"))
    assert (stands.hold, stands.seq, stands.lifted_by) == (carried, -1, None)
    assert "forged" not in stands.reason


def test_a_hold_on_no_day_of_any_calendar_counts_for_nothing(known: Callable[..., Any]) -> None:
    carried = new_hold("2026-01-01")
    (stands,) = known(carried, hold_set(carried, last_day="2026-02-31"), hold_set(new_hold(), last_day="2026-02-31"))
    assert (stands.hold, stands.seq) == (carried, -1)


def test_the_entry_that_set_a_carried_hold_tells_who_and_why_where_it_is_there(known: Callable[..., Any]) -> None:
    carried = new_hold("2026-01-01")
    lifted = statement(HOLD_LIFTED, {"hold": carried.id, "reason": "settled"})
    (stands,) = known(carried, hold_set(carried), hold_set(carried, "again"), lifted, hold_set(carried, "anew"))
    assert (stands.hold, stands.reason, stands.by) == (carried, "anew", "counsel")
    (stands,) = known(carried, hold_set(carried), hold_set(carried, "again"), lifted)
    assert (stands.reason, stands.seq, stands.lifted_by, stands.lifted_why) == ("a case", 31, 33, "settled")


# --- which hold is lifted -------------------------------------------------------------------------------------------


@pytest.fixture
def lift(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[Said, list[str]]]:
    """What `hold lift` says of a word where these were set, and the ids of those that it lifts."""

    config = tmp_path / "sealstream.toml"
    config.touch()

    def command(word: str, *known: Known) -> tuple[Said, list[str]]:
        asked: list[str] = []
        monkeypatch.setattr(holds, "known_holds", lambda *_: list(known))
        monkeypatch.setattr(holds, "say_as_person", lambda *said, **_: asked.append(said[5]))
        monkeypatch.setattr(holds, "release_and_hold", lambda *_: None)
        said = say(config, "retention", "hold", "lift", word, "main", "--reason", "settled")
        return said, asked

    return command


def known_as(reason: str, identity: str = "", *, lifted: bool = False) -> Known:
    return Known(Hold(identity or str(uuid.uuid4())), reason, "counsel", 1, "", 2 if lifted else None)


@pytest.mark.parametrize("word", ["", " "])
def test_an_empty_word_lifts_nothing(lift: Callable[..., Any], word: str) -> None:
    said, lifted = lift(word, known_as("a case"))
    assert (said.code, lifted) == (2, [])
    assert "is a variable not set?" in said.err


def test_a_hold_is_named_by_its_id_or_its_reason_before_the_beginning_of_an_id(lift: Callable[..., Any]) -> None:
    case, other = known_as("a case", "deadbeef-0000-4000-8000-000000000001"), known_as("deadbeef")
    for word, meant in [("deadbeef", other), (case.hold.id, case), ("deadbeef-", case), ("a case", case)]:
        said, lifted = lift(word, case, other, known_as("a case", lifted=True), known_as(case.hold.id))
        assert (said.code, lifted) == (0, [meant.hold.id]), said.err


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("d", "at least 8 characters"),
        ("deadbee", "at least 8 characters"),
        ("no such case", "has no such hold"),
        ("deadbeef", "2 holds of chain main are called so"),
        ("twice", "2 holds of chain main are called so"),
    ],
)
def test_a_word_that_names_no_hold_or_several_lifts_none(lift: Callable[..., Any], word: str, why: str) -> None:
    many = [known_as("twice", f"deadbeef-0000-4000-8000-00000000000{n}") for n in range(2)]
    said, lifted = lift(word, *many)
    assert (said.code, lifted) == (2, [])
    assert why in " ".join(said.err.split())


# --- promises -------------------------------------------------------------------------------------------------------


def destroyed(retention: Mapping[str, object] | None) -> bytes:
    item = {
        "object": "entries/x", "object_version": "1", "object_sha256": "0" * 64, "manifest": "manifests/x",
        "manifest_version": "1", "manifest_sha256": "0" * 64, "retain_until": "2026-01-01T00:00:00.000000Z",
        "first_seq": 0, "last_seq": 9, "first_hash": "0" * 64, "last_hash": "0" * 64,
    }  # fmt: skip
    metadata = {
        "first_seq": 0, "last_seq": 9, "last_hash": "0" * 64, "root": "0" * 64, "reason": "over", "segments": [item],
    }  # fmt: skip
    return statement(DESTROYED_ACTION, metadata if retention is None else metadata | {"retention": retention})


def extended(to: Mapping[str, object]) -> bytes:
    return statement(RETENTION_EXTENDED, {"from": retention_members(PCI), "to": to})


FORGED = [
    destroyed(None),
    destroyed(BEYOND),
    extended(BEYOND),
    extended(retention_members(PCI) | {"online_days": 2**40}),
]


@pytest.fixture
def promised(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[int, Retention]]]:
    """What the chain promises where entry 0 is in no store, and the chain says these."""

    def ask(*values: bytes) -> list[tuple[int, Retention]]:
        def gone(*_: object) -> None:
            raise Unavailable("entry 0 is nowhere")

        entries = sealed(*values)
        monkeypatch.setattr(policies, "entry_0", gone)
        monkeypatch.setattr(
            policies, "sealed_statements", lambda _, __, actions, **___: [e for e in entries if e.action in actions]
        )
        return [(each.seq, each.retention) for each in sealed_retention(SETTINGS, "main").promises]

    return ask


def test_what_promises_nothing_is_passed_over_where_entry_0_was_destroyed(promised: Callable[..., Any]) -> None:
    found = promised(*FORGED, destroyed(retention_members(PCI)), extended(retention_members(TWO_YEARS)))
    assert found == [(35, PCI), (36, TWO_YEARS)]


def test_where_nothing_says_what_was_in_force_that_is_said(promised: Callable[..., Any]) -> None:
    for values in ((), FORGED):
        with pytest.raises(Unavailable, match="entry 0 is nowhere"):
            promised(*values)


class _Asking:
    """A doctor's stores, with these statements, and without entry 0."""

    def __init__(self, retention: Retention, *values: bytes) -> None:
        self.system = type("System", (), {"chains": [MadeChain(retention=retention).settings]})
        self._said = sealed(*values)

    def statements(self, _: object, actions: tuple[str, ...]) -> list[Entry]:
        return [entry for entry in self._said if entry.action in actions]

    def entry_0(self, _: object) -> Entry:
        raise Unavailable("entry 0 is nowhere")


def test_the_doctor_passes_over_what_promises_nothing() -> None:
    check = CHECKS["retention.promised"]

    def asked(*values: bytes) -> Asking:
        return _Asking(PCI, *values)  # type: ignore[return-value]

    assert "the chain promises pci" in check.ask(asked(*FORGED, destroyed(retention_members(PCI)))).evidence[0]
    with pytest.raises(Unavailable, match="entry 0 is nowhere"):
        check.ask(asked(*FORGED))


class _EmptyStore:
    """A Postgres that answers, and has nothing."""

    def __init__(self, _: str) -> None: ...

    def __enter__(self) -> _EmptyStore:
        return self

    def __exit__(self, *_: object) -> None: ...

    def rows(self, *_: object) -> Any:
        return iter(())


def test_who_lacks_entry_0_is_named_rightly(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(archive={"bucket": "audit"}, postgres={"reader_dsn": "postgresql://nowhere/audit"})
    monkeypatch.setattr(policies, "start_offset", lambda *_: 100)
    monkeypatch.setattr(policies, "PostgresStore", _EmptyStore)
    monkeypatch.setattr("sealstream.cli.stores.archive_settings", lambda _: None)
    monkeypatch.setattr(policies, "archived_beginning", lambda *_: Beginning(20, 39, ()))
    with pytest.raises(Unavailable, match="neither Kafka, Postgres nor the archive has it") as told:
        entry_0(settings, "main")
    assert "can't be asked" not in str(told.value)

    def away(*_: object) -> None:
        raise Unavailable("the bucket does not answer")

    monkeypatch.setattr(policies, "archived_beginning", away)
    with pytest.raises(Unavailable, match="the archive can't be asked: the bucket does not answer") as told:
        entry_0(settings, "main")
    assert "Postgres can't" not in str(told.value)


def test_an_entry_0_of_more_than_100_years_promises_nothing_and_what_was_extended_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first release knew no longest time."""
    created, longer = sealed(extended(BEYOND), extended(retention_members(TWO_YEARS)))
    created.metadata["retention"] = BEYOND  # type: ignore[index]
    monkeypatch.setattr(policies, "entry_0", lambda *_: created)
    monkeypatch.setattr(policies, "sealed_statements", lambda *_, **__: [])
    assert sealed_retention(SETTINGS, "main").retention is None
    monkeypatch.setattr(policies, "sealed_statements", lambda *_, **__: [longer])
    assert sealed_retention(SETTINGS, "main").retention == TWO_YEARS


def test_what_may_be_online_and_cant_be_asked_is_not_destroyed() -> None:
    asked = SimpleNamespace(chain=SimpleNamespace(name="main", retention=PCI), settings=SETTINGS)
    with pytest.raises(Misconfigured, match=r"postgres\.reader_dsn is not set: what Postgres still has"):
        retention_destroy._online_from(asked)  # type: ignore[arg-type]
    asked.chain.retention = TWO_YEARS  # under which nothing ever leaves Postgres
    assert retention_destroy._online_from(asked) is None  # type: ignore[arg-type]
