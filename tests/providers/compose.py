"""The secured stack of docker-compose.yml: TLS, passwords and ACLs as it has them, and its own processes in it too.

Tests come as a user of Kafka that may do all, made for them, and with the administrators' keys of Postgres and S3: they
make topics, databases and buckets of their own.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.providers.composed import ROOT, composed
from tests.providers.provided import Provided

from sealstream.devstack import Endpoints

__all__ = ["compose"]


@contextmanager
def compose(folder: Path) -> Iterator[Provided]:
    """The whole stack, its stores' ports published; its secrets are in `folder`."""
    with composed(folder, "single", ROOT / "tests/providers/published.yaml") as stack:
        password = secrets.token_urlsafe(24)
        broker = ["--bootstrap-server", "localhost:9094", "--command-config", "/run/secrets/client.properties"]
        user = ["--entity-type", "users", "--entity-name", "tests"]
        added = ["--alter", "--add-config", f"SCRAM-SHA-512=[password={password}]"]
        stack.run("exec", "-T", "kafka", "/opt/kafka/bin/kafka-configs.sh", *broker, *user, *added)
        kept = json.loads((folder / "authority" / "passwords.json").read_text())
        authority = str(folder / "ca.pem")
        tls = os.environ.get("POSTGRES_TLS", "on") == "on"
        asked = f"?sslmode=verify-full&sslrootcert={authority}" if tls else ""
        yield Provided(
            Endpoints(
                kafka_bootstrap=f"localhost:{stack.port('KAFKA')}",
                postgres_admin_dsn=(
                    f"postgresql://postgres:{kept['postgres-admin']}@localhost:{stack.port('POSTGRES')}/postgres{asked}"
                ),
                s3_endpoint_url=f"https://localhost:{stack.port('S3')}",
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
