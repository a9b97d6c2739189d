"""`sealstream outbox`, as a person uses it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from tests.outbox.conftest import Shop
from tests.pipeline import Said, say

from sealstream.cli.settings import write_settings
from sealstream.kafka import KafkaSettings
from sealstream.layout import ChainSettings

Command = Callable[..., Said]


@pytest.fixture
def outbox(tmp_path: Path, kafka: KafkaSettings, chain: ChainSettings) -> Command:
    """`outbox("relay", ...)`: the command, with settings that name the test's chain."""
    config = tmp_path / "sealstream.toml"
    write_settings(
        config,
        {
            "log": chain.log,
            "kafka": {"bootstrap": kafka.bootstrap},
            "chains": {chain.name: {"vkey": chain.vkey}},
        },
    )
    return lambda *arguments: say(config, "outbox", *arguments)


@pytest.fixture
def table() -> str:
    """The name of an outbox that is not made yet."""
    return f"outbox_{uuid.uuid4().hex[:12]}"


def test_from_making_it_to_an_empty_outbox(
    outbox: Command, table: str, shops_database: str, make_shop: Callable[..., Shop], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEALSTREAM_OUTBOX_DSN", shops_database)
    assert outbox("init", "--table", table).code == 0
    shop = make_shop(shops_database, table)  # makes it again, which changes nothing
    status = outbox("status", "--table", table).out
    assert "not yet relayed anywhere" in status
    assert "start `sealstream outbox relay`" in status
    shop.sell(*range(1_234))
    assert "1,234, the oldest for 0:00:0" in outbox("status", "--table", table).out
    relay = ("relay", "--table", table, "--chain", shop.chain.name, "--once")
    said = outbox(*relay)
    assert (said.code, said.out) == (0, "sent 1234 events\n")
    assert outbox(*relay).out == "sent 0 events\n"
    status = outbox("status", "--table", table).out
    assert "1,234, last at 20" in status
    assert shop.chain.origin in status
    assert len(shop.sold()) == 1_234

    busy = shop.relay()
    busy.step()
    assert "connected" in outbox("status", "--table", table).out
    said = outbox(*relay)
    assert said.code == 2
    assert "another relay works on this outbox" in said.err
    shop.close(busy)
    shop.sell(1)
    assert "waiting events deleted: 1" in outbox("renew", "--table", table, "--discard").out
    assert shop.waiting() == 0


def test_the_sql_for_an_applications_own_migrations_makes_the_same(
    outbox: Command, table: str, shops_database: str
) -> None:
    said = outbox("init", "--sql", "--table", table)
    with psycopg.connect(shops_database) as connection:
        connection.execute(said.out)
        connection.execute(said.out)  # repeatable
    assert outbox("status", "--table", table, "--dsn", shops_database).code == 0
    assert (
        'GRANT INSERT ON outbox TO "billing"'
        in outbox("init", "--sql", "--table", "outbox", "--app-role", "billing").out
    )


def test_what_is_wrong_is_said(
    outbox: Command, table: str, shops_database: str, chain: ChainSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SEALSTREAM_OUTBOX_DSN", raising=False)
    for arguments, expected in (
        (("status",), "which database? Name it in SEALSTREAM_OUTBOX_DSN"),
        (("status", "--dsn", shops_database, "--table", table), "`sealstream outbox init` makes"),
        (("relay", "--dsn", shops_database, "--chain", chain.name, "--table", table), "`sealstream outbox init` makes"),
        (("relay", "--dsn", shops_database, "--chain", "nosuch"), "chain 'nosuch' is not in the settings"),
        (("init", "--dsn", "nonsense"), "expected a DSN like"),
        (("init", "--dsn", shops_database, "--table", "no good"), "outbox table 'no good'"),
    ):
        said = outbox(*arguments)
        assert (said.code, expected in said.err) == (2, True), said
        password = urlsplit(shops_database).password
        assert password is not None
        assert password not in said.err
