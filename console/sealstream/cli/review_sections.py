"""The settings' sections `[reviews]` and `[watch]`: who has to review what by when, and who looks after the pipeline.

    [reviews]
    every = "month"
    since = "2026-11-01"

Pure.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field, field_validator

from sealstream.anomaly.detectors import PIPELINE_DETECTORS
from sealstream.anomaly.watching import chosen
from sealstream.reviews import Cadence
from sealstream.reviews.due import DUE_DAYS
from sealstream.settings import InFolder

__all__ = ["ReviewsSection", "WatchSection"]


class ReviewsSection(BaseModel):
    """The periodic reviews of the log (`sealstream review`): daily for PCI DSS 10.4, monthly for SOC 2."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    every: Literal["", "day", "week", "month"] = ""
    """How often somebody has to review each chain. Empty: whenever somebody likes, and nothing is ever overdue."""
    chains: list[str] = Field(default_factory=list)
    """Which chains; empty: all that are run."""
    due_days: int | None = Field(default=None, ge=0, le=366)
    """So many days after its end a period must be signed. Not set: 1 for a day, 3 for a week, 10 for a month."""
    since: str = ""
    """The first day, as 2026-11-01, from which on periods have to be reviewed. Empty: since the chain began."""
    folder: Annotated[str, InFolder()] = "reviews"
    """Where the documents are written, relative to the settings file."""

    @field_validator("since")
    @classmethod
    def _is_a_day(cls, since: str) -> str:
        try:
            if since and date.fromisoformat(since).isoformat() != since:
                raise ValueError
        except ValueError as error:
            raise ValueError(f"{since!r} is no day: expected one as 2026-11-01") from error
        return since

    def cadence(self, chain: str, running: list[str]) -> Cadence | None:
        """What has to be reviewed of this chain; None: nothing. `running`: the chains that are run."""
        if not self.every or chain not in running or (self.chains and chain not in self.chains):
            return None
        return Cadence(self.every, self._days(), date.fromisoformat(self.since) if self.since else None)

    def usual(self) -> Cadence:
        """The kind of period that is meant where nobody names one, whether or not anybody has to."""
        every = self.every or "month"
        return Cadence(every, self._days(), None)

    def _days(self) -> int:
        return DUE_DAYS[self.every or "month"] if self.due_days is None else self.due_days


class WatchSection(BaseModel):
    """Who looks after the pipeline itself (`sealstream run watch`): silence, gaps, refused records, late checkpoints,
    sinks that lag, reviews that are overdue.
    """

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    every_seconds: Annotated[float, Field(ge=0.5, le=3_600)] = 15.0
    """How often each chain is looked at."""
    thresholds: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """By detector (`checkpoint_late`), thresholds instead of its own, as `{ late_s = 300 }`."""

    @field_validator("thresholds")
    @classmethod
    def _fit(cls, thresholds: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name, given in thresholds.items():
            if name not in PIPELINE_DETECTORS:
                raise ValueError(f"{name!r} is no detector of the pipeline: expected {', '.join(PIPELINE_DETECTORS)}")
            try:
                chosen(PIPELINE_DETECTORS, {name: given})
            except msgspec.ValidationError as error:
                raise ValueError(f"{name}: {error}") from error
        return thresholds
