"""Grafana's dashboards: as grafana.make makes them, whole, and their queries are some, on figures that exist.

That each figure and label in them is served stands in tests/health, beside the processes that serve them.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from grafana.make import files

FOLDER = Path(__file__).parents[2] / "deploy" / "grafana"
FILES = sorted((FOLDER / "dashboards").glob("*.json"))

__all__ = ["FILES", "queries_of"]


def panels_of(file: Path) -> list[dict[str, Any]]:
    """All but the headings."""
    return [panel for panel in json.loads(file.read_text())["panels"] if panel["type"] != "row"]


def queries_of(file: Path) -> Iterator[str]:
    """Each query of the file, as Prometheus gets it: with values in place of Grafana's variables."""
    values = {"$__rate_interval": "1m", "$__range": "6h", "$job": "sealstream", "$chain": ".*"}
    for panel in panels_of(file):
        for target in panel["targets"]:
            expression = target["expr"]
            for variable, value in values.items():
                expression = expression.replace(variable, value)
            yield expression


def test_the_files_are_what_make_makes() -> None:
    assert {file.name: file.read_text() for file in FILES} == files()


def test_there_is_one_of_each() -> None:
    assert [file.stem.removeprefix("sealstream-") for file in FILES] == ["integrity", "pipeline", "stores", "watch"]
    assert len({json.loads(file.read_text())["uid"] for file in FILES}) == 4


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_panel_says_what_it_shows_and_in_which_unit(file: Path) -> None:
    for panel in panels_of(file):
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"] in ("short", "s", "ops", "reqps", "bytes")
        assert panel["targets"]
        for target in panel["targets"]:
            assert "$" not in target["expr"].replace("$__rate_interval", "").replace("$__range", "").replace(
                "$job", ""
            ).replace("$chain", "")
            assert target["legendFormat"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_no_panel_lies_over_another(file: Path) -> None:
    panels = json.loads(file.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for one, other in itertools.combinations([panel["gridPos"] for panel in panels], 2):
        apart = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert apart or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)


def test_provisioning_names_where_they_are() -> None:
    said = yaml.safe_load((FOLDER / "provisioning" / "sealstream.yml").read_text())
    assert said["apiVersion"] == 1
    assert [provider["type"] for provider in said["providers"]] == ["file"]
    assert said["providers"][0]["options"]["path"].startswith("/")
