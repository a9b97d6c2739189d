"""A pipeline that logs are imported into, and real records of CloudTrail."""

from __future__ import annotations

from pathlib import Path

from tests.pipeline import make_pipeline, pipeline_roles

__all__ = ["STRATUS", "make_pipeline", "pipeline_roles"]

STRATUS = Path(__file__).parent / "stratus-red-team"
