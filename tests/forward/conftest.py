"""Alerts, certificates, and receivers that are real servers."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.forward.receivers import Collector, HttpReceiver, MailReceiver, SyslogReceiver
from tests.settings.authority import Authority

from sealstream.layout.alerts import Alert, alert_id

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
LOOPBACK = ("127.0.0.0/8", "::1/128")


class Certificates(NamedTuple):
    """`server` is of localhost; `client` of somebody; `ca_file` signed both, `other_ca_file` neither."""

    ca_file: Path
    server: tuple[Path, Path]
    client: tuple[Path, Path]
    other_ca_file: Path


def make_alert(n: int = 1, **changed: Any) -> Alert:
    """An alert of its own for each number."""
    window = ("2026-11-24T03:00:00Z", f"2026-11-24T03:00:{n % 60:02d}Z")
    subject = str(changed.get("subject", f"user-{n}"))
    identity = alert_id("failed_login_burst", "main", "actor", subject, f"{window[0]}/{n}")
    members: dict[str, Any] = {
        "id": identity,
        "detector": "failed_login_burst",
        "subject_kind": "actor",
        "subject": subject,
        "chain": "main",
        "severity": "high",
        "confidence": 0.9,
        "summary": f"17 failed logins of {subject} in 60 s from 2 addresses; usual is 0.2 an hour",
        "window": window,
        "query": f"chain:main actor:{subject} result:failure sealed_after:{window[0]}",
        "incident": identity,
        "score": 3.4,
        "seen": {"failures": 17, "addresses": 2},
        "usual": {"failures_an_hour": 0.2},
        "seqs": [[10, 26]],
        "tenant": "clinic-7",
    }
    return Alert(**(members | changed))


def unique(prefix: str = "t") -> str:
    """A name that no other test has."""
    return f"{prefix}{uuid.uuid4().hex[:10]}"


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder = tmp_path_factory.mktemp("certificates")
    authority, other = Authority(folder, "authority"), Authority(folder, "other")
    return Certificates(authority.ca_file, authority.issue("server"), authority.issue("client"), other.ca_file)


@pytest.fixture
def receiver() -> Iterator[HttpReceiver]:
    with HttpReceiver() as running:
        yield running


@pytest.fixture
def secured_receiver(certificates: Certificates) -> Iterator[HttpReceiver]:
    with HttpReceiver(certificates.server) as running:
        yield running


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as running:
        assert isinstance(running, Collector)
        yield running


@pytest.fixture
def syslog_receiver(certificates: Certificates) -> Iterator[SyslogReceiver]:
    running = SyslogReceiver(certificates.server)
    yield running
    running.close()


@pytest.fixture
def mail_receiver(certificates: Certificates) -> Iterator[MailReceiver]:
    with MailReceiver(certificates.server) as running:
        yield running
