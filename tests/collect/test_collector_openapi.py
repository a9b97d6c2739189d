"""The OpenAPI document says what the collector does: schemathesis asks what it allows and forbids; it finds nothing."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.core.failures import Failure
from schemathesis.specs.openapi.checks import positive_data_acceptance
from tests.collect.conftest import Collected
from tests.long_runs import LONG, long_run

BEYOND_A_SCHEMA = {"refused", "no-events", "not-otlp"}
OPTIONS = settings(
    max_examples=60 if LONG else 8,
    deadline=None,
    derandomize=not LONG,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@long_run
@pytest.mark.timeout(480)
def test_schemathesis_finds_nothing(collected: Collected) -> None:
    schema = schemathesis.openapi.from_url(f"{collected.url}/openapi.json")
    found: list[str] = []
    for result in schema.get_all_operations():
        operation = result.ok()
        for mode in schemathesis.GenerationMode:
            if mode is schemathesis.GenerationMode.NEGATIVE and operation.method == "get":
                continue  # there is nothing to get wrong

            @OPTIONS
            @given(case=operation.as_strategy(generation_mode=mode))
            def asked(case: schemathesis.Case) -> None:
                answer = case.call(headers={"Authorization": f"Bearer {collected.keys['any']}"}, timeout=60)
                # The rules of an event are more than its schema can say (`BEYOND_THE_SCHEMA`).
                problem = answer.status_code in (400, 422) and answer.json()["type"].rpartition(":")[2]
                excluded = [positive_data_acceptance] if problem in BEYOND_A_SCHEMA else []
                case.validate_response(answer, excluded_checks=excluded)

            try:
                asked()
            except* Failure as failures:
                found += [f"{operation.method} {operation.path}: {failure!r}" for failure in failures.exceptions]
    assert not found, "\n\n".join(found)
