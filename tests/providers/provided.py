"""What a test session gets its servers from, and what of them a test may know."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import pytest

from sealstream.devstack import Endpoints

__all__ = ["PROVIDERS", "Faults", "Provided", "chosen", "in_containers"]

PROVIDERS = ("containers", "compose")
"""What `SEALSTREAM_TEST_SERVERS` may say; without it servers are programs of this machine."""


class Faults(Protocol):
    """What can be done to servers in containers."""

    def cut_off(self, node: int) -> AbstractContextManager[None]:
        """As long as it lasts, no byte reaches or leaves this broker: for clients as for the other brokers."""

    def killed(self, node: int) -> AbstractContextManager[None]:
        """kill -9; started again at the end."""


class Provided(NamedTuple):
    """Servers that run: their addresses, and where they ask for more than that, the settings' tables that say it."""

    endpoints: Endpoints
    kafka: Mapping[str, Any] = MappingProxyType({})
    """More of the settings' table `[kafka]`: TLS, the user, how many replicas a topic has."""
    archive: Mapping[str, Any] = MappingProxyType({})
    """More of `[archive]`."""
    faults: Faults | None = None


def chosen() -> str:
    """`containers` or `compose`; empty: programs of this machine."""
    name = os.environ.get("SEALSTREAM_TEST_SERVERS", "")
    if name not in ("", *PROVIDERS):
        raise pytest.UsageError(f"SEALSTREAM_TEST_SERVERS is {name!r}: expected one of {', '.join(PROVIDERS)}")
    return name


@contextmanager
def in_containers(name: str, folder: Path) -> Iterator[Provided]:
    """The servers of a provider; whatever it makes outside Docker is in `folder`."""
    provide: Callable[[Path], AbstractContextManager[Provided]]
    if name == "containers":
        from tests.providers.containers import containers as provide
    else:
        from tests.providers.compose import compose as provide
    with provide(folder) as provided:
        yield provided
