"""Repair and replay of Postgres: which months, from where, and what must hold before anything is touched.

`repair_postgres` verifies the archive, finds the months in which Postgres differs, and builds those anew. It refuses
where the archive itself does not hold: then there is nothing to repair from. `replay_postgres` builds every month anew,
whatever it holds. Both also mend the notes and the position. Crash stories: `postgres_rebuild.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from sealstream.archive import ArchiveSettings
from sealstream.errors import Forked, Misconfigured, Unavailable
from sealstream.kafka import KafkaSettings
from sealstream.layout import ChainSettings
from sealstream.layout.tables import AUDIT_CHECKPOINT
from sealstream.rebuild.archive_view import ArchiveView, Verified
from sealstream.rebuild.entries import ArchiveThenKafka, EntrySource, FromArchive, FromKafka
from sealstream.rebuild.months import Keeper
from sealstream.rebuild.notes import mend_notes
from sealstream.rebuild.postgres_rebuild import MonthDone, MonthsRebuild, month_of, seal_repairs
from sealstream.rebuild.reconcile import reconcile
from sealstream.rebuild.reconciliation import Reconciliation, Sources, kafka_notes
from sealstream.rebuild.spans import Span, spans_between
from sealstream.sealing import EMPTY_RANGE, CompactRange
from sealstream.verify import ChainIdentity, FaultKind, Report, Verification, verify_archive
from sealstream.verify.signed import SignedSize, StoredNote, signed_sizes

__all__ = ["Done", "PostgresTarget", "drop_replaced", "repair_postgres", "replay_postgres", "verified_archive"]

Say = Callable[[str], None]
Progress = Callable[[int, int | None], None]


class PostgresTarget(NamedTuple):
    """The database, by two of its roles."""

    keeper_dsn: str
    reader_dsn: str


class Done(NamedTuple):
    """What was done. `unsealed`: why the chain could not be told yet, if so; the next repair tells it."""

    months: list[MonthDone]
    notes: int
    unsealed: str = ""


class _Ways(NamedTuple):
    """How it is done, the same for repair and replay."""

    keep: bool
    workers: int
    wait_s: float
    say: Say
    progress: Progress


def verified_archive(
    archive: ArchiveSettings | str | Path,
    chain: ChainSettings,
    *,
    since: datetime | None = None,
    workers: int = 1,
    progress: Progress = lambda _done, _total: None,
) -> Report:
    """The verification of the archive that is repaired from. Raises `Forked` unless all but its age holds."""
    identity = ChainIdentity(chain.name, chain.origin, chain.vkey)
    asked = Verification(identity, datetime.now(UTC), since=since, workers=workers, progress=progress)
    report = verify_archive(archive, asked)
    wrong = [fault for fault in report.faults if fault.kind is not FaultKind.STALE]
    if wrong:
        told = "; ".join(f"{fault.kind} {fault.seqs()} in {fault.place}: {fault.detail}" for fault in wrong[:3])
        more = f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise Forked(
            f"the archive itself does not hold, so nothing is rebuilt from it: {told}{more}; see all of it with "
            "`sealstream verify archive`"
        )
    if not report.size:
        raise Misconfigured("the archive holds no signed entry of this chain: there is nothing to rebuild from")
    return report


def repair_postgres(
    chain: ChainSettings,
    target: PostgresTarget,
    archive: ArchiveSettings | str | Path,
    kafka: KafkaSettings | None,
    *,
    months: Sequence[str] | None = None,
    keep: bool = True,
    workers: int = 2,
    wait_s: float = 600.0,
    verified: Verified | None = None,
    say: Say = lambda _: None,
    progress: Progress = lambda _done, _total: None,
) -> Done:
    """Builds the months anew in which Postgres differs (or these `months`), from the archive.

    Entries that are not archived yet come from Kafka; without it (None), those that stand and follow are kept. Raises
    `Forked` when the archive does not hold.
    """
    ways = _Ways(keep, workers, wait_s, say, progress)
    chosen = months
    since = datetime.fromisoformat(f"{min(months)}-01T00:00:00+00:00") if months else None
    with Keeper(target.keeper_dsn) as keeper:
        _seal(keeper, kafka, chain)
        source = FromArchive(archive, chain.name)
        try:
            if months is None:
                say("comparing Postgres with the archive and Kafka")
                found = _compare(chain, target, archive, kafka, verified, ways)
                months = _months_of(found, keeper, source, kafka, chain)
                if months:
                    since = datetime.fromisoformat(f"{months[0]}-01T00:00:00+00:00")
            if months:
                say("verifying the archive" + (f" from {since:%Y-%m} on" if since else ""))
                verified_archive(archive, chain, since=since, workers=workers, progress=progress)
            sizes = _sizes(chain, archive, kafka)
            reason = "differed from the signed entries; built anew from the archive"
            whole = _with_kafka(source, kafka, chain)
            rebuild = _rebuild(keeper, chain, whole, spans_between(sizes, _begins(archive, chain)), reason, ways)
            stop = _stop(keeper, chain, source.end(), kafka)
            done = _each_month(rebuild, source, months, stop, say)
            notes = mend_notes(keeper, target.reader_dsn, chain, sizes, say)
            if chosen is None:
                keeper.rebuild_position(chain.name)
        finally:
            source.close()
        return Done(done, notes, _seal(keeper, kafka, chain))


def replay_postgres(
    chain: ChainSettings,
    target: PostgresTarget,
    archive: ArchiveSettings | str | Path | None,
    kafka: KafkaSettings | None,
    *,
    from_kafka: bool,
    first: int = 0,
    keep: bool = False,
    workers: int = 2,
    wait_s: float = 600.0,
    say: Say = lambda _: None,
    progress: Progress = lambda _done, _total: None,
    done_month: Callable[[MonthDone], None] = lambda _: None,
) -> Done:
    """Builds every month anew, from the archive (verified first) or from Kafka. `first`: go on with this entry."""
    ways = _Ways(keep, workers, wait_s, say, progress)
    with Keeper(target.keeper_dsn) as keeper:
        _seal(keeper, kafka, chain)
        opened: FromArchive | None = None
        try:
            if from_kafka:
                if kafka is None:
                    raise Misconfigured("replay from Kafka needs Kafka")
                source: EntrySource = FromKafka(kafka, chain)
                stop = source.end()
            else:
                if archive is None:
                    raise Misconfigured("replay from the archive needs the archive")
                say("verifying the archive")
                verified_archive(archive, chain, workers=workers, progress=progress)
                opened = FromArchive(archive, chain.name)
                first = max(first, opened.begin())
                source = _with_kafka(opened, kafka, chain)
                stop = _stop(keeper, chain, opened.end(), kafka)
            sizes = _sizes(chain, archive, kafka)
            if not sizes:
                raise Misconfigured(f"nothing is signed of chain {chain.name}: a store is rebuilt to what is signed")
            begins = EMPTY_RANGE if archive is None else _begins(archive, chain)
            spans = spans_between(sizes, begins)
            rebuild = _rebuild(keeper, chain, source, spans, f"replayed from {source.name}", ways)
            done = []
            for item in rebuild.run(first, stop):
                say(f"month {item.month}: entries {item.first} to {item.stop - 1} are built, verified and swapped in")
                done.append(item)
                done_month(item)
            notes = mend_notes(keeper, target.reader_dsn, chain, sizes, say)
            keeper.rebuild_position(chain.name)
        finally:
            if opened is not None:
                opened.close()
        return Done(done, notes, _seal(keeper, kafka, chain))


def _rebuild(
    keeper: Keeper, chain: ChainSettings, source: EntrySource, spans: list[Span], reason: str, ways: _Ways
) -> MonthsRebuild:
    return MonthsRebuild(
        keeper,
        chain,
        source,
        spans,
        reason=reason,
        keep=ways.keep,
        workers=ways.workers,
        wait_s=ways.wait_s,
        say=ways.say,
        progress=ways.progress,
    )


def _with_kafka(source: FromArchive, kafka: KafkaSettings | None, chain: ChainSettings) -> EntrySource:
    return source if kafka is None else ArchiveThenKafka(source, FromKafka(kafka, chain))


def _stop(keeper: Keeper, chain: ChainSettings, archived: int, kafka: KafkaSettings | None) -> int:
    """The entry behind the last to rebuild: all that is archived, and what Postgres has had beyond it.

    Without Kafka the rows beyond are taken over from the month that stands: the swap checks that they follow.
    """
    claimed = keeper.position(chain.name)
    if claimed <= archived or kafka is None:
        return archived
    return max(archived, min(claimed, FromKafka(kafka, chain).end()))


def _each_month(
    rebuild: MonthsRebuild, source: FromArchive, months: Sequence[str], stop: int, say: Say
) -> list[MonthDone]:
    done = []
    for month in sorted(months):
        first = source.month_start(month)
        items = list(rebuild.run(source.end() if first is None else first, stop, [month]))
        items = items or [rebuild.empty(month, stop)]
        for item in items:
            what = f"entries {item.first} to {item.stop - 1}" if item.stop > item.first else "no entry of the chain"
            kept = f"; the old month is kept as {item.replaced}" if item.replaced else ""
            say(f"month {item.month}: {what}, built, verified and swapped in{kept}")
        done += items
    return done


def _compare(
    chain: ChainSettings,
    target: PostgresTarget,
    archive: ArchiveSettings | str | Path,
    kafka: KafkaSettings | None,
    verified: Verified | None,
    ways: _Ways,
) -> Reconciliation:
    sources = Sources(kafka, target.reader_dsn, archive)
    return reconcile(chain, sources, workers=ways.workers, verified=verified, progress=ways.progress)


def _months_of(
    found: Reconciliation, keeper: Keeper, source: FromArchive, kafka: KafkaSettings | None, chain: ChainSettings
) -> list[str]:
    """The months that differ: where the rows stand, and where they should."""
    months: set[str] = set()
    for fault in found.of("postgres"):
        if fault.first_seq is None or fault.place.startswith(AUDIT_CHECKPOINT):
            continue
        first, last = fault.first_seq, fault.first_seq if fault.last_seq is None else fault.last_seq
        months |= keeper.months_with(chain.name, first, last) | source.months(first, last)
        if last >= source.end() and kafka is not None:
            behind = FromKafka(kafka, chain)
            begin, stop = max(first, source.end()), min(last + 1, behind.end())
            for run in behind.runs(source.end(), b"", stop) if begin < stop else ():
                months |= {month_of(value) for value in run.values[max(begin - run.first, 0) :]}
    return sorted(months)


def _begins(archive: ArchiveSettings | str | Path, chain: ChainSettings) -> CompactRange:
    """The tree before the first archived entry, for an archive whose beginning was destroyed."""
    view = ArchiveView(archive, chain.name)
    try:
        return view.start()
    finally:
        view.close()


def _sizes(
    chain: ChainSettings, archive: ArchiveSettings | str | Path | None, kafka: KafkaSettings | None
) -> list[SignedSize]:
    """Every signed size that archive and Kafka have. Raises `Forked` where one size has two roots."""
    notes: list[StoredNote] = []
    if archive is not None:
        view = ArchiveView(archive, chain.name)
        notes += view.notes()
        view.close()
    if kafka is not None:
        notes += kafka_notes(kafka, chain)
    sizes, faults = signed_sizes(notes, chain.vkey)
    if forks := [fault for fault in faults if fault.kind is FaultKind.FORKED]:
        raise Forked(f"{forks[0].place}: {forks[0].detail}")
    return sizes


def _seal(keeper: Keeper, kafka: KafkaSettings | None, chain: ChainSettings) -> str:
    """Tells the chain what was done. An empty text, or why that must wait."""
    try:
        if kafka is None:
            return "Kafka is not reached" if keeper.unsealed(chain.name) else ""
        seal_repairs(keeper, kafka, chain)
    except Unavailable as error:
        return str(error)
    return ""


def drop_replaced(target: PostgresTarget, name: str) -> None:
    """Drops a month that was replaced and kept."""
    with Keeper(target.keeper_dsn) as keeper:
        keeper.drop_replaced(name)
