"""How the service starts, holds its ground and ends: who may reach it, how often, what a client that goes leaves."""

from __future__ import annotations

import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.long_runs import long_run
from tests.pipeline import Pipeline, Said, sql, wait_until
from tests.web.conftest import Served, make_token, start_service

from sealstream.web.limits import Buckets, address_key
from sealstream.web.settings import is_loopback
from sealstream.web.verifying import Verifications

pytestmark = long_run


def test_it_refuses_to_be_reached_from_elsewhere_without_a_token(served: Served, tmp_path: Path) -> None:
    def serve(*options: str) -> Said:
        config = tmp_path / "sealstream.toml"
        config.write_text(served.pipeline.config.read_text())
        command = [sys.executable, "-m", "sealstream.cli.entry", "--config", str(config), "serve", *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return Said(done.returncode, done.stdout, done.stderr)

    refused = serve("--host", "0.0.0.0")
    assert refused.code == 2
    assert "sealstream tokens create" in refused.err
    taken = serve("--port", served.url.rpartition(":")[2])
    assert (taken.code, "choose another with --port" in taken.err) == (2, True)
    half = serve("--tls-cert", "x.pem")
    assert (half.code, "expected both" in half.err) == (2, True)


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("10.0.0.1", False),
        ("audit.example.com", False),
        ("localhost.example.com", False),
    ],
)
def test_what_is_this_machine_alone(host: str, own: bool) -> None:
    assert is_loopback(host) is own


@pytest.fixture(scope="module")
def bulk(served: Served) -> int:
    """8,000 entries of 6 KB, more than any buffer on the way holds, or the service may hold; how many."""
    pipeline = served.pipeline
    pipeline.send(pipeline.event(n, tenant="bulk", metadata={"filler": "x" * 6_000}) for n in range(10_000, 18_000))
    wait_until(lambda: (pipeline.progress().postgres_size or 0) > 8_000, 120, pipeline.why)
    return 8_000


def test_a_client_that_goes_ends_its_export_which_is_recorded_as_cut_short(served: Served, bulk: int) -> None:
    pipeline = served.pipeline
    with served.client() as client, client.stream("GET", "/v1/export", params={"q": "tenant:bulk"}) as answer:
        assert answer.status_code == 200
        next(answer.iter_bytes())
    request = answer.headers["x-request-id"]

    def end() -> dict[str, Any] | None:
        reads = [read for read in served.reads("auditor") if read["metadata"].get("request_id") == request]
        return reads[1]["metadata"] if len(reads) == 2 else None

    wait_until(lambda: end() is not None, 30)
    ended = end()
    assert ended is not None
    assert ended["outcome"] == "cut short"
    assert 0 < ended["rows"] < bulk
    at_work = "application_name = 'sealstream search' AND xact_start IS NOT NULL"
    query = f"SELECT count(*) AS n FROM pg_stat_activity WHERE datname = $1 AND {at_work}"
    wait_until(lambda: sql(pipeline.admin_dsn, query, pipeline.name)[0]["n"] == 0, 20)


def test_memory_stays_flat_however_much_is_exported(served: Served, bulk: int) -> None:
    def peak_kb() -> int:
        status = Path(f"/proc/{served.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])

    assert served.get("/v1/export", q="tenant:bulk", limit=1_000).status_code == 200
    before = peak_kb()
    with served.client() as client, client.stream("GET", "/v1/export", params={"q": "tenant:bulk"}) as answer:
        size = sum(len(part) for part in answer.iter_bytes())
    assert size > bulk * 6_000
    assert peak_kb() - before < 24_000


def test_verifications_are_repeated_when_they_are_old(tmp_path: Path) -> None:
    report = {"store": "postgres", "verdict": "TAMPERED", "exit_code": 1, "faults": [{"kind": "edited"}] * 2}
    program = f"import json; print(json.dumps({report!r})); print(json.dumps({report!r})); raise SystemExit(1)"
    kept = Verifications(tmp_path, lambda _chain: [sys.executable, "-c", program], tick_s=0.05)
    assert kept.last("main") is None
    kept.keep_up(["main", "other"], 1)
    wait_until(lambda: kept.last("main") is not None and kept.last("other") is not None, 20)
    kept.close()
    last = kept.last("main")
    assert last is not None
    assert (last["exit_code"], last["by"], len(last["stores"])) == (1, "schedule", 2)
    assert (last["stores"][0]["verdict"], last["stores"][0]["fault_kinds"]) == ("TAMPERED", ["edited"])


@pytest.fixture(scope="module")
def strict(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Another service with TLS and small limits, on the same chain and tokens."""
    folder = tmp_path_factory.mktemp("tls")
    certificate(folder)
    pipeline = served.pipeline
    config = folder / "sealstream.toml"
    config.write_text(
        pipeline.config.read_text()
        .replace("requests_per_minute = 100000", "requests_per_minute = 40")
        .replace("failures_per_minute = 100000", "failures_per_minute = 12")
    )
    (folder / "tokens.json").symlink_to(pipeline.folder / "tokens.json")
    other = Pipeline(folder, pipeline.name, pipeline.admin_dsn)
    url, process = start_service(
        other, "--tls-cert", str(folder / "cert.pem"), "--tls-key", str(folder / "key.pem"), "--host", "127.0.0.1"
    )
    yield url, process
    process.terminate()
    assert process.wait(15) == 0


def certificate(folder: Path) -> None:
    """Of this machine, made on the spot."""
    from datetime import UTC, datetime, timedelta
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def test_limits_hold_for_a_token_and_for_who_guesses(
    served: Served, strict: tuple[str, subprocess.Popen[bytes]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    url, process = strict
    pem = Path(str(process.args[process.args.index("--tls-cert") + 1]))  # type: ignore[union-attr,index,call-overload]
    trusted = ssl.create_default_context(cafile=str(pem))
    with httpx.Client(base_url=url, verify=trusted, timeout=30) as client:
        mine = {"authorization": f"Bearer {served.tokens['reader']}"}
        answers = [client.get("/v1/chains", headers=mine) for _ in range(14)]
        assert {answer.status_code for answer in answers[:10]} == {200}
        limited = answers[-1]
        assert (limited.status_code, limited.json()["type"]) == (429, "urn:sealstream:problem:too-many-requests")
        assert 1 <= int(limited.headers["retry-after"]) <= 60
        assert "strict-transport-security" in limited.headers
        guesses = [client.get("/v1/chains", headers={"authorization": f"Bearer slt_{n}"}) for n in range(5)]
        assert [answer.status_code for answer in guesses] == [401, 401, 401, 429, 429]
        # Who holds a right token is not slowed by those who guess from the same address.
        other = {"authorization": f"Bearer {served.tokens['acme']}"}
        assert client.get("/v1/chains", headers=other).status_code == 200


def test_buckets_refill_and_forget() -> None:
    now = [0.0]
    buckets = Buckets(60, burst=2, most=3, clock=lambda: now[0])
    assert [buckets.take("a") for _ in range(3)] == [0, 0, 1]
    now[0] += 1
    assert [buckets.take("a"), buckets.take("a")] == [0, 1]
    for key in "bcde":
        buckets.take(key)
    assert len(buckets._buckets) == 3
    assert address_key("2001:db8:1:2:3::4") == address_key("2001:db8:1:2::9") != address_key("2001:db8:1:3::9")
    assert address_key("::ffff:10.0.0.1") == address_key("10.0.0.1")


def test_nothing_is_shown_while_it_can_not_be_recorded(served: Served, tmp_path: Path) -> None:
    """A service that finds no control topic: as if Kafka had lost it."""
    pipeline = served.pipeline
    config = tmp_path / "sealstream.toml"
    config.write_text(pipeline.config.read_text().replace(f'prefix = "{pipeline.prefix}"', 'prefix = "gone"'))
    (tmp_path / "tokens.json").symlink_to(pipeline.folder / "tokens.json")
    url, process = start_service(Pipeline(tmp_path, pipeline.name, pipeline.admin_dsn))
    try:
        headers = {"authorization": f"Bearer {served.tokens['auditor']}"}
        for path in ("/v1/search", f"/v1/entries/{pipeline.event_id(3)}", "/v1/export", "/v1/chains"):
            answer = httpx.get(url + path, headers=headers, timeout=30)
            assert (answer.status_code, answer.json()["type"]) == (503, "urn:sealstream:problem:not-recorded"), path
            assert "user-" not in answer.text
            assert answer.headers["retry-after"] == "5"
        ready = httpx.get(f"{url}/readyz", timeout=30)
        assert (ready.status_code, ready.json()["parts"]["kafka"]) == (503, "does not answer")
    finally:
        process.terminate()
        assert process.wait(15) == 0


def test_a_service_that_has_searched_ends_quietly_when_it_is_told_to(served: Served, tmp_path: Path) -> None:
    pipeline = served.pipeline
    (tmp_path / "sealstream.toml").write_text(pipeline.config.read_text())
    (tmp_path / "tokens.json").symlink_to(pipeline.folder / "tokens.json")
    url, process = start_service(Pipeline(tmp_path, pipeline.name, pipeline.admin_dsn))
    try:
        headers = {"authorization": f"Bearer {served.tokens['auditor']}"}
        assert httpx.get(f"{url}/v1/search", headers=headers, timeout=30).status_code == 200
    finally:
        process.terminate()
    assert process.wait(10) == 0
    said = (tmp_path / "serve.log").read_text()
    assert "Traceback" not in said, said


def test_a_token_is_made_before_the_first_request(served: Served) -> None:
    """The service sees tokens that were made after it began."""
    served.tokens["later"] = make_token(served.pipeline, "later", "--chain", "*")
    began = time.monotonic()
    assert served.get("/v1/chains", "later").status_code == 200
    assert time.monotonic() - began < 10
