"""A producer's signature: what it covers, where it stands, and that old bytes stay what they were."""

from __future__ import annotations

import base64
import json
from hashlib import sha256
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from sealstream.errors import InvalidEvent, NotCanonical
from sealstream.events import canonical_event, validate_event
from sealstream.sealing import (
    BadNote,
    EventSigner,
    canonical_json,
    new_signing_key,
    parse_vkey,
    producer_key_name,
    signed_message,
    signer,
    split_signature,
    verifies,
)

ORIGIN = "log.example/x/t"
# RFC 8032 section 7.1, TEST 1: its key, so that another implementation can be held to the same bytes.
SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")


def _skey(name: str, seed: bytes) -> str:
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    key_id = sha256(name.encode() + b"\n\x01" + public).digest()[:4].hex()
    encoded = base64.b64encode(b"\x01" + seed).decode()
    return f"PRIVATE+KEY+{name}+{key_id}+{encoded}"


SIGNER = EventSigner(signer(_skey(producer_key_name("billing", ORIGIN), SEED)))
VERIFIER = parse_vkey(SIGNER.vkey)
BASE: dict[str, Any] = {
    "id": "0193a8f2-7c1e-7000-8000-000000000001",
    "timestamp": "2026-11-24T03:00:00.000000Z",
    "actor_id": "ada",
    "actor_type": "user",
    "action": "invoice.approve",
    "resource_type": "invoice",
    "resource_id": "7",
    "result": "success",
    "producer_id": "p",
    "producer_seq": 0,
}

texts = st.text(max_size=12).filter(lambda text: "\0" not in text and not any("\ud800" <= c <= "\udfff" for c in text))
numbers = st.integers(-(2**53 - 1), 2**53 - 1) | st.floats(-1e9, 1e9, allow_nan=False)
looks_like_one = st.just({"signature": {"key": "billing+00000000", "value": "AA=="}, "timestamp": "x", "source": {}})
values = st.recursive(
    texts | numbers | st.booleans() | st.none() | looks_like_one,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
events = st.fixed_dictionaries(
    {name: st.just(value) for name, value in BASE.items()},
    optional={
        "metadata": st.dictionaries(texts, values, max_size=3) | looks_like_one,
        "new_values": st.dictionaries(texts, values, max_size=3) | looks_like_one,
        "source": st.dictionaries(st.sampled_from(["service", "host", "version"]), texts, max_size=3),
        "user_agent": texts | st.just('","signature":{"key":"a","value":"b"},"timestamp":"'),
        "tenant": texts,
        "subject_id": texts,
        "trace_id": texts,
        "session_id": texts,
        "reason": texts | st.just('{"signature":{}}'),
    },
)


@given(events)
def test_a_signature_goes_in_and_out_without_a_trace(event: dict[str, Any]) -> None:
    canonical = canonical_event(event)
    assert split_signature(canonical) is None
    signed = SIGNER.signed(canonical)
    assert len(signed) == len(canonical) + SIGNER.added_bytes
    valid = validate_event(signed)
    assert valid.canonical == signed
    assert valid.signature_key == SIGNER.label
    assert canonical_json(json.loads(signed)) == signed
    found = split_signature(signed)
    assert found is not None
    assert found.unsigned == canonical
    assert verifies(VERIFIER, found)


@given(events, st.integers(0, 10_000), st.integers(1, 255))
def test_no_changed_byte_verifies(event: dict[str, Any], at: int, by: int) -> None:
    signed = SIGNER.signed(canonical_event(event))
    changed = bytearray(signed)
    changed[at % len(signed)] ^= by
    try:
        sealable = validate_event(bytes(changed)).canonical
    except InvalidEvent:
        return
    found = split_signature(sealable)
    if sealable != signed and found is not None and found.key == SIGNER.label:
        assert not verifies(VERIFIER, found)


def test_what_is_signed_is_what_the_format_says() -> None:
    canonical = canonical_event(BASE)
    key_id = VERIFIER.key_id.hex()
    message = f"sealstream event signature v1\nbilling@{ORIGIN}+{key_id}\n".encode() + canonical
    assert signed_message(VERIFIER, canonical) == message
    signature = base64.b64decode(json.loads(SIGNER.signed(canonical))["signature"]["value"])
    Ed25519PublicKey.from_public_bytes(VERIFIER.public_key).verify(signature, message)


def test_the_bytes_of_a_signed_event_are_these() -> None:
    """The signature is by `openssl pkeyutl -sign -rawin` over the message that docs/format.md describes."""
    signed = SIGNER.signed(canonical_event(BASE | {"source": {"service": "billing"}}))
    value = "q/RIt+GxwUHs4BC6X0dojQpxIolKWxBGmRii3Mb1Zd9CKUlNHhV1B12ZKLn2iljico/nQXlWvy6nDD1SSPf5Cw=="
    assert signed == (
        b'{"action":"invoice.approve","actor_id":"ada","actor_type":"user",'
        b'"id":"0193a8f2-7c1e-7000-8000-000000000001","producer_id":"p","producer_seq":0,"resource_id":"7",'
        b'"resource_type":"invoice","result":"success","signature":{"key":"billing+62443e56","value":"%b"},'
        b'"source":{"service":"billing"},"timestamp":"2026-11-24T03:00:00.000000Z"}' % value.encode()
    )


@pytest.mark.parametrize("name", ["billing@log.example/x/other", "ledger@" + ORIGIN])
def test_the_same_key_under_another_name_does_not_verify(name: str) -> None:
    other = parse_vkey(EventSigner(signer(_skey(name, SEED))).vkey)
    assert other.public_key == VERIFIER.public_key
    found = split_signature(SIGNER.signed(canonical_event(BASE)))
    assert found is not None
    assert not verifies(other, found)


def test_what_a_collector_writes_is_not_covered_and_all_else_is() -> None:
    for source in ({}, {"service": "billing"}):
        event = BASE | ({"source": source} if source else {})
        signature = json.loads(SIGNER.signed(canonical_event(event)))["signature"]
        stamped = event | {"signature": signature, "source": {**source, "authenticated_as": "key:billing"}}
        found = split_signature(canonical_event(stamped))
        assert found is not None
        assert verifies(VERIFIER, found)
        stamped["source"]["host"] = "elsewhere"
        found = split_signature(canonical_event(stamped))
        assert found is not None
        assert not verifies(VERIFIER, found)


@pytest.mark.parametrize("value", ["", "AA==", "not base64", "A" * 88, base64.b64encode(bytes(64)).decode()])
def test_nonsense_is_no_signature_of_anybody(value: str) -> None:
    event = BASE | {"signature": {"key": SIGNER.label, "value": value or " "}}
    found = split_signature(canonical_event(event))
    assert found is not None
    assert not verifies(VERIFIER, found)


def test_only_a_producers_key_signs_events() -> None:
    with pytest.raises(BadNote, match="expected a producer's"):
        EventSigner(signer(new_signing_key(ORIGIN)))
    for name in ("", "Billing", "a b", "x" * 64, "a@b"):
        with pytest.raises(BadNote, match="name"):
            producer_key_name(name, ORIGIN)
    assert base64.b64encode(b"\x01" + SEED).decode() not in repr(SIGNER)
    with pytest.raises(NotCanonical):
        SIGNER.signed(SIGNER.signed(canonical_event(BASE)))
