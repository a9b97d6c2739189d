"""The fixture `audit_events`, for pytest; loaded by itself wherever `sealstream` and pytest are installed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sealstream.client.testing import Recorded

__all__ = ["audit_events"]


@pytest.fixture
def audit_events() -> Iterator[Recorded]:
    """What the code under test reports (`sealstream.client.testing.Recorded`).

    The test fails when an event of it would have been dropped, unless it has set `allow_dropped`.
    """
    from sealstream.client import clear
    from sealstream.client.testing import recording

    with recording() as recorded:
        yield recorded
        dropped = recorded.dropped
    clear()
    if dropped and not recorded.allow_dropped:
        pytest.fail(f"audit events would have been dropped: {dropped}; the logger sealstream.client says why")
