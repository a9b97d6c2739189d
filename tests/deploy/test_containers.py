"""The secured stack in containers: it comes up by one command, each forbidden thing is refused, and the demo holds.

`make containers` runs it. The images must be there or be had by Docker; POSTGRES_IMAGE and POSTGRES_TLS may say which
Postgres, as docs/containers.md has it.
"""

from __future__ import annotations

import base64
import json
import ssl
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook
from tests.deploy.compose_file import FOR_PEOPLE, ONCE, services
from tests.long_runs import long_run
from tests.providers.composed import Composed

from compose.make_secrets import KAFKA_USERS

pytestmark = [long_run, pytest.mark.timeout(3_000)]

RAW, CHAIN, CONTROL = "audit.raw.main", "audit.chain.main", "audit.control.main"
CHECKPOINTS, SEGMENTS = "audit.checkpoints.main", "audit.segments.main"
QUOTA = 200_000


_INSIDE = (Path(__file__).parent / "inside.py").read_text()


def inside(stack: Composed, service: str, *words: str) -> str:
    """What inside.py says in the container of a service."""
    return stack.run("exec", "-T", service, "python", "-", *words, stdin=_INSIDE, timeout=150).strip()


@pytest.fixture(scope="module")
def stack(make_composed: Any) -> Composed:
    composed: Composed = make_composed("single,outbox", CHAIN_SEGMENT_SECONDS="20", PRODUCER_BYTE_RATE=str(QUOTA))
    return composed


def test_one_command_brings_it_up_and_all_of_it_is_well(stack: Composed) -> None:
    states = stack.states()
    expected = {
        name
        for name, service in services().items()
        if set(service.get("profiles", ["single"])) & {"single", "outbox"} and name not in FOR_PEOPLE
    }
    assert states.keys() == expected
    assert {name: states[name] for name in ONCE} == dict.fromkeys(ONCE, "exited 0")
    assert {state for name, state in states.items() if name not in ONCE} == {"healthy"}


def test_the_demo_raises_the_attack_and_verifies_every_store(stack: Composed) -> None:
    said = stack.run("run", "--rm", "-T", "demo", "--requests", "120", timeout=900)
    assert "failed_login_burst" in said
    assert "the attack was raised, and every store holds what was sealed" in said


def test_status_finds_every_process_and_says_that_all_is_well(stack: Composed) -> None:
    shown = json.loads(stack.run("run", "--rm", "-T", "cli", "status", "--json", "--timeout", "30", check=False))
    wrong = [finding for finding in shown["findings"] if finding["severity"] == "wrong"]
    assert not wrong
    assert {each["name"] for each in shown["processes"]} >= {"sequencer", "checkpointing", "archive-sink", "anomaly"}


# What the doctor must find wrong: what an organisation has to decide, and what these images can't do. What it can't ask
# is somebody else's: the signing key is checkpointing's. All else passes.
RED = {
    "alerts.forwarded": "nobody is named who is told of alerts",
    "archive.recorded": "this S3 keeps no log of who reads",
    "postgres.pgaudit": "the image has no pgaudit",
    "retention.limited": "the policy lets nothing leave Kafka and Postgres",
    "retention.six_years": "the policy keeps for a year",
    "reviews.daily": "nobody has said how often somebody reviews",
    "reviews.signed": "the same",
}
UNASKED = {"chain.key"}
THE_HOSTS = {"clocks.kept"}


def test_the_doctor_is_green_and_red_where_it_should_be(stack: Composed) -> None:
    found = json.loads(stack.run("run", "--rm", "-T", "doctor", "--json", check=False, timeout=400))
    state = {check["id"]: check["state"] for check in found["checks"]}
    evidence = {check["id"]: check for check in found["checks"] if check["state"] != "pass"}
    assert {name for name, each in state.items() if each == "fail"} - THE_HOSTS == RED.keys(), evidence
    assert {name for name, each in state.items() if each == "unknown"} - THE_HOSTS == UNASKED, evidence
    assert found["exit_code"] == 1
    refused = " ".join(next(check for check in found["checks"] if check["id"] == "archive.forbidden")["evidence"])
    assert refused.count("was refused") == 4


@contextmanager
def _receiver() -> Iterator[tuple[int, list[tuple[dict[str, str], bytes]]]]:
    """A webhook's receiver on this machine: its port, and what came, each with its headers."""
    came: list[tuple[dict[str, str], bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            came.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("0.0.0.0", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port, came
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_alerts_are_forwarded_signed_by_the_profile_that_does_it(stack: Composed) -> None:
    network = [
        "docker",
        "network",
        "inspect",
        f"{stack.project}_outside",
        "--format",
        "{{(index .IPAM.Config 0).Gateway}}",
    ]
    gateway = subprocess.run(network, check=True, capture_output=True, text=True).stdout.strip()
    secret = "whsec_" + base64.b64encode(b"a secret of the tests, no other.").decode()
    kept = stack.secrets / "forward" / "soc"
    kept.write_text(secret)
    kept.chmod(0o444)
    with _receiver() as (port, came):
        target = {
            "kind": "webhook",
            "url": f"http://{gateway}:{port}/alerts",
            "secret_file": "/run/secrets/soc",
            "allow_networks": [f"{gateway}/32"],
            "start": "earliest",
        }
        more = {"COMPOSE_PROFILES": "single,forward", "SEALSTREAM_FORWARD__TARGETS": json.dumps({"soc": target})}
        forwarding = stack._replace(environment={**stack.environment, **more})
        try:
            forwarding.run("up", "--wait", "--no-deps", "forward")
            deadline = time.monotonic() + 60
            while not any(b"failed_login_burst" in body for _, body in came):
                assert time.monotonic() < deadline, [body[:200] for _, body in came]
                time.sleep(0.5)
            assert inside(forwarding, "forward", "produce", CHAIN).startswith("refused")
        finally:
            forwarding.run("rm", "--stop", "--force", "forward")
    for headers, body in came:
        Webhook(secret).verify(body, headers)


def test_a_legal_hold_is_set_and_lifted_by_the_keeper_alone(stack: Composed) -> None:
    hold = ("retention", "hold", "set", "main", "--reason", "a test's")
    stack.run("run", "--rm", "-T", "keeper", *hold)
    assert "a test's" in stack.run("run", "--rm", "-T", "cli", "retention", "hold", "list", "main")
    stack.run("run", "--rm", "-T", "keeper", "retention", "hold", "lift", "a test's", "main", "--reason", "it is over")
    stack.run("run", "--rm", "-T", "keeper", "retention", "plan", "main")


def test_a_producer_writes_its_raw_topic_and_nothing_else_and_reads_nothing(stack: Composed) -> None:
    for user in ("clinic", "collect"):
        assert inside(stack, user, "produce", RAW).startswith("allowed")
        for topic in (CHAIN, CONTROL, CHECKPOINTS, "audit.alerts", "audit.another"):
            assert inside(stack, user, "produce", topic).startswith("refused"), (user, topic)
        for topic in (RAW, CHAIN):
            assert inside(stack, user, "consume", topic).startswith("refused"), (user, topic)


def test_the_sequencer_alone_writes_the_chain_and_checkpointing_alone_what_is_signed(stack: Composed) -> None:
    running = [user for user in KAFKA_USERS if user not in ("forward", *FOR_PEOPLE)]
    others = [user for user in running if user != "sequencer"]
    assert {user: inside(stack, user, "produce", CHAIN)[:7] for user in others} == dict.fromkeys(others, "refused")
    for topic in (CHECKPOINTS, SEGMENTS):
        others = [user for user in running if user != "checkpointing"]
        assert {user: inside(stack, user, "produce", topic)[:7] for user in others} == dict.fromkeys(others, "refused")


def test_who_reads_only_reads(stack: Composed) -> None:
    assert inside(stack, "serve", "consume", CHAIN) == "allowed"
    for topic in (RAW, CHAIN, SEGMENTS):
        assert inside(stack, "serve", "produce", topic).startswith("refused")
    update, insert = "UPDATE audit_log SET action = 'x'", "INSERT INTO audit_log DEFAULT VALUES"
    reader = "/run/secrets/reader-dsn"
    assert inside(stack, "serve", "sql", "SELECT 1 FROM audit_log LIMIT 1", reader) == "allowed"
    for statement in (update, insert, "DELETE FROM audit_log", "TRUNCATE audit_log", "CREATE TABLE mine (a int)"):
        assert inside(stack, "serve", "sql", statement, reader).startswith("refused: 42501"), statement


def test_the_sinks_role_adds_and_changes_nothing(stack: Composed) -> None:
    sink = "/run/secrets/sink-dsn"
    for statement in (
        "UPDATE audit_log SET action = 'x'",
        "DELETE FROM audit_log",
        "TRUNCATE audit_log",
        "DROP TABLE audit_log",
        "ALTER TABLE audit_log DISABLE TRIGGER ALL",
    ):
        assert inside(stack, "postgres-sink", "sql", statement, sink).startswith("refused: 42501"), statement


def test_an_application_fills_its_outbox_and_cant_read_it(stack: Composed) -> None:
    dsn = stack.run("exec", "-T", "outbox-relay", "cat", "/run/secrets/outbox-dsn").strip()
    assert "sealstream_relay" in dsn
    password = json.loads((stack.secrets / "authority" / "passwords.json").read_text())["postgres-application"]
    insert = (
        "INSERT INTO sealstream_outbox (event) VALUES (convert_to('"
        + json.dumps(
            {
                "id": "0193a8f2-7c1e-7000-8000-0123456789ab",
                "timestamp": "2026-11-24T09:30:00Z",
                "actor_id": "billing",
                "actor_type": "service",
                "action": "invoice.approve",
                "resource_type": "invoice",
                "resource_id": "7",
                "result": "success",
            }
        )
        + "', 'UTF8'))"
    )
    shell = ["exec", "-T", "--env", f"PGPASSWORD={password}", "postgres", "psql", "-v", "ON_ERROR_STOP=1"]
    as_application = [*shell, "--username", "application", "--dbname", "application", "--command"]
    stack.run(*as_application, insert)
    assert "permission denied" in _failing(stack, *as_application, "SELECT * FROM sealstream_outbox")
    deadline = time.monotonic() + 60
    while not stack.run("run", "--rm", "-T", "cli", "search", "action:invoice.approve", "--json").strip():
        assert time.monotonic() < deadline


def _failing(stack: Composed, *words: str) -> str:
    command = ["docker", "compose", "--project-name", stack.project, *words]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=stack.environment, timeout=120)
    assert done.returncode != 0
    return done.stderr


def test_no_identity_of_the_archive_deletes_or_unlocks(stack: Composed) -> None:
    assert inside(stack, "archive-sink", "s3", "put") == "allowed"
    assert inside(stack, "serve", "s3", "get") == "allowed"
    for act in ("delete", "delete-many", "delete-version", "shorten", "unlock-bucket", "delete-bucket", "policy"):
        assert inside(stack, "archive-sink", "s3", act).startswith("refused"), act
        assert inside(stack, "serve", "s3", act).startswith("refused"), act
    assert inside(stack, "serve", "s3", "put").startswith("refused")


def test_around_the_s3_port_there_is_no_way_to_the_objects(stack: Composed) -> None:
    assert inside(stack, "archive-sink", "reach", "s3:8333") == "allowed"
    for port in (8080, 8888, 9333, 18080, 18888, 19333, 8111, 8181, 9101):
        assert inside(stack, "archive-sink", "reach", f"s3:{port}").startswith("refused"), port
    assert "certificate required" in inside(stack, "archive-sink", "handshake", "s3:18333").lower()


def test_the_signing_key_is_checkpointings(stack: Composed) -> None:
    key = "/etc/sealstream/keys/main.key"
    assert inside(stack, "checkpointing", "read", key) == "allowed"
    for service in ("sequencer", "postgres-sink", "archive-sink", "serve", "watch", "collect"):
        assert inside(stack, service, "read", key).startswith("refused"), service


def test_brokers_ports_want_a_certificate_and_nobody_gets_far_in_the_network(stack: Composed) -> None:
    for port in (9093, 9094):
        said = inside(stack, "sequencer", "handshake", f"kafka:{port}").lower()
        assert "certificate" in said, (port, said)
        assert "verify failed" not in said, (port, said)
    for address in ("postgres:5432", "s3:8333"):
        assert inside(stack, "clinic", "reach", address).startswith("refused"), address
        assert inside(stack, "sequencer", "reach", address).startswith("refused"), address


def test_postgres_takes_nobody_without_tls(stack: Composed) -> None:
    if stack.environment.get("POSTGRES_TLS") == "off":
        pytest.skip("POSTGRES_TLS=off: this Postgres was built without TLS")
    assert inside(stack, "postgres-sink", "unencrypted", "/run/secrets/sink-dsn").startswith("refused")


def test_a_container_writes_nowhere_and_is_nobody_in_particular(stack: Composed) -> None:
    for service in ("sequencer", "checkpointing", "serve", "clinic"):
        assert stack.run("exec", "-T", service, "id", "-u").strip() == "10001"
        for path in ("/etc/sealstream/sealstream.toml", "/opt/sealstream/x", "/run/secrets/x", "/x"):
            assert inside(stack, service, "write", path).startswith("refused"), (service, path)
        assert inside(stack, service, "write", "/tmp/x") == "allowed"


def test_no_secret_is_in_an_image_or_an_environment(stack: Composed) -> None:
    kept = json.loads((stack.secrets / "authority" / "passwords.json").read_text()).values()
    containers = stack.run("ps", "--all", "--quiet").split()
    shown = subprocess.run(["docker", "inspect", *containers], check=True, capture_output=True, text=True).stdout
    for image in ("sealstream:local", "sealstream-clinic:local"):
        shown += subprocess.run(
            ["docker", "history", "--no-trunc", image], check=True, capture_output=True, text=True
        ).stdout
    assert not [password for password in kept if password in shown]
    assert "PRIVATE KEY" not in shown


def test_the_api_and_the_collector_answer_over_tls_to_who_has_a_credential(stack: Composed) -> None:
    context = ssl.create_default_context(cafile=str(stack.secrets / "ca.pem"))
    token = (stack.secrets / "cli" / "api-token").read_text().strip()
    url = f"https://localhost:{stack.port('API')}/v1/search?q=action:login"
    asked = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(asked, context=context, timeout=60) as answer:
        assert json.load(answer)
    key = (stack.secrets / "cli" / "collect-key").read_text().strip()
    event = {"action": "read", "resource_type": "r", "resource_id": "1", "actor_id": "a", "actor_type": "user"}
    event |= {"id": "0193a8f2-7c1e-7000-8000-0123456789ac", "timestamp": "2026-11-24T09:30:00Z", "result": "success"}
    sent = urllib.request.Request(
        f"https://localhost:{stack.port('COLLECT')}/v1/events",
        data=json.dumps(event).encode(),
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(sent, context=context, timeout=60) as answer:
        assert answer.status == 202


def test_a_producer_is_slowed_down_to_its_quota(stack: Composed) -> None:
    said = inside(stack, "collect", "produce", RAW, "60", str(QUOTA // 2))
    assert float(said.split()[2]) > 8  # thirty seconds' worth, and Kafka grants a window of some ten at once


def test_it_goes_on_after_it_was_stopped_with_the_same_chain_and_secrets(stack: Composed) -> None:
    shown = ("run", "--rm", "-T", "cli", "chain", "list", "--json")
    before, passwords = stack.run(*shown), (stack.secrets / "authority" / "passwords.json").read_bytes()
    stack.run("down", "--timeout", "45", timeout=300)
    stack.up()
    assert stack.run(*shown) == before
    assert (stack.secrets / "authority" / "passwords.json").read_bytes() == passwords
    stack.run("run", "--rm", "-T", "cli", "verify", "kafka")
