"""Verifies what Postgres holds of a chain: every row's bytes and seal, and every column against the bytes.

All is read in one unchanging view, so rows and notes belong together while the sink goes on. Months whose online time
was over may be gone: where the rows do not begin with entry 0, a signed `store.expired` among them must say that what
stood before has left, or `archive.destroyed` that its time is over everywhere. Without one it is missing. Reads only.
"""

from __future__ import annotations

from sealstream.errors import NotCanonical
from sealstream.layout.tables import AUDIT_CHECKPOINT, AUDIT_LOG, AUDIT_POSITION
from sealstream.postgres import PostgresStore, StoredRow
from sealstream.verify.report import Fault, FaultKind, Report
from sealstream.verify.signed import SignedSize, StoredNote
from sealstream.verify.verification import ONLINE_STALE_AFTER, Examination, Verification

__all__ = ["verify_postgres"]


def verify_postgres(reader_dsn: str, asked: Verification) -> Report:
    """The report on `audit_log`. `reader_dsn`: of the reader's role. Raises when it can't be read at all."""
    chain = asked.identity.name
    with PostgresStore(reader_dsn) as store:
        notes = [
            StoredNote(stored.note, f"{AUDIT_CHECKPOINT} size {stored.size}", tuple(stored.compact_range))
            for stored in store.notes(chain)
        ]
        examination = Examination(asked, "postgres", notes)
        bounds = store.seq_bounds(chain)
        at = _where_to_begin(store, examination, bounds, asked)
        begins = 0 if bounds is None or at is not None or asked.since is not None else bounds[0]
        first_seq = examination.begin(lambda row: f"{AUDIT_LOG} seq {row}", at=at, first_seq=max(begins, 0))
        left = first_seq > 0 and bounds is not None and first_seq == bounds[0]
        total = 0 if bounds is None else bounds[1] - first_seq + 1
        for rows in store.rows(chain, first_seq):
            examination.add([row.sealed_value for row in rows], [row.seq for row in rows])
            examination.history.faults += _columns(rows)
            asked.progress(examination.report.entries, total)
        examination.history.faults += _position(store, chain, bounds) + _strangers(store, chain, bounds)
        if left:
            examination.history.faults += _left(store, chain, first_seq, examination)
    return examination.finish(stale_after=ONLINE_STALE_AFTER, assurance="self-signed")


def _where_to_begin(
    store: PostgresStore, examination: Examination, bounds: tuple[int, int] | None, asked: Verification
) -> SignedSize | None:
    """The signed size to begin behind for `since`, or because months have left; None to begin with entry 0."""
    if bounds is None:
        return None
    ranged = (signed for signed in examination.sizes if signed.compact_range is not None)
    chosen = next((signed for signed in ranged if signed.size == bounds[0]), None)
    if asked.since is None:
        return chosen
    for signed in examination.sizes:
        if signed.compact_range is None or signed.size - 1 < bounds[0] or signed.size > bounds[1]:
            continue
        last = next(iter(store.rows(asked.identity.name, signed.size - 1, signed.size, 1)), None)
        if last is None or _sequenced_at(last[0]) > asked.since.timestamp():
            break
        chosen = signed
    return chosen


def _left(store: PostgresStore, chain: str, size: int, examination: Examination) -> list[Fault]:
    """Whether the entries that are gone from the beginning have left as the log itself has sealed."""
    first = next(store.rows(chain, size, size + 1), None)
    statement = examination.history.expired("postgres", size, first[0].prev_hash if first else b"")
    left, by = examination.history.destroyed_before(size, first[0].prev_hash if first else b"")
    if by is not None:
        examination.report.notes.append(
            f"destroyed as sealed: entries up to {left - 1} are not in the archive, either (entry {by.seq} says so)"
        )
    if statement is not None:
        left = max(left, min(int(statement.metadata["last_seq"]) + 1, size))
        month = statement.metadata.get("month", "")
        examination.report.notes.append(
            f"not online any more: entries up to {left - 1} have left Postgres, {month} the last of them (entry "
            f"{statement.seq} says so); verify what is there of them in the archive"
        )
    if left >= size:
        return []
    detail = "not there, and no signed store.expired says that their time in Postgres was over"
    return [Fault(FaultKind.MISSING, AUDIT_LOG, detail, left, size - 1)]


def _sequenced_at(row: StoredRow) -> float:
    from sealstream.events import parse_timestamp
    from sealstream.layout import decode_entry

    try:
        return parse_timestamp(decode_entry(row.body).written.sequenced_at).timestamp()
    except NotCanonical:
        return float("inf")


def _columns(rows: list[StoredRow]) -> list[Fault]:
    faults = []
    for row in rows:
        try:
            differing = row.column_faults()
        except NotCanonical:
            continue  # the bytes are no entry: the walk says so
        for fault in differing:
            detail = f"column {fault.column} says {fault.stored!r}, the sealed bytes say {fault.expected!r}"
            faults.append(Fault(FaultKind.EDITED, f"{AUDIT_LOG} seq {row.seq}", detail, row.seq, row.seq))
    return faults


def _strangers(store: PostgresStore, chain: str, bounds: tuple[int, int] | None) -> list[Fault]:
    """Rows that no sink stores, but people's questions may find: below entry 0, or of a chain without a position."""
    faults = []
    if bounds is not None and bounds[0] < 0:
        for rows in store.rows(chain, bounds[0], 0):
            detail = "a row with a seq below 0, which no entry has"
            faults += [
                Fault(FaultKind.INSERTED, f"{AUDIT_LOG} seq {row.seq}", detail, row.seq, row.seq) for row in rows
            ]
    for stranger in sorted(set(store.chains_with_rows()) - set(store.chains())):
        detail = f"rows of a chain {stranger!r} that no sink has ever stored: it has no row in {AUDIT_POSITION}"
        faults.append(Fault(FaultKind.INSERTED, AUDIT_LOG, detail))
    return faults


def _position(store: PostgresStore, chain: str, bounds: tuple[int, int] | None) -> list[Fault]:
    """The position row counts what was stored: rows beyond or short of it were not the sink's doing."""
    stored = 0 if bounds is None else bounds[1] + 1
    counted = store.next_seq(chain)
    if stored == counted:
        return []
    detail = f"{AUDIT_POSITION} says {counted} entries were stored, the rows end at {stored - 1}"
    kind = FaultKind.MISSING if stored < counted else FaultKind.INSERTED
    first, last = sorted((stored, counted))
    return [Fault(kind, AUDIT_LOG, detail, first, last - 1)]
