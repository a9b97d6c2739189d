"""One ordinary season for all detectors' tests, made once."""

from __future__ import annotations

import pytest
from tests.anomaly.ordinary import company
from tests.anomaly.stories import watched

from sealstream.layout.alerts import Alert


@pytest.fixture(scope="session")
def ordinary_alerts() -> list[Alert]:
    """What all detectors say of eight people and a service in ten weeks in which nobody does anything wrong."""
    return watched(company(people=8, services=1, days=70, seed=7).records())
