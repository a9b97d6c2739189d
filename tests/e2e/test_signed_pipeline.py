"""Events signed at their source, through real processes: a stolen Kafka credential is not enough to write in a name."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.long_runs import long_run
from tests.pipeline import Pipeline, sql, wait_until
from tests.verify.test_verify_postgres import as_superuser

from sealstream.client import AuditClient
from sealstream.events import WHY_REFUSED
from sealstream.layout import SegmentLimits
from sealstream.sealing import EventSigner, new_signing_key, producer_key_name, signer
from sealstream.verify import FaultKind

pytestmark = long_run

NODE_READER = Path(__file__).parents[2] / "examples/verify-in-node/signatures.mjs"
SOURCE = {"service": "billing", "host": "till-1"}


@pytest.fixture(scope="module")
def lived(make_pipeline: Callable[..., Pipeline]) -> Iterator[Pipeline]:
    pipeline = make_pipeline(SegmentLimits(entries=50, bytes=1_000_000, seconds=5))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(pipeline.folder / "state"))
        pipeline.start()
        pipeline.wait_beyond(0, 180)
        yield pipeline
        pipeline.kill_all()


def keys(pipeline: Pipeline, *arguments: str) -> str:
    said = pipeline.command("producer-keys", *arguments, "--chain", pipeline.name)
    assert said.code == 0, (said, pipeline.why())
    return said.out


def refused(pipeline: Pipeline) -> list[str]:
    return [e["metadata"]["why"] for e in pipeline.entries() if e["action"] == "signature.refused"]


def test_a_stolen_credential_is_not_a_key(lived: Pipeline) -> None:
    pipeline, file = lived, lived.folder / "billing.key"
    vkey = keys(pipeline, "create", "billing", str(file)).splitlines()[0]
    assert file.stat().st_mode & 0o777 == 0o600
    registered = keys(pipeline, "register", vkey, "--service", "billing", "--required", "--by", "ann")
    assert f"(producer_key.registered {'+'.join((vkey.split('@')[0], vkey.split('+')[1]))})" in registered
    again = keys(pipeline, "register", vkey, "--service", "billing", "--required", "--by", "ann")
    assert "has registered" in again
    label = json.loads(keys(pipeline, "list", "--json"))[0]["key"]

    client = AuditClient(
        pipeline.name,
        pipeline.kafka.bootstrap,
        prefix=pipeline.prefix,
        source=SOURCE,
        signing_key=file,
        kafka_options=pipeline.kafka.options,
    )
    for n in range(100):
        assert client.emit("invoice.approve", resource_type="invoice", resource_id=n, actor_id="ann")
        if n == 50:
            client.flush()
            pipeline.kill("sequencer")
            pipeline.start("sequencer")
    assert client.close().failed == 0
    pipeline.wait_sealed()
    captured = [record.value or b"" for record in pipeline.records(pipeline.topics.raw)]
    assert refused(pipeline) == []

    # The thief can write to the topic, and reads what others wrote; the key is not in it.
    own = EventSigner(signer(new_signing_key(producer_key_name("billing", pipeline.chain.origin))))
    elsewhere = EventSigner(signer(new_signing_key(producer_key_name("billing", pipeline.chain.origin + "x"))))
    forged = pipeline.event(1, source=SOURCE)
    pasted = json.loads(captured[7])["signature"]
    stolen: list[bytes] = [
        forged,
        own.signed(pipeline.event(2, source=SOURCE)),
        elsewhere.signed(pipeline.event(3, source=SOURCE)),
        pipeline.event(4, source=SOURCE, signature=pasted),
        captured[8].replace(b'"actor_id":"ann"', b'"actor_id":"eve"'),
        captured[9],
        pipeline.event(5, source={"service": "somebody"}),
    ]
    before = pipeline.size()
    pipeline.send(stolen)
    pipeline.wait_sealed()
    assert refused(pipeline) == ["missing", "unknown", "unknown", "false", "false"]
    new = pipeline.entries()[before:]
    assert Counter(e["action"] for e in new if e["action"] != "segment.archived") == {
        "read": 5, "invoice.approve": 1, "producer.conflict": 1, "signature.refused": 5, "input.passed": 1,
    }  # fmt: skip
    (passed,) = (e for e in new if e["action"] == "input.passed")
    assert passed["metadata"]["items"][0]["what"] == "repeated"
    assert not pipeline.records(pipeline.topics.deadletter)

    keys(pipeline, "revoke", label, "--reason", "the till was stolen", "--from-seq", str(before - 5))
    pipeline.send([signed_again(file, pipeline, 10), pipeline.event(11, source=SOURCE)])
    pipeline.wait_sealed()
    assert refused(pipeline)[5:] == ["revoked", "missing"]
    assert "revoked by entry" in keys(pipeline, "list")
    once_more = pipeline.command("producer-keys", "register", vkey, "--chain", pipeline.name)
    assert once_more.code == 2
    assert "never counts again" in once_more.err

    # Every store holds, tells who signed, and names what was not signed as it should be.
    pipeline.archive_all(99)
    pipeline.wait_quiet()
    for store in ("kafka", "postgres", "archive"):
        report = pipeline.verify(store)
        assert (report.exit_code, report.faults) == (0, []), store
        assert report.signatures.signed == {label: 101}
        assert report.signatures.reasons == {"missing": 2, "unknown": 2, "false": 2, "revoked": 1}
        assert any("is to be believed" in note for note in report.notes)
    export = pipeline.folder / "export.ndjson"
    export.write_bytes(b"".join((r.value or b"") + b"\n" for r in pipeline.records(pipeline.topics.chain)))
    if shutil.which("node"):
        node = subprocess.run(["node", str(NODE_READER), str(export)], capture_output=True, text=True, check=False)
        assert node.returncode == 0, node.stderr
        assert json.loads(node.stdout) == {"signed": {label: 101}, "refused": 7}
    query = (f"signed_by:{label}", "action:invoice.approve", "--chain", pipeline.name, "-n", "200", "-o", "ndjson")
    found = pipeline.command("search", *query)
    assert found.code == 0, found
    assert len(found.out.splitlines()) == 101  # one of them is a forgery, which says so, too
    # So does one entry, as a person reads it.
    (honest,) = (e for e in pipeline.entries() if e["action"] == "invoice.approve" and e["resource_id"] == "7")
    assert f"signature names the key {label};" in shown(pipeline, honest["written"]["seq"])
    assert "REFUSED" not in shown(pipeline, honest["written"]["seq"])
    for refusal in (e for e in pipeline.entries() if e["action"] == "signature.refused"):
        text = shown(pipeline, refusal["metadata"]["seq"])
        assert f"REFUSED by entry {refusal['written']['seq']}: {WHY_REFUSED[refusal['metadata']['why']]}" in text


def shown(pipeline: Pipeline, seq: int) -> str:
    said = pipeline.command("show", f"{pipeline.name}/{seq}")
    assert said.code == 0, said
    return said.out


def signed_again(file: Any, pipeline: Pipeline, n: int) -> bytes:
    return EventSigner(signer(file.read_text().strip())).signed(pipeline.event(n, source=SOURCE))


def test_a_store_that_lost_a_signature_is_edited(lived: Pipeline) -> None:
    pipeline = lived
    wait_until(lambda: pipeline.verify("postgres").exit_code == 0, 60, pipeline.why)
    wanted = (
        "SELECT seq, body FROM audit_log WHERE encode(body, 'escape') LIKE '%invoice.approve%' ORDER BY seq LIMIT 1"
    )
    (row,) = sql(pipeline.admin_dsn, wanted)
    event = json.loads(row["body"])
    assert event.pop("signature")["key"].startswith("billing+")
    body = json.dumps(event, separators=(",", ":"), sort_keys=True).encode()
    as_superuser(pipeline.admin_dsn, "UPDATE audit_log SET body = $2 WHERE seq = $1", row["seq"], body)
    report = pipeline.verify("postgres")
    assert report.exit_code == 1
    assert [(fault.kind, fault.first_seq) for fault in report.faults] == [(FaultKind.EDITED, row["seq"])]
