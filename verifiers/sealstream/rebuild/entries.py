"""Sealed entries in order, from the archive, from Kafka, or from the archive and then from Kafka: what stores are
rebuilt from.

The invariant: what is given is a run of entries without a gap, each hashed and found to follow the one before it; where
the source can't go on, it raises, and never skips. Whether the whole is what was signed is for the reader to fold.
Reads only; a crash leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, Protocol

from sealstream.archive import ArchiveSettings, ArchiveStore, StoredSegment, read_groups
from sealstream.errors import ChainBroken, Forked, InputLost, NotCanonical, Unavailable
from sealstream.kafka import CommittedReader, KafkaSettings, last_record, start_offset
from sealstream.layout import ChainSettings, ChainTopics
from sealstream.postgres.locating import open_at_entry
from sealstream.sealing import SEAL_BYTES, Tip, read_written, split_sealed
from sealstream.verify.ahead import sealed_values

__all__ = ["ArchiveThenKafka", "EntrySource", "FromArchive", "FromKafka", "Run", "hashed"]

_BATCH = 5_000
_WAIT_S = 5.0


class Run(NamedTuple):
    """Neighbouring entries: `values` are sealed entries, `hashes` theirs; `prev_hash`: of the entry before them."""

    first: int
    values: list[bytes]
    hashes: list[bytes]
    prev_hash: bytes

    @property
    def stop(self) -> int:
        """The entry behind the last."""
        return self.first + len(self.values)

    def part(self, start: int, stop: int) -> Run:
        """The same for the values from index `start` to `stop` - 1."""
        before = self.hashes[start - 1] if start else self.prev_hash
        return Run(self.first + start, self.values[start:stop], self.hashes[start:stop], before)


class EntrySource(Protocol):
    """Where entries come from."""

    name: str

    def end(self) -> int:
        """The entry behind the last that it has now."""
        ...

    def runs(self, first: int, prev_hash: bytes, stop: int) -> Iterator[Run]:
        """The entries `first` to `stop` - 1 in runs. `prev_hash`: of the entry before; empty: taken as the first says.

        Raises `ChainBroken` where one does not follow, `InputLost` where one is not there.
        """
        ...


def hashed(values: list[bytes], first: int, prev_hash: bytes) -> Run:
    """Sealed entries as a run, each recomputed. Raises `ChainBroken` for one that does not follow the one before."""
    before = prev_hash or split_sealed(values[0]).prev_hash
    hashes: list[bytes] = []
    link, link_hex = before, before.hex().encode()
    for value in values:
        link = sha256(b"\0" + link + value[:-SEAL_BYTES] + b"}").digest()
        own_hex = link.hex().encode()
        if value[-SEAL_BYTES:] != b',"prev_hash":"%b","hash":"%b"}' % (link_hex, own_hex):
            raise ChainBroken(
                f"entry {first + len(hashes)}: its seal does not follow from its bytes and the entry before"
            )
        link_hex = own_hex
        hashes.append(link)
    if read_written(values[0][:-SEAL_BYTES] + b"}").seq != first:
        raise ChainBroken(f"expected entry {first}, got {values[0][:200]!r}")
    return Run(first, values, hashes, before)


class FromArchive:
    """The archive: its objects' oldest versions, in a bucket or a copy in a folder."""

    name = "archive"

    def __init__(self, source: ArchiveSettings | str | Path, chain: str) -> None:
        self._store = ArchiveStore(source, chain)
        self._store.check()
        self.segments: list[StoredSegment] = []
        expected = -1  # what was destroyed at the beginning is not there to be read
        for segment in self._store.segments():
            if not self.segments and not segment.object.versions:
                continue
            expected = segment.name.first_seq if expected < 0 else expected
            if not segment.manifest.versions or not segment.object.versions or segment.name.first_seq != expected:
                break
            self.segments.append(segment)
            expected = segment.name.last_seq + 1

    def begin(self) -> int:
        """The first entry that is archived: not 0 where what came before was destroyed."""
        return self.segments[0].name.first_seq if self.segments else 0

    def end(self) -> int:
        """The entry behind the last that is archived without a gap."""
        return self.segments[-1].name.last_seq + 1 if self.segments else 0

    def months(self, first: int, last: int) -> set[str]:
        """The months (`YYYY-MM`) of the segments with these entries."""
        return {
            segment.name.date[:7]
            for segment in self.segments
            if segment.name.last_seq >= first and segment.name.first_seq <= last
        }

    def month_start(self, month: str) -> int | None:
        """The first entry of a month; None when it has none."""
        return next((s.name.first_seq for s in self.segments if s.name.date[:7] == month), None)

    def runs(self, first: int, prev_hash: bytes, stop: int) -> Iterator[Run]:
        """As `EntrySource` says."""
        expected = first
        for segment in self.segments:
            name = segment.name
            if name.last_seq < expected or name.first_seq >= stop:
                continue
            seq = name.first_seq
            data = self._store.read(name.object_key, segment.object.versions[0])
            try:
                for table in read_groups(data):
                    values = list(sealed_values(table))[max(expected - seq, 0) : max(stop - seq, 0)]
                    seq += table.num_rows
                    for at in range(0, len(values), _BATCH):
                        run = hashed(values[at : at + _BATCH], expected, prev_hash)
                        expected, prev_hash = run.stop, run.hashes[-1]
                        yield run
            except NotCanonical as error:
                raise ChainBroken(f"{name.object_key}: {error}") from error
        if expected < stop:
            raise InputLost(f"the archive ends with entry {self.end() - 1}: entry {expected} is not in it")

    def close(self) -> None:
        """Gives the connections back."""
        self._store.close()


class FromKafka:
    """The chain's topic."""

    name = "kafka"

    def __init__(self, kafka: KafkaSettings, chain: ChainSettings) -> None:
        self._kafka = kafka
        self._topic = ChainTopics.of(chain.name, chain.prefix).chain

    def end(self) -> int:
        """The entry behind the last in the topic."""
        last = last_record(self._kafka, self._topic)
        return 0 if last is None else read_written(split_sealed(last.value or b"").body).seq + 1

    def runs(self, first: int, prev_hash: bytes, stop: int) -> Iterator[Run]:
        """As `EntrySource` says."""
        expected = first
        if first >= stop:
            return
        with self._open(first, prev_hash) as reader:
            while expected < stop:
                records = reader.read(min(_BATCH, stop - expected), _WAIT_S)
                if not records:
                    raise Unavailable(f"{self._topic}: entry {expected} should be there, but did not come")
                run = hashed([record.value or b"" for record in records], expected, prev_hash)
                expected, prev_hash = run.stop, run.hashes[-1]
                yield run

    def _open(self, first: int, prev_hash: bytes) -> CommittedReader:
        begin = start_offset(self._kafka, self._topic)
        if first == 0:
            reader = CommittedReader(self._kafka, self._topic, begin)
            records = reader.read(1, _WAIT_S)
            reader.seek(begin)
            if records and read_written(split_sealed(records[0].value or b"").body).seq == 0:
                return reader
            reader.close()
            raise InputLost(
                f"{self._topic} does not begin with entry 0: it was trimmed or is empty; replay from the archive"
            )
        before = Tip(first, prev_hash, -1, -1, "")
        try:
            return open_at_entry(self._kafka, self._topic, before, begin)
        except Forked as error:
            raise InputLost(f"{self._topic} does not have entry {first}: {error}") from error

    def close(self) -> None:
        """Nothing is held between two reads."""


class ArchiveThenKafka:
    """The archive as far as it goes, and Kafka behind it: an entry may be stored before its segment is archived."""

    name = "archive"

    def __init__(self, archive: FromArchive, kafka: FromKafka) -> None:
        self._archive = archive
        self._kafka = kafka

    def end(self) -> int:
        """The entry behind the last that is archived."""
        return self._archive.end()

    def runs(self, first: int, prev_hash: bytes, stop: int) -> Iterator[Run]:
        """As `EntrySource` says."""
        archived = min(self._archive.end(), stop)
        if first < archived:
            for run in self._archive.runs(first, prev_hash, archived):
                first, prev_hash = run.stop, run.hashes[-1]
                yield run
        if first < stop:
            yield from self._kafka.runs(first, prev_hash, stop)
