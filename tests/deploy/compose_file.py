"""docker-compose.yml as data, and what is asked of it in more than one test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

__all__ = ["FOR_PEOPLE", "ONCE", "OURS", "ROOT", "read_compose", "services", "variables"]

ROOT = Path(__file__).resolve().parents[2]
ONCE = ("secrets", "prepare", "quotas")
"""They end by themselves, and others wait for that."""
FOR_PEOPLE = ("cli", "demo", "keeper", "doctor")
"""They are run by hand."""
OURS = ("sealstream", "clinic")
"""Targets of the Dockerfile."""


def read_compose() -> dict[str, Any]:
    """All of the file, its anchors resolved, its variables not."""
    read: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return read


def services() -> dict[str, dict[str, Any]]:
    """By name."""
    found: dict[str, dict[str, Any]] = read_compose()["services"]
    return found


def variables() -> Iterator[tuple[str, str, str]]:
    """Service, variable, value: each that a container gets."""
    for name, service in services().items():
        for variable, value in (service.get("environment") or {}).items():
            yield name, variable, "" if value is None else str(value)
