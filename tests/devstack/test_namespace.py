"""Seven import roots are one namespace package, and stay one."""

from __future__ import annotations

import tomllib
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOTS = ("schemas", "producers", "processors", "sinks", "verifiers", "deploy", "console")


def leaf_packages() -> list[Path]:
    return [
        each for root in ROOTS for each in sorted((ROOT / root / "sealstream").iterdir()) if each.name != "__pycache__"
    ]


def test_no_root_has_an_init_file_which_would_hide_the_others() -> None:
    assert [each for root in ROOTS for each in (ROOT / root).glob("sealstream/__init__.py")] == []


def test_every_leaf_package_is_a_package_and_typed() -> None:
    assert len(leaf_packages()) >= 13
    for package in leaf_packages():
        assert package.is_dir(), f"{package}: only packages stand directly below sealstream/"
        assert (package / "py.typed").is_file(), package
        assert (package / "__init__.py").is_file(), package


def test_every_root_is_built_linted_and_typed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    assert set(project["hatch"]["build"]["targets"]["wheel"]["packages"]) == {f"{root}/sealstream" for root in ROOTS}
    assert set(project["hatch"]["build"]["dev-mode-dirs"]) == set(ROOTS)
    assert set(project["mypy"]["mypy_path"].split(":")) == set(ROOTS)
    named = {f"sealstream.{package.name}" for package in leaf_packages()}
    assert set(project["importlinter"]["root_packages"]) == named
    layers = project["importlinter"]["contracts"][0]["layers"]
    assert {each.strip() for layer in layers for each in layer.split("|")} == named


def test_test_files_have_names_of_their_own() -> None:
    names = Counter(each.name for each in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, times in names.items() if times > 1] == []
    assert list((ROOT / "tests").rglob("__init__.py")) == []
