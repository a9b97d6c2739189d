"""What `pip install sealstream` gives an application: the thin client, one import name, and a command that explains."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from tests.long_runs import long_run

pytestmark = long_run

ROOT = Path(__file__).parents[2]
IMPORT_ROOTS = [str(path.parent) for path in ROOT.glob("*/sealstream")]


def run(*command: str | Path, expect: int = 0) -> str:
    """The output of a command that must end with that code."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "SEALSTREAM_"))}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=180, check=False)
    assert done.returncode == expect, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "-q", "--disable-pip-version-check", "--no-deps", "-w", folder, ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a fresh environment with the wheel and no extra."""
    environment = tmp_path_factory.mktemp("bare")
    run(sys.executable, "-m", "venv", environment)
    run(environment / "bin/python", "-m", "pip", "install", "-q", "--disable-pip-version-check", wheel)
    return environment / "bin"


def test_the_wheel_adds_one_name_with_types_and_the_files_that_are_no_code(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"sealstream"}
    assert "sealstream/__init__.py" not in names
    for package in (
        each for root in ROOT.glob("*/sealstream") for each in root.iterdir() if each.name != "__pycache__"
    ):
        assert f"sealstream/{package.name}/py.typed" in names
    assert "sealstream/events/event.schema.json" in names
    assert any(name.endswith(".sql") for name in names), "the migrations are missing"
    assert not [name for name in names if name.endswith((".pyc", ".toml", ".key"))]


@long_run
def test_a_bare_install_is_thin(bare: Path) -> None:
    listed = json.loads(run(bare / "python", "-m", "pip", "list", "--format=json", "--disable-pip-version-check"))
    distributions = {each["name"] for each in listed} - {"pip", "setuptools"}
    assert "sealstream" in distributions
    assert len(distributions) <= 5, distributions


def test_pytest_finds_the_fixture_where_both_are_installed(bare: Path) -> None:
    listed = (
        "from importlib.metadata import entry_points\nprint(*(each.value for each in entry_points(group='pytest11')))"
    )
    assert "sealstream.client.pytest_plugin" in run(bare / "python", "-c", listed)


def test_a_bare_install_has_the_client_and_names_the_extra_that_a_command_needs(bare: Path) -> None:
    run(bare / "python", "-c", "import sealstream.client, sealstream.events, sealstream.sealing, sealstream.layout")
    for command, extra in (("verify", "sealstream[server]"), ("up", "sealstream[devstack]")):
        said = run(bare / "sealstream", command, expect=2)
        assert extra in said
        assert "Traceback" not in said


def test_the_extra_server_alone_runs_every_command_that_starts_no_local_server() -> None:
    """As after `pip install 'sealstream[server]'`: what only the extra `devstack` brings is not there."""
    devstack = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["devstack"]
    modules = [re.split("[^a-z0-9-]", each)[0].replace("-", "_") for each in devstack if "sealstream[" not in each]
    assert "psutil" in modules
    program = (
        f"import sys\nsys.modules.update(dict.fromkeys({modules!r}))\nsys.path[:0] = {IMPORT_ROOTS!r}\n"
        "from sealstream.cli.entry import main\n"
        "for words in (['verify', '--help'], ['run', '--help'], ['-c', '/no/where.toml', 'chain', 'list']):\n"
        "    sys.argv = ['sealstream', *words]\n    print('ended with', main())"
    )
    said = run(sys.executable, "-c", program)
    assert said.count("ended with 0") == 2
    assert "no settings file at" in said
    assert "needs the extra" not in said
