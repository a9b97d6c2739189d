"""What the processes and commands are told: one `sealstream.toml`, overridden by `SEALSTREAM_*` variables.

The file is found by `--config`, else `SEALSTREAM_CONFIG`, else `./sealstream.toml`, else the local stack's own: in
`SEALSTREAM_HOME`, or in `./.sealstream`. It is written by `sealstream chain create` and `sealstream up`, whole and by
rename, so a crash leaves the old file or the new one; it holds passwords, so only its owner can read it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import tomlkit
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from sealstream.cli.forward_sections import ForwardSection
from sealstream.cli.review_sections import ReviewsSection, WatchSection
from sealstream.cli.settings_sections import (
    ActivitySection,
    AnomalySection,
    ArchiveSection,
    ChainSection,
    KafkaSection,
    PostgresSection,
)
from sealstream.cli.tracing_section import TracingSection
from sealstream.cli.whole_file import write_whole
from sealstream.collect.settings import CollectSection
from sealstream.errors import Misconfigured
from sealstream.forward import Target
from sealstream.health.settings import MetricsSection
from sealstream.kafka import KafkaSettings
from sealstream.layout import ChainSettings, SegmentLimits, check_chain_name, check_log_name, named_retention
from sealstream.layout.chains import Continued, original_name
from sealstream.reports.settings import ReportSection
from sealstream.settings import Loaded, read
from sealstream.web.settings import ServeSection

__all__ = [
    "DEFAULT_DATA_DIR",
    "OTHER_VARIABLES",
    "ActivitySection",
    "AnomalySection",
    "ArchiveSection",
    "ChainSection",
    "KafkaSection",
    "PostgresSection",
    "Settings",
    "find_config",
    "is_named",
    "load_settings",
    "read_settings",
    "write_settings",
]

DEFAULT_DATA_DIR = Path(".sealstream")
_FILE_NAME = "sealstream.toml"
OTHER_VARIABLES = {
    "SEALSTREAM_CONFIG": "the settings file, where `--config` does not name one",
    "SEALSTREAM_HOME": "the data directory of the local stack (`sealstream up --data-dir`)",
    "SEALSTREAM_OUTBOX_DSN": "the application's database (`sealstream outbox --dsn`)",
    "SEALSTREAM_OUTBOX_DSN_FILE": "a file that holds the same",
    "SEALSTREAM_TRACEBACK": "1: a fault in Sealstream itself is shown with its place in the program",
    "SEALSTREAM_BOOTSTRAP": "where an application finds Kafka (`AuditClient.from_env()`, `examples/clinic`)",
    "SEALSTREAM_CHAIN": "the chain that an application writes to",
    "SEALSTREAM_CLIENT_*": "the other settings of `AuditClient.from_env()`",
    "SEALSTREAM_TEST_STACK": "the tests: servers that run already",
    "SEALSTREAM_TEST_SERVERS": "the tests: servers in containers",
    "SEALSTREAM_LONG_TESTS": "the tests: the long ones too",
    "SEALSTREAM_DRILLS": "the tests: the drills too",
    "SEALSTREAM_OUTBOX_KILLS": "the tests: how many kills",
    "SEALSTREAM_SPOOL_STRIDE": "the tests: how densely a spool is cut",
    "SEALSTREAM_SPOOL_ROUNDS": "the tests: how many rounds",
    "SEALSTREAM_SPOOL_SEED": "the tests: which dice",
}
"""Variables that begin like settings and are none."""


SETTINGS_VERSION = 1


def _known_version(version: int) -> int:
    if version != SETTINGS_VERSION:
        raise ValueError(
            f"this Sealstream reads settings of version {SETTINGS_VERSION}: use the release that they were written "
            "for, or follow docs/upgrading.md"
        )
    return version


class Settings(BaseModel):
    """Everything, checked. Names in the environment: `SEALSTREAM_KAFKA__BOOTSTRAP`, `SEALSTREAM_LOG`, ..."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    version: Annotated[int, AfterValidator(_known_version)] = SETTINGS_VERSION
    """What these settings are written for. It changes when a setting is renamed or means something else; no new
    setting changes it."""
    log: str = "localhost/sealstream"
    """The log's name, a URL without scheme; each chain's origin is `<log>/<chain>`. Sealed in entry 0."""
    kafka: KafkaSection = Field(default_factory=KafkaSection)
    postgres: PostgresSection = Field(default_factory=PostgresSection)
    archive: ArchiveSection = Field(default_factory=ArchiveSection)
    activity: ActivitySection = Field(default_factory=ActivitySection)
    chains: dict[str, ChainSection] = Field(default_factory=dict)
    forward: ForwardSection = Field(default_factory=ForwardSection)
    anomaly: AnomalySection = Field(default_factory=AnomalySection)
    metrics: MetricsSection = Field(default_factory=MetricsSection)
    tracing: TracingSection = Field(default_factory=TracingSection)
    report: ReportSection = Field(default_factory=ReportSection)
    reviews: ReviewsSection = Field(default_factory=ReviewsSection)
    serve: ServeSection = Field(default_factory=ServeSection)
    collect: CollectSection = Field(default_factory=CollectSection)
    watch: WatchSection = Field(default_factory=WatchSection)

    @property
    def has_collector(self) -> bool:
        """Whether anything of the section `[collect]` is given, its heading alone included."""
        return "collect" in self.model_fields_set

    def kafka_settings(self) -> KafkaSettings:
        """As `sealstream.kafka` takes it."""
        options = self.kafka.driver_options()
        if "sasl.oauthbearer.method" in options:
            from sealstream.client.authorities import with_authorities

            options = with_authorities(options)
        return KafkaSettings(self.kafka.bootstrap, options)

    def chain(self, name: str) -> ChainSettings:
        """The named chain as its processes take it, or `Misconfigured` naming those that exist."""
        check_chain_name(original_name(name))
        if name not in self.chains:
            known = ", ".join(sorted(self.chains)) or "none yet"
            near = get_close_matches(name, self.chains, 1)
            to_do = f"`sealstream chain create {name}` makes it"
            raise Misconfigured(
                f"chain {name!r} is not in the settings (known: {known}): "
                + (f"did you mean {near[0]}? {to_do}" if near else to_do)
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

    def forward_targets(self) -> list[Target]:
        """As the forward sink takes them, by name."""
        section = self.forward
        return [section.targets[name].target(name, section.link, self.log) for name in sorted(section.targets)]

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


def is_named(given: Path | None) -> bool:
    """Whether somebody named the settings file: a missing one is then a slip, and no other takes its place."""
    return given is not None or bool(os.environ.get("SEALSTREAM_CONFIG"))


def find_config(given: Path | None) -> Path:
    """The settings file that is in force; it need not exist when nothing has been created yet."""
    if given is not None:
        return given
    if named := os.environ.get("SEALSTREAM_CONFIG"):
        return Path(named)
    here = Path(_FILE_NAME)
    home = os.environ.get("SEALSTREAM_HOME")
    return here if here.exists() else (Path(home) if home else DEFAULT_DATA_DIR) / _FILE_NAME


def load_settings(path: Path, *, must_exist: bool = True) -> Settings:
    """The settings of `path` and the environment. Raises `Misconfigured` naming each setting at fault."""
    return read_settings(path, must_exist=must_exist).settings


def read_settings(
    path: Path, *, must_exist: bool = True, variables: Mapping[str, str] | None = None
) -> Loaded[Settings]:
    """The same, with the place that each setting came from. `variables`: instead of the environment's."""
    if must_exist and not path.exists():
        raise Misconfigured(
            f"no settings file at {path}: start the local stack with `sealstream up`, make a chain with "
            "`sealstream chain create main`, or name the file with --config"
        )
    environment = os.environ if variables is None else variables
    return read(Settings, path, environment, other_variables=OTHER_VARIABLES)


def write_settings(path: Path, changes: dict[str, Any]) -> None:
    """Merge `changes` (nested tables) into the file, keeping its comments; readable by its owner alone.

    Written beside and renamed: a crash leaves the old file or the new one.
    """
    document = tomlkit.parse(path.read_text()) if path.exists() else tomlkit.document()
    _merge(document, changes)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, tomlkit.dumps(document).encode())


def _merge(table: Any, changes: dict[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, dict):
            if key not in table:
                table[key] = tomlkit.table()
            _merge(table[key], value)
        else:
            table[key] = value
