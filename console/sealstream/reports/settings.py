"""The settings of reports: which actions count as privileged."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, Field, field_validator

from sealstream.search import QueryError, parse, render

__all__ = ["ReportSection"]


class ReportSection(BaseModel):
    """What a report (`sealstream report`) and a review (`sealstream review`) say."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    privileged: dict[str, str] = Field(default_factory=dict)
    """By name, a search for what counts as a privileged action, as in `"exports" = "action:*export*"`, which finds
    `export_all` and `invoice.export`; empty: administrators, acting for another, and by the action's name logins as
    another, rights and roles, exports, deletions, break glass.
    """

    @field_validator("privileged")
    @classmethod
    def _are_queries(cls, privileged: dict[str, str]) -> dict[str, str]:
        for name, text in privileged.items():
            try:
                query = parse(text, now=datetime.now(UTC))
            except QueryError as error:
                raise ValueError(f"{name} is no search:\n{render(error)}") from error
            taken = sorted({condition.field.key for condition in query.conditions} & {"kind", "chain"})
            if query.sealed_after or query.sealed_before:
                taken.append("sealed_after/sealed_before")
            if taken:
                raise ValueError(f"{name}: {', '.join(taken)} is for the report to say: it asks for a period's events")
        return privileged
