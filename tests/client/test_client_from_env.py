"""A client by the environment: every setting has a variable, and what is wrong is named by its variable."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

from sealstream.client import AuditClient
from sealstream.client.environment import settings_from
from sealstream.errors import Misconfigured

_NO_VARIABLE = {"kafka_options", "source", "redaction", "denials", "clock", "new_id", "producer_factory"}


def test_every_setting_has_a_variable() -> None:
    for name in inspect.signature(AuditClient).parameters.keys() - _NO_VARIABLE:
        variable = (
            f"SEALSTREAM_{name.upper()}" if name in ("chain", "bootstrap") else f"SEALSTREAM_CLIENT_{name.upper()}"
        )
        assert list(settings_from({variable: "1"})) == [name]


def test_a_client_by_the_environment(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("p w\n")
    environ = {
        "SEALSTREAM_CHAIN": "billing",
        "SEALSTREAM_BOOTSTRAP": "kafka:9092",
        "SEALSTREAM_CLIENT_SERVICE": "shop",
        "SEALSTREAM_CLIENT_STRICT": "yes",
        "SEALSTREAM_CLIENT_MODE": "spool",
        "SEALSTREAM_CLIENT_SPOOL_DIRECTORY": str(tmp_path / "spool"),
        "SEALSTREAM_CLIENT_SPOOL_MAX_BYTES": "2000000",
        "SEALSTREAM_CLIENT_KAFKA__SASL_PASSWORD_FILE": str(tmp_path / "password"),
        "SEALSTREAM_CLIENT_KAFKA__COMPRESSION_TYPE": "zstd",
        "OTEL_SERVICE_NAME": "not this",
        "HOME": "/",
    }
    assert settings_from(environ) == {
        "chain": "billing",
        "bootstrap": "kafka:9092",
        "strict": True,
        "mode": "spool",
        "spool_directory": str(tmp_path / "spool"),
        "spool_max_bytes": 2_000_000,
        "source": {"service": "shop"},
        "kafka_options": {"sasl.password": "p w", "compression.type": "zstd"},
    }
    client = AuditClient.from_env(environ, chain="other", kafka_options={})
    assert client.chain == "other"
    client.close(0)
    assert settings_from({"OTEL_SERVICE_NAME": "shop"}) == {"source": {"service": "shop"}}
    assert settings_from({}) == {}


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"SEALSTREAM_CLIENT_SPOOL_DIR": "/x"}, "SEALSTREAM_CLIENT_SPOOL_DIR: the audit client has no setting"),
        ({"SEALSTREAM_CLIENT_STRICT": "perhaps"}, "SEALSTREAM_CLIENT_STRICT is 'perhaps'"),
        ({"SEALSTREAM_CLIENT_SPOOL_MAX_BYTES": "1 GB"}, "SEALSTREAM_CLIENT_SPOOL_MAX_BYTES is '1 GB'"),
        ({"SEALSTREAM_CLIENT_KAFKA__SASL_PASSWORD_FILE": "/no/where"}, "names /no/where, which can't be read"),
    ],
)
def test_what_is_wrong_is_named(environ: dict[str, Any], said: str) -> None:
    with pytest.raises(Misconfigured, match=said):
        AuditClient.from_env(environ)
