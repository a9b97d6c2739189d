"""A closed chain and its successor in names and settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealstream.cli.settings import load_settings, write_settings
from sealstream.errors import Misconfigured
from sealstream.layout.chains import Continued, original_name, successor_name


@pytest.mark.parametrize(
    ("name", "successor"), [("main", "main-r2"), ("main-r2", "main-r3"), ("phi-0-r9", "phi-0-r10"), ("r2", "r2-r2")]
)
def test_a_successor_is_named_after_the_chain_that_was_first(name: str, successor: str) -> None:
    assert successor_name(name) == successor
    assert original_name(successor) == original_name(name)


def test_a_name_without_room_for_its_successor_is_refused() -> None:
    with pytest.raises(Misconfigured, match="at most 39"):
        successor_name("a" * 37)
    assert successor_name("a" * 36) == "a" * 36 + "-r2"


def test_a_closed_chain_is_known_and_never_run(tmp_path: Path) -> None:
    config = tmp_path / "sealstream.toml"
    lost = Continued("a.b/main", "a.b/main\n9\nabc=\n\n\u2014 a.b/main xyz=\n", 7, 8)
    closed = {"vkey": "v", "closed_at": "2026-11-24T03:00:00.000000Z", "continued_as": "main-r2"}
    write_settings(
        config,
        {"chains": {"main": closed, "main-r2": {"vkey": "w", "continues": {"chain": "main", **lost._asdict()}}}},
    )
    settings = load_settings(config)
    assert settings.open_chains() == ["main-r2"]
    assert settings.chain("main").continued is None
    assert settings.running_chain("main-r2").continued == lost
    with pytest.raises(Misconfigured, match=r"closed at 2026-11-24.*goes on as 'main-r2'"):
        settings.running_chain("main")
