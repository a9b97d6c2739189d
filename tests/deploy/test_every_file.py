"""Every file under deploy/ is checked by a tool: a new one must be claimed here by what checks it."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"

# Which files, what checks them, and the tool by the word that stands there.
CHECKED = [
    ("**/*.py", "Makefile", "/mypy $(ROOTS)"),
    ("sealstream/*/py.typed", "tests/devstack/test_packaging.py", "/py.typed"),
    ("compose/pg_hba.*.conf", "tests/deploy/test_containers.py", "POSTGRES_TLS"),
    ("grafana/dashboards/*.json", "tests/deploy/queries.py", "promql_parser"),
    ("grafana/pictures/*.ts", "deploy/grafana/pictures/draw.py", '"tsc"'),
    ("grafana/pictures/*.tsx", "deploy/grafana/pictures/draw.py", '"tsc"'),
    ("grafana/pictures/package.json", "tests/deploy/test_dashboard_pictures.py", "package.json"),
    ("grafana/pictures/tsconfig.json", "deploy/grafana/pictures/draw.py", '"tsc"'),
    ("grafana/pictures/README.md", "docs/operating.md", "deploy/grafana/pictures/README.md"),  # so mkdocs has it
    ("grafana/provisioning/*.yml", "tests/deploy/test_dashboards.py", "yaml.safe_load"),
    ("helm/examples/*.yaml", "tests/deploy/test_chart.py", "kubernetes_validate"),
    ("helm/sealstream/.helmignore", "tests/deploy/charts.py", "helm"),
    ("helm/sealstream/*.yaml", "tests/deploy/charts.py", "lint"),
    ("helm/sealstream/values.schema.json", "tests/deploy/test_chart.py", "values.schema.json"),
    ("helm/sealstream/files/sealstream.rules.yml", "tests/deploy/test_chart.py", "PrometheusRule"),
    ("helm/sealstream/templates/*", "tests/deploy/test_chart.py", "kubernetes_validate"),
    ("image/requirements*.txt", "tests/deploy/test_image_files.py", "requirements*.txt"),
    ("prometheus/*.yml", "tests/deploy/test_alert_rules.py", "promtool"),
    ("systemd/sealstream*.service", "tests/devstack/test_systemd_units.py", "systemd-analyze"),
    ("systemd/sealstream.target", "tests/devstack/test_systemd_units.py", "systemd-analyze"),
    ("tables/duckdb.sql", "tests/deploy/tables/test_tables_duckdb.py", "duckdb.connect"),
    ("tables/spark.sql", "tests/deploy/tables/test_tables_spark.py", "SparkSession"),
    ("tables/athena.sql", "tests/deploy/tables/test_tables_columns.py", "sqlglot.parse"),
    ("tables/trino.sql", "tests/deploy/tables/test_tables_columns.py", "sqlglot.parse"),
    ("tables/questions.sql", "tests/deploy/tables/test_tables_columns.py", "sqlglot.parse"),
    ("terraform/README.md", "docs/aws.md", "deploy/terraform/README.md"),  # so mkdocs has it
    ("terraform/*.tf", "tests/deploy/terraform/sources.py", "hcl2.load"),
    ("terraform/documents/*.tf", "tests/deploy/terraform/sources.py", "hcl2.load"),
    ("terraform/examples/*/*.tf", "tests/deploy/terraform/sources.py", "hcl2.load"),
    ("terraform/documents/settings/*.tftpl", "tests/deploy/terraform/test_terraform_settings.py", "settings"),
    ("terraform/documents/policies/*.tftpl", "tests/deploy/terraform/test_terraform_policies.py", "policies"),
]
LEFT_BY_TOOLS = {"__pycache__", "node_modules", ".terraform"}


def files() -> list[str]:
    return sorted(
        str(path.relative_to(DEPLOY))
        for path in DEPLOY.rglob("*")
        if path.is_file() and not LEFT_BY_TOOLS & set(path.relative_to(DEPLOY).parts)
    )


def is_meant(pattern: str, file: str) -> bool:
    """Folder by folder; `**/` stands for any of them."""
    if pattern.startswith("**/"):
        return fnmatch(file.rpartition("/")[2], pattern.removeprefix("**/"))
    wanted, parts = pattern.split("/"), file.split("/")
    return len(wanted) == len(parts) and all(map(fnmatch, parts, wanted))


@pytest.mark.parametrize("file", files())
def test_a_tool_checks_it(file: str) -> None:
    claimed = [row for row in CHECKED if is_meant(row[0], file)]
    assert claimed, f"deploy/{file}: which tool checks it? A test must run that, and a line here must say so"


@pytest.mark.parametrize("row", CHECKED, ids=lambda row: row[0])
def test_what_checks_it_is_there(row: tuple[str, str, str]) -> None:
    pattern, checker, tool = row
    assert any(is_meant(pattern, file) for file in files()), f"nothing is called {pattern} any more"
    assert tool in (ROOT / checker).read_text()
