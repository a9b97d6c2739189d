"""Five ways to falsify an audit log, each done to a copy, with all the power that its culprit would have.

The database administrator switches triggers off. The bucket's copy is rewritten with a proper Parquet file. Whoever
rules Kafka hashes a whole suffix anew. The insider even has the chain's signing key. Nothing here tells the verifier
where it struck: each function returns what it did, for the demo to compare with what verification found on its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import boto3
import pyarrow as pa
import pyarrow.parquet as pq
from confluent_kafka.admin import AdminClient

from sealstream.archive import ArchiveSettings
from sealstream.events import log_statement, new_event_id
from sealstream.kafka import KafkaSettings, Record, TransactionalProducer, create_topics, read_until_end
from sealstream.layout import ChainTopics, checkpoint_headers, decode_entry, parse_checkpoint_headers
from sealstream.sealing import (
    EMPTY_RANGE,
    Checkpoint,
    CompactRange,
    Sealed,
    Signer,
    Written,
    entry_body,
    entry_hash,
    extend,
    open_checkpoint,
    root,
    sign_checkpoint,
    split_sealed,
)

__all__ = [
    "Deed",
    "Forgery",
    "Snapshot",
    "copy_archive",
    "copy_database",
    "copy_topics",
    "delete_a_row",
    "delete_topics",
    "drop_an_event",
    "drop_database",
    "edit_a_column",
    "rehash_a_suffix",
    "replace_an_object",
    "snapshot",
]


_SEND_AWAY = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()"


class Deed(NamedTuple):
    """What was done: the entry concerned, and a sentence about it."""

    seq: int
    what: str


# --- Postgres -------------------------------------------------------------------------------------------------------


def _with_database(dsn: str, database: str) -> str:
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{database}"))


def copy_database(admin_dsn: str, name: str) -> str:
    """A copy of the database beside it, as an administrator makes one; returns its DSN."""
    source = urlsplit(admin_dsn).path.lstrip("/")

    async def copy() -> None:
        connection = await asyncpg.connect(_with_database(admin_dsn, "postgres"))
        try:
            await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
            for attempt in range(20):  # the sink, sent away, comes back within a second
                await connection.execute(_SEND_AWAY, source)
                try:
                    await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{source}"')
                    return
                except asyncpg.ObjectInUseError:
                    if attempt == 19:
                        raise
        finally:
            await connection.close()

    asyncio.run(copy())
    return _with_database(admin_dsn, name)


def drop_database(admin_dsn: str, name: str) -> None:
    """Remove such a copy."""

    async def drop() -> None:
        connection = await asyncpg.connect(_with_database(admin_dsn, "postgres"))
        try:
            await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        finally:
            await connection.close()

    asyncio.run(drop())


def _as_superuser(dsn: str, statement: str, seq: int) -> None:
    """Run it with every trigger off, which a superuser can."""

    async def run() -> None:
        connection = await asyncpg.connect(dsn)
        try:
            partition = await connection.fetchval("SELECT tableoid::regclass::text FROM audit_log WHERE seq = $1", seq)
            async with connection.transaction():
                await connection.execute(f"ALTER TABLE {partition} DISABLE TRIGGER ALL")
                await connection.execute(statement, seq)
                await connection.execute(f"ALTER TABLE {partition} ENABLE TRIGGER ALL")
        finally:
            await connection.close()

    asyncio.run(run())


def _a_denial(dsn: str) -> int:
    async def find() -> int:
        connection = await asyncpg.connect(dsn)
        try:
            seq = await connection.fetchval("SELECT max(seq) FROM audit_log WHERE kind = 'event' AND result = 'denied'")
        finally:
            await connection.close()
        return int(seq)

    return asyncio.run(find())


def edit_a_column(dsn: str) -> Deed:
    """A denial becomes a success, in the column that people query; bytes and hashes are left alone."""
    seq = _a_denial(dsn)
    _as_superuser(dsn, "UPDATE audit_log SET result = 'success' WHERE seq = $1", seq)
    return Deed(seq, "a denied access was turned into a success, in one column of one row")


def delete_a_row(dsn: str) -> Deed:
    """The denial is removed altogether."""
    seq = _a_denial(dsn)
    _as_superuser(dsn, "DELETE FROM audit_log WHERE seq = $1", seq)
    return Deed(seq, "the row of a denied access was deleted")


# --- the archive ----------------------------------------------------------------------------------------------------


def copy_archive(settings: ArchiveSettings, chain: str, folder: Path) -> None:
    """The chain's objects and manifests, as a plain copy in a folder."""
    s3 = boto3.client(
        "s3",
        endpoint_url=settings.endpoint_url,
        region_name=settings.region,
        aws_access_key_id=settings.access_key,
        aws_secret_access_key=settings.secret_key,
    )
    for kind in ("entries", "manifests"):
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=settings.bucket, Prefix=f"{kind}/chain={chain}/")
        for page in pages:
            for item in page.get("Contents", []):
                target = folder / item["Key"]
                target.parent.mkdir(parents=True, exist_ok=True)
                s3.download_file(settings.bucket, item["Key"], str(target))


def replace_an_object(folder: Path) -> Deed:
    """One Parquet object is written again, in order and readable, with one entry that says something else."""
    for file in sorted(folder.rglob("*.parquet"), reverse=True):
        table = pq.read_table(file, partitioning=None)
        bodies = [str(body) for body in table.column("body").to_pylist()]
        for row, body in enumerate(bodies):
            if '"result":"denied"' in body:
                bodies[row] = body.replace('"result":"denied"', '"result":"success"')
                results = table.column("result").to_pylist()
                results[row] = "success"
                for name, values in (("body", bodies), ("result", results)):
                    at = table.schema.get_field_index(name)
                    field = table.schema.field(at)
                    table = table.set_column(at, field, pa.array(values, type=field.type))
                pq.write_table(table, file, compression="zstd")
                return Deed(int(table.column("seq")[row].as_py()), f"{file.name} was replaced by a falsified one")
    raise LookupError("no denial in the archive: the load has not reached it yet")


# --- Kafka ----------------------------------------------------------------------------------------------------------


class Snapshot(NamedTuple):
    """A chain's topics at one moment: every record of each. Notes were read first, so the chain reaches them all."""

    chain: str
    topics: ChainTopics
    records: Mapping[str, Sequence[Record]]

    @property
    def values(self) -> list[bytes]:
        """Every sealed entry, in order."""
        return [record.value or b"" for record in self.records["chain"]]


class Forgery(NamedTuple):
    """What a copy shall hold instead: sealed entries, and notes with their trees, by the note that each replaces."""

    deed: Deed
    values: Sequence[bytes]
    notes: Mapping[bytes, tuple[bytes, CompactRange]] | None = None


def snapshot(kafka: KafkaSettings, chain: str, prefix: str) -> Snapshot:
    """Read the chain's topics."""
    topics = ChainTopics.of(chain, prefix)
    records = {
        name: [record for batch in read_until_end(kafka, getattr(topics, name)) for record in batch]
        for name in ("checkpoints", "segments", "chain", "control", "raw")
    }
    return Snapshot(chain, topics, records)


def copy_topics(kafka: KafkaSettings, original: Snapshot, prefix: str, forgery: Forgery) -> ChainTopics:
    """The chain's topics under another prefix, with the forgery in it.

    Offsets in the copy count from 0 without gaps, so what stands beside a note about offsets is written anew.
    """
    target = ChainTopics.of(original.chain, prefix)
    create_topics(kafka, target.configs())
    for name, records in original.records.items():
        producer = TransactionalProducer(kafka, f"{prefix}-{name}")
        producer.open()
        try:
            producer.begin()
            for at, record in enumerate(records):
                value, headers = record.value or b"", list(record.headers)
                if name == "chain":
                    value = forgery.values[at]
                elif name in ("checkpoints", "segments"):
                    beside = parse_checkpoint_headers(headers)
                    if forgery.notes is not None:
                        value, tree = forgery.notes[value]
                        beside = beside._replace(compact_range=tree.hashes)
                    size = int(value.split(b"\n")[1])  # a checkpoint's second line
                    headers = checkpoint_headers(beside._replace(chain_offset=size))
                producer.produce(getattr(target, name), value, key=record.key, headers=headers)
            producer.commit()
        finally:
            producer.close()
    return target


def delete_topics(kafka: KafkaSettings, topics: ChainTopics) -> None:
    """Remove such a copy."""
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap, "log_level": 0, **kafka.options})
    for deletion in admin.delete_topics(list(topics)).values():
        deletion.result(30)


def rehash_a_suffix(original: Snapshot) -> Forgery:
    """A denial becomes a success, and every entry from there on is hashed and linked anew."""
    values = original.values
    seq = _last_denial(values)
    body = split_sealed(values[seq]).body.replace(b'"result":"denied"', b'"result":"success"')
    deed = Deed(seq, f"entry {seq} was changed, and it and all {len(values) - seq - 1} behind it were hashed anew")
    return Forgery(deed, _relink(values, seq, body))


def drop_an_event(original: Snapshot, signer: Signer) -> Forgery:
    """The insider's way: a denial is never sealed, its offset is passed off as refused, and every note is signed anew.

    The chain that results holds in every hash, link, root and signature; only the input topic knows better.
    """
    values = original.values
    seq = _last_denial(values)
    entry = decode_entry(values[seq])
    written = entry.written
    record = next(record for record in original.records["raw"] if record.offset == written.raw_offset)
    item = {
        "what": "refused",
        "first": written.raw_offset,
        "last": written.raw_offset,
        "sha256": sha256(sha256(record.value or b"").digest()).hexdigest(),
        "reason": "event is not acceptable JSON",
    }
    lie = log_statement(
        "input.passed",
        id=new_event_id(),
        timestamp=written.sequenced_at,
        process="sequencer",
        resource_type="topic",
        resource_id=original.topics.raw,
        metadata={"topic": "raw", "items": [item]},
    )
    place = Written(original.chain, written.control_offset, "log", written.raw_offset, None, seq, written.sequenced_at)
    forged = _relink(values, seq, entry_body(lie, place))
    notes = {}
    trees = _trees(forged)
    for held in (*original.records["checkpoints"], *original.records["segments"]):
        note = held.value or b""
        checkpoint = open_checkpoint(note, signer.vkey)
        tree = trees[checkpoint.size]
        notes[note] = sign_checkpoint(Checkpoint(checkpoint.origin, checkpoint.size, root(tree)), signer), tree
    deed = Deed(seq, f"{entry.action} by {entry.actor_id} was left out of the chain, and all the rest signed anew")
    return Forgery(deed, forged, notes)


def _last_denial(values: Sequence[bytes]) -> int:
    for seq in range(len(values) - 1, 0, -1):
        entry = decode_entry(values[seq])
        if entry.written.kind == "event" and entry.result == "denied":
            return seq
    raise LookupError("no denial in the chain: the load has not run")


def _relink(values: Sequence[bytes], first: int, replacement: bytes) -> list[bytes]:
    """Entry `first` gets this body; it and all that follow are hashed and linked anew, without a seam."""
    forged = list(values[:first])
    prev_hash = split_sealed(values[first - 1]).hash
    for seq in range(first, len(values)):
        body = replacement if seq == first else split_sealed(values[seq]).body
        sealed = Sealed(body, prev_hash, entry_hash(prev_hash, body))
        forged.append(sealed.to_bytes())
        prev_hash = sealed.hash
    return forged


def _trees(values: Sequence[bytes]) -> dict[int, CompactRange]:
    trees, tree = {}, EMPTY_RANGE
    for value in values:
        tree = extend(tree, [split_sealed(value).hash])
        trees[tree.size] = tree
    return trees
