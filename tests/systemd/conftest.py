"""A pipeline whose processes are started by systemd."""

from __future__ import annotations

from tests.pipeline import make_pipeline, pipeline_roles

__all__ = ["make_pipeline", "pipeline_roles"]
