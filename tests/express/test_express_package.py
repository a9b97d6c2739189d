"""The npm package `sealstream-express`: its own tests with a real collector; an application up to the sealed chain."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.collect.conftest import Collected, make_key, start_collector
from tests.express.conftest import npm
from tests.long_runs import long_run
from tests.pipeline import Pipeline, wait_until
from tests.web.test_serving import certificate

from sealstream.client import Redaction

pytestmark = long_run


@long_run
@pytest.mark.timeout(900)
def test_its_own_tests_pass_with_a_real_collector(package: Path, collected: Collected) -> None:
    said = npm(
        "test",
        timeout_s=800,
        SEALSTREAM_BUILT="1",
        SEALSTREAM_TEST_URL=collected.url,
        SEALSTREAM_TEST_KEY=collected.keys["any"],
        SEALSTREAM_TEST_NARROW_KEY=collected.keys["acme"],
    )
    assert "not ok" not in said
    written = {events[0]["resource_id"]: events for events in collected.written().values()}
    assert all(f"strange-{n}" in written for n in range(19))
    assert all(len(events) == 1 for events in written.values())
    assert written["narrow-1"][0]["tenant"] == "acme"
    assert "narrow-2" not in written
    assert "never" not in written


@long_run
@pytest.mark.timeout(900)
def test_the_package_is_what_users_need(package: Path) -> None:
    said = npm("run", "test:package", timeout_s=800)
    assert "import and require are one" in said


_WITH_CERTIFICATE = """
const { readFileSync } = require("node:fs");
const { AuditClient } = require("sealstream-express");
const [url, ca, cert, key] = process.argv.slice(1);
const read = (path) => readFileSync(path);
const logging = (settings) => {
  const audit = new AuditClient({ url, logger() {}, ...settings });
  audit.log({ action: "read", resource_type: "invoice", resource_id: "with-certificate" });
  return audit.close(3000);
};
Promise.all([
  logging({ tls: { ca: read(ca), cert: read(cert), key: read(key) } }),
  logging({ tls: { cert: read(cert), key: read(key) } }),
]).then(([trusting, suspicious]) => console.log(trusting.delivered, suspicious.delivered));
"""


def test_a_clients_certificate_proves_who_it_is(package: Path, collected: Collected, tmp_path: Path) -> None:
    pipeline, client = collected.pipeline, tmp_path / "client"
    client.mkdir()
    certificate(client)
    certificate(tmp_path)
    own, ca = (client / "cert.pem", client / "key.pem"), tmp_path / "cert.pem"
    create = ("collect", "keys", "create", "node", "--chain", pipeline.name, "--certificate", str(own[0]))
    assert pipeline.command(*create).code == 0
    options = ("--tls-cert", str(ca), "--tls-key", str(tmp_path / "key.pem"), "--client-ca", str(own[0]))
    url, process = start_collector(pipeline, *options, verify=ssl.create_default_context(cafile=str(ca)))
    try:
        command = ["node", "-e", _WITH_CERTIFICATE, url, str(ca), *map(str, own)]
        done = subprocess.run(command, cwd=package, capture_output=True, text=True, timeout=60, check=True)
    finally:
        process.terminate()
        process.wait(15)
    assert done.stdout == "2 0\n", done.stderr  # a collector that nobody has vouched for gets nothing
    (written,) = (each for each in collected.written().values() if each[0]["resource_id"] == "with-certificate")
    assert written[0]["source"]["authenticated_as"].startswith("certificate ")


@long_run
@pytest.mark.timeout(1_800)
def test_its_tests_pass_on_every_node_that_it_promises(package: Path) -> None:
    done = subprocess.run(["npm", "view", "node@18", "version"], capture_output=True, timeout=60, check=False)
    if done.returncode != 0:
        pytest.skip("npm's registry can't be asked for other versions of Node")
    said = npm("run", "test:versions", timeout_s=1_700)
    assert re.findall(r"^ok v(\d+)\.", said, re.M) == ["18", "20", "22", "24"]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_redaction_is_that_of_the_python_client(package: Path, seed: int) -> None:
    events = [_with_secrets(random.Random(f"{seed}/{n}")) for n in range(2_000)]
    lines = "\n".join(map(json.dumps, events))
    done = subprocess.run(
        ["node", "test/redact-lines.mjs"], cwd=package, input=lines, capture_output=True, text=True, check=True
    )
    redaction = Redaction()
    for event, line in zip(events, done.stdout.rstrip("\n").split("\n"), strict=True):
        before = json.dumps(event)
        redaction.redact(event)
        assert json.loads(line) == event, before


_NAMES = (
    *("password", "userPassword", "X-Api-Key", "card_number", "password_changed", "token", "tokens_used", "maxTokens"),
    *("pin", "pinned", "name", "note", "APIKey", "sessionID", "session_id", "CVV2", "Größe", "größe", "otp1", "a-b-c"),
    *("pass", "db_pass", "DBPass", "smtpPass2", "bypass", "boarding_pass", "pass_count", "Pass", "userpass\n"),
    *("JWTToken", "PINCode", "pwd1", "mysecret", "value", "key", "XMLHttp", "tokenizer2"),
    *("__proto__", "constructor", "secretary", "id_token", "idToken", "", "Bearer", "totp_secret", "authorization"),
)
_TEXTS = (
    *("4111 1111 1111 1111", "4111-1111-1111-1111", "4111111111111111", "4111111111111112", "3782 822463 10005"),
    *("5500000000000004 ", "x4111111111111111", "4111111111111111.5", "1.4111111111111111", "é4111111111111111"),
    *(
        "Bearer abcdefgh12345678",
        "bearer of good news tonight",
        "Basic dXNlcjpwYXNz==",
        "basic training",
        "Basic dXNlcjpwYXNz",
        "basic UNDERSTANDING",
        "Bearer\tabcdef0123",
        "userPassword=hunter2, accessToken:'a\\'b' c",
        'password="cut off',
        "postgres://u:p@ss@host/x",
        "https://ghp_abcdefghijklmnopqrst0123@github.com",
        "AKIAABCDEFGHIJKLMNOP sk_live_0123456789abcdef",
        "BEARER a1b2c3d4e5",
    ),
    *(
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
        "eyJ short",
        "https://u:pw@host/x",
        "postgres://u:p:w@db",
        "://a:b@",
    ),
    *("password=hunter2", 'token: "a b"', "api_key='x y'", "my_token=abc&next=1", "secret = x", "token=[redacted]"),
    *("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----\nopen"),
    *("month's end", "token", "passwd:", "cvv=123;cvc: 456", "a" * 40, "PASSWORD=X", "pwd=ü,", "4111\u00a01111"),
    *(
        "Bearer\u2003abcdefgh1\u0663",
        "token=\ufeffx",
        "secret\x1c=\x85x y",
        "éeyJhbGciOiJIUzI1.eyJzd.",
        "\U0001f4a9pin=4",
    ),
)


def _with_secrets(seeded: random.Random) -> dict[str, Any]:
    def text() -> str:
        return seeded.choice(("", " ", ", ", "\n", "x")).join(seeded.choices(_TEXTS, k=seeded.randint(1, 3)))

    def value(depth: int) -> Any:
        kind = seeded.randint(0, 7 if depth < 4 else 5)
        if kind < 3:
            return seeded.choice(_NAMES) if seeded.random() < 0.1 else text()
        if kind == 3:
            return seeded.choice((None, True, False, 7, 4111111111111111, 4111111111111112, 1.5))
        if kind < 6:
            return seeded.choice(_TEXTS)
        if kind == 6:
            names = (*_NAMES, "--password", "--token", "--user")
            return [
                seeded.choice(names) if seeded.random() < 0.4 else value(depth + 1) for _ in range(seeded.randint(0, 3))
            ]
        return {name: value(depth + 1) for name in seeded.sample(_NAMES, k=3)}

    objects = ("metadata", "old_values", "new_values")
    return {"reason": text()} | {name: {key: value(2) for key in seeded.sample(_NAMES, k=3)} for name in objects}


class Shop:
    """The package's small application, as a process."""

    def __init__(self, package: Path, url: str, key: str, spool: Path, express: str) -> None:
        environment = {
            "PATH": os.environ["PATH"],
            "SEALSTREAM_COLLECTOR_URL": url,
            "SEALSTREAM_COLLECTOR_KEY": key,
            "SEALSTREAM_CLIENT_SERVICE": "shop",
            "SEALSTREAM_CLIENT_SPOOL_DIRECTORY": str(spool),
        }
        self.process = subprocess.Popen(
            ["node", "test/shop.mjs", express], cwd=package, env=environment, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{int(self.process.stdout.readline())}", timeout=10)

    def ask(self, first: int, count: int) -> list[tuple[str, str, str]]:
        """So many rounds of requests; the events that there must be."""
        events = []
        for n in range(first, first + count):
            path, user = f"/shops/7/invoices/{n}", {"X-User": f"user-{n % 5}"}
            assert self.client.get(path, headers=user).status_code == 200
            assert self.client.get(path).status_code == 401
            assert self.client.post(f"{path}/approve", headers=user).status_code == 204
            assert self.client.delete(path, headers=user).status_code == 500
            assert self.client.get("/health").status_code == 200
            route = "/shops/{shopId}/invoices/{invoiceId}"
            events += [
                (f"get:{route}", str(n), "success"),
                (f"get:{route}", str(n), "denied"),
                ("invoice.approve", str(n), "success"),
                (f"post:{route}/approve", str(n), "success"),
                (f"delete:{route}", str(n), "failure"),
            ]
        return events

    def end(self, how: signal.Signals) -> str:
        """What it said last."""
        self.process.send_signal(how)
        self.process.wait(20)
        assert self.process.stdout is not None
        return self.process.stdout.read()


def again(pipeline: Pipeline, url: str) -> subprocess.Popen[bytes]:
    """The collector, where it was."""
    command = [sys.executable, "-m", "sealstream.cli.entry", "--config", str(pipeline.config), "collect", "--port"]
    with (pipeline.folder / "collect-again.log").open("wb") as log:
        process = subprocess.Popen([*command, url.rpartition(":")[2]], stdout=log, stderr=subprocess.STDOUT)

    def answers() -> bool:
        try:
            return httpx.get(f"{url}/healthz").status_code == 200
        except httpx.TransportError:
            return False

    wait_until(answers, 60)
    return process


@pytest.mark.timeout(400)
@pytest.mark.parametrize("express", ["express5", pytest.param("express4", marks=long_run)])
def test_every_request_is_sealed_once_though_application_and_collector_die(
    package: Path, make_pipeline: Callable[..., Pipeline], tmp_path: Path, express: str
) -> None:
    pipeline = make_pipeline()
    key = make_key(pipeline, "shop")
    pipeline.start("sequencer")
    url, collector = start_collector(pipeline)
    spool = tmp_path / "spool"
    expected: list[tuple[str, str, str]] = []
    try:
        shop = Shop(package, url, key, spool, express)
        expected += shop.ask(0, 10)
        collector.send_signal(signal.SIGSTOP)  # it hangs: nobody waits for it
        begun = time.monotonic()
        expected += shop.ask(10, 10)
        assert time.monotonic() - begun < 5
        time.sleep(0.3)  # a response is out before its event is made
        shop.end(signal.SIGKILL)
        collector.send_signal(signal.SIGCONT)
        shop = Shop(package, url, key, spool, express)
        expected += shop.ask(20, 10)
        collector.kill()
        collector.wait()
        expected += shop.ask(30, 10)
        collector = again(pipeline, url)
        wait_until(lambda: len(list(spool.iterdir())) == 1, 30)  # the dead process's is sent
        stats = json.loads(shop.end(signal.SIGTERM))
        assert (stats["pending"], stats["dropped"]) == (0, {})
        assert list(spool.iterdir()) == []
    finally:
        collector.send_signal(signal.SIGCONT)
        collector.terminate()
        collector.wait(15)
    pipeline.wait_sealed()
    entries = pipeline.entries()
    sealed = [
        (entry["action"], entry["resource_id"], entry["result"]) for entry in entries if entry["resource_id"].isdigit()
    ]
    assert Counter(sealed) == Counter(expected)
    assert len({entry["id"] for entry in entries}) == len(entries)
    actions = Counter(entry["action"] for entry in entries)
    assert actions["producer.closed"] == 2
    assert actions["producer.gap"] == actions["producer.conflict"] == actions["audit.loss"] == 0
    (by,) = {entry["source"]["authenticated_as"] for entry in entries if entry["resource_id"].isdigit()}
    assert by.endswith(" (shop)")
    deleted = next(entry for entry in entries if entry["action"].startswith("delete:"))
    assert deleted["metadata"]["error"] == "RangeError"
    assert deleted["actor_id"] == "user-0"
