"""The secured stack of docker-compose.yml: TLS, passwords and ACLs as it has them, and its own processes in it too.

Tests come as a user of Kafka that may do all, made for them, and with the administrators' keys of Postgres and S3: they
make topics, databases and buckets of their own.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.providers.provided import Provided

from sealstream.devstack import Endpoints
from sealstream.devstack.ports import free_port

__all__ = ["compose"]

ROOT = Path(__file__).parents[2]
_FILES = (ROOT / "docker-compose.yml", ROOT / "tests/providers/published.yaml")
_UP_S = 900
_PORTS = ("KAFKA", "COLLECT", "API", "CLINIC", "POSTGRES", "S3")


@contextmanager
def compose(folder: Path) -> Iterator[Provided]:
    """The whole stack under a name of its own, its secrets in `folder`; nothing of it is left at the end."""
    taken: set[int] = set()
    ports = {name: free_port(taken) for name in _PORTS}
    environment = os.environ | {
        "COMPOSE_PROJECT_NAME": f"sealstream-tests-{secrets.token_hex(4)}",
        "COMPOSE_PROFILES": "single",
        "SEALSTREAM_SECRETS": str(folder),
        **{f"{name}_PORT": str(port) for name, port in ports.items()},
    }

    def run(*words: str, timeout_s: float = 300) -> str:
        files = [word for file in _FILES for word in ("--file", str(file))]
        done = subprocess.run(
            ["docker", "compose", *files, "--project-directory", str(ROOT), *words],
            check=False,
            capture_output=True,
            text=True,
            env=environment,
            timeout=timeout_s,
        )
        if done.returncode:
            raise RuntimeError(f"docker compose {' '.join(words)}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    try:
        run("build", "secrets", "clinic", timeout_s=1_500)
        run("up", "--wait", "--wait-timeout", str(_UP_S), "--quiet-pull", timeout_s=_UP_S + 60)
        password = secrets.token_urlsafe(24)
        broker = ["--bootstrap-server", "localhost:9094", "--command-config", "/run/secrets/client.properties"]
        user = ["--entity-type", "users", "--entity-name", "tests"]
        added = ["--alter", "--add-config", f"SCRAM-SHA-512=[password={password}]"]
        run("exec", "-T", "kafka", "/opt/kafka/bin/kafka-configs.sh", *broker, *user, *added)
        kept = json.loads((folder / "authority" / "passwords.json").read_text())
        authority = str(folder / "ca.pem")
        tls = os.environ.get("POSTGRES_TLS", "on") == "on"
        asked = f"?sslmode=verify-full&sslrootcert={authority}" if tls else ""
        yield Provided(
            Endpoints(
                kafka_bootstrap=f"localhost:{ports['KAFKA']}",
                postgres_admin_dsn=(
                    f"postgresql://postgres:{kept['postgres-admin']}@localhost:{ports['POSTGRES']}/postgres{asked}"
                ),
                s3_endpoint_url=f"https://localhost:{ports['S3']}",
                s3_region="us-east-1",
                s3_access_key="sealstream-admin",
                s3_secret_key=kept["s3-admin"],
            ),
            kafka={
                "security_protocol": "SASL_SSL",
                "sasl_mechanism": "SCRAM-SHA-512",
                "username": "tests",
                "password": password,
                "ca_file": authority,
            },
            archive={"ca_file": authority},
        )
    finally:
        run("--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "45")
        emptying = ["--network", "none", "--user", "0", "--volume", f"{folder}:/emptied", "--entrypoint", "find"]
        image = environment.get("SEALSTREAM_IMAGE", "sealstream:local")
        command = ["docker", "run", "--rm", *emptying, image, "/emptied", "-mindepth", "1", "-delete"]
        subprocess.run(command, check=False, timeout=60)
