"""What the sequencer seals of events that are signed, falsely signed, or not signed though they must be."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from typing import Any

import pytest
from confluent_kafka import Producer
from tests.long_runs import long_run
from tests.sequencer.conftest import Log
from tests.sequencer.test_scribe import CHAIN, TOPICS, Chain, actions, event
from tests.sequencer.test_sequencer import recreate, run

from sealstream.events import KeyRing, canonical_event, control_statement
from sealstream.sealing import EventSigner, new_signing_key, producer_key_name, signer
from sealstream.sequencer import Pace
from sealstream.sequencer.batch import Scribe
from sealstream.sequencer.producers import (
    AS_OF_KEY,
    AsOf,
    decode_as_of,
    decode_key,
    encode_as_of,
    encode_key,
    key_record_key,
)

FEW = Pace(recent_entries=4)


def key(name: str, origin: str) -> EventSigner:
    return EventSigner(signer(new_signing_key(producer_key_name(name, origin))))


def said(n: int, action: str, **metadata: object) -> bytes:
    return control_statement(
        action,
        id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"{action}/{n}")),
        timestamp="2026-11-24T03:00:00.000000Z",
        actor_id="unix:ann",
        actor_type="admin",
        resource_type="producer_key",
        resource_id="billing",
        metadata=metadata,
    )


def registered(n: int, signed_by: EventSigner, signing: str = "optional", **more: str) -> bytes:
    return said(n, "producer_key.registered", vkey=signed_by.vkey, signing=signing, **more)


def revoked(n: int, signed_by: EventSigner) -> bytes:
    return said(n, "producer_key.revoked", key=signed_by.label, reason="stolen")


def refusals(entries: Sequence[dict[str, Any]]) -> list[tuple[int, str]]:
    return [(e["metadata"]["seq"], e["metadata"]["why"]) for e in entries if e["action"] == "signature.refused"]


class SignedChain(Chain):
    """A scribe with keys: `billing` is registered, in entry 1."""

    def __init__(self) -> None:
        super().__init__()
        self.ring = KeyRing(CHAIN.origin)
        self.billing = key("billing", CHAIN.origin)
        self.scribe = Scribe(
            *(CHAIN.name, TOPICS, self.tip, self.events, self.controls),
            keys=self.ring,
            randomness=lambda size: bytes(size),
        )
        self.take([registered(0, self.billing)], kind="control")


def test_signed_events_are_sealed_as_they_came_and_nothing_is_said_of_them() -> None:
    chain = SignedChain()
    values = [chain.billing.signed(event(n)) for n in range(10)]
    entries = chain.take(list(values))
    assert actions(entries) == ["read"] * 10
    assert all(sealed.startswith(value[:-1]) for sealed, value in zip(chain.values[2:], values, strict=True))


def test_a_false_signature_is_sealed_and_said_to_be_false_right_behind() -> None:
    chain = SignedChain()
    good = chain.billing.signed(event(0))
    forged = chain.billing.signed(event(1)).replace(b'"actor_id":"ada"', b'"actor_id":"eve"')
    stranger = key("billing", CHAIN.origin).signed(event(2))
    entries = chain.take([good, forged, stranger, event(3)])
    assert actions(entries) == ["read", "read", "signature.refused", "read", "signature.refused", "read"]
    first = entries[0]["written"]["seq"]
    assert refusals(entries) == [(first + 1, "false"), (first + 3, "unknown")]
    assert entries[2]["resource_id"] == str(first + 1)
    assert entries[2]["metadata"]["key"] == chain.billing.label
    assert not chain.dead


def test_the_place_of_a_revocation_decides() -> None:
    chain = SignedChain()
    before = chain.take([chain.billing.signed(event(0))])
    chain.take([revoked(1, chain.billing)], first=1, kind="control")
    behind = chain.take([chain.billing.signed(event(1))], first=1)
    assert refusals(before) == []
    assert [why for _, why in refusals(behind)] == ["revoked"]


def test_where_signatures_are_demanded_an_unsigned_event_is_sealed_with_that() -> None:
    chain = SignedChain()
    source = {"service": "billing"}
    chain.take([registered(1, chain.billing, "required", service="billing")], first=1, kind="control")
    unsigned, signed, other = event(0, source=source), chain.billing.signed(event(1, source=source)), event(2)
    entries = chain.take([unsigned, signed, other])
    assert actions(entries) == ["read", "signature.refused", "read", "read"]
    assert [why for _, why in refusals(entries)] == ["missing"]
    assert "key" not in entries[1]["metadata"]


def test_a_captured_event_that_is_sent_again_is_a_repeat() -> None:
    chain = SignedChain()
    captured = chain.billing.signed(event(0))
    forged = captured.replace(b'"actor_id":"ada"', b'"actor_id":"eve"')
    chain.take([captured, forged])
    entries = chain.take([captured, forged], first=2)
    assert actions(entries) == ["input.passed"]
    assert [item["what"] for item in entries[0]["metadata"]["items"]] == ["repeated", "repeated"]


def test_what_shares_a_signed_events_number_is_a_conflict_first_and_then_refused() -> None:
    chain = SignedChain()
    signed = chain.billing.signed(event(0))
    entries = chain.take([signed, signed.replace(b'"actor_id":"ada"', b'"actor_id":"eve"')])
    assert actions(entries) == ["read", "read", "producer.conflict", "signature.refused"]


def test_control_entries_are_not_judged() -> None:
    chain = SignedChain()
    signed = json.loads(registered(1, chain.billing)) | {"signature": {"key": "x", "value": "y"}}
    entries = chain.take([canonical_event(signed)], first=1, kind="control")
    assert actions(entries) == ["producer_key.registered"]


# --- on a real broker


def _signed(log: Log, signed_by: EventSigner, n: int) -> bytes:
    return signed_by.signed(log.event(n))


def _forged(log: Log, signed_by: EventSigner, n: int) -> bytes:
    return _signed(log, signed_by, n).replace(b'"resource_type":"record"', b'"resource_type":"rec0rd"')


def _latest(log: Log) -> dict[bytes, bytes | None]:
    return {record.key or b"": record.value for record in log.records(log.topics.producers)}


def test_keys_are_remembered_by_whoever_takes_the_chain_next(log: Log) -> None:
    billing, ledger = key("billing", log.chain.origin), key("ledger", log.chain.origin)
    log.send([registered(0, billing, "required"), registered(1, ledger)], log.topics.control)
    run(log, pace=FEW)
    log.send([_signed(log, billing, n) for n in range(20)])
    run(log, pace=FEW)
    log.send([revoked(2, ledger)], log.topics.control)
    run(log, pace=FEW)
    log.send([_signed(log, billing, 20), log.event(21), _signed(log, ledger, 22), _forged(log, billing, 23)])
    run(log, pace=FEW)
    entries = log.check_every_offset()
    assert [why for _, why in refusals(entries)] == ["missing", "revoked", "false"]
    latest = _latest(log)
    record = latest[key_record_key(ledger.label)]
    assert decode_key(record or b"").revoked is not None
    assert decode_as_of(latest[AS_OF_KEY] or b"").keys == 2


@pytest.mark.parametrize(
    "fault",
    [
        "one too many",
        "of an older version",
        *(pytest.param(fault, marks=long_run) for fault in ("gone", "one is missing", "malformed")),
    ],
)
def test_keys_on_record_that_do_not_fit_are_made_again_from_the_chain(log: Log, fault: str) -> None:
    billing, stranger = key("billing", log.chain.origin), key("stranger", log.chain.origin)
    log.send([registered(0, billing)], log.topics.control)
    run(log, pace=FEW)
    log.send([_signed(log, billing, n) for n in range(10)])
    run(log, pace=FEW)
    latest = _latest(log)
    as_of = decode_as_of(latest[AS_OF_KEY] or b"")
    known = decode_key(latest[key_record_key(billing.label)] or b"")
    producer = Producer({"bootstrap.servers": log.kafka.bootstrap})

    def put(record_key: bytes, value: bytes | None) -> None:
        producer.produce(log.topics.producers, value, record_key, partition=0)

    if fault == "gone":
        recreate(log, log.topics.producers)
    elif fault == "one is missing":
        put(key_record_key(billing.label), None)
    elif fault == "one too many":
        put(key_record_key(stranger.label), encode_key(known._replace(vkey=stranger.vkey)))
    elif fault == "malformed":
        put(key_record_key(billing.label), b"{}")
    else:
        put(key_record_key(billing.label), None)
    if fault != "gone":
        keys = -1 if fault == "of an older version" else as_of.keys
        put(AS_OF_KEY, encode_as_of(AsOf(*as_of[:4], keys)))
    producer.flush()
    log.send([_signed(log, billing, 10), _signed(log, stranger, 11)])
    run(log, pace=FEW)
    assert [why for _, why in refusals(log.check_every_offset())] == ["unknown"]
    latest = {record_key: value for record_key, value in _latest(log).items() if value is not None}
    assert key_record_key(billing.label) in latest
    assert key_record_key(stranger.label) not in latest
    assert decode_as_of(latest[AS_OF_KEY]).keys == 1


def test_what_a_torn_transaction_left_unsaid_is_said_first(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    billing = key("billing", log.chain.origin)
    log.send([registered(0, billing)], log.topics.control)
    run(log)
    log.send([_signed(log, billing, 0), _forged(log, billing, 1)])
    with monkeypatch.context() as torn:
        torn.setattr(Scribe, "refuse_signature", lambda *_: None)
        run(log)
    assert refusals(log.entries()) == []
    log.send([_signed(log, billing, 2)])
    run(log)
    run(log)
    entries = log.check_every_offset()
    assert [why for _, why in refusals(entries)] == ["false"]
    said_at = actions(entries).index("signature.refused")
    assert actions(entries)[said_at - 1 : said_at + 2] == ["sequencer.started", "signature.refused", "read"]
