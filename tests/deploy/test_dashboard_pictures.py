"""The dashboards' pictures in docs/images: one of each, shown in docs/operating.md; what draws them can draw all."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path

import pytest

from grafana.pictures.draw import DASHBOARDS, IMAGES, MOST_BYTES, picture_of

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "deploy" / "grafana" / "pictures"
FILES = sorted(DASHBOARDS.glob("*.json"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_dashboard_has_its_picture_and_the_docs_show_it(file: Path) -> None:
    bytes_ = picture_of(file).read_bytes()
    assert bytes_.startswith(b"\x89PNG")
    assert len(bytes_) <= MOST_BYTES
    width, height = struct.unpack(">II", bytes_[16:24])
    bottom = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in json.loads(file.read_text())["panels"])
    assert width == 1400
    assert height > 38 * bottom  # as tall as the panels that it has now
    assert f"](images/{picture_of(file).name})" in (ROOT / "docs" / "operating.md").read_text()


def test_there_is_no_picture_of_anything_else() -> None:
    assert {path.name for path in IMAGES.glob("dashboard-*")} == {picture_of(file).name for file in FILES}


def test_every_kind_of_panel_and_transformation_is_drawn() -> None:
    panels = [panel for file in FILES for panel in json.loads(file.read_text())["panels"]]
    page = (PICTURES / "page.tsx").read_text()
    found = re.search(r"^const DRAW: .* = \{ (.*) \};$", page, re.MULTILINE)
    assert found
    drawn = {pair.split(":")[0] for pair in found[1].split(", ")}
    assert {panel["type"] for panel in panels} - {"row"} == drawn
    transformed = {each["id"] for panel in panels for each in panel.get("transformations", [])}
    assert all(f"standardTransformers.{name}FieldsTransformer" in page for name in transformed)


def test_what_it_takes_has_one_version_each() -> None:
    wanted = json.loads((PICTURES / "package.json").read_text())["dependencies"]
    assert wanted["@grafana/ui"] == wanted["@grafana/data"] == wanted["@grafana/schema"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in wanted.values())
    assert not list(PICTURES.glob("*lock*"))
