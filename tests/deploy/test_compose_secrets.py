"""The secrets of docker-compose.yml: made once, each for one service, and mended when something is missing."""

from __future__ import annotations

import contextlib
import json
import os
import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509

from compose import make_secrets
from compose.make_secrets import KAFKA_USERS, make

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="files are given to several users: only root can do that")


@pytest.fixture
def made(tmp_path: Path) -> Path:
    assert set(make(tmp_path)) == {*KAFKA_USERS, "init", "kafka", "postgres", "s3"}
    return tmp_path


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_each_file_is_readable_by_its_service_alone(made: Path) -> None:
    owners = {"kafka": (1000, 0), "s3": (1000, 0), "postgres": (999, 999), "authority": (0, 0)}
    for path in made.rglob("*"):
        found = path.stat()
        service = path.relative_to(made).parts[0]
        if path == made / "ca.pem":
            assert stat.S_IMODE(found.st_mode) == 0o444
            continue
        assert (found.st_uid, found.st_gid) == owners.get(service, (10001, 10001)), path
        allowed = 0o750 if service in ("kafka", "s3") else 0o700
        assert not stat.S_IMODE(found.st_mode) & ~allowed, path


def test_a_second_run_changes_nothing_and_mends_what_is_missing(made: Path) -> None:
    before = contents(made)
    list(make(made))
    assert contents(made) == before
    (made / "sequencer" / "kafka-password").unlink()
    (made / "serve" / "tls.key").write_bytes(b"broken")
    (made / "cli" / "api-token").write_text("of somebody's")
    list(make(made))
    assert contents(made) == {**before, "cli/api-token": b"of somebody's"}


def test_certificates_are_of_the_authority_name_their_service_and_are_renewed(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = x509.load_pem_x509_certificate((made / "ca.pem").read_bytes())
    for name in ("postgres/server.crt", "s3/server.crt", "serve/tls.crt", "collect/tls.crt", "init/kafka-admin.crt"):
        certificate = x509.load_pem_x509_certificate((made / name).read_bytes())
        certificate.verify_directly_issued_by(authority)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert name.split("/")[0].replace("init", "kafka-admin") in names.get_values_for_type(x509.DNSName)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(made / name, (made / name).with_suffix(".key"))
    before = contents(made)
    monkeypatch.setattr(make_secrets, "_RENEW_DAYS", 400)
    list(make(made))
    after = contents(made)
    assert {name for name in before if before[name] != after[name] and "authority" not in name} == {
        *("collect/tls.crt", "collect/tls.key", "serve/tls.crt", "serve/tls.key", "kafka/server.pem"),
        *("postgres/server.crt", "postgres/server.key", "s3/server.crt", "s3/server.key"),
        *("init/kafka-admin.crt", "init/kafka-admin.key"),
    }


@pytest.mark.parametrize("service", ["postgres", "s3", "collect"])
def test_certificates_stand_before_the_strictest_reader(made: Path, service: str) -> None:
    names = "server" if service in ("postgres", "s3") else "tls"
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(made / service / f"{names}.crt", made / service / f"{names}.key")
    asking = ssl.create_default_context(cafile=str(made / "ca.pem"))
    asking.verify_flags |= ssl.VERIFY_X509_STRICT  # the default from Python 3.13 on
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = serving.wrap_bio(to_server, to_client, server_side=True)
    client = asking.wrap_bio(to_client, to_server, server_hostname=service)
    for each in (client, server, client):
        with contextlib.suppress(ssl.SSLWantReadError):
            each.do_handshake()
    assert client.getpeercert()


def test_a_database_without_tls_is_a_decision_that_can_be_taken_back(made: Path) -> None:
    before = contents(made)
    assert b"sslmode=verify-full" in before["postgres-sink/sink-dsn"]
    list(make(made, postgres_tls=False))
    assert b"sslmode=disable" in contents(made)["postgres-sink/sink-dsn"]
    list(make(made))
    assert contents(made) == before


def test_no_two_services_have_the_same_password(made: Path) -> None:
    passwords = json.loads((made / "authority" / "passwords.json").read_text())
    assert len(set(passwords.values())) == len(passwords) == len(KAFKA_USERS) + 4 + 6
    for user in KAFKA_USERS:
        kept = (made / user / "kafka-password").read_text()
        assert kept == passwords[f"kafka-{user}"] == (made / "init" / f"kafka-{user}.password").read_text()
