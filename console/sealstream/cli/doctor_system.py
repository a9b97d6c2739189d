"""The system that `sealstream doctor` looks at, built from settings. Reads files alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sealstream.access import person_at_this_machine
from sealstream.cli.collect import keys_file
from sealstream.cli.serve import tokens_file
from sealstream.cli.settings import Settings, read_settings
from sealstream.cli.stores import archive_settings
from sealstream.doctor import System
from sealstream.errors import Misconfigured
from sealstream.kafka import KafkaSettings
from sealstream.settings import Loaded, shown

__all__ = ["system_of"]


def system_of(
    loaded: Loaded[Settings], config: Path, chains: Sequence[str], state_dir: Path, producer_config: Path | None
) -> System:
    """`chains`: none: all that are run. Raises `Misconfigured` when there is none."""
    settings = loaded.settings
    names = list(chains) or settings.open_chains()
    if not names:
        raise Misconfigured("no chains in the settings: make one with `sealstream chain create main`")
    secret_files, secret_variables = _secrets(loaded)
    cadences = {name: settings.reviews.cadence(name, settings.open_chains()) for name in names}
    return System(
        reader=person_at_this_machine(),
        kafka=settings.kafka_settings(),
        prefix=settings.kafka.prefix,
        chains=tuple(settings.running_chain(name) for name in names),
        dsns={role: dsn for role, dsn in settings.postgres.by_role().items() if dsn},
        archive=archive_settings(settings) if settings.archive.bucket else None,
        state_dir=state_dir,
        token_file=tokens_file(settings, config).path,
        key_file=keys_file(settings, config).path,
        producer=_of_an_application(producer_config) if producer_config else None,
        cadences={name: cadence for name, cadence in cadences.items() if cadence},
        targets=tuple(target.name for target in settings.forward_targets()),
        key_files={
            name: config.parent / settings.chains[name].key_file for name in names if settings.chains[name].key_file
        },
        secret_files=secret_files,
        secret_variables=secret_variables,
    )


def _of_an_application(config: Path) -> KafkaSettings:
    """By the file alone: the environment's variables are the doctor's own."""
    return read_settings(config, variables={}).settings.kafka_settings()


def _secrets(loaded: Loaded[Settings]) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """The files that hold secrets in force, and the variables that do."""
    rows = [row for row in shown(loaded) if row.secret and row.value]
    files = {Path(row.origin.secret_file) for row in rows if row.origin.secret_file}
    if loaded.settings.kafka.key_file:
        files.add(Path(loaded.settings.kafka.key_file))
    if any(row.origin.file and not row.origin.secret_file for row in rows):
        files.add(loaded.file)
    variables = sorted(row.origin.variable for row in rows if row.origin.variable and not row.origin.secret_file)
    return tuple(sorted(files)), tuple(variables)
