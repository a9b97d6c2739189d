"""For tests of applications: what the code under test reports, in memory, with no Kafka.

    def test_an_approval_is_logged(audit_events):
        approve(invoice)
        assert audit_events.one(action="invoice.approve")["resource_id"] == "7"

`audit_events` is a fixture of the pytest plugin that the package brings; `recording()` is the same as a block. Every
client of the process is recorded, those made within the block too, and none of these events goes to Kafka or a spool:
they are as they would have been sent, canonical and redacted. Events of an `Outbox` are in its table, as ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sealstream.client.client import diverted
from sealstream.client.stats import Losses

__all__ = ["Recorded", "recording"]


class Recorded(list[dict[str, Any]]):
    """The events so far, in their order, each as a mapping of the fields that it has.

    `allow_dropped`: set it where events of a test are to be dropped, which the fixture takes for a fault otherwise.
    """

    def __init__(self) -> None:
        super().__init__()
        self.allow_dropped = False
        self._losses: list[Losses] = []

    @property
    def dropped(self) -> dict[str, int]:
        """How many events would have been dropped, of all clients, by reason, such as `invalid`."""
        total: dict[str, int] = {}
        for losses in self._losses:
            for reason, count in losses.counted()[0].items():
                total[reason] = total.get(reason, 0) + count
        return total

    def where(self, **fields: Any) -> list[dict[str, Any]]:
        """Those with all of these fields; None: without that field."""
        return [event for event in self if all(event.get(name) == value for name, value in fields.items())]

    def one(self, **fields: Any) -> dict[str, Any]:
        """The only event with all of these fields. Raises `AssertionError`, which lists what there is."""
        found = self.where(**fields)
        if len(found) != 1:
            there = "\n".join(f"  {_line(event)}" for event in self) or "  (none)"
            raise AssertionError(f"expected one event with {fields}, got {len(found)}; recorded are\n{there}")
        return found[0]

    def losses(self) -> Losses:
        """For one more client."""
        self._losses.append(Losses())
        return self._losses[-1]


def _line(event: dict[str, Any]) -> str:
    names = ("action", "resource_type", "resource_id", "result", "actor_id")
    return " ".join(f"{name}={event.get(name)!r}" for name in names)


@contextmanager
def recording() -> Iterator[Recorded]:
    """Records what all clients of this process emit, in place of sending it; an inner one hides the outer."""
    recorded = Recorded()
    with diverted(recorded.append, recorded.losses):
        yield recorded
