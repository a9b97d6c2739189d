"""What the questions of deploy/tables must be answered with, counted from the entries themselves in plain Python."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from tests.deploy.tables.conftest import Lake

__all__ = ["expected_answers", "shown"]


def shown(sequenced_at: str) -> str:
    """As an engine in UTC shows a time that it knows to have a zone."""
    return str(datetime.fromisoformat(sequenced_at))


def expected_answers(lake: Lake) -> list[list[tuple[str, ...]]]:
    """The rows of each question, all values as text."""
    entries = [decoded for decoded, _ in lake.entries]
    user = [
        (shown(each.written.sequenced_at), each.action, each.resource_type, each.resource_id, each.result)
        for each in entries
        if each.actor_id == "user-123" and each.written.sequenced_at.startswith("2026-11")
    ]
    record = [
        (str(each.written.seq), shown(each.written.sequenced_at), each.actor_id, each.action, each.result)
        for each in entries
        if (each.resource_type, each.resource_id) == ("patient_record", "patient-456")
    ]
    failed = Counter(
        (each.written.sequenced_at[:10], each.actor_id)
        for each in entries
        if each.written.kind == "event" and each.result in ("failure", "denied")
    )
    often = [(date, actor, str(count)) for (date, actor), count in sorted(failed.items()) if count > 5]
    assert user
    assert record
    assert often
    return [user, record, often]
