"""The OpenAPI document says what the service does: schemathesis asks what it allows and what it forbids, and finds
nothing.
"""

from __future__ import annotations

import json
import os
from typing import Any

import httpx
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.core.failures import Failure
from schemathesis.specs.openapi.checks import positive_data_acceptance
from tests.long_runs import long_run
from tests.web.conftest import Served

BEYOND_A_SCHEMA = {"bad-query", "bad-cursor"}
LONG = "SEALSTREAM_LONG_TESTS" in os.environ
OPTIONS = settings(
    max_examples=150 if LONG else 8,
    deadline=None,
    derandomize=not LONG,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def operations(document: dict[str, Any]) -> list[tuple[str, str]]:
    return [(path, method) for path, methods in document["paths"].items() for method in methods]


def test_the_document_describes_every_route_with_examples_and_problems(served: Served) -> None:
    document = httpx.get(f"{served.url}/openapi.json").json()
    assert set(operations(document)) == {
        ("/v1/search", "get"),
        ("/v1/entries/{id}", "get"),
        ("/v1/chains/{chain}/entries/{seq}", "get"),
        ("/v1/export", "get"),
        ("/v1/counts", "get"),
        ("/v1/chains", "get"),
        ("/v1/chains/{chain}", "get"),
        ("/v1/chains/{chain}/checkpoint", "get"),
        ("/v1/chains/{chain}/verification", "get"),
        ("/v1/chains/{chain}/verification", "post"),
        ("/healthz", "get"),
        ("/readyz", "get"),
    }
    for path, method in operations(document):
        operation = document["paths"][path][method]
        assert operation["summary"]
        if path.startswith("/v1"):
            assert operation["security"]
            for status in ("401", "422", "429", "500", "503"):
                assert list(operation["responses"][status]["content"]) == ["application/problem+json"]
    assert "HTTPValidationError" not in json.dumps(document)
    found = document["paths"]["/v1/search"]["get"]
    assert found["parameters"][0]["examples"]["one person, not reading"]["value"] == "actor:user-123 -action:read"


@long_run
def test_schemathesis_finds_nothing(served: Served) -> None:
    schema = schemathesis.openapi.from_url(f"{served.url}/openapi.json")
    found: list[str] = []
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path == "/v1/chains/{chain}/verification" and operation.method == "post":
            continue  # test_api runs one: it takes seconds

        for mode in schemathesis.GenerationMode:
            if mode is schemathesis.GenerationMode.NEGATIVE and not operation.definition.raw.get("parameters"):
                continue  # there is nothing to get wrong

            @OPTIONS
            @given(case=operation.as_strategy(generation_mode=mode))
            def asked(case: schemathesis.Case) -> None:
                answer = case.call(headers={"Authorization": f"Bearer {served.tokens['auditor']}"}, timeout=60)
                # A query is more than its schema can say; what is wrong with it is told where it stands.
                told = answer.status_code == 422 and answer.json()["type"].rpartition(":")[2] in BEYOND_A_SCHEMA
                case.validate_response(answer, excluded_checks=[positive_data_acceptance] if told else [])

            try:
                asked()
            except* Failure as failures:
                found += [f"{operation.method} {operation.path}: {failure!r}" for failure in failures.exceptions]
    assert not found, "\n\n".join(found)
