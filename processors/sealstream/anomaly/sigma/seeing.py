"""What a rule sees of a record: one `Sight` for each cell, the same for actors and addresses. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from sealstream.anomaly.sigma.matching import Facts
from sealstream.layout.activity import Activity, AddressActivity

__all__ = ["Sight", "sights"]


class Sight(NamedTuple):
    """Entries that have their facts in common. `resources`: digests of their resource ids, where they are known."""

    facts: Facts
    entries: int
    seqs: list[list[int]]
    resources: list[str]


def sights(record: Activity | AddressActivity) -> Iterator[Sight]:
    """One for each cell, in their order."""
    if isinstance(record, AddressActivity):
        for each in record.cells:
            facts: dict[str, str | None] = {
                "action": each.action,
                "actor_id": each.actor_id,
                "chain": record.chain,
                "ip_address": record.ip_address,
                "result": each.result,
            }
            yield Sight(facts, each.count, each.seqs, [])
        return
    for cell in record.cells:
        facts = {
            "action": cell.action,
            "actor_id": record.actor_id,
            "actor_type": cell.actor_type,
            "chain": record.chain,
            "ip_address": cell.ip_address,
            "resource_type": cell.resource_type,
            "result": cell.result,
            "tenant": record.tenant,
        }
        yield Sight(facts, cell.count, cell.seqs, cell.resources)
