"""`segment.archived`: said once by a sink, sealed by the sequencer, and then what the chain itself says of the archive.

The statement is a function of the manifest's stored version alone, so that every sink, and the same sink after a crash,
says the same with the same id; a repeat is one. The invariant: a segment's manifest is written only when the segment
before has its statement sealed, so at most the newest manifest's statement can be missing from the chain.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import msgspec

from sealstream.errors import Forked, Unavailable
from sealstream.events import control_statement
from sealstream.kafka import CommittedReader, KafkaSettings, Record, last_record, start_offset
from sealstream.layout import ChainSettings, ChainTopics
from sealstream.layout.archive import ARCHIVED_ACTION, SegmentName, archived_statement_id
from sealstream.layout.manifests import Manifest

__all__ = ["ArchivedStatement", "SealWatch", "sealed_already"]

_NEEDLE = b'"action":"' + ARCHIVED_ACTION.encode() + b'"'
_BATCH = 10_000
_AHEAD_KB = 4_096
_WAIT_S = 5.0


class _Kind(msgspec.Struct):
    kind: str


class _Said(msgspec.Struct):
    action: str
    written: _Kind
    metadata: dict[str, Any] | None = None


_decode = msgspec.json.Decoder(_Said).decode


class ArchivedStatement:
    """What is said of one segment. `event` is the canonical event for `audit.control.C`.

    `replayed`: the bucket's version ids are not those that were sealed, and are not compared.
    """

    def __init__(
        self,
        chain: ChainSettings,
        manifest: Manifest,
        manifest_bytes: bytes,
        manifest_version: str,
        *,
        replayed: bool = False,
    ) -> None:
        self._not_compared = ("object_version", "manifest_version") if replayed else ()
        self.segment: SegmentName = manifest.segment
        self.metadata = {
            "object": manifest.object,
            "object_version": manifest.object_version,
            "object_sha256": manifest.object_sha256.hex(),
            "manifest": self.segment.manifest_key,
            "manifest_version": manifest_version,
            "manifest_sha256": sha256(manifest_bytes).hexdigest(),
            "retain_until": manifest.retain_until,
        }
        self.event = control_statement(
            ARCHIVED_ACTION,
            id=archived_statement_id(chain.origin, self.segment),
            timestamp=manifest.last_sequenced_at,
            actor_id="sealstream/archive",
            resource_type="segment",
            resource_id=self.segment.decimal,
            metadata=self.metadata,
        )

    def is_sealed_in(self, records: list[Record]) -> bool:
        """Whether it is among these records of the chain. Raises `Forked` when another is said of this segment.

        Only a `control` entry counts: anybody may write an event with the same name.
        """
        for record in records:
            value = record.value or b""
            if _NEEDLE not in value:
                continue
            try:
                said = _decode(value)
            except msgspec.DecodeError:
                continue
            metadata = said.metadata or {}
            if said.action != ARCHIVED_ACTION or said.written.kind != "control":
                continue
            if metadata.get("object") != self.segment.object_key:
                continue
            for member, expected in self.metadata.items():
                if metadata.get(member) != expected and member not in self._not_compared:
                    raise Forked(
                        f"the chain has sealed a {ARCHIVED_ACTION} of {self.segment.decimal} with {member} "
                        f"{metadata.get(member)!r}, but the archive says {expected!r}"
                    )
            return True
        return False


class SealWatch:
    """Reads the chain from `offset` on until a statement appears sealed in it; `close` it."""

    def __init__(self, kafka: KafkaSettings, chain: ChainSettings, statement: ArchivedStatement, offset: int) -> None:
        self.statement = statement
        self._reader = CommittedReader(
            kafka, ChainTopics.of(chain.name, chain.prefix).chain, offset, ahead_kb=_AHEAD_KB
        )

    def sealed(self, timeout_s: float) -> bool:
        """Whether it has appeared; waits up to `timeout_s` for new entries."""
        return self.statement.is_sealed_in(self._reader.read(_BATCH, timeout_s))

    def close(self) -> None:
        """Gives the connection back."""
        self._reader.close()


def sealed_already(
    kafka: KafkaSettings, chain: ChainSettings, statement: ArchivedStatement, after: int, most: int
) -> bool:
    """Whether a statement of the newest manifest is in the chain: looked for where a sink that ran left it.

    `after`: the chain offset behind its segment. A sink in step said it within the next entries, one that was catching
    up at the chain's end of then: the `most` entries behind the segment and the last `most` of the chain are read.
    What stands between was said by a sink that has been down for longer than the sequencer remembers repeats: then it
    is said and sealed once more, word by word the same, and counts once.
    """
    topic = ChainTopics.of(chain.name, chain.prefix).chain
    newest = last_record(kafka, topic)
    begin, end = max(after, start_offset(kafka, topic)), 0 if newest is None else newest.offset + 1
    if begin >= end:
        return False
    stretches = [(begin, end)] if end - begin <= 2 * most else [(begin, begin + most), (end - most, end)]
    for first, last in stretches:
        with CommittedReader(kafka, topic, first, ahead_kb=_AHEAD_KB) as reader:
            while reader.position() < last:
                records = reader.read(_BATCH, _WAIT_S)
                if not records:
                    raise Unavailable(f"{topic}: no entry from offset {reader.position()} in {_WAIT_S:.0f} s")
                if statement.is_sealed_in(records):
                    return True
    return False
