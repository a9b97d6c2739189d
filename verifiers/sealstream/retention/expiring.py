"""Months leave Postgres when their online time is over and the archive holds them: one after another, the oldest first.

Each month in this order:

1. the archive's segments of it are read whole and met by the signed roots (`archived_month.py`);
2. Postgres' own rows of it, hashed again, must be the same entries: what was tampered with is evidence, and stays;
3. the chain seals `store.expired`, with an id that follows from chain and month, so a repeat is one;
4. Postgres holds that entry under a signed checkpoint;
5. the keeper's function drops the month, in one transaction, and only with that entry in the log.

So the statement comes first: a month that is gone without one was taken by somebody else, and every verification says
so. A crash between any two steps leaves the month where it was, perhaps with its statement sealed; the next run does
the same again, says nothing twice, and drops it. The invariant: no row goes that was not seen in the archive, locked,
in this very life.

What time it is the chain says itself: the time of the newest entry that is stored, if it is before this machine's. So
a clock that is wrong here makes nothing leave early, and a verifier, who knows the sealed times alone, agrees.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import asyncpg

from sealstream.archive import ArchiveSettings
from sealstream.errors import ChainBroken, Held, Unavailable
from sealstream.events import control_statement, format_timestamp
from sealstream.kafka import KafkaSettings, produce
from sealstream.layout import ChainSettings, ChainTopics, decode_entry, month_leaves, retention_members
from sealstream.layout.archive import ARCHIVED_ACTION
from sealstream.layout.chains import STORE_EXPIRED
from sealstream.layout.leaving import why_not_expired
from sealstream.layout.tables import AUDIT_LOG, SCHEMA
from sealstream.postgres import PostgresStore
from sealstream.rebuild.months import Keeper
from sealstream.rebuild.postgres_view import PostgresView
from sealstream.rebuild.spans import spans_between
from sealstream.retention.archived_month import ArchivedMonth, archived_month
from sealstream.retention.stored_months import StoredMonth, stored_months
from sealstream.verify.signed import StoredNote, signed_sizes

__all__ = ["MonthLeft", "PostgresExpiry", "expired_statement_id"]

Say = Callable[[str], None]
Progress = Callable[[int, int | None], object]

_POLL_S = 0.3
_PAUSE_S = 3.0
_LOCK_WAIT = "2s"
_FOUND = (
    f"SELECT seq, body FROM {SCHEMA}.{AUDIT_LOG} WHERE chain = $1 AND id = $2::text::uuid AND kind = 'control' "
    "ORDER BY seq"
)
_NEWEST = f"SELECT sequenced_at FROM {SCHEMA}.{AUDIT_LOG} WHERE chain = $1 ORDER BY seq DESC LIMIT 1"
_EXPIRE = f"SELECT {SCHEMA}.audit_month_expire($1, $2::text::timestamptz, $3, $4, $5::text::uuid)"


class MonthLeft(NamedTuple):
    """A month that has left Postgres: entries `first` to `last`; `statement`: the seq of its `store.expired`."""

    month: str
    first: int
    last: int
    statement: int


def expired_statement_id(origin: str, store: str, month: str) -> str:
    """The id of the `store.expired` of a month, the same from everybody: UUIDv5 of `expired/<store>/<month>`."""
    return str(uuid.uuid5(uuid.uuid5(uuid.NAMESPACE_URL, origin), f"expired/{store}/{month}"))


class PostgresExpiry:
    """The months of one chain that may leave. `chain.retention`: what is in force, the longest of what was promised.

    `held(month)`: what legal hold keeps it, in words, asked anew before it is said and before it goes; empty: none.
    `wait_s`: how long to wait until a statement is sealed, signed and stored, and for readers of the log.
    """

    def __init__(
        self,
        keeper: Keeper,
        reader_dsn: str,
        chain: ChainSettings,
        kafka: KafkaSettings,
        archive: ArchiveSettings,
        *,
        held: Callable[[str], str] = lambda _month: "",
        now: datetime | None = None,
        workers: int = 2,
        wait_s: float = 120.0,
        say: Say = lambda _: None,
        progress: Progress = lambda _done, _total: None,
    ) -> None:
        self._keeper = keeper
        self._reader_dsn = reader_dsn
        self._chain = chain
        self._kafka = kafka
        self._archive = archive
        self._held = held
        self._now = now or datetime.now(UTC)
        self._workers = workers
        self._wait_s = wait_s
        self._say = say
        self._progress = progress

    def due(self) -> list[StoredMonth]:
        """The stored months whose online time is over, the oldest first; none under a policy without one."""
        online = self._chain.retention.online_days
        if online is None:
            return []
        months: list[StoredMonth] = []
        now = self._moment()
        for month in stored_months(self._keeper.session, self._chain.name):
            if month_leaves(month.month, online) > now:
                break
            months.append(month)
        return months

    def expire(self, month: StoredMonth) -> MonthLeft | None:
        """Let the oldest stored month go; None when the archive does not hold it to its end yet: then it stays.

        Raises `Held` when a legal hold keeps it, `Forked` or `ChainBroken` where archive or rows are not what was
        sealed, `Unavailable` when it is to be run again later.
        """
        online = self._chain.retention.online_days
        if online is None or month_leaves(month.month, online) > self._moment():
            raise ChainBroken(f"month {month.month} is not due: it stays online under {self._chain.retention.policy}")
        self._check_held(month.month)
        archived = archived_month(self._archive, self._chain, month.month, self._sealed, self._progress)
        if archived is None:
            return None
        if (archived.first, archived.last) != (month.first, month.last):
            raise ChainBroken(
                f"month {month.month}: Postgres has the entries {month.first} to {month.last}, the archive "
                f"{archived.first} to {archived.last}: find out why (`sealstream reconcile`) before it leaves"
            )
        self._check_rows(archived)
        self._say(f"month {month.month}: entries {archived.first} to {archived.last} are in the archive, and verified")
        seq = self._seal(archived)
        self._check_held(month.month)
        self._drop(archived)
        return MonthLeft(month.month, archived.first, archived.last, seq)

    def _moment(self) -> datetime:
        """The earlier of this machine's time and the newest stored entry's."""
        rows = self._keeper.session.fetch("reading the newest entry's time", _NEWEST, self._chain.name)
        return min(self._now, rows[0]["sequenced_at"]) if rows else self._now

    def _check_held(self, month: str) -> None:
        why = self._held(month)
        if why:
            raise Held(f"month {month} is due, and stays: {why}")

    # --- looking --------------------------------------------------------------------------------------------------

    def _sealed(self, ids: Sequence[str]) -> Mapping[str, Mapping[str, object]]:
        """The `segment.archived` with these ids, as Postgres holds them; of two the first counts: they are a fork."""
        found: dict[str, Mapping[str, object]] = {}
        with PostgresStore(self._reader_dsn) as store:
            for body in store.with_ids(self._chain.name, ids):
                entry = decode_entry(body)
                if entry.action == ARCHIVED_ACTION and entry.written.kind == "control":
                    found.setdefault(entry.id, entry.metadata or {})
        return found

    def _check_rows(self, archived: ArchivedMonth) -> None:
        with PostgresView(self._reader_dsn, self._chain.name, workers=self._workers) as view:
            for answer in view.check(archived.spans):
                if not answer.equal:
                    raise ChainBroken(
                        f"month {archived.month}: Postgres' entries {answer.span.first} to {answer.span.stop - 1} are "
                        "not those that were sealed; nothing was dropped. Look with `sealstream verify postgres`; "
                        "`sealstream repair postgres` keeps the month as evidence and puts the sealed one in its place"
                    )

    # --- saying ---------------------------------------------------------------------------------------------------

    def _seal(self, archived: ArchivedMonth) -> int:
        """The seq of the month's statement, when it is sealed, signed and stored."""
        own_id = expired_statement_id(self._chain.origin, "postgres", archived.month)
        said = self._statement(archived, own_id)
        seq = self._stored(own_id, archived)
        if seq is None:
            topic = ChainTopics.of(self._chain.name, self._chain.prefix).control
            produce(self._kafka, topic, [said], repeatable=True)
        deadline = time.monotonic() + self._wait_s
        while True:
            seq = self._stored(own_id, archived)
            if seq is not None and self._signed(seq):
                return seq
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"month {archived.month}: its {STORE_EXPIRED} is not "
                    f"{'sealed and stored' if seq is None else 'signed'} after {self._wait_s:.0f} s: do the sequencer, "
                    "checkpointing and the Postgres sink run? The month stays; run the same command again"
                )
            time.sleep(_POLL_S)

    def _statement(self, archived: ArchivedMonth, own_id: str) -> bytes:
        """The same bytes whenever it is said under this policy."""
        retention = self._chain.retention
        due = month_leaves(archived.month, retention.online_days or 0)
        return control_statement(
            STORE_EXPIRED,
            id=own_id,
            timestamp=format_timestamp(due),
            actor_id="sealstream/retention",
            resource_type="store",
            resource_id="postgres",
            metadata={
                "store": "postgres",
                "month": archived.month,
                "first_seq": archived.first,
                "last_seq": archived.last,
                "first_hash": archived.first_hash.hex(),
                "last_hash": archived.last_hash.hex(),
                "root": archived.root.hex(),
                "retention": retention_members(retention),
                "reason": f"online for {retention.online_days} days after the month's end; verified in the archive",
            },
        )

    def _stored(self, own_id: str, archived: ArchivedMonth) -> int | None:
        """Where Postgres holds the statement; of several the first. What has its id and says otherwise counts for
        nothing, since the id follows from the month, and whoever may write to the control topic may be earlier.
        """
        expected = (STORE_EXPIRED, "postgres", archived.month, archived.first, archived.last, archived.last_hash.hex())
        for row in self._keeper.session.fetch("looking for the statement", _FOUND, self._chain.name, own_id):
            entry = decode_entry(row["body"])
            said = entry.metadata or {}
            members = (said.get(member) for member in ("store", "month", "first_seq", "last_seq", "last_hash"))
            if (entry.action, *members) == expected and not any(
                # as those judge who know what was promised, and those who know the statement alone
                why_not_expired(said, row["seq"], entry.written.sequenced_at, promise)
                for promise in (self._chain.retention, None)
            ):
                return int(row["seq"])
        return None

    def _signed(self, seq: int) -> bool:
        """Whether the entry is one that a signed checkpoint covers: its span's rows, hashed again, fold to the root."""
        with PostgresView(self._reader_dsn, self._chain.name, workers=1) as view:
            notes = [StoredNote(note.note, f"size {note.size}", tuple(note.compact_range)) for note in view.notes()]
            sizes, _ = signed_sizes(notes, self._chain.vkey)
            spans = [span for span in spans_between(sizes) if span.first <= seq < span.stop]
            return bool(spans) and all(answer.equal for answer in view.check(spans))

    # --- dropping -------------------------------------------------------------------------------------------------

    def _drop(self, archived: ArchivedMonth) -> None:
        """By the keeper's function, which waits for readers a little at a time, so that nobody waits long behind it."""
        at, own_id = (
            f"{archived.month}-01T00:00:00Z",
            expired_statement_id(self._chain.origin, "postgres", archived.month),
        )
        name = self._chain.name
        if self._shared(at):
            self._ask_keeper("giving up what was being built", "audit_month_abandon($1::text::timestamptz)", at)
            self._ask_keeper("beginning the others' month", "audit_month_begin($1, $2::text::timestamptz)", name, at)
            fill = "audit_month_fill($1, $2::text::timestamptz, $3)"
            self._ask_keeper("copying the others' entries", fill, name, at, archived.last + 1)

        async def drop(connection: asyncpg.Connection[Any]) -> None:
            async with connection.transaction():
                await connection.execute(f"SET LOCAL lock_timeout = '{_LOCK_WAIT}'")
                await connection.execute(_EXPIRE, name, at, archived.first, archived.last, own_id)

        deadline = time.monotonic() + self._wait_s
        told = False
        while True:
            self._check_held(archived.month)  # copying and waiting may have taken long
            try:
                self._keeper.session.run(f"dropping month {archived.month}", drop)
                return
            except Unavailable as error:
                if "55P03" not in str(error) and "40P01" not in str(error):
                    raise
                if time.monotonic() > deadline:
                    raise Unavailable(
                        f"month {archived.month} may leave, but readers have held the log for {self._wait_s:.0f} s: "
                        "run the same command again later"
                    ) from error
                if not told:
                    self._say(f"month {archived.month}: waiting for readers of the log to end")
                told = True
                time.sleep(_PAUSE_S)

    def _ask_keeper(self, what: str, call: str, *arguments: object) -> None:
        self._keeper.session.fetch(what, f"SELECT {SCHEMA}.{call}", *arguments)

    def _shared(self, at: str) -> bool:
        """Whether other chains have entries in the month."""
        query = (
            f"SELECT EXISTS (SELECT FROM {SCHEMA}.{AUDIT_LOG} WHERE chain <> $1 "
            "AND sequenced_at >= $2::text::timestamptz "
            "AND sequenced_at < $2::text::timestamptz + interval '1 month') AS shared"
        )
        return bool(self._keeper.session.fetch("looking for other chains", query, self._chain.name, at)[0]["shared"])
