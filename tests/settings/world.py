"""A chain on the secured servers, and the settings of those who come to it."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any, NamedTuple

from tests.pipeline import Said, sql
from tests.settings.authority import Issued
from tests.settings.secured_servers import PASSWORD, Secured

from sealstream.cli.chain import create_chain
from sealstream.cli.settings import Settings, load_settings, write_settings
from sealstream.kafka import CLIENTS, KafkaSettings, permissions
from sealstream.layout import SegmentLimits

__all__ = ["CHAIN", "World", "make_world", "wrong"]

CHAIN = "main"


class World(NamedTuple):
    """A chain on the secured servers. Each client of Kafka has a user of its own, named as it is."""

    servers: Secured
    folder: Path
    prefix: str

    def config(self, user: str, **sections: dict[str, Any]) -> Path:
        """A settings file for one user, who has a password unless another `kafka` is given."""
        path = self.folder / f"{user}-{uuid.uuid4().hex[:6]}.toml"
        path.write_text((self.folder / "sealstream.toml").read_text())
        write_settings(path, {"kafka": self.servers.kafka_section(user)} | sections)
        return path

    def issue(self, user: str, **more: Any) -> Issued:
        """A client's certificate by the right authority, in files of its own."""
        return self.servers.authority.issue(user, file=f"{user}-{uuid.uuid4().hex[:6]}", **more)

    def settings(self, user: str) -> Settings:
        """As that user's process reads them."""
        return load_settings(self.config(user))

    def kafka(self, user: str) -> KafkaSettings:
        """As that user's process takes it."""
        return self.settings(user).kafka_settings()


def make_world(secured: Secured, folder: Path) -> World:
    """A chain, and a user for each client of Kafka."""
    prefix, database = f"p{uuid.uuid4().hex[:6]}", "sealstream"
    sql(secured.admin_dsn(), f"CREATE DATABASE {database}")
    roles = {
        f"{role}_dsn": secured.dsn(f"sealstream_{role}", PASSWORD, database, secured.ca_file)
        for role in ("sink", "reader", "keeper")
    }
    config = folder / "sealstream.toml"
    write_settings(
        config,
        {
            "log": "audit.example.com/secured",
            "kafka": {"bootstrap": secured.kafka["plain"], "prefix": prefix},
            "postgres": {"admin_dsn": secured.admin_dsn(database), **roles},
            "archive": secured.archive_section("secured"),
        },
    )
    create_chain(config, load_settings(config), CHAIN, retention="1d", limits=SegmentLimits(20, 1_000_000, 300))
    made = World(secured, folder, prefix)
    for client in CLIENTS:
        secured.make_user(client, permissions(client, CHAIN, prefix))
    return made


def wrong(said: Said) -> dict[str, str]:
    """What a check found wrong, by what it is about."""
    assert said.code == 1, said.out
    return {
        each["about"]: f"{each['said']}; {each['to_do']}" for each in json.loads(said.out) if each["state"] == "wrong"
    }
