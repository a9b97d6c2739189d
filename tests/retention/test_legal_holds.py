"""Legal holds on the archive: every object that the chain says is held is, and no other; who takes one off is told."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from tests.archive.conftest import Stage
from tests.long_runs import long_run

import sealstream.archive.sink as sink_module
from sealstream.archive import Trimmer, apply_holds
from sealstream.archive.holding import Heard, hear_holds
from sealstream.cli import holds
from sealstream.cli.holds import Known
from sealstream.cli.settings import Settings
from sealstream.errors import NotCanonical
from sealstream.events import control_statement, format_timestamp
from sealstream.kafka import start_offset
from sealstream.layout import Retention
from sealstream.layout.holds import HOLD_LIFTED, HOLD_SET, MAX_HOLDS, Hold, after_statement, hold_members, read_hold
from sealstream.verify import ChainIdentity, FaultKind, Report, Verification, verify_archive

pytestmark = long_run


def says(s: Stage, action: str, hold: Hold) -> None:
    metadata = hold_members(hold) if action == HOLD_SET else {"hold": hold.id}
    value = control_statement(
        action, id=str(uuid.uuid4()), timestamp=format_timestamp(s.chain.at), actor_id="counsel", actor_type="admin",
        resource_type="hold", resource_id=hold.id, metadata={**metadata, "reason": "a case"},
    )  # fmt: skip
    s.chain.control(value)


def grow(s: Stage, events: int, after_s: float = 0.01) -> None:
    """Events, archived as far as segments go, by a sink that has just been started."""
    s.chain.events(events, after_s)
    s.publish()
    s.archive_all()


def held(s: Stage) -> list[bool]:
    """Of each segment, whether both its object and its manifest are under a legal hold."""
    found = []
    for segment in s.stored_segments():
        both = {s.bucket.held(each.key, each.versions[0].version_id) for each in (segment.object, segment.manifest)}
        assert len(both) == 1
        found += both
    return found


def verified(s: Stage, later: timedelta = timedelta(hours=2)) -> Report:
    identity = ChainIdentity(s.chain.name, s.chain.origin, s.chain.settings.vkey)
    return verify_archive(s.bucket_settings, Verification(identity, s.chain.at + later))


def new_hold(first_day: str = "", last_day: str = "") -> Hold:
    return Hold(str(uuid.uuid4()), first_day, last_day)


def test_what_is_put_under_a_hold_is_held_and_what_the_race_left_is_caught_up_with(stage: Callable[..., Stage]) -> None:
    s = stage()
    grow(s, 45)
    assert held(s) == [False, False]
    hold = new_hold()
    says(s, HOLD_SET, hold)
    grow(s, 40)
    # The first two were put since: between the statement and the sink's coming to it, for all that it knows.
    assert held(s) == [True] * len(s.chain.segments)
    assert [manifest.holds for manifest in s.manifests()] == [(), (), *[(hold,)] * (len(s.chain.segments) - 2)]
    assert verified(s).faults == []
    says(s, HOLD_LIFTED, hold)
    put = len(s.chain.segments)
    grow(s, 45)
    assert held(s) == [True] * put + [False] * (len(s.chain.segments) - put)
    assert s.manifests()[-1].holds == ()
    assert verified(s).faults == []
    apply_holds(s.bucket_settings, s.chain.name, [], [hold])
    assert not any(held(s))
    assert verified(s).faults == []


def test_a_hold_that_somebody_took_off_is_told(stage: Callable[..., Stage]) -> None:
    s = stage()
    says(s, HOLD_SET, new_hold())
    grow(s, 45)
    taken = s.stored_segments()[1].object
    s.bucket.hold(taken.key, taken.versions[0].version_id, False)
    report = verified(s)
    assert [(fault.kind, fault.place) for fault in report.faults] == [(FaultKind.UNLOCKED, taken.key)]
    assert "WORM-locked" not in report.assurance
    assert verified(s, later=timedelta(minutes=10)).faults == []  # it takes a while until all are held
    done = apply_holds(s.bucket_settings, s.chain.name, s.manifests()[-1].holds)
    assert (done.held, done.released) == (1, 0)
    assert verified(s).faults == []


def test_a_span_of_days_holds_those_days_alone(stage: Callable[..., Stage]) -> None:
    s = stage()
    grow(s, 45)
    day = f"{s.chain.at:%Y-%m-%d}"
    s.chain.event(after_s=86_400)
    grow(s, 45)
    hold = new_hold(day, day)
    apply_holds(s.bucket_settings, s.chain.name, [hold])
    days = [segment.name.date for segment in s.stored_segments()]
    assert held(s) == [each == day for each in days]
    assert set(days) > {day}
    other = s.stored_segments()[-1].object
    s.bucket.hold(other.key, other.versions[0].version_id, True)  # by somebody else, for reasons of their own
    apply_holds(s.bucket_settings, s.chain.name, [], [hold])
    assert s.bucket.held(other.key, other.versions[0].version_id)
    assert not s.bucket.held(s.stored_segments()[0].object.key, s.stored_segments()[0].object.versions[0].version_id)


def test_a_hold_keeps_the_chains_topic_before_the_archive_has_it_and_its_lifting_only_when_it_has(
    stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink_module, "Trimmer", partial(Trimmer, kept_entries=0))
    pci, now = Retention("pci", archive_days=732, online_days=366), datetime.now(UTC)
    s = stage(at=now - timedelta(days=400), retention=pci)
    grow(s, 45)

    def trimmed_to() -> int:
        sink = s.sink(trim_every_s=3600.0)
        sink.step()
        while sink.step():
            pass
        sink.close()
        return start_offset(s.kafka, s.topics.chain)

    s.chain.at = now
    hold = new_hold()
    says(s, HOLD_SET, hold)
    s.publish()
    assert s.manifests()[-1].holds == ()
    assert trimmed_to() == 0
    says(s, HOLD_LIFTED, hold)
    s.publish()
    assert trimmed_to() == 0
    grow(s, 45)
    assert s.manifests()[-1].holds == ()
    assert trimmed_to() > 0


def test_a_hold_that_is_set_while_segments_are_trimmed_keeps_the_rest(
    stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink_module, "Trimmer", partial(Trimmer, kept_entries=0))
    now = datetime.now(UTC)
    s = stage(at=now - timedelta(days=400), retention=Retention("pci", archive_days=732, online_days=366))
    grow(s, 105)
    s.chain.at = now
    grow(s, 45)
    sink = s.sink(trim_every_s=3600.0)
    sink.step()
    while start_offset(s.kafka, s.topics.chain) == 0:
        assert sink.step()
    reached = start_offset(s.kafka, s.topics.chain)
    says(s, HOLD_SET, new_hold())
    s.publish()
    while sink.step():
        pass
    sink.close()
    assert start_offset(s.kafka, s.topics.chain) == reached


def test_a_hold_that_is_set_while_others_are_released_is_set_on_them_again(
    stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    s = stage()
    grow(s, 45)
    lifted = Known(new_hold(), "a case", "counsel", 1, "", lifted_by=2)
    apply_holds(s.bucket_settings, s.chain.name, [lifted.hold])
    said = [lifted]

    def meanwhile(*arguments: Any) -> Any:
        done = apply_holds(*arguments)
        if len(said) == 1:
            assert done.released > 0
            said.append(Known(new_hold(), "another", "counsel", 3, ""))
        return done

    monkeypatch.setattr(holds, "apply_holds", meanwhile)
    monkeypatch.setattr(holds, "known_holds", lambda *_: list(said))
    monkeypatch.setattr(holds, "archive_settings", lambda _: s.bucket_settings)
    holds.release_and_hold(Settings(archive={"bucket": s.bucket_settings.bucket}), s.chain.name, quiet=True)
    assert set(held(s)) == {True}


def test_what_an_application_says_of_holds_counts_for_nothing(stage: Callable[..., Stage]) -> None:
    s = stage()
    hold = new_hold()
    s.chain.event(action=HOLD_SET, metadata={"hold": hold.id, "reason": "x"})
    says(s, HOLD_SET, hold)
    values = [entry.to_bytes() for entry in s.chain.entries]
    assert hear_holds(Heard((), None), values[:-1]).holds == ()
    heard = hear_holds(Heard((), None), values)
    assert (heard.holds, heard.set_at is not None) == ((hold,), True)


def test_which_holds_stand_follows_from_the_statements() -> None:
    first, second = new_hold(), new_hold("2026-01-01", "2026-01-31")
    stand = after_statement((), HOLD_SET, hold_members(first))
    stand = after_statement(stand, HOLD_SET, hold_members(second))
    assert stand == (first, second)
    assert after_statement(stand, HOLD_SET, {"hold": first.id, "first_day": "2026-05-01"}) == stand
    assert after_statement(stand, HOLD_LIFTED, {"hold": first.id}) == (second,)
    full = tuple(new_hold() for _ in range(MAX_HOLDS))
    assert after_statement(full, HOLD_SET, hold_members(first)) == full
    assert after_statement((), HOLD_SET, {"hold": first.id, "first_day": "2026-02-30"}) == ()


@pytest.mark.parametrize(
    ("hold", "day", "covered"),
    [
        (Hold("h"), "0001-01-01", True),
        (Hold("h", "2026-01-02"), "2026-01-01", False),
        (Hold("h", "2026-01-02"), "9999-12-31", True),
        (Hold("h", "", "2026-01-02"), "2026-01-02", True),
        (Hold("h", "", "2026-01-02"), "2026-01-03", False),
    ],
)
def test_a_hold_covers_its_days_with_both_ends(hold: Hold, day: str, covered: bool) -> None:
    assert hold.covers(day) is covered
    assert hold.covers_any(day, day) is covered
    assert read_hold(hold_members(hold)) == hold


@pytest.mark.parametrize("members", [{}, {"hold": ""}, {"hold": 7}, {"hold": "h", "last_day": "tomorrow"}])
def test_what_is_no_hold_is_none(members: dict[str, Any]) -> None:
    with pytest.raises(NotCanonical, match="no hold"):
        read_hold(members)
