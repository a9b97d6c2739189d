"""`sealstream chain show`: everything of one chain on one screen. Reads only, and shows what can be read.

A store that does not answer is said so in its place, and is no reason not to show the others.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from sealstream.archive import ArchiveStore, Bucket, StoredSegment
from sealstream.cli.context import context_of, counted, out
from sealstream.cli.harmless import told
from sealstream.cli.policies import meaning, policy_line, sealed_retention
from sealstream.cli.progress import chain_progress, span
from sealstream.cli.settings import ChainSection, Settings
from sealstream.cli.stores import archive_settings
from sealstream.errors import SealstreamError
from sealstream.health.asking import newest_note
from sealstream.kafka import end_offset, start_offset, topic_configs
from sealstream.layout import ChainSettings, ChainTopics, longest_retention, retention_members
from sealstream.postgres import PostgresStore
from sealstream.sealing import open_checkpoint

__all__ = ["show_chain"]

_CLEANUP = ("cleanup.policy", "retention.ms")
_DAY_MS = 86_400_000

Document = dict[str, Any]


def show_chain(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The chain.")] = "main",
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Show everything of one chain: origin, key, policy, limits, topics, checkpoint, what each store holds.

    Exit 2 when a store can't be asked; what the others say is shown all the same.
    """
    settings = context_of(context).settings()
    chain, section = settings.chain(name), settings.chains[name]
    topics = ChainTopics.of(name, settings.kafka.prefix)
    document: Document = {
        "chain": name,
        "origin": chain.origin,
        "vkey": chain.vkey,
        "key_file": section.key_file or None,
        "state": _state(section),
        "segments_end_at": chain.limits._asdict(),
    }
    parts: dict[str, Callable[[], Document]] = {
        "retention": lambda: _retention(settings, chain, topics),
        "sealed": lambda: _sealed(settings, chain, topics),
        "topics": lambda: _topics(settings, topics),
        "postgres": lambda: _postgres(settings, name),
        "archive": lambda: _archive(settings, name),
    }
    with ThreadPoolExecutor(len(parts), thread_name_prefix="show") as pool:  # a store that is down is waited for once
        document |= pool.map(_looked, parts, parts.values())
    if as_json:
        print(json.dumps(document, indent=2))
    else:
        _print(document, chain, topics)
    if any("error" in document[part] for part in parts):
        raise typer.Exit(2)


def _looked(part: str, look: Callable[[], Document]) -> tuple[str, Document]:
    try:
        return part, look()
    except SealstreamError as error:
        return part, {"error": str(error)}


def _state(section: ChainSection) -> Document:
    """Open or closed, what it goes on as, and what it continues."""
    state: Document = {"open": not section.closed_at}
    if section.closed_at:
        state |= {"closed_at": section.closed_at, "continued_as": section.continued_as}
    if section.continues is not None:
        state |= {"continues": section.continues.chain}
    return state


def _retention(settings: Settings, chain: ChainSettings, topics: ChainTopics) -> Document:
    """What is in force: what the settings and the chain itself promise; by the settings, where that can't be asked."""
    try:
        sealed = sealed_retention(settings, chain.name)
    except SealstreamError as error:
        line = f"{policy_line(chain.retention)} (by the settings; the chain can't be asked)"
        means = meaning(chain.retention, topics)
        return retention_members(chain.retention) | {"line": line, "means": means, "sealed": None, "why": str(error)}
    in_force = chain.retention if sealed.retention is None else longest_retention(sealed.retention, chain.retention)
    return retention_members(in_force) | {
        "line": policy_line(in_force),
        "means": meaning(in_force, topics),
        "sealed": [promise.to_json() for promise in sealed.promises],
    }


def _sealed(settings: Settings, chain: ChainSettings, topics: ChainTopics) -> Document:
    """How far the chain is sealed and signed, by Kafka."""
    kafka = settings.kafka_settings()
    progress = chain_progress(settings, chain.name, stores=False)
    if progress.troubles:
        raise SealstreamError(progress.troubles[0].removeprefix("kafka: "))
    found: Document = {"size": progress.size, "waiting": progress.waiting, "checkpoint": None}
    newest = newest_note(kafka, topics, chain.vkey)
    if newest is not None and newest.value is not None:
        checkpoint = open_checkpoint(newest.value, chain.vkey)
        found["checkpoint"] = {
            "size": checkpoint.size,
            "root": checkpoint.root.hex(),
            "age_s": None if progress.signed_age_s is None else round(progress.signed_age_s, 1),
            "note": newest.value.decode(),
        }
    return found


def _topics(settings: Settings, topics: ChainTopics) -> Document:
    """Each topic's offsets, and how Kafka cleans it up. Offsets count markers, too: records are at most so many."""
    kafka = settings.kafka_settings()
    configs = topic_configs(kafka, topics)
    found: Document = {}
    for topic in topics:
        first, end = start_offset(kafka, topic), end_offset(kafka, topic, committed=True)
        cleanup, keep_ms = (configs[topic].get(name, "") for name in _CLEANUP)
        found[topic] = {
            "first_offset": first,
            "end_offset": end,
            "cleanup": cleanup,
            "retention_ms": int(keep_ms or -1),
        }
    return found


def _postgres(settings: Settings, chain: str) -> Document:
    if not settings.postgres.reader_dsn:
        return {"entries": 0, "note": "postgres.reader_dsn is not set"}
    with PostgresStore(settings.postgres.reader_dsn) as store:
        bounds, notes = store.seq_bounds(chain), store.notes(chain)
        return {
            "entries": 0 if bounds is None else bounds[1] - bounds[0] + 1,
            "first_seq": None if bounds is None else bounds[0],
            "last_seq": None if bounds is None else bounds[1],
            "signed_size": max((note.size for note in notes), default=0),
        }


def _archive(settings: Settings, chain: str) -> Document:
    if not settings.archive.bucket:
        return {"segments": 0, "note": "archive.bucket is not set"}
    store, bucket = ArchiveStore(archive_settings(settings), chain), Bucket(archive_settings(settings))
    try:
        segments = size_bytes = 0
        ends: list[StoredSegment] = []
        for segment in store.segments():
            segments += 1
            size_bytes += sum(each.versions[0].size for each in (segment.object, segment.manifest) if each.versions)
            ends = [ends[0] if ends else segment, segment]
        locks = [_lock(bucket, end) for end in ends]
    finally:
        store.close()
        bucket.close()
    return {
        "bucket": settings.archive.bucket,
        "replayed": settings.archive.replayed,
        "segments": segments,
        "bytes": size_bytes,
        "first_seq": ends[0].name.first_seq if ends else None,
        "last_seq": ends[-1].name.last_seq if ends else None,
        "first_date": ends[0].name.date if ends else None,
        "last_date": ends[-1].name.date if ends else None,
        "oldest_locked_until": locks[0] if locks else None,
        "newest_locked_until": locks[-1] if locks else None,
    }


def _lock(bucket: Bucket, segment: StoredSegment) -> str | None:
    """Until when the object that counts is locked in COMPLIANCE mode."""
    version = segment.object.counting()
    lock = None if version is None else bucket.lock(segment.object.key, version.version_id or "")
    return lock.until.isoformat() if lock is not None and lock.mode == "COMPLIANCE" else None


def _print(found: Document, chain: ChainSettings, topics: ChainTopics) -> None:
    table = Table("", "", box=None, padding=(0, 2, 0, 0), show_header=False)

    def row(what: str, says: str | Text) -> None:
        table.add_row(Text(what, style="bold"), says)

    state = found["state"]
    row("chain", Text(f"{chain.name}, {_state_line(state)}", style="" if state["open"] else "yellow"))
    row("origin", chain.origin)
    row("public key", Text(chain.vkey))
    row("signing key", found["key_file"] or "not on this machine")
    limits = chain.limits
    ends = f"end at {limits.entries:,} entries, {limits.bytes:,} bytes, or {limits.seconds:,} s after their first event"
    row("segments", ends)
    retention = found["retention"]
    row("retention", _or_trouble(retention, lambda: retention["line"]))
    for store, means in retention.get("means", {}).items():
        row("", Text(f"{store}: {means}", style="dim"))
    row("sealed", _or_trouble(found["sealed"], lambda: _sealed_line(found["sealed"])))
    row("postgres", _or_trouble(found["postgres"], lambda: _postgres_line(found["postgres"])))
    row("archive", _or_trouble(found["archive"], lambda: _archive_line(found["archive"])))
    if "error" in found["topics"]:
        row("topics", _or_trouble(found["topics"], str))
    out.print(table)
    if "error" not in found["topics"]:
        listed = Table("topic", "first offset", "end offset", "at most", "cleanup", box=None, padding=(0, 2, 0, 0))
        for topic in topics:
            one = found["topics"][topic]
            count = one["end_offset"] - one["first_offset"]
            listed.add_row(topic, f"{one['first_offset']:,}", f"{one['end_offset']:,}", f"{count:,}", _cleanup(one))
        out.print(listed)


def _state_line(state: Document) -> str:
    line = "open" if state["open"] else f"closed at {state['closed_at']}, goes on as {state['continued_as']}"
    return f"{line}; it goes on where {state['continues']} was closed" if "continues" in state else line


def _or_trouble(part: Document, line: Callable[[], str]) -> Text:
    return told(part["error"], "yellow") if "error" in part else told(line())


def _sealed_line(sealed: Document) -> str:
    line = f"{sealed['size']:,} entries, {sealed['waiting']:,} events waiting"
    checkpoint = sealed["checkpoint"]
    if checkpoint is None:
        return f"{line}; no checkpoint in Kafka"
    return (
        f"{line}; last checkpoint {span(checkpoint['age_s'] or 0)} ago, size {checkpoint['size']:,}, "
        f"root {checkpoint['root'][:16]}"
    )


def _postgres_line(stored: Document) -> str:
    if not stored["entries"]:
        return str(stored.get("note", "holds nothing of it yet"))
    return (
        f"{stored['entries']:,} entries, {stored['first_seq']:,} to {stored['last_seq']:,}; "
        f"signed up to size {stored['signed_size']:,}"
    )


def _archive_line(archived: Document) -> str:
    if not archived["segments"]:
        return str(archived.get("note") or f"bucket {archived['bucket']} holds nothing of it yet")
    return (
        f"bucket {archived['bucket']}: {counted(archived['segments'], 'segment')}, {archived['bytes']:,} bytes, "
        f"entries {archived['first_seq']:,} to {archived['last_seq']:,} "
        f"({archived['first_date']} to {archived['last_date']}); "
        f"locked until {archived['oldest_locked_until'] or 'NOT LOCKED'} (oldest), "
        f"{archived['newest_locked_until'] or 'NOT LOCKED'} (newest)"
    )


def _cleanup(topic: Document) -> str:
    if topic["cleanup"] != "delete":
        return str(topic["cleanup"])
    keep_ms = topic["retention_ms"]
    return "kept; trimmed once archived" if keep_ms < 0 else f"deleted after {counted(keep_ms // _DAY_MS, 'day')}"
