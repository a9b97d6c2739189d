"""The system that is looked at, as its settings name it: addresses, roles, files and promises. Values alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from sealstream.access import Reader
from sealstream.archive import ArchiveSettings
from sealstream.kafka import KafkaSettings
from sealstream.layout import ChainSettings
from sealstream.reviews import Cadence

__all__ = ["System"]


def _clock() -> datetime:
    return datetime.now(UTC)


class System(NamedTuple):
    """`chains`: those that are run and asked about. `dsns`: by role (admin, sink, reader, keeper), without those that
    are not set. `archive` None: there is none. `producer`: an application's way to Kafka, None where it is not given.
    `cadences`: by chain, without those that nobody has to review. `targets`: of the forward sink. `key_files`: of
    chains whose signing key is on this machine. `secret_files`: those that hold secrets of the settings;
    `secret_variables`: variables that do. `token_file`, `key_file`: of the API and the collector; they need not exist.
    `state_dir`: where this verifier keeps its checkpoints. `clock`: of this machine, UTC. `sealed_within_s`: how long
    it is waited for until the doctor's own reading is sealed.
    """

    reader: Reader
    kafka: KafkaSettings
    prefix: str
    chains: tuple[ChainSettings, ...]
    dsns: Mapping[str, str]
    archive: ArchiveSettings | None
    state_dir: Path
    token_file: Path
    key_file: Path
    producer: KafkaSettings | None = None
    cadences: Mapping[str, Cadence] = {}
    targets: tuple[str, ...] = ()
    key_files: Mapping[str, Path] = {}
    secret_files: tuple[Path, ...] = ()
    secret_variables: tuple[str, ...] = ()
    clock: Callable[[], datetime] = _clock
    sealed_within_s: float = 20.0
