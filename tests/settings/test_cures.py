"""Each refusal of a server comes with what to do about it; the words are those that the drivers really say."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from sealstream.cli import check_archive
from sealstream.cli.check_postgres import check_role
from sealstream.cli.postgres_cures import cure

PAGE = Path(__file__).parents[2] / "docs" / "operating.md"


@pytest.mark.parametrize(
    ("said", "to_do"),
    [
        ('says too many connections for role "s" [53300]', "ALTER ROLE s CONNECTION LIMIT -1"),
        ('says too many connections for role "s" [53300]', "postgres.admin_dsn is in the settings file"),
        ("says sorry, too many clients already [53300]", "max_connections"),
        ('says too many connections for database "d" [53300]', "ALTER DATABASE"),
        ('says password authentication failed for user "s" [28P01]', "postgres.sink_dsn"),
        ('says role "s" does not exist [28000]', "`sealstream migrate` makes the roles"),
        ('says role "s" is not permitted to log in [28000]', "ALTER ROLE s LOGIN"),
        ('says no pg_hba.conf entry for host "h", user "s" [28000]', "pg_hba.conf lets this user not in"),
        ('says no pg_hba.conf entry for host "h", user "s", no encryption [28000]', "sslmode=verify-full"),
        ('says database "d" does not exist [3D000]', "the database's name at the end of postgres.sink_dsn"),
        ("says the database system is starting up [57P03]", "wait a minute"),
        ("no answer from Postgres: TimeoutError", "a firewall between"),
        ("no answer from Postgres: [Errno 111] Connect call failed ('127.0.0.1', 1)", "is PostgreSQL running"),
        ("no answer from Postgres: [Errno -2] Name or service not known", "no such host"),
        ('no answer from Postgres: PostgreSQL server at "h:1" rejected SSL upgrade', "the server has no TLS"),
        ("the server's certificate is refused: certificate has expired", "ssl_cert_file"),
        ("the server's certificate is refused: Hostname mismatch", "sslrootcert"),
        ("expected a DSN like postgresql://user@host/database: invalid", "mend postgres.sink_dsn"),
    ],
)
def test_what_postgres_says_comes_with_what_to_do(said: str, to_do: str) -> None:
    told = cure(f"connecting to Postgres: {said}", "sink", "s")
    assert to_do in told
    assert "{" not in told


def test_where_nobody_listens_or_answers_is_said_with_what_to_do() -> None:
    (refused,) = check_role("reader", "postgresql://r:p@127.0.0.1:1/d")
    assert (refused.state, "is PostgreSQL running there" in refused.to_do) == ("wrong", True), refused
    assert "postgres.reader_dsn" in refused.to_do
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        (late,) = check_role("reader", f"postgresql://r:p@127.0.0.1:{port}/d")
    assert (late.state, "no answer in time" in late.to_do) == ("wrong", True), late


def test_every_code_with_a_cure_of_its_own_stands_in_the_docs() -> None:
    _, _, section = PAGE.read_text().partition("### What Postgres says")
    for code in ("53300", "28P01", "28000", "3D000", "57P03", "53100"):
        assert code in section.partition("\n## ")[0]
        assert cure(f"says no [{code}]", "sink")


@pytest.mark.parametrize(
    ("said", "to_do"),
    [
        ("archive: SignatureDoesNotMatch", "archive.secret_key"),
        ("archive: NoSuchBucket", "`sealstream archive init`"),
        ("no answer from the archive: Could not connect to the endpoint URL", "archive.endpoint_url"),
    ],
)
def test_what_the_archive_says_comes_with_what_to_do(said: str, to_do: str) -> None:
    assert to_do in check_archive.cure(said)
