"""A client with a key of its own: every event is signed with its number, redacted before, and never in the way."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sealstream.client import AuditClient
from sealstream.client.environment import settings_from
from sealstream.client.spool_drain import drain_spool
from sealstream.errors import Misconfigured
from sealstream.events import canonical_event
from sealstream.kafka import KafkaSettings
from sealstream.layout import ChainSettings
from sealstream.sealing import (
    EventSigner,
    new_signing_key,
    parse_vkey,
    producer_key_name,
    signer,
    split_signature,
    verifies,
)

Sent = Callable[[], list[dict[str, Any]]]
MakeClient = Callable[..., AuditClient]
NOWHERE = "127.0.0.1:1"


def write_key(path: Path, name: str) -> Path:
    path.write_text(new_signing_key(name) + "\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def key(tmp_path: Path, chain: ChainSettings) -> Path:
    return write_key(tmp_path / "billing.key", producer_key_name("billing", chain.origin))


def good(key: Path, event: dict[str, Any]) -> bool:
    found = split_signature(canonical_event(event))
    verifier = parse_vkey(signer(key.read_text().strip()).vkey)
    return found is not None and verifies(verifier, found)


def emit(client: AuditClient, n: int, **more: Any) -> str | None:
    return client.emit("read", resource_type="record", resource_id=n, **more)


def test_all_that_a_client_sends_is_signed_in_order_and_redacted_before(
    make_client: MakeClient, sent: Sent, key: Path
) -> None:
    client = make_client(signing_key=key)
    for n in range(500):
        assert emit(client, n, metadata={"password": "hunter2", "n": n})
    stats = client.close()
    assert (stats.delivered, stats.failed, stats.dropped) == (501, 0, {})
    events = sent()
    assert [event["producer_seq"] for event in events] == list(range(501))
    assert events[-1]["action"] == "producer.closed"
    assert all(good(key, event) for event in events)
    assert "hunter2" not in str(events)


def test_emit_does_not_wait_for_signatures(
    make_client: MakeClient, sent: Sent, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign = EventSigner.signed

    def slowly(self: EventSigner, canonical: bytes) -> bytes:
        time.sleep(0.05)
        return sign(self, canonical)

    monkeypatch.setattr(EventSigner, "signed", slowly)
    client = make_client(signing_key=key)
    took = []
    for n in range(20):
        begun = time.perf_counter()
        emit(client, n)
        took.append(time.perf_counter() - begun)
    assert statistics.median(took) < 0.01
    assert client.stats().pending > 0
    assert client.flush(0.01) > 0
    assert client.flush(30) == 0
    assert len(sent()) == 20


def test_what_waits_to_be_signed_is_bounded_and_a_loss_is_counted_and_said(
    make_client: MakeClient, sent: Sent, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign, blocked = EventSigner.signed, True

    def blocking(self: EventSigner, canonical: bytes) -> bytes:
        while blocked:
            time.sleep(0.01)
        return sign(self, canonical)

    monkeypatch.setattr(EventSigner, "signed", blocking)
    client = make_client(signing_key=key, max_pending_bytes=131_072)
    ids = [emit(client, n) for n in range(200)]
    taken = len([each for each in ids if each])
    assert 20 < taken < 200
    assert client.stats().dropped == {"queue full": 200 - taken}
    blocked = False
    assert client.close().failed == 0
    events = sent()
    assert [event["producer_seq"] for event in events] == list(range(len(events)))
    assert sum(e["metadata"]["count"] for e in events if e["action"] == "audit.loss") == 200 - taken
    assert all(good(key, event) for event in events)


def test_what_is_not_signed_at_close_is_counted(
    make_client: MakeClient, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EventSigner, "signed", lambda _self, canonical: time.sleep(0.4) or canonical)
    client = make_client(signing_key=key)
    for n in range(30):
        emit(client, n)
    stats = client.close(0.2)
    assert stats.pending == 0
    assert stats.failed >= 20
    assert stats.delivered + stats.failed == stats.emitted


def test_a_spool_holds_signed_bytes_and_whoever_drains_it_needs_no_key(
    make_client: MakeClient, sent: Sent, key: Path, tmp_path: Path, kafka: KafkaSettings
) -> None:
    spool = tmp_path / "spool"
    client = make_client(bootstrap=NOWHERE, mode="spool", spool_directory=spool, signing_key=key)
    for n in range(50):
        assert emit(client, n)
    client.close(0)
    held = b"".join(path.read_bytes() for path in spool.rglob("*") if path.is_file())
    assert held.count(b'"signature":{"key":"billing+') == 51
    key.rename(tmp_path / "gone")
    drain_spool(spool, kafka.bootstrap)
    events = sent()
    assert [event["producer_seq"] for event in events] == list(range(51))
    assert all(good(tmp_path / "gone", event) for event in events)


def test_a_forked_child_signs_its_own_stream(make_client: MakeClient, sent: Sent, key: Path) -> None:
    client = make_client(signing_key=key)
    emit(client, 0)
    child = os.fork()
    if child == 0:
        emit(client, 1)
        client.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    client.close()
    events = sent()
    assert len({event["producer_id"] for event in events}) == 2
    assert len(events) == 4
    assert all(good(key, event) for event in events)


def test_the_largest_event_still_fits_with_its_signature(make_client: MakeClient, sent: Sent, key: Path) -> None:
    client = make_client(signing_key=key)
    taken = [emit(client, size, reason="x" * size) is not None for size in range(60_400, 61_400, 25)]
    assert all(taken)  # what is too long for an event is cut by the client
    assert client.close().failed == 0
    assert all(good(key, event) for event in sent())


@pytest.mark.parametrize("fault", ["mode", "other chain", "chain's own", "no key", "missing", "binary"])
def test_a_key_that_will_not_do_is_refused_when_the_client_is_made(
    fault: str, key: Path, tmp_path: Path, chain: ChainSettings
) -> None:
    words = {
        "mode": "mode 0644: expected 0600",
        "other chain": "a key counts in one chain",
        "chain's own": "expected a producer's",
        "no key": "PRIVATE",
        "missing": "producer-keys create",
        "binary": "not ASCII",
    }
    secret = key.read_text()
    if fault == "mode":
        key.chmod(0o644)
    elif fault == "other chain":
        write_key(key, producer_key_name("billing", chain.origin + "x"))
    elif fault == "chain's own":
        write_key(key, chain.origin)
    elif fault == "missing":
        key.unlink()
    else:
        key.write_bytes(b"nonsense" if fault == "no key" else b"\xff\xfe")
    with pytest.raises(Misconfigured, match=words[fault]) as raised:
        AuditClient(chain.name, NOWHERE, signing_key=key)
    assert secret.strip().split("+", 4)[4] not in str(raised.value)


def test_both_variables_name_the_file(tmp_path: Path) -> None:
    for variable in ("SEALSTREAM_CLIENT_SIGNING_KEY", "SEALSTREAM_CLIENT_SIGNING_KEY_FILE"):
        assert settings_from({variable: "/run/secrets/billing.key"}) == {"signing_key": "/run/secrets/billing.key"}
