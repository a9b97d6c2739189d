"""Where a sink goes on: behind the newest segment that the bucket holds and Kafka knows.

The invariant that it relies on, and every sink keeps: manifests are put in order, each after the statement of the one
before was sealed. Reading only; asked again after a crash, it says the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

from sealstream.archive.bucket import Bucket, Stored
from sealstream.archive.columns import ColumnMaker
from sealstream.archive.holdings import Holding, look, oldest_manifest
from sealstream.archive.segments import Segment, find_segment
from sealstream.errors import Forked, NotCanonical, RolledBack
from sealstream.kafka import KafkaSettings
from sealstream.layout import ChainSettings
from sealstream.layout.archive import MANIFESTS, SegmentName, archive_prefix, parse_archive_key
from sealstream.layout.manifests import parse_manifest
from sealstream.sealing import BadNote, open_checkpoint

__all__ = ["newest_holding"]


def newest_holding(
    kafka: KafkaSettings, chain: ChainSettings, bucket: Bucket, maker: ColumnMaker
) -> tuple[Segment, Holding] | None:
    """The newest segment with a manifest, looked at with its object; None: the archive is empty.

    Names of no segment are passed over, unless the chain's key has signed what they hold. Raises `Forked`.
    """
    newest: tuple[Segment, Holding] | None = None
    for name, stored in _manifests_backwards(bucket, chain.name):
        if newest is not None:
            if name.last_seq + 1 == newest[1].name.first_seq:
                _check_previous(bucket, newest[1], name, stored)
            if name.last_seq < newest[1].name.first_seq:
                break
            continue
        segment = find_segment(kafka, chain, name.last_seq)
        if segment is not None and segment.first_seq == name.first_seq:
            holding = look(bucket, chain, name, stored.versions[0].version_id or "", maker)
            if holding.signed != segment.signed:
                raise Forked(f"{name.manifest_key}: another root of size {segment.signed.size} is signed in Kafka")
            newest = segment, holding
        else:
            _refuse_signed_stranger(bucket, chain, name, stored)
    return newest


def _manifests_backwards(bucket: Bucket, chain: str) -> Iterator[tuple[SegmentName, Stored]]:
    """The manifests in the bucket, the newest first. A key that has only delete markers never had any."""
    for folder in reversed(bucket.list_folders(archive_prefix(MANIFESTS, chain))):
        listed = list(bucket.list_stored(archive_prefix(MANIFESTS, chain, folder.removeprefix("date="))))
        for stored in reversed(listed):
            parsed = parse_archive_key(stored.key)
            if parsed is not None and stored.versions:
                yield parsed[1], stored


def _check_previous(bucket: Bucket, newest: Holding, name: SegmentName, stored: Stored) -> None:
    data, _ = oldest_manifest(bucket, stored)
    if sha256(data).digest() != newest.manifest.previous_manifest_sha256:
        raise Forked(f"{newest.name.manifest_key}: names another manifest before it than {name.manifest_key}")


def _refuse_signed_stranger(bucket: Bucket, chain: ChainSettings, name: SegmentName, stored: Stored) -> None:
    """Raises `Forked` when a manifest of no segment carries the chain's signature: Kafka or the bucket lies."""
    data, _ = oldest_manifest(bucket, stored)
    try:
        signed = open_checkpoint(parse_manifest(data).checkpoint.encode(), chain.vkey)
    except (NotCanonical, BadNote):
        return
    raise RolledBack(
        f"{name.manifest_key} holds a checkpoint of size {signed.size} with the chain's signature, but Kafka knows no "
        f"segment {name.decimal} of {chain.name}: was its list of segments cut off?"
    )
