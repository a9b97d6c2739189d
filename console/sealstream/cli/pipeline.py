"""The whole pipeline on the local stack: settings for its servers, the chain `main`, and one program for each process.

Every step can be repeated; after a crash at any line the next `up` runs the same lines.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from sealstream.checkpointing import load_signer
from sealstream.cli.chain import TopicsLost, create_chain
from sealstream.cli.settings import Settings, load_settings, read_settings, write_settings
from sealstream.devstack import Endpoints, ProcessSpec
from sealstream.devstack.ports import free_port
from sealstream.health import program_name
from sealstream.layout import SegmentLimits
from sealstream.postgres.driver import Session

__all__ = ["DATABASE", "prepare", "process_specs", "specs_of"]

DATABASE = "sealstream"
_ROLES = ("sink", "reader", "keeper")


def prepare(
    config: Path,
    endpoints: Endpoints,
    *,
    log: str | None = None,
    retention: str | None = None,
    limits: SegmentLimits | None = None,
    say: Callable[[str], object] = lambda _: None,
) -> Settings:
    """Settings that name these servers, with the chain `main` made; returns them.

    `log`, `retention` and `limits` are for a `main` that is made now; one that exists keeps its own. A log that nobody
    named gets a name of its own: what a verifier keeps of one local stack is then never held against another.
    """
    loaded = read_settings(config, must_exist=False)
    kept = loaded.settings
    unnamed = log is None and not kept.chains and str(loaded.origin(("log",))) == "default"
    _ensure_database(endpoints.postgres_admin_dsn)
    write_settings(config, ({"log": _own_log(config, kept.log)} if unnamed else {}) | _servers(endpoints, kept))
    settings = load_settings(config)
    main = settings.chains.get("main")
    if main is not None and main.closed_at:
        return _with_metrics(config)
    if main is not None:
        retention = main.retention
        limits = SegmentLimits(main.segment_entries, main.segment_bytes, main.segment_seconds)
    try:
        create_chain(
            config,
            settings,
            "main",
            log=log if main is None else None,
            retention=retention or "soc2",
            limits=limits or SegmentLimits(),
            say=say,
        )
    except TopicsLost as lost:  # the servers must run for it to be restored; its processes wait for that
        say(f"ALARM: {lost}; what to do: {lost.runbook}")
    return _with_metrics(config)


def process_specs(
    config: Path, chains: Sequence[str], *, forward: bool = False, collect: bool = False
) -> list[ProcessSpec]:
    """The pipeline's processes as the supervisor starts them: one sequencer, three processes for each chain, one
    roll-up, the watch's workers where their extra is installed, and who watches the pipeline itself, last.

    `forward`: there are targets, so there is the process that sends to them. `collect`: there is a collector.
    """

    def program(name: str, *arguments: str) -> ProcessSpec:
        command = [sys.executable, "-m", "sealstream.cli.entry", "--config", str(config.absolute()), *arguments]
        return ProcessSpec(name=name, argv=command)

    def spec(name: str, *arguments: str) -> ProcessSpec:
        return program(name, "run", *arguments)

    specs = [spec("sequencer", "sequencer")]
    for chain in chains:
        specs += [
            spec(program_name(process, chain), process, "--chain", chain)
            for process in ("checkpointing", "postgres-sink", "archive-sink")
        ]
    specs.append(spec("activity", "activity"))
    if "faust" in sys.modules or find_spec("faust") is not None:
        specs.append(spec("anomaly", "anomaly"))
    if forward:
        specs.append(spec("forward", "forward"))
    if collect:
        specs.append(program("collect", "collect"))
    return [*specs, spec("watch", "watch")]


def specs_of(config: Path, settings: Settings) -> list[ProcessSpec]:
    """The processes of these settings: one that sends where there are targets, a collector where there is a section."""
    chains, forward = settings.open_chains(), bool(settings.forward.targets)
    return process_specs(config, chains, forward=forward, collect=settings.has_collector)


def _with_metrics(config: Path) -> Settings:
    """A free port for the figures of each process that has none yet; chosen once, as all ports are."""
    settings = load_settings(config)
    taken = set(settings.metrics.ports.values())
    specs = specs_of(config, settings)
    names = [spec.name for spec in specs]
    added = {name: free_port(taken) for name in names if name not in settings.metrics.ports}
    if added:
        write_settings(config, {"metrics": {"ports": added}})
    return load_settings(config)


def _own_log(config: Path, plain: str) -> str:
    """The name that the key of `main` bears, where its settings were lost; else one that no other stack has."""
    key_file = config.parent / "keys" / "main.key"
    if key_file.exists():
        return load_signer(key_file).name.removesuffix("/main")
    return f"{plain}-{secrets.token_hex(4)}"


def _ensure_database(admin_dsn: str) -> None:
    async def ensure(connection: asyncpg.Connection[Any]) -> None:
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
            await connection.execute(f"CREATE DATABASE {DATABASE} ENCODING 'UTF8' TEMPLATE template0")

    with Session(admin_dsn, "sealstream up") as session:
        session.run("making the database", ensure)


def _servers(endpoints: Endpoints, kept: Settings) -> dict[str, Any]:
    """The sections for these servers; a role keeps its password, so that a running sink is not locked out."""
    parts = urlsplit(endpoints.postgres_admin_dsn)
    postgres = {"admin_dsn": urlunsplit(parts._replace(path=f"/{DATABASE}"))}
    for role in _ROLES:
        password = urlsplit(getattr(kept.postgres, f"{role}_dsn")).password or secrets.token_urlsafe(24)
        where = f"sealstream_{role}:{password}@{parts.hostname}:{parts.port}"
        postgres[f"{role}_dsn"] = f"postgresql://{where}/{DATABASE}"
    return {
        "kafka": {"bootstrap": endpoints.kafka_bootstrap},
        "postgres": postgres,
        "archive": {
            "bucket": kept.archive.bucket,
            "endpoint_url": endpoints.s3_endpoint_url,
            "region": endpoints.s3_region,
            "access_key": endpoints.s3_access_key,
            "secret_key": endpoints.s3_secret_key,
        },
    }
