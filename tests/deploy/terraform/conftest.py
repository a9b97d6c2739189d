"""The module's policies and settings, made once by Terraform itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.deploy.terraform import module


@pytest.fixture(scope="session")
def terraform_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the module is laid out without its resources."""
    if module.tool() is None:
        pytest.skip("neither terraform nor tofu is on the path: no package index has them")
    return tmp_path_factory.mktemp("terraform") / "module"


@pytest.fixture(scope="session")
def make_documents(terraform_folder: Path) -> Callable[..., dict[str, Any]]:
    """`make_documents(run_on="ecs")`: the documents for other variables than the usual."""
    return lambda **values: module.made(terraform_folder, **values)


@pytest.fixture(scope="session")
def documents(make_documents: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """The documents for the usual variables."""
    return make_documents()
