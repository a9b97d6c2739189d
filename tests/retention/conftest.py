"""Chains that are older than their online time, and archives whose locks end within seconds."""

from __future__ import annotations

from tests.archive.conftest import stage
from tests.pipeline import make_pipeline, pipeline_roles
from tests.rebuild.conftest import rebuild_template

__all__ = ["make_pipeline", "pipeline_roles", "rebuild_template", "stage"]
