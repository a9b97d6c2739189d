"""A process finds its port under the name that `sealstream up` wrote it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sealstream.cli.pipeline import process_specs
from sealstream.cli.settings import Settings
from sealstream.cli.watched import port_of
from sealstream.devstack.ports import free_port
from sealstream.health import program_name
from sealstream.sealing import new_signing_key, signer


@pytest.fixture
def settings_of() -> Callable[..., Settings]:
    def made(ports: dict[str, int], *names: str) -> Settings:
        log = "audit.example.com/ports"
        chains = {name: {"vkey": signer(new_signing_key(f"{log}/{name}")).vkey} for name in names}
        return Settings.model_validate({"log": log, "chains": chains, "metrics": {"ports": ports}})

    return made


@pytest.mark.parametrize("names", [("main",), ("phi",), ("main", "phi")])
def test_each_program_of_the_stack_serves_at_its_port(settings_of: Callable[..., Settings], names: list[str]) -> None:
    taken: set[int] = set()
    specs = process_specs(Path("sealstream.toml"), names)
    settings = settings_of({spec.name: free_port(taken) for spec in specs}, *names)
    assert port_of(settings, "sequencer", names) == settings.metrics.ports["sequencer"]
    for name in names:
        assert port_of(settings, "checkpointing", [name]) == settings.metrics.ports[program_name("checkpointing", name)]


def test_a_sequencer_of_some_chains_does_not_take_anothers_port(settings_of: Callable[..., Settings]) -> None:
    settings = settings_of({"sequencer": free_port(set())}, "main", "phi")
    assert port_of(settings, "sequencer", ["main"])
    assert port_of(settings, "sequencer", ["phi"]) is None
