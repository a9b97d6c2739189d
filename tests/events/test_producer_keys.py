"""Which keys count at which place of a chain: by the statements before it, and by no clock but the sealed one."""

from __future__ import annotations

from typing import Any

import pytest

from sealstream.events import (
    MAX_KEYS,
    WHY_REFUSED,
    KeyRing,
    RefusedSignature,
    ValidEvent,
    canonical_event,
    validate_event,
)
from sealstream.sealing import EventSigner, new_signing_key, producer_key_name, signer

ORIGIN = "log.example/x/t"
NOW = "2026-11-24T03:00:00.000000Z"


def key(name: str, origin: str = ORIGIN) -> EventSigner:
    return EventSigner(signer(new_signing_key(producer_key_name(name, origin))))


BILLING, LEDGER = key("billing"), key("ledger")


def event(signed_by: EventSigner | None = None, service: str | None = "billing", **more: Any) -> ValidEvent:
    canonical = canonical_event(
        {
            "id": "0193a8f2-7c1e-7000-8000-000000000001",
            "timestamp": NOW,
            "actor_id": "ada",
            "actor_type": "user",
            "action": "read",
            "resource_type": "record",
            "resource_id": "1",
            "result": "success",
            **({"source": {"service": service}} if service is not None else {}),
            **more,
        }
    )
    return validate_event(canonical if signed_by is None else signed_by.signed(canonical))


def registered(ring: KeyRing, signed_by: EventSigner, seq: int, signing: str = "optional", **more: str) -> None:
    ring.say("producer_key.registered", {"vkey": signed_by.vkey, "signing": signing, **more}, seq)


def revoked(ring: KeyRing, signed_by: EventSigner, seq: int, **more: object) -> None:
    ring.say("producer_key.revoked", {"key": signed_by.label, "reason": "stolen", **more}, seq)


def why(ring: KeyRing, one: ValidEvent, at: str = NOW) -> str | None:
    refused = ring.judge(one, at)
    return None if refused is None else refused.why


def test_an_unsigned_event_of_a_chain_without_keys_is_as_ever() -> None:
    assert why(KeyRing(ORIGIN), event()) is None
    assert KeyRing(ORIGIN).judge(event(BILLING), NOW) == RefusedSignature("unknown", BILLING.label)


def test_a_key_counts_behind_its_registration_and_until_it_is_revoked_for_ever() -> None:
    ring = KeyRing(ORIGIN)
    registered(ring, BILLING, 5)
    assert why(ring, event(BILLING)) is None
    revoked(ring, BILLING, 9, from_seq=7)
    assert why(ring, event(BILLING)) == "revoked"
    registered(ring, BILLING, 11)
    assert why(ring, event(BILLING)) == "revoked"
    revoked(ring, BILLING, 12, from_seq=6)
    (left,) = ring.listed()
    assert (left.registered, left.revoked, left.doubted_from) == (5, 9, 6)


def test_the_sealed_time_decides_what_has_expired() -> None:
    ring = KeyRing(ORIGIN)
    registered(ring, BILLING, 5, expires_at="2026-11-24T03:00:00.000001Z")
    assert why(ring, event(BILLING), NOW) is None
    assert why(ring, event(BILLING), "2026-11-24T03:00:00.000001Z") == "expired"
    registered(ring, BILLING, 6)
    assert why(ring, event(BILLING), "2026-11-24T03:00:00.000001Z") is None


def test_a_key_signs_for_its_service_and_tenant_alone() -> None:
    ring = KeyRing(ORIGIN)
    registered(ring, BILLING, 5, service="billing", tenant="acme")
    assert why(ring, event(BILLING, tenant="acme")) is None
    assert why(ring, event(BILLING, tenant="other")) == "scope"
    assert why(ring, event(BILLING)) == "scope"
    assert why(ring, event(BILLING, "ledger", tenant="acme")) == "scope"
    assert why(ring, event(BILLING, None, tenant="acme")) == "scope"


def test_a_forgery_is_false_and_a_claim_of_another_key_too() -> None:
    ring = KeyRing(ORIGIN)
    registered(ring, BILLING, 5)
    registered(ring, LEDGER, 6)
    true = event(BILLING).canonical
    assert why(ring, validate_event(true.replace(b'"actor_id":"ada"', b'"actor_id":"eve"'))) == "false"
    assert why(ring, validate_event(true.replace(BILLING.label.encode(), LEDGER.label.encode()))) == "false"


def test_a_demand_holds_for_its_scope_and_outlives_its_key_until_it_is_lifted() -> None:
    ring = KeyRing(ORIGIN)
    registered(ring, BILLING, 5, "required", service="billing")
    assert ring.demands
    assert why(ring, event()) == "missing"
    assert why(ring, event(service="ledger")) is None
    assert why(ring, event(service=None)) is None
    revoked(ring, BILLING, 6)
    assert why(ring, event()) == "missing"
    revoked(ring, BILLING, 7, signing="optional")
    assert why(ring, event()) is None
    assert not ring.demands
    registered(ring, LEDGER, 8, "required")
    assert why(ring, event(service=None)) == "missing"
    registered(ring, LEDGER, 9)
    assert why(ring, event(service=None)) is None


def test_what_is_no_producers_key_of_this_chain_counts_for_nothing() -> None:
    ring = KeyRing(ORIGIN)
    registered(ring, key("billing", "log.example/x/other"), 1)
    for vkey in ("x", signer(new_signing_key(ORIGIN)).vkey, signer(new_signing_key(f"UPPER@{ORIGIN}")).vkey):
        ring.say("producer_key.registered", {"vkey": vkey, "signing": "required"}, 2)
    revoked(ring, BILLING, 3)
    assert ring.listed() == []
    assert not ring.changed()


def test_a_label_is_never_another_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    ring = KeyRing(ORIGIN)
    registered(ring, BILLING, 5)
    other = key("billing")
    monkeypatch.setattr("sealstream.events.producer_keys.key_label", lambda _verifier: BILLING.label)
    registered(ring, other, 6)
    assert [each.vkey for each in ring.listed()] == [BILLING.vkey]


def test_so_many_keys_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_KEYS == 1_000
    monkeypatch.setattr("sealstream.events.producer_keys.MAX_KEYS", 1)
    ring = KeyRing(ORIGIN)
    registered(ring, BILLING, 5)
    registered(ring, LEDGER, 6)
    assert [each.label for each in ring.listed()] == [BILLING.label]


def test_a_ring_made_of_its_keys_judges_alike_and_changes_alone() -> None:
    ring = KeyRing(ORIGIN)
    registered(ring, BILLING, 5, "required", service="billing")
    again, copy = KeyRing(ORIGIN, ring.listed()), ring.copy()
    assert not again.changed()
    assert set(ring.changed()) == {BILLING.label}
    revoked(ring, BILLING, 6)
    for other in (again, copy):
        assert why(other, event(BILLING)) is None
        assert why(other, event()) == "missing"


def test_every_reason_has_its_words() -> None:
    assert set(WHY_REFUSED) == {"unknown", "revoked", "expired", "scope", "false", "missing"}
