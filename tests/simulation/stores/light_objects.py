"""A light stand-in for the archive's Parquet objects, for histories that must run in milliseconds.

An object is its rows' bodies and hashes in MessagePack. What stays the product's: unsealing with every hash and link,
the fold with its limits and its root, the order of puts, adoption, manifests, statements, trimming. What is left out:
columns (DuckDB), row groups, Parquet itself, and the builder's second thread; those have tests of their own
(`tests/archive`), and some histories are run with the real thing. As with Parquet, the same entries make other bytes
in the next sink's life (`salt`), so that adopting is by entries, never by bytes.

The invariant: `check_object` passes exactly what the product's own would pass, columns aside.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from itertools import count

import msgspec

from sealstream.archive.building import unseal
from sealstream.archive.checking import Ends
from sealstream.archive.folding import SegmentFold, Start, instant
from sealstream.errors import ChainBroken, Forked, NotCanonical
from sealstream.layout import SegmentLimits, decode_entry
from sealstream.sealing import Checkpoint, Sealed

__all__ = ["LightBuilder", "LightMaker", "altered", "check_light_object", "ends_of_light_object", "light_rows"]


class LightObject(msgspec.Struct, array_like=True):
    """`rows`: body, prev_hash, hash of each entry."""

    magic: str
    salt: int
    rows: list[tuple[bytes, bytes, bytes]]


class _Numbers(msgspec.Struct):
    kind: str
    seq: int
    sequenced_at: str


class _Numbered(msgspec.Struct):
    written: _Numbers


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(LightObject).decode
_read_numbers = msgspec.json.Decoder(_Numbered).decode


class LightMaker:
    """In the place of `ColumnMaker`: no columns. Its salt is the sink's life's."""

    salts: Iterator[int] = count()

    def __init__(self) -> None:
        self.salt = next(LightMaker.salts)

    def close(self) -> None:
        """Nothing to give back."""


class LightFold(SegmentFold):
    """The product's fold, fed with bodies instead of an Arrow table."""

    def add_bodies(self, bodies: Sequence[bytes]) -> None:
        """What `add_rows` does with a table of these. Raises `ChainBroken`."""
        for body in bodies:
            try:
                written = _read_numbers(body).written
            except msgspec.DecodeError as error:
                raise ChainBroken(f"entry {self.first_seq + self.rows}: {error}") from error
            time_us = _microseconds(written.sequenced_at)
            if written.seq != self.first_seq + self.rows:
                raise ChainBroken(f"entry {self.first_seq + self.rows}: says that it is {written.seq}")
            if not self.rows:
                self.first_us = self.last_us = time_us
            if time_us < self.last_us:
                raise ChainBroken(f"entry {written.seq}: sequenced_at goes back")
            if instant(time_us).date() != instant(self.first_us).date():
                raise ChainBroken(f"segment from {self.first_seq}: has entries of {self.date} and of another day")
            if self._first_event_us is None and written.kind == "event":
                self._first_event_us, self._first_event_row = time_us, self.rows
            self._before_last_us, self.last_us = self.last_us, time_us
            self._bytes_before_last = self._bytes
            self._bytes += len(body)
            self.rows += 1


def _microseconds(text: str) -> int:
    from sealstream.events import parse_timestamp

    time = parse_timestamp(text)
    return int(time.timestamp()) * 1_000_000 + time.microsecond


class LightBuilder:
    """In the place of `ObjectBuilder`."""

    def __init__(self, start: Start, limits: SegmentLimits, maker: LightMaker) -> None:
        self.fold = LightFold(start, limits)
        self._maker = maker
        self._hash = start.hash
        self._rows: list[tuple[bytes, bytes, bytes]] = []

    def add(self, values: Sequence[bytes]) -> None:
        bodies, hashes = unseal(values, self._hash, self.fold.first_seq + len(self._rows))
        if not hashes:
            return
        self._rows += zip(bodies, [self._hash, *hashes], hashes, strict=False)
        self._hash = hashes[-1]
        self.fold.add_hashes(hashes)

    def finish(self) -> bytes:
        if not self._rows:
            raise ChainBroken(f"segment from {self.fold.first_seq}: has no entries")
        self.fold.add_bodies([body for body, _, _ in self._rows])
        return _encode(LightObject("LIGHT", self._maker.salt, self._rows))

    def close(self) -> None:
        """Nothing to end."""


def light_rows(data: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """The rows of an object. Raises `NotCanonical`."""
    try:
        found = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NotCanonical(f"not a light object: {error}") from error
    if found.magic != "LIGHT":
        raise NotCanonical("not a light object")
    return found.rows


def altered(data: bytes) -> bytes:
    """Another object in the place of this one: its last entry says something else. Of Parquet: no object at all."""
    try:
        rows = light_rows(data)
    except NotCanonical:
        return data[: len(data) // 2]
    body, prev_hash, own_hash = rows[-1]
    return _encode(LightObject("LIGHT", 0, [*rows[:-1], (body.replace(b"e", b"E", 1), prev_hash, own_hash)]))


def check_light_object(
    data: bytes, start: Start, signed: Checkpoint, limits: SegmentLimits, maker: LightMaker
) -> SegmentFold:
    """In the place of `check_object`: the fold over exactly the entries from `start` to what `signed` has signed."""
    expected = signed.size - start.compact_range.size
    try:
        rows = light_rows(data)
        if len(rows) != expected or not rows:
            raise Forked(f"it has {len(rows)} rows: expected {expected}")
        prev_hash = start.hash or rows[0][1]
        fold = LightFold(start._replace(hash=prev_hash), limits)
        hashes = []
        for place, (body, claimed_prev, claimed) in enumerate(rows):
            own_hash = sha256(b"\0" + prev_hash + body).digest()
            if (claimed_prev, claimed) != (prev_hash, own_hash):
                raise Forked(f"entry {fold.first_seq + place}: does not follow the entry before")
            hashes.append(own_hash)
            prev_hash = own_hash
        fold.add_hashes(hashes)
        fold.add_bodies([body for body, _, _ in rows])
        fold.check_root(signed)
        return fold
    except (NotCanonical, ChainBroken) as error:
        raise Forked(str(error)) from error


def ends_of_light_object(data: bytes) -> Ends:
    """In the place of `ends`."""
    rows = light_rows(data)
    decode_entry(rows[0][0])
    return Ends(Sealed(*rows[0]), Sealed(*rows[-1]))
