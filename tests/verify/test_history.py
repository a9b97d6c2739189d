"""Every way to tamper with a chain in memory is found, named by its kind and placed by its seqs, by recomputation."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from sealstream.errors import SealstreamError
from sealstream.events import canonical_event, format_timestamp, log_statement
from sealstream.sealing import (
    EMPTY_RANGE,
    Checkpoint,
    Sealed,
    Written,
    entry_hash,
    extend,
    genesis_hash,
    new_signing_key,
    root,
    seal,
    sign_checkpoint,
    signer,
    split_sealed,
)
from sealstream.verify.history import ChainIdentity
from sealstream.verify.report import FaultKind, Report
from sealstream.verify.signed import StoredNote
from sealstream.verify.verification import ONLINE_STALE_AFTER, Examination, Verification

ORIGIN = "log.example/main"
SIGNER = signer(new_signing_key(ORIGIN))
START = datetime(2026, 11, 24, tzinfo=UTC)
ENTRIES = 500


def _event(number: int, time: str, **more: object) -> bytes:
    fields = {
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, str(number))),
        "timestamp": time,
        "actor_id": "user-123",
        "actor_type": "user",
        "action": "read",
        "resource_type": "patient_record",
        "resource_id": "patient-456",
        "result": "success",
        "producer_id": "a",
        "producer_seq": number,
    }
    return canonical_event(fields | more)


def _chain(events: list[bytes] | None = None) -> list[bytes]:
    values, prev_hash = [], genesis_hash(ORIGIN)
    created = {
        "origin": ORIGIN,
        "vkey": SIGNER.vkey,
        "nonce": "0" * 64,
        "retention": {"policy": "soc2", "archive_days": 366},
        "segment_entries": 100,
        "segment_bytes": 67_108_864,
        "segment_seconds": 300,
    }
    for seq in range(ENTRIES):
        time = format_timestamp(START + timedelta(milliseconds=seq))
        if seq == 0:
            event = log_statement(
                "chain.created",
                id=str(uuid.uuid5(uuid.NAMESPACE_URL, "created")),
                timestamp=time,
                process="sequencer",
                resource_type="chain",
                resource_id="main",
                metadata=created,
            )
            written = Written("main", -1, "log", -1, None, 0, time)
        else:
            event = _event(seq - 1, time) if events is None else events[seq - 1]
            written = Written("main", -1, "event", seq - 1, time, seq, time)
        sealed = seal(event, written, prev_hash)
        prev_hash = sealed.hash
        values.append(sealed.to_bytes())
    return values


def _notes(values: list[bytes], every: int = 50) -> list[StoredNote]:
    tree, notes = EMPTY_RANGE, []
    for value in values:
        tree = extend(tree, [split_sealed(value).hash])
        if tree.size % every == 0:
            note = sign_checkpoint(Checkpoint(ORIGIN, tree.size, root(tree)), SIGNER)
            notes.append(StoredNote(note, f"note {tree.size}", tree.hashes))
    return notes


CHAIN = _chain()
NOTES = _notes(CHAIN)


def _verify(values: list[bytes], notes: list[StoredNote] = NOTES, *, after_s: float = 2, batch: int = 37) -> Report:
    asked = Verification(ChainIdentity("main", ORIGIN, SIGNER.vkey), now=START + timedelta(seconds=after_s))
    examination = Examination(asked, "kafka", notes)
    examination.begin(lambda offset: f"offset {offset}")
    for at in range(0, len(values), batch):
        some = values[at : at + batch]
        examination.add(some, range(at, at + len(some)))
    return examination.finish(stale_after=ONLINE_STALE_AFTER, assurance="self-signed")


def _found(report: Report) -> list[tuple[str, int | None, int | None]]:
    return [(str(fault.kind), fault.first_seq, fault.last_seq) for fault in report.faults]


def _resealed(values: list[bytes], first: int, end: int) -> list[bytes]:
    """Entry `first` says something else, and it and all up to `end` are hashed and linked anew."""
    forged, prev_hash = list(values), split_sealed(values[first - 1]).hash
    for seq in range(first, end):
        body = split_sealed(values[seq]).body
        if seq == first:
            body = body.replace(b'"success"', b'"denied"')
        sealed = Sealed(body, prev_hash, entry_hash(prev_hash, body))
        forged[seq], prev_hash = sealed.to_bytes(), sealed.hash
    return forged


@pytest.mark.parametrize("batch", [1, 37, ENTRIES])
def test_an_untouched_chain_holds_up_to_its_newest_checkpoint(batch: int) -> None:
    report = _verify(CHAIN, batch=batch)
    assert (report.exit_code, report.faults, report.size, report.entries) == (0, [], ENTRIES, ENTRIES)


def test_changed_bytes_are_an_edit_of_that_entry() -> None:
    forged = list(CHAIN)
    forged[123] = forged[123].replace(b'"success"', b'"failure"')
    report = _verify(forged)
    assert _found(report) == [("edited", 123, 123)]
    assert report.faults[0].place == "offset 123"
    assert report.exit_code == 1


@pytest.mark.parametrize("part", ["body", "prev_hash", "hash", "all"])
def test_a_changed_part_of_a_sealed_entry_is_one_edit(part: str) -> None:
    forged, sealed = list(CHAIN), split_sealed(CHAIN[123])
    if part == "all":
        forged[123] = b"garbage"
    else:
        changed = sealed.body.replace(b'"read"', b'"rea1"') if part == "body" else b"x" * 32
        forged[123] = sealed._replace(**{part: changed}).to_bytes()
    assert _found(_verify(forged)) == [("edited", 123, 123)]


def test_an_entry_replaced_whole_and_hashed_anew_is_an_edit() -> None:
    assert _found(_verify(_resealed(CHAIN, 223, 224))) == [("edited", 223, 223)]


def test_the_last_entry_replaced_whole_is_a_fork_behind_the_last_size_that_matches() -> None:
    assert _found(_verify(_resealed(CHAIN, 499, 500))) == [("forked", 450, 499)]


def test_a_suffix_hashed_anew_is_one_fork_placed_between_two_checkpoints() -> None:
    report = _verify(_resealed(CHAIN, 223, ENTRIES))
    assert _found(report) == [("forked", 200, 499)]
    assert report.size == 200


@pytest.mark.parametrize(("first", "last"), [(123, 123), (123, 129), (0, 0), (149, 150), (40, 260)])
def test_removed_entries_are_missing_and_hide_nothing_behind_them(first: int, last: int) -> None:
    forged = CHAIN[:first] + CHAIN[last + 1 :]
    forged[400 - (last - first + 1)] = forged[400 - (last - first + 1)].replace(b'"success"', b'"failure"')
    assert _found(_verify(forged)) == [("missing", first, last), ("edited", 400, 400)]


@pytest.mark.parametrize("batch", [1, 37])
def test_entries_that_changed_places_are_reordered(batch: int) -> None:
    forged = list(CHAIN)
    forged[123], forged[124] = forged[124], forged[123]
    assert _found(_verify(forged, batch=batch)) == [("reordered", 123, 123)]


def test_an_entry_that_stands_twice_is_duplicated() -> None:
    assert _found(_verify([*CHAIN[:200], CHAIN[123], *CHAIN[200:]])) == [("duplicated", 123, 123)]


def test_another_entry_with_a_number_that_is_taken_is_inserted() -> None:
    other = _resealed(CHAIN, 123, 124)[123]
    assert _found(_verify([*CHAIN[:200], other, *CHAIN[200:]])) == [("inserted", 123, 123)]


def test_a_cut_tail_is_rolled_back_when_a_note_speaks_of_it() -> None:
    assert _found(_verify(CHAIN[:450])) == [("rolled back", 450, 499)]


def test_a_cut_tail_whose_notes_were_cut_too_is_stale_after_three_minutes() -> None:
    report = _verify(CHAIN[:450], NOTES[:-1], after_s=181)
    assert _found(report) == [("stale", None, None)]
    assert report.exit_code == 2


def test_entries_above_the_newest_checkpoint_are_a_fault_only_after_a_minute() -> None:
    early = _verify(CHAIN, NOTES[:-1], after_s=30)
    assert (early.exit_code, early.unsigned_entries) == (0, 50)
    assert _found(_verify(CHAIN, NOTES[:-1], after_s=90)) == [("unsigned", 450, 499)]


def test_a_note_that_the_key_did_not_sign_is_unsigned_and_the_others_still_count() -> None:
    stranger = signer(new_signing_key(ORIGIN))
    forged = sign_checkpoint(Checkpoint(ORIGIN, 200, b"\0" * 32), stranger)
    report = _verify(CHAIN, [*NOTES, StoredNote(forged, "forged note")])
    assert [(fault.kind, fault.place) for fault in report.faults] == [(FaultKind.UNSIGNED, "forged note")]
    assert report.size == ENTRIES


def test_two_roots_for_one_size_under_the_chains_own_key_are_a_fork() -> None:
    other = sign_checkpoint(Checkpoint(ORIGIN, 200, b"\0" * 32), SIGNER)
    report = _verify(CHAIN, [*NOTES, StoredNote(other, "second history")])
    assert [(fault.kind, fault.place) for fault in report.faults] == [(FaultKind.FORKED, "second history")]


def test_a_compact_range_that_does_not_hash_to_its_root_is_not_believed() -> None:
    notes = list(NOTES)
    notes[3] = notes[3]._replace(compact_range=tuple(b"\1" * 32 for _ in notes[3].compact_range or ()))
    assert _found(_verify(CHAIN, notes)) == [("edited", 199, 199)]


def test_a_size_that_this_verifier_has_seen_elsewhere_need_not_be_reached_but_must_match() -> None:
    elsewhere = [note._replace(must_reach=False) for note in NOTES]
    assert _verify(CHAIN[:450], elsewhere).exit_code == 0
    forged = _resealed(CHAIN, 223, 450)[:450]
    assert _found(_verify(forged, elsewhere)) == [("forked", 200, 449)]


def test_another_chains_entry_zero_is_a_fork() -> None:
    asked = Verification(
        ChainIdentity("main", ORIGIN, signer(new_signing_key(ORIGIN)).vkey), now=START + timedelta(seconds=2)
    )
    examination = Examination(asked, "kafka", [])
    examination.begin(lambda offset: f"offset {offset}")
    examination.add(CHAIN, range(ENTRIES))
    report = examination.finish(stale_after=ONLINE_STALE_AFTER, assurance="self-signed")
    assert ("forked", 0, 0) in _found(report)


def test_numbers_that_nobody_named_as_missing_are_unaccounted() -> None:
    times = [format_timestamp(START + timedelta(milliseconds=seq + 1)) for seq in range(ENTRIES - 1)]
    numbers = [n if n < 100 else n + 3 for n in range(ENTRIES - 1)]
    values = _chain([_event(number, time) for number, time in zip(numbers, times, strict=True)])
    report = _verify(values, _notes(values))
    assert _found(report) == [("unaccounted", 101, 101)]
    assert "100 to 102 never arrived" in report.faults[0].detail


def test_a_sealed_event_against_the_rules_is_invalid() -> None:
    times = [format_timestamp(START + timedelta(milliseconds=seq + 1)) for seq in range(ENTRIES - 1)]
    events = [_event(number, time) for number, time in enumerate(times)]
    events[49] = events[49].replace(b'"success"', b'"perhaps"')
    values = _chain(events)
    assert _found(_verify(values, _notes(values))) == [("invalid", 50, 50)]


def test_a_field_that_this_version_does_not_know_is_a_note_and_no_fault() -> None:
    times = [format_timestamp(START + timedelta(milliseconds=seq + 1)) for seq in range(ENTRIES - 1)]
    events = [_event(number, time) for number, time in enumerate(times)]
    events[49] = events[49].replace(b'"timestamp"', b'"theme":"later","timestamp"')
    values = _chain(events)
    report = _verify(values, _notes(values))
    assert report.exit_code == 0
    assert report.notes == ["fields that this version does not know (the seal covers them): theme"]


def test_a_seal_of_a_later_version_can_not_be_judged() -> None:
    body = split_sealed(CHAIN[-1]).body.replace(b'"v":1}', b'"v":2}')
    prev_hash = split_sealed(CHAIN[-1]).prev_hash
    later = Sealed(body, prev_hash, entry_hash(prev_hash, body)).to_bytes()
    with pytest.raises(SealstreamError, match="version 2"):
        _verify([*CHAIN[:-1], later])
