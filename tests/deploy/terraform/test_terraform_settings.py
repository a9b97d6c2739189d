"""Settings that the module gives out are taken by Sealstream, and its variables refuse what can't be meant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.deploy.terraform.module import REGION, VALUES, terraform

from sealstream.cli.settings import load_settings
from sealstream.cli.stores import archive_settings
from sealstream.kafka.permissions import CLIENTS
from sealstream.layout import named_retention


def _files(text: str, folder: Path) -> str:
    """The settings with secrets that are there."""
    for name in ("kafka-password", "admin-dsn", "keeper-dsn", "reader-dsn", "sink-dsn"):
        (folder / name).write_text("postgresql://secret@db/audit\n")
    return text.replace("/run/secrets", str(folder))


def test_each_process_gets_settings_that_it_takes(documents: dict[str, Any], tmp_path: Path) -> None:
    given = {
        process: load_settings(_written(tmp_path, process, text)) for process, text in documents["settings"].items()
    }
    assert set(given) == set(documents["trust_policies"]) - {"lake"}
    for process, settings in given.items():
        kafka = settings.kafka_settings()
        assert kafka.bootstrap == VALUES["kafka"]["bootstrap"]
        assert kafka.options["security.protocol"] == "SASL_SSL"
        assert (kafka.options["sasl.mechanisms"], kafka.options["sasl.username"]) == ("SCRAM-SHA-512", process)
        assert settings.kafka.replication == 3
        assert settings.log == "audit.example.com/clinic"
        used = {name for name, dsn in settings.postgres.by_role().items() if dsn}
        assert used == {
            "postgres-sink": {"sink"},
            "operator": {"admin", "keeper", "reader", "sink"},
            **{each: {"reader"} for each in ("anomaly", "watch", "serve", "verifier", "import")},
        }.get(process, set())
    reads = {process for process, settings in given.items() if settings.archive.bucket}
    assert reads == {"archive-sink", "watch", "serve", "verifier", "import", "operator"}
    place = archive_settings(given["archive-sink"])
    assert (place.bucket, place.region, place.endpoint_url) == (VALUES["archive_bucket"], REGION, None)
    assert place.access_key is None  # as its role says


def _written(folder: Path, process: str, text: str) -> Path:
    path = folder / f"{process}.toml"
    path.write_text(_files(text, folder))
    return path


def test_every_client_of_kafka_that_runs_has_a_user(documents: dict[str, Any]) -> None:
    # Applications bring their own; the API reads as `reader`, the collector writes as `producer` may; the doctor is
    # asked by people.
    others = {"producer", "reader", "doctor"}
    assert set(CLIENTS) - others <= set(documents["settings"])


def test_without_postgres_nothing_speaks_of_it(make_documents: Callable[..., dict[str, Any]]) -> None:
    made = make_documents(postgres=None)
    assert made["postgres_dsns"] == {}
    assert not [process for process, text in made["settings"].items() if "dsn" in text]


def test_dsns_check_the_server(documents: dict[str, Any]) -> None:
    assert documents["postgres_dsns"]["sink"] == (
        "postgresql://sealstream_sink@db.example.com:5432/sealstream?sslmode=verify-full"
        "&sslrootcert=/etc/sealstream/rds-ca.pem"
    )


def test_the_names_of_policies_are_as_long_as_it_says() -> None:
    said = Path(__file__).parents[3] / "deploy/terraform/variables.tf"
    for policy in ("hipaa", "pci", "soc2"):
        assert f"{policy}: {named_retention(policy).archive_days}" in said.read_text()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {
                "administrators": [],
                "retention_days": 0,
                "shortest_lock_days": -1,
                "run_on": "lambda",
                "people": {"archive-sink": ["arn:aws:iam::111122223333:role/eve"]},
                "secrets": {"sequencer": {"arns": [], "kms_key_arns": []}},
                "kafka": {"bootstrap": "broker"},
                "name": "Audit",
            },
            [
                "at least one ARN of IAM",
                "whole days, 1 to 36500",
                "shortest_lock_days: expected whole days",
                "expected eks, oidc or ecs",
                "expected operator, verifier, import, lake or destroyer",
                "at least one secret and one key",
                "expected host:port",
                "expected a lower-case letter",
            ],
        ),
        (
            {
                "administrators": ["arn:aws:iam::111122223333:role/*"],
                "retention_days": 1.5,
                "people": {"operator": ["arn:aws:iam::111122223333:role/*"]},
                "kafka": {"bootstrap": "b-1:9096, b-2:9096"},
            },
            ["names everybody", "whole days, 1 to 36500", "without *", "no spaces"],
        ),
        ({"administrators": ["everybody"], "people": {"lake": ["*"]}}, ["at least one ARN of IAM", "without *"]),
    ],
)
def test_a_variable_that_cannot_be_meant_is_refused(
    make_documents: Callable[..., dict[str, Any]], values: dict[str, Any], said: list[str]
) -> None:
    with pytest.raises(ValueError, match="Invalid value for") as refused:
        make_documents(**values)
    assert [each for each in said if each not in str(refused.value)] == []


def test_its_files_are_formatted(terraform_folder: Path) -> None:
    formatted = terraform(Path(__file__).parents[3] / "deploy/terraform", "fmt", "-check", "-recursive", "-diff")
    assert formatted.code == 0, formatted.said
