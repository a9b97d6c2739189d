"""docker-compose.yml keeps what docs/containers.md promises: here without Docker, in test_containers.py with it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.deploy.compose_file import FOR_PEOPLE, ONCE, ROOT, read_compose, services, variables

from compose.make_secrets import (
    ARCHIVE_ACTIONS,
    CANARY_ACTIONS,
    DOCTOR_ACTIONS,
    KAFKA_USERS,
    READER_ACTIONS,
    Passwords,
    identities,
)
from sealstream.cli.run_process import ProcessName
from sealstream.kafka import CLIENTS

SERVICES = services()
SECRET_WORDS = re.compile("PASSWORD|SECRET|TOKEN|DSN|CREDENTIAL|ACCESS_KEY|PRIVATE")
# Whose secrets a service is given, where it is not its own.
LENT = {"prepare": "init", "quotas": "kafka", "kafka-1": "kafka", "kafka-2": "kafka", "kafka-3": "kafka", "demo": "cli"}


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_is_bounded_watched_and_without_rights(name: str) -> None:
    service = SERVICES[name]
    limits = service["deploy"]["resources"]["limits"]
    assert limits.keys() >= {"cpus", "memory", "pids"}
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["logging"]["options"]["max-size"]
    if name in (*ONCE, *FOR_PEOPLE):
        assert service["restart"] == "no"
        assert service["healthcheck"] == {"disable": True}
    else:
        assert service["restart"] == "unless-stopped"
        assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
        assert service["stop_grace_period"]
    if "SEALSTREAM_IMAGE" in service["image"] or "CLINIC_IMAGE" in service["image"]:
        assert service["read_only"] is True
        assert (service.get("user"), name == "secrets") in ((None, False), ("0:0", True))


def test_no_secret_stands_in_the_environment() -> None:
    for service, variable, value in variables():
        if SECRET_WORDS.search(variable):
            assert variable.endswith("_FILE"), f"{service}: {variable}"
            assert value.startswith("/run/secrets/"), f"{service}: {variable}={value}"
        assert not urlsplit(value).password, f"{service}: {variable}={value}"


@pytest.mark.parametrize("name", [name for name in SERVICES if name != "secrets"])
def test_a_service_is_given_its_own_secrets_and_nobody_elses(name: str) -> None:
    given = [volume for volume in SERVICES[name]["volumes"] if "SEALSTREAM_SECRETS" in volume]
    own = f"${{SEALSTREAM_SECRETS:-./secrets}}/{LENT.get(name, name)}:/run/secrets:ro"
    shown = "${SEALSTREAM_SECRETS:-./secrets}/cli:/run/cli"  # where the first token is put for people
    assert given == [own, *([shown] if name == "prepare" else [])]


def test_checkpointing_alone_is_given_the_signing_key() -> None:
    given = {name: volume for name, each in SERVICES.items() for volume in each["volumes"] if "signing-key" in volume}
    assert given == {
        "prepare": "signing-key:/etc/sealstream/keys",
        "checkpointing": "signing-key:/etc/sealstream/keys:ro",
    }


def test_ports_are_this_machines_alone_and_can_be_changed() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(published) == 7
    for port in published:
        assert re.fullmatch(r"127\.0\.0\.1:\$\{[A-Z0-9_]+_PORT:-\d+\}:\d+", port)
    assert len({port.split(":-")[1].split("}")[0] for port in published}) == len(published)


def test_everybody_waits_for_what_it_needs() -> None:
    def waited_for(name: str) -> set[tuple[str, str]]:
        asked = SERVICES[name].get("depends_on") or {}
        return {(other, how["condition"]) for other, how in asked.items()}

    done, healthy = "service_completed_successfully", "service_healthy"
    for name in SERVICES:
        if name in ("kafka", "kafka-1", "kafka-2", "kafka-3", "postgres", "s3"):
            assert waited_for(name) == {("secrets", done)}
        elif name not in ("secrets", "prepare", *FOR_PEOPLE):
            assert ("prepare", done) in waited_for(name)
    stores = {"postgres", "s3", "kafka", "kafka-1", "kafka-2", "kafka-3"}
    assert waited_for("prepare") == {("secrets", done), *((store, healthy) for store in stores)}
    # What ends by itself and is waited for by nobody makes `docker compose up --wait` fail.
    assert {name for each in SERVICES for name, how in waited_for(each) if how == done} == set(ONCE)


def test_every_process_is_there_and_has_a_user_of_its_own() -> None:
    assert {str(process) for process in ProcessName} <= SERVICES.keys()
    users = {service: value for service, variable, value in variables() if variable == "SEALSTREAM_KAFKA__USERNAME"}
    assert users == {name: LENT.get(name, name) for name in users}
    assert {*users.values(), "clinic"} == KAFKA_USERS.keys()
    assert set(KAFKA_USERS.values()) <= set(CLIENTS)
    assert [user for user, client in KAFKA_USERS.items() if client == "sequencer"] == ["sequencer"]
    assert [user for user, client in KAFKA_USERS.items() if client == "checkpointing"] == ["checkpointing"]


def test_networks_part_the_stores_from_who_has_no_business_there() -> None:
    assert [name for name, network in read_compose()["networks"].items() if not network.get("internal")] == ["outside"]
    reach = {name: set(service.get("networks") or ()) for name, service in SERVICES.items()}
    assert {name for name, where in reach.items() if "archive" in where} == {
        *("prepare", "s3", "archive-sink", "watch", "serve", *FOR_PEOPLE)
    }
    assert {name for name, where in reach.items() if "postgres" in where} == {
        *(
            "prepare",
            "postgres",
            "postgres-sink",
            "anomaly",
            "watch",
            "outbox-relay",
            "serve",
            "cli",
            "demo",
            "keeper",
            "doctor",
        )
    }
    assert SERVICES["secrets"]["network_mode"] == "none"


def test_nobody_in_the_archive_may_delete_or_unlock() -> None:
    for actions in (ARCHIVE_ACTIONS, READER_ACTIONS):
        assert not [action for action in actions if re.search(r"Delete|Bypass|\*|PutBucket", action)]
    assert not [action for action in (*READER_ACTIONS, *DOCTOR_ACTIONS) if "Put" in action]


def test_the_doctor_may_all_that_the_store_must_refuse_on_its_own_objects_alone(tmp_path: Path) -> None:
    policies = identities(Passwords(tmp_path / "passwords.json"))["policies"]
    (statements,) = [json.loads(policy["content"])["Statement"] for policy in policies if policy["name"] == "doctor"]
    (own,) = [each for each in statements if set(each["Action"]) & set(CANARY_ACTIONS)]
    assert own["Resource"] == ["arn:aws:s3:::audit-archive/doctor/*"]


def _compose_command() -> list[str]:
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]):
            asked = subprocess.run([*command, "version", "--short"], check=False, capture_output=True, text=True)
            if asked.returncode == 0 and not asked.stdout.startswith(("1.", "v1.")):
                return command
    pytest.skip("no Docker Compose 2 or later on this machine")


@pytest.mark.parametrize("profile", ["single", "cluster"])
def test_compose_itself_takes_the_file(profile: str) -> None:
    command = [*_compose_command(), "--profile", profile, "--file", str(ROOT / "docker-compose.yml"), "config"]
    said = subprocess.run([*command, "--quiet"], check=False, capture_output=True, text=True)
    assert (said.returncode, said.stderr) == (0, "")
    listed = subprocess.run([*command, "--services"], check=True, capture_output=True, text=True).stdout.split()
    assert ("kafka" in listed, "kafka-3" in listed) == (profile == "single", profile == "cluster")
