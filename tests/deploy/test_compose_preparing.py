"""What docker-compose.yml's `prepare` decides, without servers."""

from __future__ import annotations

from pathlib import Path

from compose.prepare import log_name, shared_settings
from sealstream.cli.settings import load_settings, write_settings

SHARED = shared_settings("localhost/compose-1", "kafka:9092", 1)


def test_a_log_that_was_begun_keeps_its_name(tmp_path: Path) -> None:
    config = tmp_path / "sealstream.toml"
    assert log_name(config, "audit.example.com") == "audit.example.com"
    assert log_name(config, "") != log_name(config, "")
    write_settings(config, SHARED)  # and then it was interrupted, with the key made and the chain not
    assert log_name(config, "") == log_name(config, "another.example.com") == "localhost/compose-1"


def test_what_every_process_is_told_is_right_and_holds_no_secret(tmp_path: Path) -> None:
    config = tmp_path / "sealstream.toml"
    write_settings(config, SHARED)
    settings = load_settings(config)
    assert (settings.kafka.security_protocol, settings.kafka.password) == ("SASL_SSL", "")
    assert not any(settings.postgres.model_dump().values())
    assert (settings.archive.access_key, settings.archive.secret_key) == ("", "")
    assert settings.metrics.targets["watch"] == "http://watch:9464"
