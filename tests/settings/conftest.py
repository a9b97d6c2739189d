"""The secured servers and a chain on them, once for each module that asks for them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.settings.secured_servers import Secured, secured_servers
from tests.settings.world import World, make_world


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    with secured_servers(tmp_path_factory.mktemp("secured")) as servers:
        yield servers


@pytest.fixture(scope="module")
def world(secured: Secured, tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(secured, tmp_path_factory.mktemp("world"))
