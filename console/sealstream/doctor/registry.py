"""Every check, in the order in which they are shown, by its id. Pure."""

from __future__ import annotations

from sealstream.doctor.checks import (
    archive_bucket,
    archive_held,
    archive_locked,
    clocks,
    entries_sampled,
    kafka_access,
    limited,
    postgres_access,
    postgres_recorded,
    postgres_triggers,
    recorded,
    retained,
    reviewed,
    sealing,
    secrets_kept,
    watched,
)
from sealstream.doctor.outcomes import Check

__all__ = ["CHECKS"]

_MODULES = (
    sealing,
    entries_sampled,
    recorded,
    postgres_access,
    postgres_triggers,
    postgres_recorded,
    archive_bucket,
    archive_held,
    archive_locked,
    kafka_access,
    retained,
    limited,
    reviewed,
    watched,
    clocks,
    secrets_kept,
)
CHECKS: dict[str, Check] = {check.id: check for module in _MODULES for check in module.CHECKS}
"""By id: `<what it is about>.<what holds>`."""
