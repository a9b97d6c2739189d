"""The end of an archive: only what is over, only what was listed, never unseen. S3 enforces the locks, for seconds."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest
from tests.archive.conftest import Stage
from tests.long_runs import long_run

from sealstream.archive import Bucket
from sealstream.errors import Held, Misconfigured
from sealstream.events import control_statement, format_timestamp
from sealstream.layout import Retention
from sealstream.layout.archive import ARCHIVED_ACTION, DESTROYED_ACTION, SegmentName, archived_statement_id
from sealstream.layout.holds import Hold
from sealstream.retention import (
    Ended,
    destroy_listed,
    destroyed_statement_id,
    ended_segments,
    statement_members,
)
from sealstream.verify import ChainIdentity, FaultKind, Report, Verification, verify_archive

pytestmark = long_run

A_DAY = Retention("1d", archive_days=1)


class Over:
    """An archive of entries of forty days ago, whose locks end some seconds after they were put."""

    def __init__(self, s: Stage, locked_s: int) -> None:
        self.s = s
        self.locked_s = locked_s
        self.grow(64)

    def grow(self, events: int) -> None:
        self.s.chain.events(events)
        self.s.publish()
        sink = self.s.sink(clock=lambda: datetime.now(UTC) - timedelta(days=1) + timedelta(seconds=self.locked_s))
        self.s.run(sink)
        sink.close()

    def wait(self) -> None:
        """Until every lock has ended, by S3's clock too, which it tells in whole seconds."""
        locks = [
            self.s.bucket.lock(each.key, each.versions[0].version_id)
            for segment in self.s.stored_segments()
            for each in (segment.object, segment.manifest)
        ]
        ends = max(lock.until for lock in locks if lock is not None) + timedelta(seconds=1)
        while datetime.now(UTC) <= ends:
            time.sleep(0.5)

    def sealed(self, ids: Sequence[str]) -> dict[str, Mapping[str, object]]:
        by_id = {
            archived_statement_id(self.s.chain.origin, segment.name): segment.name
            for segment in self.s.stored_segments()
        }
        said = {str(metadata["object"]): metadata for metadata in self.s.archived()}
        return {own: said[by_id[own].object_key] for own in ids if own in by_id and by_id[own].object_key in said}

    def ended(self, holds: Sequence[Hold] = (), listed: Sequence[Mapping[str, Any]] = ()) -> Ended:
        return ended_segments(self.s.bucket_settings, self.s.chain.settings, self.sealed, holds, listed=listed)

    def say(self, ended: Ended, **other: Any) -> dict[str, Any]:
        """The list, sealed and archived; with `other` members, as a liar has it."""
        members: dict[str, Any] = {**statement_members(self.s.chain.settings, ended.segments, "over"), **other}
        first, last = members["first_seq"], members["last_seq"]
        value = control_statement(
            DESTROYED_ACTION, id=destroyed_statement_id(self.s.chain.origin, first, last),
            timestamp=format_timestamp(datetime.now(UTC)), actor_id="ann", actor_type="admin", resource_type="archive",
            resource_id=f"{first}-{last}", metadata=members,
        )  # fmt: skip
        self.s.chain.at = datetime.now(UTC)
        self.s.chain.control(value)
        for _ in range(2):  # the second time what the first has said of its segments is archived, too
            self.grow(45)
        return members

    def destroy(self, members: dict[str, Any], holds: Sequence[Hold] = (), online: int | None = None) -> int:
        gone, kept = destroy_listed(
            self.s.bucket_settings,
            self.s.chain.settings,
            lambda: holds,
            members["segments"],
            online_from=lambda: online,
        )
        assert kept == ""
        return gone

    def verified(self) -> Report:
        identity = ChainIdentity(self.s.chain.name, self.s.chain.origin, self.s.chain.settings.vkey)
        return verify_archive(self.s.bucket_settings, Verification(identity, datetime.now(UTC)))


@pytest.fixture
def over(stage: Callable[..., Stage]) -> Over:
    return Over(stage(retention=A_DAY, at=datetime.now(UTC) - timedelta(days=40)), locked_s=8)


def test_what_is_over_goes_as_it_was_sealed_and_the_rest_holds(
    stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    over = Over(stage(retention=A_DAY, at=datetime.now(UTC) - timedelta(days=40)), locked_s=40)
    locked = over.ended()
    assert locked.segments == []
    assert "is locked until" in locked.stops
    first = over.s.stored_segments()[0].object
    with pytest.raises(Misconfigured):  # S3 itself says no
        over.s.bucket.delete(first.key, first.versions[0].version_id)
    over.wait()
    ended = over.ended()
    assert [each.name for each in ended.segments] == [each.name for each in over.s.stored_segments()[:-1]]
    assert ended.stops.endswith("is the newest")
    over.locked_s = 8
    members = over.say(ended)
    assert over.verified().faults == []

    deletes = 0

    def killed(self: Bucket, key: str, version: str) -> None:
        nonlocal deletes
        deletes += 1
        if deletes == 2:
            raise KeyboardInterrupt
        real(self, key, version)

    real = Bucket.delete
    monkeypatch.setattr(Bucket, "delete", killed)
    with pytest.raises(KeyboardInterrupt):
        over.destroy(members)
    half = over.verified()
    assert half.faults == []
    assert half.first_seq == ended.segments[0].name.last_seq + 1
    assert over.destroy(members) == 2 * len(ended.segments) - 1
    assert over.destroy(members) == 0
    report = over.verified()
    assert (report.faults, report.first_seq, report.exit_code) == ([], members["last_seq"] + 1, 0)
    assert any(note.startswith(f"destroyed as sealed: entries up to {members['last_seq']} ") for note in report.notes)
    assert over.ended(listed=members["segments"]).stops
    sink = over.s.sink()  # which goes on behind its newest
    sink.step()
    sink.close()


def test_what_went_without_a_list_is_missing(over: Over) -> None:
    over.wait()
    first, second = over.s.stored_segments()[:2]
    for segment in (first, second):
        for each in (segment.object, segment.manifest):
            over.s.bucket.delete(each.key, each.versions[0].version_id)
    gone = [(f.kind, f.first_seq, f.last_seq) for f in over.verified().faults if f.kind is not FaultKind.STALE]
    assert gone == [(FaultKind.MISSING, 0, second.name.last_seq)]


def test_a_list_that_names_less_than_is_gone_excuses_no_more(over: Over) -> None:
    over.wait()
    ended = over.ended()
    members = over.say(ended._replace(segments=ended.segments[:1]))
    second = over.s.stored_segments()[1]
    over.destroy(members)
    for each in (second.object, second.manifest):
        over.s.bucket.delete(each.key, each.versions[0].version_id)
    assert [(f.kind, f.first_seq, f.last_seq) for f in over.verified().faults] == [
        (FaultKind.MISSING, second.name.first_seq, second.name.last_seq)
    ]


def test_longer_locks_and_holds_stop_it_when_it_is_planned_and_when_it_is_done(over: Over) -> None:
    over.wait()
    ended = over.ended()
    members = over.say(ended)
    longer, held = over.s.stored_segments()[1].object, over.s.stored_segments()[0].manifest
    over.s.bucket.lengthen(longer.key, longer.versions[0].version_id, datetime.now(UTC) + timedelta(hours=1))
    again = over.ended()
    assert [each.name for each in again.segments] == [ended.segments[0].name]
    assert f"{longer.key} is locked until" in again.stops
    over.s.bucket.hold(held.key, held.versions[0].version_id, True)
    with pytest.raises(Held, match="a legal hold stands"):
        over.destroy(members)
    assert over.s.stored_segments()[0].object.versions  # a manifest that is held keeps its object
    with pytest.raises(Misconfigured):  # S3 itself says no
        over.s.bucket.delete(held.key, held.versions[0].version_id)
    covering = Hold(str(uuid.uuid4()))
    assert over.ended([covering]).segments == []
    assert covering.id in over.ended([covering]).stops
    with pytest.raises(Held, match=covering.id):
        over.destroy(members, [covering])
    over.s.bucket.hold(held.key, held.versions[0].version_id, False)
    before = len(over.s.stored_segments())
    with pytest.raises(Held, match=f"{longer.key} is locked until"):
        over.destroy(members)
    assert len(over.s.stored_segments()) == before - 1  # what lies before it is gone, manifest and all
    assert [f for f in over.verified().faults if f.kind is not FaultKind.STALE] == []


def test_what_postgres_still_has_stays(over: Over) -> None:
    """A month that was brought back after the list was sealed leaves it first, since that needs the archive."""
    over.wait()
    ended = over.ended()
    members = over.say(ended)
    second = ended.segments[1].name
    for _ in range(2):
        with pytest.raises(Held, match="Postgres still has entries of it"):
            over.destroy(members, online=second.last_seq)
        assert over.s.stored_segments()[0].name == second
    assert over.destroy(members) == 2 * (len(ended.segments) - 1)


def test_a_list_is_no_command(over: Over) -> None:
    """Whoever may write to the control topic can have anything listed."""
    over.wait()
    ended = over.ended()
    (item, *_) = (dict(each.members) for each in ended.segments)
    before = len(over.s.stored_segments())
    items = [dict(each.members) for each in ended.segments]
    foreign = {
        kind: str(item[kind]).replace(f"chain={over.s.chain.name}/", "chain=other/") for kind in ("object", "manifest")
    }
    for said in ([item | foreign], [item | {"manifest": items[1]["manifest"]}], items[1:]):
        assert over.destroy({"segments": said}) == 0  # no segment, half of one, no beginning
    for member in ("object_version", "object_sha256", "manifest_version", "manifest_sha256"):
        otherwise = [item | {member: "ab" * 32}, *items[1:]]
        assert over.destroy({"segments": otherwise}) == 0  # nothing, and no hole
        assert [each.members for each in over.ended(listed=otherwise).segments] == items
    stored, manifest = over.s.stored_segments()[-1], over.s.manifests()[-1]
    newest, version = stored.name, stored.manifest.versions[0].version_id
    last = {
        "object": newest.object_key,
        "object_version": manifest.object_version,
        "object_sha256": manifest.object_sha256.hex(),
        "manifest": newest.manifest_key,
        "manifest_version": version,
        "manifest_sha256": sha256(over.s.bucket.read(newest.manifest_key, version or "", 2**20)).hexdigest(),
    }
    whole = [*items, item | last]
    with pytest.raises(Held, match="the newest segment stays"):
        over.destroy({"segments": whole})
    endless = SegmentName(newest.chain, newest.date, 0, 2**53 - 1)
    forged = item | {"object": endless.object_key, "manifest": endless.manifest_key, "last_seq": endless.last_seq}
    assert [each.members for each in over.ended(listed=[forged, *items[1:]]).segments] == items
    assert [each.members for each in over.ended(listed=[forged, items[0]]).segments] == items[1:]
    kept = over.s.chain.settings._replace(retention=Retention("6y", archive_days=2_196))
    gone, why = destroy_listed(over.s.bucket_settings, kept, tuple, [item])
    assert gone == 0
    assert "6y keeps it until" in why
    assert len(over.s.stored_segments()) == before
    liar = [{**each.members, "object_sha256": "ab" * 32} for each in ended.segments]
    over.say(ended, segments=liar)
    told = [fault for fault in over.verified().faults if fault.kind is FaultKind.INVALID]
    assert "its object_sha256 is abab" in told[0].detail


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"retain_until": "2026-99-99T00:00:00.000000Z"}, "its retain_until is no time"),
        ({"object": "x/date=9999-12-31/y"}, "its key names no day"),
        ({"object": "x/date=2026-02-31/y"}, "its key names no day"),
    ],
)
def test_a_list_of_nonsense_is_told_and_the_rest_is_verified(over: Over, other: dict[str, str], why: str) -> None:
    """Else one such list would keep every fault from being told."""
    over.wait()
    ended = over.ended()
    over.say(ended, segments=[{**ended.segments[0].members, **other}])
    told = [fault for fault in over.verified().faults if fault.kind is FaultKind.INVALID]
    assert why in told[0].detail


def test_what_is_archived_until_no_time_is_told_and_the_rest_is_verified(over: Over) -> None:
    open_from = over.s.stored_segments()[-1].name.last_seq + 1
    said = {**over.s.archived()[-1], "object": f"x/{open_from:020d}-9", "retain_until": "2026-99-99T00:00:00.000000Z"}
    value = control_statement(
        ARCHIVED_ACTION, id=str(uuid.uuid4()), timestamp=format_timestamp(datetime.now(UTC)), actor_id="ann",
        resource_type="segment", resource_id="x", metadata=said,
    )  # fmt: skip
    over.s.chain.control(value)
    for _ in range(2):  # so that the true one is archived, too
        over.grow(45)
    told = {fault.kind: fault.detail for fault in over.verified().faults}
    assert f"the segment from {open_from} was archived twice" in told[FaultKind.FORKED]
    assert "was archived with retain_until 2026-99-99" in told[FaultKind.UNLOCKED]


def test_a_list_before_its_time_is_told(over: Over) -> None:
    over.wait()
    ended = over.ended()
    until = format_timestamp(datetime.now(UTC) + timedelta(days=300))
    over.say(ended, segments=[{**each.members, "retain_until": until} for each in ended.segments])
    told = [fault for fault in over.verified().faults if fault.kind is FaultKind.INVALID]
    assert f"it was locked until {until}" in told[0].detail
