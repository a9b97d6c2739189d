"""Producers' signatures, judged again: what the log says of them is held against what the keys in the chain say."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.verify.test_history import CHAIN, ORIGIN, SIGNER, START, ChainIdentity, _event, _notes

from sealstream.archive import ColumnMaker
from sealstream.archive.building import ObjectBuilder
from sealstream.archive.folding import Start
from sealstream.events import control_statement, format_timestamp, log_statement
from sealstream.layout import SegmentLimits
from sealstream.sealing import (
    EMPTY_RANGE,
    EventSigner,
    Written,
    extend,
    genesis_hash,
    new_signing_key,
    producer_key_name,
    seal,
    signer,
    split_sealed,
)
from sealstream.verify.ahead import _walked
from sealstream.verify.report import Report
from sealstream.verify.signed import StoredNote
from sealstream.verify.verification import ONLINE_STALE_AFTER, Examination, Verification

BILLING = EventSigner(signer(new_signing_key(producer_key_name("billing", ORIGIN))))
STRANGER = EventSigner(signer(new_signing_key(producer_key_name("stranger", ORIGIN))))

Made = tuple[str, bytes]


class Story:
    """A chain, told entry by entry."""

    def __init__(self) -> None:
        created = split_sealed(CHAIN[0])
        self.values = [CHAIN[0]]
        self._hash = created.hash
        self._raw = self._control = -1
        assert created.prev_hash == genesis_hash(ORIGIN)

    def time(self) -> str:
        return format_timestamp(START + timedelta(milliseconds=len(self.values)))

    def _add(self, kind: str, event: bytes) -> int:
        time, seq = self.time(), len(self.values)
        self._raw += kind == "event"
        self._control += kind == "control"
        received = None if kind == "log" else time
        written = Written("main", self._control, kind, self._raw, received, seq, time)
        sealed = seal(event, written, self._hash)
        self._hash = sealed.hash
        self.values.append(sealed.to_bytes())
        return seq

    def event(self, signed_by: EventSigner | None = None, number: int | None = None, **more: object) -> int:
        event = _event(self._raw + 1 if number is None else number, self.time(), **more)
        return self._add("event", event if signed_by is None else signed_by.signed(event))

    def forged(self) -> int:
        event = BILLING.signed(_event(self._raw + 1, self.time()))
        return self._add("event", event.replace(b'"user-123"', b'"user-666"'))

    def control(self, action: str, kind: str = "control", **metadata: object) -> int:
        event = control_statement(
            action,
            id=f"0193a8f2-7c1e-7000-8000-{len(self.values):012}",
            timestamp=self.time(),
            actor_id="unix:ann",
            resource_type="producer_key",
            resource_id="billing",
            metadata=metadata,
        )
        return self._add(kind, event)

    def register(self, signed_by: EventSigner, signing: str = "optional", **more: object) -> int:
        return self.control("producer_key.registered", vkey=signed_by.vkey, signing=signing, **more)

    def refused(self, seq: int, why: str, key: str | None = None) -> int:
        metadata: dict[str, Any] = {"seq": seq, "why": why} | ({} if key is None else {"key": key})
        return self.log("signature.refused", metadata)

    def log(self, action: str, metadata: dict[str, Any] | None = None) -> int:
        event = log_statement(
            action,
            id=f"0193a8f2-7c1e-7000-9000-{len(self.values):012}",
            timestamp=self.time(),
            process="sequencer",
            resource_type="entry",
            resource_id="1",
            metadata=metadata,
        )
        return self._add("log", event)

    def report(
        self,
        first: int = 0,
        each: Callable[..., None] | None = None,
        notes: list[StoredNote] | None = None,
        given: frozenset[str] | None = None,
    ) -> Report:
        identity, now = ChainIdentity("main", ORIGIN, SIGNER.vkey), START + timedelta(seconds=2)
        asked = Verification(identity, now=now, producer_keys=given)
        examination = Examination(asked, "kafka", notes or _notes(self.values, every=1))
        at = next((size for size in examination.sizes if size.size == first), None)
        examination.begin(lambda offset: f"offset {offset}", at=at, each=each)
        for seq in range(first, len(self.values)):
            examination.add(self.values[seq : seq + 1], [seq])
        return examination.finish(stale_after=ONLINE_STALE_AFTER, assurance="self-signed")


def looks_at_each(*_: object) -> None:
    """A store's own check: the walk then takes its long way."""


NODE_READER = Path(__file__).parents[2] / "examples/verify-in-node/signatures.mjs"
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed here")


def asked_of_node(story: Story, folder: Path) -> subprocess.CompletedProcess[str]:
    """What the reader in another language says of the same chain."""
    export = folder / "export.ndjson"
    export.write_bytes(b"".join(value + b"\n" for value in story.values))
    return subprocess.run(["node", str(NODE_READER), str(export)], capture_output=True, text=True, check=False)


ways = pytest.mark.parametrize("each", [None, looks_at_each])


def found(report: Report) -> list[tuple[str, int | None]]:
    return [(str(fault.kind), fault.first_seq) for fault in report.faults]


def honest() -> tuple[Story, int]:
    """A chain with a case of everything, of which its log says what it must; and the entry that registers the key."""
    story = Story()
    key = story.register(BILLING, service="billing", expires_at=format_timestamp(START + timedelta(milliseconds=8)))
    source = {"service": "billing"}
    story.event(BILLING, source=source)
    story.refused(story.event(BILLING, source={"service": "ledger"}), "scope", BILLING.label)
    story.event()
    story.refused(story.event(STRANGER, source=source), "unknown", STRANGER.label)
    story.refused(story.event(BILLING, source=source), "expired", BILLING.label)
    story.register(BILLING, "required")
    story.refused(story.event(), "missing")
    story.refused(story.forged(), "false", BILLING.label)
    story.event(BILLING)
    story.control("producer_key.revoked", key=BILLING.label, reason="stolen", from_seq=2)
    story.refused(story.event(BILLING), "revoked", BILLING.label)
    return story, key


@ways
def test_a_chain_whose_log_says_what_it_must_holds_and_tells_who_signed(each: Callable[..., None] | None) -> None:
    story, key = honest()
    report = story.report(each=each)
    assert (report.exit_code, report.faults) == (0, [])
    assert report.signatures.signed == {BILLING.label: 2}
    assert [one.why for one in report.signatures.refused] == [
        "scope", "unknown", "expired", "missing", "false", "revoked",
    ]  # fmt: skip
    told = " ".join(report.notes)
    assert f"2 by {BILLING.label} (registered by entry {key}, revoked by entry" in told
    assert "NOT signed as they should be" in told
    assert "from entry 2 on is to be believed" in told
    document = json.loads(json.dumps(report.to_json()))["source_signatures"]
    assert document["refused"]["false"] == 1
    assert document["first_refused"][4]["key"] == BILLING.label


@needs_node
def test_a_reader_in_another_language_judges_alike(tmp_path: Path) -> None:
    story, _ = honest()
    stamped = {"service": "ledger", "authenticated_as": "key:7"}
    story.register(STRANGER)
    story.event(STRANGER, source=stamped, reason="größer \U0001f600", metadata={"n": [1.5, 1e-7, None]})
    said = asked_of_node(story, tmp_path)
    assert (said.returncode, said.stderr) == (0, "")
    assert json.loads(said.stdout) == {"signed": {BILLING.label: 2, STRANGER.label: 1}, "refused": 6}
    report = story.report()
    assert (dict(report.signatures.signed), len(report.signatures.refused)) == (
        {BILLING.label: 2, STRANGER.label: 1}, 6,
    )  # fmt: skip
    forged = story.forged()
    story.event()
    assert f"entry {forged} is refused: revoked" in asked_of_node(story, tmp_path).stderr


@ways
@pytest.mark.parametrize("then", ["event", "control"])
def test_a_log_that_keeps_silent_about_a_forgery_is_found_out(each: Callable[..., None] | None, then: str) -> None:
    story = Story()
    story.register(BILLING)
    forged = story.forged()
    story.log("chain.heartbeat")
    at = story.event() if then == "event" else story.register(STRANGER)
    story.event()
    report = story.report(each=each)
    assert found(report) == [("invalid", at)]
    assert f"entry {forged} is not signed as it should be" in report.faults[0].detail


@ways
def test_a_log_that_calls_a_good_signature_false_is_found_out(each: Callable[..., None] | None) -> None:
    story = Story()
    story.register(BILLING)
    good = story.event(BILLING)
    at = [story.refused(good, "false", BILLING.label), story.refused(good - 1, "false")]
    wrong = story.forged()
    at.append(story.refused(wrong, "unknown", BILLING.label))
    report = story.report(each=each)
    assert found(report) == [("invalid", seq) for seq in at]


def test_the_end_of_the_chain_may_not_have_been_judged_yet() -> None:
    story = Story()
    story.register(BILLING)
    story.forged()
    assert story.report().exit_code == 0


def test_a_refusal_is_said_by_the_log_alone_and_a_key_by_control_alone() -> None:
    story = Story()
    story.register(BILLING)
    metadata = {"vkey": STRANGER.vkey, "signing": "optional"}
    story.event(action="producer_key.registered", metadata=metadata)
    story.refused(story.event(STRANGER), "unknown", STRANGER.label)
    forged = story.forged()
    story.event(action="signature.refused", metadata={"seq": forged, "why": "false", "key": BILLING.label})
    report = story.report()
    assert found(report) == [("invalid", forged + 1)]


def test_an_event_that_is_replayed_when_the_log_has_forgotten_its_number_is_told() -> None:
    story = Story()
    story.register(BILLING)
    story.event(BILLING)
    story.event(BILLING)
    again = story.event(BILLING, number=0)
    report = story.report()
    assert report.exit_code == 0
    assert report.signatures.again == [again]
    assert f"sealed before (sent again, or replayed by somebody): entries {again}" in " ".join(report.notes)


def test_who_begins_in_the_middle_says_what_could_not_be_judged() -> None:
    story = Story()
    story.register(BILLING, "required")
    story.event(BILLING)
    story.event(BILLING)
    story.refused(story.forged(), "false", BILLING.label)
    story.register(STRANGER)
    story.event(STRANGER)
    story.refused(story.event(), "missing")
    report = story.report(first=3)
    assert (report.exit_code, report.faults) == (0, [])
    assert report.signatures.signed == {STRANGER.label: 1}
    assert report.signatures.unjudged == 2
    assert "2 signed events were not judged" in " ".join(report.notes)


def test_behind_a_hole_nothing_is_held_against_the_log_that_may_stand_in_it() -> None:
    story = Story()
    hole = story.register(BILLING)
    story.event(BILLING)
    story.refused(story.forged(), "false", BILLING.label)
    notes = _notes(story.values, every=1)
    del story.values[hole]
    report = story.report(notes=notes)
    assert [kind for kind, _ in found(report)] == ["missing"]


def test_an_edited_signature_is_an_edited_entry() -> None:
    story = Story()
    story.register(BILLING)
    seq = story.event(BILLING)
    story.event(BILLING)
    notes = _notes(story.values, every=1)
    value = story.values[seq]
    at = value.index(b'"value":"') + len(b'"value":"')
    story.values[seq] = value[:at] + (b"A" if value[at : at + 1] != b"A" else b"B") + value[at + 1 :]
    assert found(story.report(notes=notes)) == [("edited", seq)]


def test_who_was_given_keys_is_told_of_any_other() -> None:
    story = Story()
    story.register(BILLING)
    story.event(BILLING)
    assert story.report(given=frozenset([BILLING.vkey])).faults == []
    other = story.register(STRANGER)
    story.event(STRANGER)
    report = story.report(given=frozenset([BILLING.vkey]))
    assert found(report) == [("invalid", other)]
    assert "not among those" in report.faults[0].detail


def test_an_unsigned_chain_says_nothing_of_signatures() -> None:
    story = Story()
    for _ in range(10):
        story.event()
    report = story.report()
    assert report.notes == []
    assert not report.signatures


@pytest.mark.parametrize("rows", [2, 3, 5, 30])
@pytest.mark.parametrize("silent", [False, True])
def test_workers_that_look_ahead_judge_alike(rows: int, silent: bool) -> None:
    story, _ = honest()
    if silent:
        story.register(STRANGER)
        for _ in range(4):
            story.event(STRANGER)
        story.forged()
        story.event(STRANGER)
    report = story.report()
    identity, now = ChainIdentity("main", ORIGIN, SIGNER.vkey), START + timedelta(seconds=2)
    examination = Examination(Verification(identity, now=now), "kafka", _notes(story.values, every=1))
    examination.begin(lambda offset: f"offset {offset}")
    tree, last, taken = EMPTY_RANGE, genesis_hash(ORIGIN), 0
    for first in range(0, len(story.values), rows):
        values = story.values[first : first + rows]
        maker = ColumnMaker()
        builder = ObjectBuilder(Start(tree, last), SegmentLimits(rows, 10_000_000, 3_600), maker)
        builder.add(values)
        data = builder.finish()
        builder.close()
        maker.close()
        hashes = [split_sealed(value).hash for value in values]
        tree, last = extend(tree, hashes), hashes[-1]
        judge = examination.signatures
        walked = _walked("main", data, judge.keys.copy(), judge.certain)
        if walked is not None and examination.add_walked(walked, first):
            taken += 1
        else:
            examination.add(values, range(first, first + len(values)))
    again = examination.finish(stale_after=ONLINE_STALE_AFTER, assurance="self-signed")
    assert taken > 0 or (silent and rows == 30)
    assert (again.faults, again.notes) == (report.faults, report.notes)
    assert again.signatures == report.signatures
    assert bool(again.faults) == silent
