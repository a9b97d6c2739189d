"""Every code block of README and docs is run, in the order of its page, on a real chain; none is left to rot.

The runbooks' pages are played by tests/runbooks. `make demo` and `make test`, which the README names, are what
continuous integration itself runs; `sealstream up` and `down` are held to their promises by tests/cli/test_up.py.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import boto3
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.x509.oid import NameOID
from tests.collect.conftest import make_key, start_collector
from tests.docs.blocks import LANGUAGES, Block, blocks_of
from tests.docs.reader import ROOT, Reader
from tests.express.conftest import built_package
from tests.forward.conftest import make_alert
from tests.forward.receivers import HttpReceiver
from tests.importers.conftest import STRATUS
from tests.importers.trails import Trail, new_key, pkcs1
from tests.long_runs import long_run
from tests.pipeline import PROCESSES, Pipeline, sql, wait_until

from sealstream.anomaly.raising import alert_statement
from sealstream.cli.settings import write_settings
from sealstream.devstack.ports import free_port
from sealstream.forward.deadletters import write_letter
from sealstream.forward.messages import alert_message
from sealstream.kafka import StandingProducer
from sealstream.layout import SegmentLimits
from sealstream.layout.activity import ActivityTopics
from sealstream.layout.alerts import encode_alert
from sealstream.layout.forwarding import ForwardTopics, Place
from sealstream.mappings import entry_of

PAGES = sorted(
    path
    for pattern in (
        "README.md",
        "docs/*.md",
        "docs/how-to/*.md",
        "docs/frameworks/*.md",
        "docs/reference/*.md",
        "examples/README.md",
        "examples/*/README.md",
    )
    for path in ROOT.glob(pattern)
)
BLOCKS = {str(path.relative_to(ROOT)): blocks_of(ROOT, path) for path in PAGES}
RUN = [name for name, blocks in BLOCKS.items() if any(block.language != "text" for block in blocks)]

# What a newcomer types first is tried in `make test`, everything in `make long`.
SHORT = ("README.md", "docs/tutorial.md", "docs/how-to/find-why-a-sink-lags.md")

# Commands of a page that are run elsewhere, by a test of their own, and where.
ELSEWHERE = {
    "make demo": ".ci/run",
    "make examples": ".ci/run",
    "make test": ".ci/run",
    "sealstream up": "tests/cli/test_up.py",
    "sealstream down": "tests/cli/test_up.py",
    ".venv/bin/sealstream up": "tests/cli/test_up.py",
    "docker ": "tests/deploy/test_containers.py",
    "make image": "tests/deploy/test_image_files.py",
    "pip install uv": "tests/deploy/test_image_files.py",
    "python deploy/image/lock.py": "tests/deploy/test_image_files.py",
    "curl --cacert secrets/ca.pem": "tests/deploy/test_containers.py",
    "npm install": "tests/express/test_express_package.py",
    "sealstream migrate --back-to": "tests/upgrades/test_upgrades.py",
    # What makes users and units of a machine is run under a systemd that lives for the test alone:
    "useradd": "tests/systemd/test_live_systemd.py",
    "install -": "tests/systemd/test_live_systemd.py",
    "systemctl": "tests/systemd/test_live_systemd.py",
    "cp deploy/systemd/": "tests/systemd/test_live_systemd.py",
    "python3 -m venv /opt/sealstream": "tests/devstack/test_packaging.py",
}


def test_what_runs_elsewhere_is_there() -> None:
    assert all((ROOT / path).exists() for path in ELSEWHERE.values())


@pytest.fixture(scope="module")
def pipeline(make_pipeline: Callable[..., Pipeline], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        made = make_pipeline(SegmentLimits(entries=100, bytes=10_000_000, seconds=3_600), chain="main")
        taken: set[int] = set()
        write_settings(made.config, {"metrics": {"ports": {name: free_port(taken) for name in PROCESSES}}})
        made.send([made.event(n, producer="clinic-1") for n in range(350)])
        made.start()
        made.wait_archived(300)
        made.wait_stored(made.wait_sealed())
        yield made
        made.kill_all()


@pytest.fixture
def reader(pipeline: Pipeline, tmp_path: Path) -> Iterator[Reader]:
    made = Reader(pipeline, tmp_path)
    made.names |= {".venv/bin/sealstream": "sealstream", "kafka:9092": pipeline.kafka.bootstrap}
    yield made
    made.close()


@contextmanager
def readme(reader: Reader) -> Iterator[None]:
    reader.before_python = "from fastapi import FastAPI\napp = FastAPI()"
    yield


@contextmanager
def outbox(reader: Reader) -> Iterator[None]:
    """A billing application's database."""
    pipeline, name = reader.pipeline, f"billing_{reader.pipeline.chain.log[-1]}{id(reader)}"
    sql(pipeline.admin_dsn, f"CREATE DATABASE {name}")
    dsn = urlunsplit(urlsplit(pipeline.admin_dsn)._replace(path=f"/{name}"))
    for role in ("app", "relay"):
        sql(pipeline.admin_dsn, f"CREATE ROLE {name}_{role}")
    sql(dsn, "CREATE TABLE invoice (id int PRIMARY KEY, approved bool)")
    sql(dsn, "INSERT INTO invoice VALUES (7, false)")
    reader.names |= {
        "postgresql://owner@db/billing": dsn,
        "--app-role billing": f"--app-role {name}_app",
        "--relay-role sealstream_relay": f"--relay-role {name}_relay",
    }
    reader.before_python = f"import psycopg\nconnection = psycopg.connect({dsn!r}, autocommit=True)"
    # The page shows the application first, and what has to be done once after it.
    reader.environment["SEALSTREAM_OUTBOX_DSN"] = dsn
    assert reader.pipeline.command("outbox", "init", "--dsn", dsn).code == 0
    yield
    assert sql(dsn, "SELECT approved FROM invoice")[0][0] is True
    sql(pipeline.admin_dsn, f"DROP DATABASE {name} WITH (FORCE)")
    for role in ("app", "relay"):
        sql(pipeline.admin_dsn, f"DROP ROLE {name}_{role}")


@contextmanager
def client(reader: Reader) -> Iterator[None]:
    """Events of the page go to this chain."""
    reader.names |= {
        "127.0.0.1:19092": reader.pipeline.kafka.bootstrap,
        'source={"service": "billing"}': f'prefix={reader.pipeline.prefix!r}, source={{"service": "billing"}}',
    }
    yield
    reader.pipeline.wait_stored(reader.pipeline.wait_sealed())
    approved = "SELECT actor_id, count(*) FROM audit_log WHERE action = 'invoice.approve' GROUP BY 1 ORDER BY 1"
    assert [tuple(row) for row in sql(reader.pipeline.reader_dsn, approved)] == [("anonymous", 1), ("user-123", 2)]


@contextmanager
def signed_at_source(reader: Reader) -> Iterator[None]:
    """The page's program signs, and what it sends is sealed without a word of doubt."""
    pipeline = reader.pipeline
    (reader.folder / "billing").mkdir()
    reader.names |= {
        "/etc/billing/": f"{reader.folder}/billing/",
        'source={"service": "billing"}': f'prefix={pipeline.prefix!r}, source={{"service": "billing"}}',
    }
    reader.after_python = lambda: pipeline.wait_stored(pipeline.wait_sealed())
    yield
    paid = "SELECT seq, convert_from(body, 'UTF8') AS body FROM audit_log WHERE action = 'invoice.pay'"
    (entry,) = sql(pipeline.reader_dsn, paid)
    assert '"signature":{"key":"billing+' in entry["body"]
    refused = "SELECT resource_id FROM audit_log WHERE action = 'signature.refused'"
    assert str(entry["seq"]) not in [row["resource_id"] for row in sql(pipeline.reader_dsn, refused)]


@contextmanager
def spool(reader: Reader) -> Iterator[None]:
    reader.names |= {"/var/lib/billing/audit-spool": str(reader.folder / "audit-spool")}
    reader.before_python = "from sealstream.client import AuditClient"
    yield


@contextmanager
def importing(reader: Reader) -> Iterator[None]:
    """The page's logs: real records of CloudTrail, a trail of our own in S3 and as a copy, three lines of billing."""
    pipeline, key = reader.pipeline, new_key()
    bucket = f"t-{pipeline.prefix}-trail"
    trail = Trail(12, lambda _hour: key, bucket=bucket)
    names = sorted(STRATUS.glob("*.json"))
    records = [record for name in names for record in json.loads(name.read_text())]
    for number in range(35):
        path = reader.folder / "trail" / f"{number}.json.gz"
        path.parent.mkdir(exist_ok=True)
        # As many as the page has: the real ones, and copies of the first with ids of their own.
        own = records if number == 0 else []
        more = (310 - len(records)) // 34 + (1 if number <= (310 - len(records)) % 34 else 0) if number else 0
        first = json.loads((STRATUS / "aws.initial-access.console-login-without-mfa.json").read_text())[0]
        made = [first | {"eventID": str(uuid.uuid4())} for _ in range(more)]
        path.write_bytes(gzip.compress(json.dumps({"Records": [*own, *made]}).encode()))
    (reader.folder / "keys").mkdir()
    (reader.folder / "keys" / "eu-west-1.der").write_bytes(pkcs1(key))
    client = boto3.client(
        "s3",
        endpoint_url=pipeline.archive.endpoint_url,
        region_name=pipeline.archive.region,
        aws_access_key_id=pipeline.archive.access_key,
        aws_secret_access_key=pipeline.archive.secret_key,
    )
    client.create_bucket(Bucket=bucket)
    for name, (data, signature) in trail.objects.items():
        client.put_object(Bucket=bucket, Key=name, Body=data, Metadata={"signature": signature} if signature else {})
        (reader.folder / "trail-copy" / name).parent.mkdir(parents=True, exist_ok=True)
        (reader.folder / "trail-copy" / name).write_bytes(data)
    billing = [
        {"request": "r-1", "time": "2026-11-24T03:00:00Z", "user": {"email": "anna@example.com"}, "verb": "approve"},
        {"request": "r-2", "time": "2026-11-24T03:00:01Z", "verb": "ping"},
        {"request": "r-3", "time": "2026-11-24T03:00:02Z", "verb": "approve", "status": 403},
    ]
    billing[0] |= {"invoice": {"id": 42, "lines": [{"amount": 12}]}, "status": 200}
    (reader.folder / "billing.jsonl").write_text("\n".join(map(json.dumps, billing)))
    reader.names["s3://my-trail/"] = f"s3://{bucket}/"
    reader.environment |= {
        "AWS_ENDPOINT_URL": str(pipeline.archive.endpoint_url),
        "AWS_DEFAULT_REGION": pipeline.archive.region,
        "AWS_ACCESS_KEY_ID": str(pipeline.archive.access_key),
        "AWS_SECRET_ACCESS_KEY": str(pipeline.archive.secret_key),
    }
    reader.keep_toml_as = "billing.toml"
    yield


@contextmanager
def rebuilding(reader: Reader) -> Iterator[None]:
    """One row is taken away, so that there is something to repair."""

    def replaced() -> str:
        found = re.search(r"audit_replaced_\w+", reader.said.out + reader.said.err)
        assert found, reader.said
        return found[0]

    def newest() -> str:
        [[month]] = sql(
            reader.pipeline.reader_dsn, "SELECT to_char(max(sequenced_at) AT TIME ZONE 'UTC', 'YYYY-MM') FROM audit_log"
        )
        return f"--month {month}"

    reader.names |= {
        "--month 2026-11": newest,
        "audit_replaced_2026_11_0a1b2c3d": replaced,
        "audit-archive-2": f"{reader.pipeline.archive.bucket}-2",
        "sqlite_sink:SqliteSink --to": "sqlite_sink:SqliteSink --to",
    }
    (reader.folder / "sqlite_sink.py").write_text((ROOT / "examples/sqlite-sink/sqlite_sink.py").read_text())
    yield


@contextmanager
def sqlite_sink(reader: Reader) -> Iterator[None]:
    (reader.folder / "examples").symlink_to(ROOT / "examples")
    yield
    (ROOT / "examples/sqlite-sink/audit.db").unlink(missing_ok=True)


@contextmanager
def clinic(reader: Reader) -> Iterator[None]:
    reader.before_python = "from fastapi import FastAPI\napp = FastAPI()"
    port = str(free_port())
    reader.names |= {
        "127.0.0.1:19092": reader.pipeline.kafka.bootstrap,
        "--port 8000": f"--port {port}",
        "127.0.0.1:8000": f"127.0.0.1:{port}",
    }
    reader.environment |= {"SEALSTREAM_BOOTSTRAP": reader.pipeline.kafka.bootstrap, "PYTHONPATH": _with_root()}
    yield


def _with_root() -> str:
    """The examples are modules of the clone."""
    return f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"


def _certificate() -> str:
    """Of an authority that nobody knows."""
    key, name = ed25519.Ed25519PrivateKey.generate(), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "docs")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(1))
    return made.sign(key, None).public_bytes(serialization.Encoding.PEM).decode()


@contextmanager
def configuration(reader: Reader) -> Iterator[None]:
    """Secrets and certificates where the page has them."""
    for folder, names in {
        "secrets": ("sink-dsn", "archive-secret-key", "kafka-password", "oidc", "sequencer-key"),
        "etc": ("kafka-ca.pem", "sequencer.pem", "sequencer.key", "db-ca.pem", "login-ca.pem", "s3-ca.pem"),
    }.items():
        (reader.folder / folder).mkdir()
        for name in names:
            (reader.folder / folder / name).write_text(_certificate() if name.endswith(".pem") else "secret\n")
    reader.names |= {
        "/run/secrets/": f"{reader.folder}/secrets/",
        "/etc/sealstream/": f"{reader.folder}/etc/",
        "/etc/app/": f"{reader.folder}/etc/",
    }
    reader.before_python = "from pathlib import Path\nfrom sealstream.client import AuditClient"
    yield


@contextmanager
def tutorial(reader: Reader) -> Iterator[None]:
    """What the program of the page writes is stored before anybody asks."""
    pipeline = reader.pipeline
    reader.names |= {
        "127.0.0.1:19092": pipeline.kafka.bootstrap,
        'source={"service": "tutorial"}': f'prefix={pipeline.prefix!r}, source={{"service": "tutorial"}}',
    }
    reader.after_python = lambda: pipeline.wait_stored(pipeline.wait_sealed())
    yield


@contextmanager
def search(reader: Reader) -> Iterator[None]:
    """An entry and a database that are there."""
    reader.names |= {
        "main/4711": "main/100",
        "01932b7e-3f4a-7c1d-9e2b-5a6f7b8c9d0e": reader.pipeline.event_id(1),
        "postgresql://sealstream_reader@localhost/audit": reader.pipeline.reader_dsn,
    }
    yield


@contextmanager
def schemas(reader: Reader) -> Iterator[None]:
    """The secret of the page's target. Something is exported, and all of it comes back."""
    secret = reader.folder / "lake"
    secret.write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")
    reader.names |= {"/run/secrets/lake": str(secret)}
    yield
    lines = (reader.folder / "week.ndjson").read_bytes().splitlines()
    assert lines
    assert all(entry_of("ocsf", line) for line in lines)


@contextmanager
def api(reader: Reader) -> Iterator[None]:
    """The token is the one that was shown, once."""

    def token() -> str:
        found = re.search(r"slt_\w+", reader.heard)
        assert found, reader.heard
        return found[0]

    pipeline, port = reader.pipeline, free_port()
    events = [pipeline.event(n, actor_id="user-123", action="write") for n in range(10_000, 10_060)]
    pipeline.send(events)  # more than a page of the search that the page shows
    pipeline.wait_stored(pipeline.wait_sealed())
    reader.names |= {
        "slt_...": token,
        "sealstream serve": f"sealstream serve --port {port}",
        "127.0.0.1:8480": f"127.0.0.1:{port}",
        "4711": "100",
    }
    yield


@contextmanager
def collector(reader: Reader) -> Iterator[None]:
    """The key is the one that was shown, once."""

    def key() -> str:
        found = re.search(r"slk_\w+", reader.heard)
        assert found, reader.heard
        return found[0]

    port = free_port()
    reader.names |= {"slk_...": key, "--port 8481": f"--port {port}", "127.0.0.1:8481": f"127.0.0.1:{port}"}
    yield


@contextmanager
def alerts(reader: Reader) -> Iterator[None]:
    """The page's alert is there."""
    alert = make_alert()
    reader.pipeline.send([alert_statement(alert)], topic=reader.pipeline.topics.control)
    reader.pipeline.wait_stored(reader.pipeline.wait_sealed())
    reader.names["0f9d584a"] = alert.id[:8]
    yield


@contextmanager
def forwarding(reader: Reader) -> Iterator[None]:
    """The page's targets, with a receiver that is here; and what a receiver's program has at hand."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    (reader.folder / "secrets").mkdir()
    for name in ("soc", "hec-token", "slack-url", "pagerduty-key", "otel", "mail-password"):
        told = {"soc": secret, "slack-url": "https://hooks.slack.com/services/T/B/x"}.get(name, "secret")
        (reader.folder / "secrets" / name).write_text(f"{told}\n")
    reader.names |= {"/run/secrets/": f"{reader.folder}/secrets/"}
    payload = 'body, seen, identity = b\'{"data":{"severity":"low","summary":"s"}}\', set(), \'x\''
    reader.before_python = "\n".join(
        [
            "import time",
            "from sealstream.forward.formats.standard_webhook import signed_headers, signing_keys",
            payload,
            f"headers = signed_headers(identity, body, signing_keys({secret!r}), int(time.time()))",
        ]
    )
    topic = ActivityTopics.of(reader.pipeline.prefix).alerts
    with HttpReceiver() as receiver:
        soc = {"kind": "webhook", "url": receiver.url, "secret": secret, "allow_networks": ["127.0.0.0/8"]}
        write_settings(reader.config, {"forward": {"targets": {"soc": soc}}})
        refused = alert_message(encode_alert(make_alert()))
        with StandingProducer(reader.pipeline.kafka) as producer:
            write_letter(
                *(producer, ForwardTopics.of(reader.pipeline.prefix).deadletter, "soc", Place(topic), 0),
                **{"what": "alert", "identity": refused.id, "value": refused.value, "reason": "422"},
            )
        yield
        assert len(receiver.requests) == 2  # the test, and the letter


_REPORTED = {
    "celery": ["task.start", "invoice.remind", "task.end"],
    "django": ["create", "post:/invoices/{invoice_id}/payment"],
    "fastapi": ["get:/invoices/{invoice_id}"],
    "flask": ["get:/invoices/{invoice_id}", "invoice.approve"],
    "grpc": ["call:/billing.Invoices/Read"],
    "logging": ["invoice.approve", "invoice.approve"],
    "sqlalchemy": ["create", "update", "update"],
}


def framework(page: str) -> Callable[[Reader], object]:
    @contextmanager
    def frameworks(reader: Reader) -> Iterator[None]:
        """The page's programs run as they stand, and what they report is sealed: that, and nothing else."""
        pipeline = reader.pipeline
        reader.environment |= {
            "SEALSTREAM_BOOTSTRAP": pipeline.kafka.bootstrap,
            "SEALSTREAM_CLIENT_PREFIX": pipeline.prefix,
        }
        before = pipeline.wait_sealed()
        yield
        pipeline.wait_stored(pipeline.wait_sealed())
        sealed = (
            f"SELECT action FROM audit_log WHERE chain = 'main' AND kind = 'event' AND seq >= {before} ORDER BY seq"
        )
        actions = [row[0] for row in sql(pipeline.reader_dsn, sealed)]
        assert [action for action in actions if action != "producer.closed"] == _REPORTED[page]

    return frameworks


@contextmanager
def express(reader: Reader) -> Iterator[None]:
    """The page's application runs as it stands, and its request is sealed."""
    package, pipeline = built_package(), reader.pipeline
    (reader.folder / "node_modules").mkdir()
    (reader.folder / "node_modules" / "sealstream-express").symlink_to(package)
    (reader.folder / "node_modules" / "express").symlink_to(package / "node_modules" / "express5")
    url, process = start_collector(pipeline)
    port = free_port()
    reader.names |= {
        "slk_...": make_key(pipeline, "express"),
        "http://127.0.0.1:8481": url,
        "3000": str(port),
    }
    try:
        yield
        wait_until(
            lambda: all(
                part in b"".join(each.value or b"" for each in pipeline.records(pipeline.topics.raw))
                for part in (b'"month\'s end"', b'"get:/invoices/{invoiceId}"')
            ),
            30,
        )
    finally:
        reader.close()
        process.terminate()
        process.wait(15)
    pipeline.wait_stored(pipeline.wait_sealed())
    asked = "SELECT resource_id, result FROM audit_log WHERE action = 'get:/invoices/{invoiceId}'"
    assert [tuple(row) for row in sql(pipeline.reader_dsn, asked)] == [("7", "success")]


READERS: dict[str, Callable[[Reader], object]] = {
    "README.md": readme,
    "docs/alerts.md": alerts,
    "docs/client.md": client,
    "docs/outbox.md": outbox,
    "docs/signed-at-source.md": signed_at_source,
    "docs/spool.md": spool,
    "docs/importing.md": importing,
    "docs/rebuilding.md": rebuilding,
    "docs/api.md": api,
    "docs/collector.md": collector,
    "docs/configuration.md": configuration,
    "docs/search.md": search,
    "docs/schemas.md": schemas,
    "docs/forwarding.md": forwarding,
    "docs/tutorial.md": tutorial,
    **{f"docs/frameworks/{name}.md": framework(name) for name in _REPORTED},
    "docs/frameworks/express.md": express,
    "examples/sqlite-sink/README.md": sqlite_sink,
    "examples/clinic/README.md": clinic,
}


@pytest.mark.parametrize("page", [page if page in SHORT else pytest.param(page, marks=long_run) for page in RUN])
def test_a_pages_commands_do_what_it_says(page: str, reader: Reader) -> None:
    with ExitStack() as stack:
        if prepare := READERS.get(page):
            stack.enter_context(prepare(reader))  # type: ignore[arg-type]
        for block in BLOCKS[page]:
            if block.language == "text":
                continue
            try:
                reader.do(_without_elsewhere(block))
            except Exception as error:
                raise AssertionError(f"{block}: {error}") from error


def _without_elsewhere(block: Block) -> Block:
    lines = [
        line
        for line in block.body.splitlines()
        if not any(line.lstrip("$ ").startswith(command) for command in ELSEWHERE)
    ]
    return block._replace(body="\n".join(lines))


@pytest.mark.parametrize("block", [block for blocks in BLOCKS.values() for block in blocks], ids=str)
def test_every_block_says_what_it_is(block: Block) -> None:
    assert block.language in LANGUAGES, f"{block}: a fence says its language: {', '.join(LANGUAGES)}"
    if block.language == "text":
        commands = re.findall(r"^(?:\$ |sealstream |pip |python |curl ).*", block.body, re.M)
        assert not commands, f"{block}: commands stand in a `sh` or `console` block, which is run: {commands}"
