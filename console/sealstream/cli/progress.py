"""How far a chain has come in each store, read from the stores themselves: what `status` and the live view show."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import NamedTuple

from rich.console import Group
from rich.text import Text

from sealstream.archive import ArchiveStore
from sealstream.cli.harmless import told
from sealstream.cli.settings import Settings
from sealstream.cli.stores import archive_settings
from sealstream.errors import SealstreamError
from sealstream.health.asking import newest_note
from sealstream.kafka import KafkaSettings, end_offset, last_record
from sealstream.layout import ChainTopics, decode_entry
from sealstream.postgres import PostgresStore
from sealstream.sealing import open_checkpoint

__all__ = ["ChainProgress", "chain_progress", "progress_view", "span"]


class ChainProgress(NamedTuple):
    """Sizes in entries; None where a store could not be asked (`troubles` says why). Ages in seconds."""

    chain: str
    size: int | None
    waiting: int | None
    signed_size: int | None
    signed_age_s: float | None
    postgres_size: int | None
    archive_size: int | None
    troubles: tuple[str, ...] = ()

    def lag(self, reached: int | None) -> int | None:
        """How many entries a store is behind the chain."""
        return None if self.size is None or reached is None else max(self.size - reached, 0)


def chain_progress(settings: Settings, name: str, *, stores: bool = True) -> ChainProgress:
    """Ask every store once (without `stores`: Kafka alone); one that is down is no reason not to show the others."""
    kafka, topics = settings.kafka_settings(), ChainTopics.of(name, settings.kafka.prefix)
    troubles: list[str] = []
    size = waiting = signed_size = postgres_size = archive_size = None
    signed_age_s = None
    try:
        size, waiting = _sealed(kafka, topics)
        signed_size, signed_age_s = _signed(kafka, topics, settings.chain(name).vkey)
    except SealstreamError as error:
        troubles.append(f"kafka: {error}")
    if not stores:
        return ChainProgress(name, size, waiting, signed_size, signed_age_s, None, None, tuple(troubles))
    if settings.postgres.reader_dsn:
        try:
            with PostgresStore(settings.postgres.reader_dsn) as store:
                postgres_size = store.next_seq(name)
        except SealstreamError as error:
            troubles.append(f"postgres: {error}")
    try:
        archive_size = _archived(settings, name)
    except SealstreamError as error:
        troubles.append(f"archive: {error}")
    return ChainProgress(name, size, waiting, signed_size, signed_age_s, postgres_size, archive_size, tuple(troubles))


def progress_view(progress: ChainProgress) -> Group:
    """The same in words, for people."""

    def entries(count: int | None) -> str:
        return "?" if count is None else f"{count:,}"

    line = Text.assemble(
        ("chain ", "dim"),
        (progress.chain, "bold"),
        f"  {entries(progress.size)} entries sealed, {entries(progress.waiting)} events waiting",
    )
    signed = "never signed" if progress.signed_age_s is None else f"signed {span(progress.signed_age_s)} ago"
    lags = Text(
        f"  checkpoint at {entries(progress.signed_size)} ({signed})"
        f"   postgres {entries(progress.lag(progress.postgres_size))} behind"
        f"   archive {entries(progress.lag(progress.archive_size))} behind (the open segment)"
    )
    return Group(line, lags, *(told(f"  {trouble}", "yellow") for trouble in progress.troubles))


def span(seconds: float) -> str:
    """A time as people say it."""
    whole = int(seconds)
    if whole < 120:
        return f"{whole} s"
    return f"{whole // 60} min" if whole < 7200 else f"{whole // 3600} h"


def _sealed(kafka: KafkaSettings, topics: ChainTopics) -> tuple[int, int]:
    """Entries in the chain, and raw records that wait for the sequencer."""
    raw_end = end_offset(kafka, topics.raw, committed=True)
    last = last_record(kafka, topics.chain)
    if last is None or last.value is None:
        return 0, raw_end
    written = decode_entry(last.value).written
    return written.seq + 1, max(raw_end - written.raw_offset - 1, 0)


def _signed(kafka: KafkaSettings, topics: ChainTopics, vkey: str) -> tuple[int, float | None]:
    newest = newest_note(kafka, topics, vkey)
    if newest is None:
        return 0, None
    return open_checkpoint(newest.value or b"", vkey).size, max(time.time() - newest.timestamp_ms / 1000, 0.0)


def _archived(settings: Settings, name: str) -> int:
    """The size at which the archive ends: by today's manifests, or by all of them when there is none today."""
    store = ArchiveStore(archive_settings(settings), name)
    try:
        for since in (datetime.now(UTC).strftime("%Y-%m-%d"), ""):
            last = None
            for segment in store.segments(since):
                if segment.manifest.versions:
                    last = segment
            if last is not None:
                return last.name.last_seq + 1
    finally:
        store.close()
    return 0
