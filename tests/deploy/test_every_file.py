"""Every file under deploy/ is checked by a tool: a new one must be claimed here by what checks it."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"

# Which files, what checks them, and the tool by the word that stands there.
CHECKED = [
    ("*.py", "Makefile", "/mypy $(ROOTS)"),
    ("*/py.typed", "tests/devstack/test_packaging.py", "py.typed"),
    ("*.md", "mkdocs.yml", "validation:"),
    ("compose/pg_hba.*.conf", "tests/deploy/test_containers.py", "POSTGRES_TLS"),
    ("grafana/dashboards/*.json", "tests/deploy/queries.py", "promql_parser"),
    ("grafana/pictures/*.ts*", "deploy/grafana/pictures/draw.py", '"tsc"'),
    ("grafana/pictures/*.json", "deploy/grafana/pictures/draw.py", '"tsc"'),
    ("grafana/provisioning/*.yml", "tests/deploy/test_dashboards.py", "yaml.safe_load"),
    ("helm/examples/*.yaml", "tests/deploy/test_chart.py", "kubernetes_validate"),
    ("helm/sealstream/*", "tests/deploy/test_chart.py", "checkov("),
    ("image/requirements*.txt", "tests/deploy/test_image_files.py", "requirements*.txt"),
    ("prometheus/*.yml", "tests/deploy/test_alert_rules.py", "promtool"),
    ("systemd/*", "tests/devstack/test_systemd_units.py", "systemd-analyze"),
    ("tables/duckdb.sql", "tests/deploy/tables/test_tables_duckdb.py", "duckdb"),
    ("tables/spark.sql", "tests/deploy/tables/test_tables_spark.py", "spark"),
    ("tables/athena.sql", "tests/deploy/tables/test_tables_columns.py", "sqlglot"),
    ("tables/trino.sql", "tests/deploy/tables/test_tables_columns.py", "sqlglot"),
    ("tables/questions.sql", "tests/deploy/tables/test_tables_columns.py", "questions.sql"),
    ("terraform/*.tf", "tests/deploy/terraform/sources.py", "hcl2"),
    ("terraform/documents/*.tftpl", "tests/deploy/terraform/test_terraform_policies.py", "policies"),
]
LEFT_BY_TOOLS = {"__pycache__", "node_modules", ".terraform"}


def files() -> list[str]:
    return sorted(
        str(path.relative_to(DEPLOY))
        for path in DEPLOY.rglob("*")
        if path.is_file() and not LEFT_BY_TOOLS & set(path.relative_to(DEPLOY).parts)
    )


@pytest.mark.parametrize("file", files())
def test_a_tool_checks_it(file: str) -> None:
    claimed = [row for row in CHECKED if fnmatch(file, row[0])]
    assert claimed, f"deploy/{file}: which tool checks it? A test must run that, and a line here must say so"


@pytest.mark.parametrize("row", CHECKED, ids=lambda row: row[0])
def test_what_checks_it_is_there(row: tuple[str, str, str]) -> None:
    pattern, checker, tool = row
    assert any(fnmatch(file, pattern) for file in files()), f"nothing is called {pattern} any more"
    assert tool in (ROOT / checker).read_text()
