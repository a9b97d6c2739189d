"""Everything that is wrong with an event that a person corrects, not the first fault alone. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sealstream.errors import InvalidEvent
from sealstream.events import FIELDS, canonical_event

__all__ = ["all_faults"]

_SOUND: dict[str, Any] = {
    "id": "00000000-0000-4000-8000-000000000000",
    "timestamp": "2000-01-01T00:00:00.000000Z",
}
_MOST = 40


def all_faults(fields: Mapping[str, Any]) -> list[InvalidEvent]:
    """Each field's fault, in the order in which validation meets them: what is wrong is put right and tried again."""
    tried, faults = dict(fields), list[InvalidEvent]()
    while len(faults) < _MOST:
        try:
            canonical_event(tried)
        except InvalidEvent as fault:
            faults.append(fault)
            member = (fault.field or "").partition(".")[0].partition("[")[0]
            if member in FIELDS and FIELDS[member].required and tried.get(member) != _sound(member):
                tried[member] = _sound(member)
            elif member in tried:
                del tried[member]
            else:
                return faults  # of the event as a whole: nothing can be put right in one place
        else:
            return faults
    return faults


def _sound(member: str) -> Any:
    choices = FIELDS[member].choices
    return choices[0] if choices else _SOUND.get(member, "x")
