"""The doctor on a chain that is older than its online time: what is over and stays; locks of before an extension."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.doctor.looking import failing, later, passing, system_for, unasked
from tests.long_runs import long_run
from tests.pipeline import Pipeline, wait_until
from tests.pipeline_past import seal_in_the_past

from sealstream.archive import ArchiveSettings, ArchiveStore, init_bucket
from sealstream.doctor import System
from sealstream.doctor.asking import Asking
from sealstream.doctor.checks.limited import HELD, judged_archived, judged_stored
from sealstream.doctor.promised import judged_let_go, promised_at
from sealstream.errors import Unavailable
from sealstream.events import format_timestamp, parse_timestamp
from sealstream.layout import (
    ChainSettings,
    Retention,
    SegmentLimits,
    month_leaves,
    named_retention,
    retention_members,
)
from sealstream.layout.archive import SegmentName
from sealstream.layout.holds import Hold
from sealstream.layout.manifests import parse_manifest
from sealstream.retention import StoredMonth
from sealstream.reviews import Cadence

pytestmark = long_run

OLD_DAYS, YOUNG_DAYS = 520, 100
PCI = named_retention("pci")
CHAIN = ChainSettings("main", "audit.example.com", "log+00000000+AAAA", PCI)
MONTHS = [StoredMonth("2025-01", 0, 9), StoredMonth("2025-02", 10, 19), StoredMonth("2026-11", 20, 29)]
FIRST = SegmentName("main", "2025-01-20", 0, 9)


@pytest.fixture(scope="module")
def aged(make_pipeline: Callable[..., Pipeline], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """A month whose online time is over, one that is not, and today."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        made = make_pipeline(SegmentLimits(entries=25, bytes=1_000_000, seconds=5), retention="pci")
        for part, days in enumerate((OLD_DAYS, YOUNG_DAYS)):
            made.send(made.event(100 * part + n) for n in range(60))
            seal_in_the_past(made, timedelta(days=days))
        made.start()
        made.send(made.event(1_000 + n) for n in range(30))
        made.wait_stored(made.wait_sealed())
        made.archive_all(2_000)
        yield made
        made.kill_all()


def at(moment: datetime) -> dict[str, Any]:
    """A clock that stands."""
    return {"clock": lambda: moment}


def asked(pipeline: Pipeline, *arguments: str) -> None:
    said = pipeline.command(*arguments)
    assert said.code == 0, said.err


def hold(pipeline: Pipeline, reason: str, *days: str) -> None:
    asked(pipeline, "retention", "hold", "set", pipeline.name, "--reason", reason, *days)
    pipeline.wait_stored(pipeline.wait_sealed())


def lift(pipeline: Pipeline, reason: str) -> None:
    asked(pipeline, "retention", "hold", "lift", reason, pipeline.name, "--reason", "over")
    pipeline.wait_stored(pipeline.wait_sealed())


# --- what is over leaves --------------------------------------------------------------------------------------------


def test_a_month_that_is_over_and_stays_fails_until_it_has_left(aged: Pipeline) -> None:
    month = f"{datetime.now(UTC) - timedelta(days=OLD_DAYS):%Y-%m}"
    leaves = month_leaves(month, 366)
    system = system_for(aged)
    said = failing("retention.limited", system)
    assert f"Postgres still has {month}, more than 60 days after it might have left ({leaves:%Y-%m-%d})" in said
    assert "might have gone" not in said
    passing("retention.limited", system._replace(**at(leaves + timedelta(days=59))))
    hold(aged, "a case", "--from", f"{month}-10", "--to", f"{month}-11")
    assert "the legal hold" in passing("retention.limited", system)
    lift(aged, "a case")
    failing("retention.limited", system)
    reviewed = system._replace(cadences={aged.name: Cadence("month", 10)})
    assert f"the oldest that of {month}" in failing("reviews.signed", reviewed)
    asked(aged, "retention", "run", aged.name, "--yes")
    passing("retention.limited", system)
    online_since = f"{datetime.now(UTC) - timedelta(days=YOUNG_DAYS):%Y-%m}"
    assert f"the oldest that of {online_since}" in failing("reviews.signed", reviewed)


def test_an_archive_that_begins_with_what_is_over_fails(aged: Pipeline) -> None:
    """Postgres has let it go: of the hold only manifests and the archive know, once its entries have left, too."""
    system = system_for(aged, **later(days=290))
    with closing(ArchiveStore(aged.archive, aged.name)) as store:
        first = next(store.segments()).name
    said = failing("retention.limited", system)
    assert f"the archive begins with {first.object_key}, more than 60 days after it might have gone" in said
    assert "Postgres still has" not in said
    passing("retention.limited", system._replace(**later(days=250)))
    hold(aged, "a suit", "--from", first.date, "--to", first.date)
    assert "the legal hold" in passing("retention.limited", system)
    lift(aged, "a suit")
    # A segment may have ended that says the hold stands: the bucket is released when the archive has the lifting, too.
    aged.send([aged.event(3_000)])
    aged.archive_all(3_001)
    asked(aged, "retention", "hold", "apply", aged.name)
    failing("retention.limited", system)


def test_what_a_store_does_not_say_of_it_is_unknown(aged: Pipeline) -> None:
    system = system_for(aged, **at(datetime.now(UTC) - timedelta(days=OLD_DAYS - 366)))  # nothing is overdue then
    nobody = "postgresql://nobody@127.0.0.1:1/no"
    unasked("retention.limited", system._replace(dsns=dict.fromkeys(system.dsns, nobody)))
    unasked("retention.limited", system._replace(archive=system.archive._replace(endpoint_url="http://127.0.0.1:1")))  # type: ignore[union-attr]
    unasked("retention.limited", system._replace(archive=None))


def test_months_are_held_against_their_time_and_the_holds_that_stand() -> None:
    leaves = month_leaves("2025-01", 366)
    passing("retention.limited", judged_stored(CHAIN, MONTHS, (), leaves + timedelta(days=59)))
    now = leaves + timedelta(days=61)
    assert "still has 2025-01, more" in failing("retention.limited", judged_stored(CHAIN, MONTHS, (), now))
    two = leaves + timedelta(days=100)
    assert "still has 2025-01 to 2025-02, more" in failing("retention.limited", judged_stored(CHAIN, MONTHS, (), two))
    on_first, on_second = (Hold("h", f"2025-0{n}-03", f"2025-0{n}-04") for n in (1, 2))
    passing("retention.limited", judged_stored(CHAIN, MONTHS, (on_first,), two))
    assert "still has 2025-01, more" in failing("retention.limited", judged_stored(CHAIN, MONTHS, (on_second,), two))


def test_the_archives_beginning_is_held_against_its_time_its_lock_and_the_holds_that_stand() -> None:
    ends = datetime(2025, 1, 21, tzinfo=UTC) + timedelta(days=732)
    over, lock = ends + timedelta(days=61), ends - timedelta(hours=3)

    def judge(
        first: SegmentName | None = FIRST,
        months: list[StoredMonth] = MONTHS[2:],
        holds: tuple[Hold, ...] = (),
        locked: datetime = lock,
        now: datetime = over,
    ) -> Any:
        return judged_archived(CHAIN, first, locked, months, holds, now)

    assert "begins with entries/" in failing("retention.limited", judge())
    passing("retention.limited", judge(first=None))
    passing("retention.limited", judge(now=ends + timedelta(days=59)))
    passing("retention.limited", judge(locked=ends + timedelta(days=2)))
    passing("retention.limited", judge(holds=(Hold("h", "2025-01-20", "2025-01-20"),)))
    assert "a legal hold in the bucket keeps it" in passing("retention.limited", judge(locked=HELD))
    other_day = Hold("h", "2025-01-21", "2025-01-21")
    failing("retention.limited", judge(holds=(other_day,)))
    passing("retention.limited", judge(months=MONTHS, holds=(other_day,)))  # Postgres keeps the whole month


# --- locks of before an extension -----------------------------------------------------------------------------------


def copy_of(
    pipeline: Pipeline, elsewhere: ArchiveSettings, s3: Any, *, shorter: timedelta = timedelta(0), as_pci: bool = False
) -> System:
    """Of each segment object and manifest under the lock that its manifest says, or a shorter one.

    `as_pci`: the newest segment is said to be locked by that policy, and is.
    """
    init_bucket(elsewhere, PCI)
    with closing(ArchiveStore(pipeline.archive, pipeline.name)) as store:
        segments = list(store.segments())
        for segment in segments:
            manifest = parse_manifest(store.read(segment.manifest.key, segment.manifest.versions[0]))
            if as_pci and segment == segments[-1]:
                until = parse_timestamp(manifest.last_sequenced_at) + timedelta(days=PCI.archive_days)
                manifest = manifest._replace(retain_until=format_timestamp(until))
            s3.put_object(
                Bucket=elsewhere.bucket, Key=segment.manifest.key, Body=manifest.to_bytes(),
                ObjectLockMode="COMPLIANCE", ObjectLockRetainUntilDate=parse_timestamp(manifest.retain_until),
            )  # fmt: skip
            s3.put_object(
                Bucket=elsewhere.bucket, Key=segment.object.key, Body=store.read(segment.object.key,
                segment.object.versions[0]), ObjectLockMode="COMPLIANCE",
                ObjectLockRetainUntilDate=parse_timestamp(manifest.retain_until) - shorter,
            )  # fmt: skip
    return system_for(pipeline, archive=elsewhere)


def test_a_lock_that_ends_before_its_manifest_says_fails(aged: Pipeline, new_bucket: ArchiveSettings, s3: Any) -> None:
    passing("archive.locks", system_for(aged))
    weaker = copy_of(aged, new_bucket, s3, shorter=timedelta(hours=2))
    assert "expected COMPLIANCE until" in failing("archive.locks", weaker)
    no_postgres = weaker._replace(dsns={})
    assert "expected COMPLIANCE until" in failing("archive.locks", no_postgres)


def test_what_was_archived_before_an_extension_is_held_to_what_was_promised_then(
    aged: Pipeline, new_bucket: ArchiveSettings, s3: Any
) -> None:
    asked(aged, "chain", "retention", aged.name, "hipaa", "--yes")
    aged.send(aged.event(3_000 + n) for n in range(45))
    wait_until(lambda: aged.running["archive-sink"].poll() is not None, 60, aged.why)
    aged.running.pop("archive-sink")
    aged.start("archive-sink")
    aged.archive_all(4_000)
    system = system_for(aged)
    assert system.chains[0].retention == named_retention("hipaa")
    assert "nothing longer was promised" in passing("archive.locks", system)
    unasked("archive.locks", system._replace(dsns={"reader": "postgresql://nobody@127.0.0.1:1/no"}))
    assert "nothing ever leaves" in failing("retention.limited", system)
    asked_for_less = copy_of(aged, new_bucket, s3, as_pci=True)
    said = failing("archive.locks", asked_for_less)
    assert said.count("expected COMPLIANCE until") == 2, "the newest segment, which begins behind the extension"


class Says:
    """What a chain says where it is asked: entry 0 and statements, of which those below `left` have left Postgres."""

    def __init__(self, left: int, entry_0: Retention | None, *said: tuple[int, str, dict[str, Retention]]) -> None:
        self._left, self._entry_0, self._read_through = left, entry_0, False
        self._said = [self._entry(seq, action, members) for seq, action, members in said]

    @staticmethod
    def _entry(seq: int, action: str, members: dict[str, Retention]) -> Any:
        metadata = {name: retention_members(policy) for name, policy in members.items()}
        return SimpleNamespace(action=action, metadata=metadata, written=SimpleNamespace(seq=seq))

    def statements(self, _: ChainSettings, actions: Sequence[str]) -> list[Any]:
        return [entry for entry in self._said if entry.action in actions and entry.written.seq >= self._left]

    def archived_statements(self, _: ChainSettings, actions: Sequence[str]) -> list[Any]:
        self._read_through = True
        return [entry for entry in self._said if entry.action in actions and entry.written.seq < self._left]

    def stored(self, _: ChainSettings) -> Any:
        return SimpleNamespace(first_seq=self._left)

    def entry_0(self, _: ChainSettings) -> Any:
        if self._entry_0 is None:
            raise Unavailable("entry 0 is in no store")
        return self._entry(0, "chain.created", {"retention": self._entry_0})

    def days(self, seq: int, *, whole: bool = False, reads: bool = False) -> int:
        """For how many days entry `seq` was promised to be archived; `reads`: the archive is read through for it."""
        self._read_through = False
        found = promised_at(cast(Asking, self), CHAIN, seq, whole=whole).archive_days
        assert self._read_through == reads
        return found


def test_what_was_promised_of_an_entry_is_known_whatever_has_left_postgres() -> None:
    one, two, three = (Retention(f"{days}d", archive_days=days, online_days=31) for days in (100, 200, 300))
    extended = [
        (50, "retention.extended", {"from": one, "to": two}),
        (90, "retention.extended", {"from": two, "to": three}),
    ]
    says = Says(0, one, *extended)
    assert [says.days(seq) for seq in (0, 50, 51, 90, 91)] == [100, 100, 200, 200, 300]
    expired = (80, "store.expired", {"retention": two})
    says = Says(70, None, *extended, expired)
    assert [says.days(seq) for seq in (70, 90, 91)] == [200, 200, 300], "what is online says it"
    assert [says.days(seq, whole=True) for seq in (70, 90, 91)] == [200, 200, 300]
    assert says.days(20) == 200, "never less than was promised"
    assert [says.days(seq, whole=True, reads=True) for seq in (20, 50, 51)] == [100, 100, 200]
    assert Says(70, one, *extended, expired).days(20, whole=True, reads=True) == 100
    assert Says(70, None, expired).days(75) == 200
    with pytest.raises(Unavailable):
        Says(70, None).days(75)


def test_a_policy_without_an_online_time_lets_nothing_leave(aged: Pipeline) -> None:
    system = system_for(aged)
    always = Retention("own", archive_days=732)
    chains = tuple(chain._replace(retention=always) for chain in system.chains)
    assert "nothing ever leaves Kafka and Postgres" in failing("retention.limited", system._replace(chains=chains))


def statement(action: str, seq: int, at: str, **metadata: Any) -> Any:
    written = SimpleNamespace(seq=seq, sequenced_at=at)
    return SimpleNamespace(action=action, metadata=metadata, written=written)


def test_only_what_keeps_to_the_rules_lets_anything_go() -> None:
    left = {"store": "postgres", "month": "2025-01", "first_seq": 0, "last_seq": 9, "last_hash": "ab" * 32}
    left["retention"] = retention_members(PCI)
    at = "2026-02-03T00:00:00.000000Z"

    def let_go(entries: list[Any], promise: Retention = PCI) -> Any:
        return judged_let_go(entries, "main", lambda _: promise)

    assert let_go([statement("store.expired", 30, at, **left)]) == [left]
    assert let_go([statement("store.expired", 30, at, **left)], Retention("2y", archive_days=732)) == []
    for other in ({"last_seq": 99}, {"month": "2026-01"}, {"last_hash": ""}, {"retention": {}}):
        assert let_go([statement("store.expired", 30, at, **{**left, **other})]) == []
    items = [
        {"object": FIRST.object_key, "last_seq": 9},
        {"object": FIRST.object_key, "last_seq": 19},
        {"object": FIRST._replace(chain="other").object_key, "last_seq": 9},
        {"object": FIRST._replace(date="2025-02-28", first_seq=10, last_seq=19).object_key, "last_seq": 19},
        {"object": "anything", "last_seq": 9},
    ]
    listed = statement("archive.destroyed", 30, "2027-01-31T00:00:00.000000Z", segments=items)
    assert let_go([listed])[0]["segments"] == items[:1]
    assert let_go([listed], Retention("3y", archive_days=1_098))[0]["segments"] == []
