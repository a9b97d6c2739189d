"""What the processes and commands are told: one `sealstream.toml`, overridden by `SEALSTREAM_*` variables.

The file is found by `--config`, else `SEALSTREAM_CONFIG`, else `./sealstream.toml`, else the local stack's own
`./.sealstream/sealstream.toml`. It is written by `sealstream chain create` and `sealstream up`, whole and by rename, so
a crash leaves the old file or the new one; it holds passwords, so only its owner can read it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import tomlkit
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from sealstream.errors import Misconfigured
from sealstream.kafka import KafkaSettings
from sealstream.layout import ChainSettings, SegmentLimits, check_chain_name, check_log_name, named_retention
from sealstream.layout.chains import Continued, original_name
from sealstream.web.settings import ServeSection

__all__ = [
    "DEFAULT_DATA_DIR",
    "ArchiveSection",
    "ChainSection",
    "KafkaSection",
    "PostgresSection",
    "Settings",
    "find_config",
    "load_settings",
    "write_settings",
]

DEFAULT_DATA_DIR = Path(".sealstream")
_FILE_NAME = "sealstream.toml"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid")


class KafkaSection(_Section):
    """Where Kafka is. `options` go to librdkafka as they are (TLS, SASL)."""

    bootstrap: str = "127.0.0.1:19092"
    prefix: str = "audit"
    replication: Annotated[int, Field(ge=1, le=9)] = 1
    options: dict[str, str] = Field(default_factory=dict)


class PostgresSection(_Section):
    """One DSN a role: `postgresql://user:password@host:port/database`. Only `migrate` uses `admin_dsn`."""

    admin_dsn: str = ""
    sink_dsn: str = ""
    reader_dsn: str = ""
    keeper_dsn: str = ""


class ArchiveSection(_Section):
    """The bucket with Object Lock. `endpoint_url` empty: AWS; empty keys: the usual AWS credential chain.

    `replayed`: `sealstream replay archive` has filled the bucket, so its version ids are others than the chain sealed.
    """

    bucket: str = "audit-archive"
    endpoint_url: str = ""
    region: str = "us-east-1"
    access_key: str = ""
    secret_key: str = ""
    replayed: bool = False


class ContinuesSection(_Section):
    """What a successor's entry 1 says. `carried`: up to which offset of `carried_from` (a topic's id) records of the
    old chain's raw topic were carried over.
    """

    chain: str
    origin: str
    checkpoint: str
    first_lost: Annotated[int, Field(ge=0)]
    last_lost: Annotated[int, Field(ge=0)]
    carried_from: str = ""
    carried: int = 0


class ChainSection(_Section):
    """One chain. `vkey` is its public key; `key_file` is read by checkpointing alone, relative to the settings file.
    A closed chain (`closed_at`) is verified and asked, and never run again; it goes on as `continued_as`.
    """

    vkey: str
    key_file: str = ""
    retention: str = "soc2"
    segment_entries: Annotated[int, Field(ge=1, le=10_000_000)] = 100_000
    segment_bytes: Annotated[int, Field(ge=1)] = 67_108_864
    segment_seconds: Annotated[int, Field(ge=1)] = 300
    closed_at: str = ""
    continued_as: str = ""
    continues: ContinuesSection | None = None


class Settings(BaseSettings):
    """Everything, checked. Names in the environment: `SEALSTREAM_KAFKA__BOOTSTRAP`, `SEALSTREAM_LOG`, ..."""

    model_config = SettingsConfigDict(env_prefix="SEALSTREAM_", env_nested_delimiter="__", extra="forbid")

    log: str = "localhost/sealstream"
    kafka: KafkaSection = Field(default_factory=KafkaSection)
    postgres: PostgresSection = Field(default_factory=PostgresSection)
    archive: ArchiveSection = Field(default_factory=ArchiveSection)
    chains: dict[str, ChainSection] = Field(default_factory=dict)
    serve: ServeSection = Field(default_factory=ServeSection)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (env_settings, init_settings)

    def kafka_settings(self) -> KafkaSettings:
        """As `sealstream.kafka` takes it."""
        return KafkaSettings(self.kafka.bootstrap, self.kafka.options)

    def chain(self, name: str) -> ChainSettings:
        """The named chain as its processes take it, or `Misconfigured` naming those that exist."""
        check_chain_name(original_name(name))
        if name not in self.chains:
            known = ", ".join(sorted(self.chains)) or "none yet"
            raise Misconfigured(
                f"chain {name!r} is not in the settings (known: {known}): make it with `sealstream chain create {name}`"
            )
        section = self.chains[name]
        lost = section.continues
        return ChainSettings(
            name=name,
            log=check_log_name(self.log),
            vkey=section.vkey,
            retention=named_retention(section.retention),
            limits=SegmentLimits(section.segment_entries, section.segment_bytes, section.segment_seconds),
            prefix=self.kafka.prefix,
            continued=Continued(lost.origin, lost.checkpoint, lost.first_lost, lost.last_lost) if lost else None,
        )

    def open_chains(self) -> list[str]:
        """The chains that are run: all that were not closed."""
        return sorted(name for name, section in self.chains.items() if not section.closed_at)

    def running_chain(self, name: str) -> ChainSettings:
        """The named chain, to run it. Raises `Misconfigured` when it was closed."""
        chain = self.chain(name)
        if closed_at := self.chains[name].closed_at:
            raise Misconfigured(
                f"chain {name!r} was closed at {closed_at}: it goes on as {self.chains[name].continued_as!r}; it can "
                "be verified and asked, and is never written to again"
            )
        return chain


def find_config(given: Path | None) -> Path:
    """The settings file that is in force; it need not exist when nothing has been created yet."""
    if given is not None:
        return given
    if named := os.environ.get("SEALSTREAM_CONFIG"):
        return Path(named)
    here = Path(_FILE_NAME)
    return here if here.exists() else DEFAULT_DATA_DIR / _FILE_NAME


def load_settings(path: Path, *, must_exist: bool = True) -> Settings:
    """The settings of `path` and the environment. Raises `Misconfigured` naming each setting at fault."""
    if not path.exists():
        if must_exist:
            raise Misconfigured(
                f"no settings file at {path}: start the local stack with `sealstream up`, make a chain with "
                "`sealstream chain create main`, or name the file with --config"
            )
        values: dict[str, Any] = {}
    else:
        try:
            values = TomlConfigSettingsSource(Settings, path)()
        except (OSError, ValueError) as error:
            raise Misconfigured(f"settings file {path} can't be read: {error}") from error
    try:
        return Settings(**values)
    except ValidationError as error:
        faults = "; ".join(_told(fault) for fault in error.errors(include_url=False))
        raise Misconfigured(f"settings in {path} or SEALSTREAM_* variables are wrong: {faults}") from error


def _told(fault: Mapping[str, Any]) -> str:
    name = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"{name}: there is no such setting"
    if fault["type"] == "missing":
        return f"{name}: is missing"
    return f"{name}: {fault['msg']}, got {fault.get('input')!r}"


def write_settings(path: Path, changes: dict[str, Any]) -> None:
    """Merge `changes` (nested tables) into the file, keeping its comments; readable by its owner alone.

    Written beside and renamed: a crash leaves the old file or the new one.
    """
    document = tomlkit.parse(path.read_text()) if path.exists() else tomlkit.document()
    _merge(document, changes)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp makes it 0600
    try:
        with os.fdopen(handle, "w") as file:
            file.write(tomlkit.dumps(document))
            file.flush()
            os.fsync(file.fileno())
        Path(beside).replace(path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise


def _merge(table: Any, changes: dict[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, dict):
            if key not in table:
                table[key] = tomlkit.table()
            _merge(table[key], value)
        else:
            table[key] = value
