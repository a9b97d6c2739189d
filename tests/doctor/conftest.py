"""A pipeline to be looked at, and looking at it: one check at a time, held to what it must say."""

from __future__ import annotations

from tests.pipeline import make_pipeline, pipeline_roles

__all__ = ["make_pipeline", "pipeline_roles"]
