"""Sealed entries in, one Parquet object out, every hash and link checked on the way.

Two hands: the caller's thread checks seals, a second thread makes columns and writes row groups (DuckDB and Arrow hold
no lock of Python's meanwhile). Row groups are bounded in rows and bytes, so memory does not grow with entries, only
with the compressed object. Nothing leaves before the signed root was met: a crash leaves nothing behind.
"""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from sealstream.archive.columns import ColumnMaker, sealed_table
from sealstream.archive.folding import SegmentFold, Start
from sealstream.errors import ChainBroken, NotCanonical
from sealstream.layout import SegmentLimits
from sealstream.layout.parquet import arrow_schema, parquet_writer_options
from sealstream.sealing import SEAL_BYTES

if TYPE_CHECKING:
    import pyarrow.parquet as pq

__all__ = ["GROUP_BYTES", "GROUP_ROWS", "ObjectBuilder", "unseal"]

GROUP_ROWS = 16_384
GROUP_BYTES = 16_777_216
_IN_FLIGHT = 2


def unseal(values: Sequence[bytes], prev_hash: bytes, seq: int) -> tuple[list[bytes], list[bytes]]:
    """The bodies and hashes of sealed entries that follow the entry with `prev_hash`; `seq` is the first one's.

    Each hash is recomputed and the seal compared whole: its form, its link and its hash. Raises `ChainBroken`.
    """
    bodies: list[bytes] = []
    hashes: list[bytes] = []
    prev_hex = prev_hash.hex()
    for value in values:
        body = value[:-SEAL_BYTES] + b"}"
        prev_hash = sha256(b"\0" + prev_hash + body).digest()
        own_hex = prev_hash.hex()
        if value[-SEAL_BYTES:] != f',"prev_hash":"{prev_hex}","hash":"{own_hex}"}}'.encode():
            raise ChainBroken(
                f"entry {seq + len(bodies)}: its seal does not follow from its bytes and the entry before"
            )
        prev_hex = own_hex
        bodies.append(body)
        hashes.append(prev_hash)
    return bodies, hashes


def give_memory_back() -> None:
    """What Arrow and the C library keep for later, 150 MiB after a segment of 100,000 entries, goes to the system."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's alone
    if trim is not None:
        trim(0)


class ObjectBuilder:
    """Builds the object of one segment: `add` its sealed entries in order, then `finish`; `close` it in any case.

    `maker` is used by the second thread until then.
    """

    def __init__(self, start: Start, limits: SegmentLimits, maker: ColumnMaker) -> None:
        self.fold = SegmentFold(start, limits)
        self._maker = maker
        self._hash = start.hash
        self._seq = start.compact_range.size
        self._bodies: list[bytes] = []
        self._hashes: list[bytes] = []
        self._bytes = 0
        self._flushed_hash = start.hash
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="parquet")
        self._groups: deque[Future[None]] = deque()
        self._writer: pq.ParquetWriter | None = None
        self._sink: Any = None

    def add(self, values: Sequence[bytes]) -> None:
        """The next sealed entries. Raises `ChainBroken`, perhaps for entries that were added before."""
        bodies, hashes = unseal(values, self._hash, self._seq)
        if not hashes:
            return
        self._hash = hashes[-1]
        self._seq += len(hashes)
        self.fold.add_hashes(hashes)
        self._bodies += bodies
        self._hashes += hashes
        self._bytes += sum(map(len, bodies))
        while len(self._bodies) >= GROUP_ROWS:
            self._flush(GROUP_ROWS)
        if self._bytes >= GROUP_BYTES:
            self._flush(len(self._bodies))

    def finish(self) -> bytes:
        """The Parquet object of all that was added. Raises `ChainBroken`."""
        if self._bodies:
            self._flush(len(self._bodies))
        self._wait(0)
        if self._writer is None:
            raise ChainBroken(f"segment from {self.fold.first_seq}: has no entries")
        self._writer.close()
        data: bytes = self._sink.getvalue().to_pybytes()
        return data

    def close(self) -> None:
        """Ends the second thread, and gives memory back: a segment needs as much again as what is kept between two."""
        self._worker.shutdown(cancel_futures=True)
        self._bodies, self._hashes = [], []
        self._writer = self._sink = None
        give_memory_back()

    def _flush(self, rows: int) -> None:
        """Hands a row group to the second thread, waiting when that is behind."""
        bodies, hashes = self._bodies[:rows], self._hashes[:rows]
        del self._bodies[:rows], self._hashes[:rows]
        self._bytes = sum(map(len, self._bodies))
        self._wait(_IN_FLIGHT - 1)
        self._groups.append(self._worker.submit(self._write, bodies, b"".join(hashes), self._flushed_hash))
        self._flushed_hash = hashes[-1]

    def _wait(self, at_most: int) -> None:
        while len(self._groups) > at_most:
            self._groups.popleft().result()

    def _write(self, bodies: list[bytes], hashes: bytes, prev_hash: bytes) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self._writer is None:
            self._sink = pa.BufferOutputStream()
            self._writer = pq.ParquetWriter(self._sink, arrow_schema(), **parquet_writer_options(len(bodies)))
        seq = self.fold.first_seq + self.fold.rows
        try:
            table = self._maker.table(sealed_table(bodies, prev_hash + hashes[:-32], hashes))
        except NotCanonical as error:
            raise ChainBroken(f"entries {seq} to {seq + len(bodies) - 1}: {error}") from error
        self.fold.add_rows(table)
        self._writer.write_table(table, row_group_size=len(bodies))
