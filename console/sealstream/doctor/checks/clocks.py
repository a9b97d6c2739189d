"""Whether the machines agree on the time, and whether this one is told it by somebody (NTP).

Kafka's and the sequencer's clocks stand in the doctor's own sealed record, Postgres and S3 are asked. What a request
took counts in a clock's favour: an offset is told as more than what it took. `judged_offsets` and `judged_kernel` are
pure.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import NamedTuple

from sealstream.archive import Bucket
from sealstream.doctor.asking import Asking
from sealstream.doctor.outcomes import Check, Outcome, failed, passed, unknown
from sealstream.errors import SealstreamError, Unavailable

__all__ = ["CHECKS", "Offset", "judged_kernel", "judged_offsets"]

_MOST_S = 2.0
_UNSYNC = 0x40
_NTP = "set the machine's clock by NTP (chrony, systemd-timesyncd), from the same servers on every host"


class Offset(NamedTuple):
    """How far a clock is ahead of this machine's, and by how much that may be wrong, in seconds."""

    ahead_s: float
    unsure_s: float


def _offsets(asking: Asking) -> Outcome:
    asked: dict[str, Callable[[], Offset]] = {}
    if asking.system.chains:
        asked["Kafka"] = lambda: _of_kafka(asking)
        asked["the sequencer"] = lambda: _of_sequencer(asking)
    if "reader" in asking.system.dsns:
        asked["Postgres"] = lambda: _of_postgres(asking)
    if asking.system.archive is not None:
        asked["S3"] = lambda: _of_s3(asking)
    found, silent = {}, {}
    for name, ask in asked.items():
        try:
            found[name] = ask()
        except SealstreamError as error:
            silent[name] = str(error)
    return judged_offsets(found, silent)


def judged_offsets(found: Mapping[str, Offset], silent: Mapping[str, str]) -> Outcome:
    """Whether each is within two seconds of this machine's. `silent`: who could not be asked, and why."""
    said = [f"{name}: {each.ahead_s:+.2f} s (± {each.unsure_s:.2f} s)" for name, each in found.items()]
    far = [name for name, each in found.items() if abs(each.ahead_s) - each.unsure_s > _MOST_S]
    if far:
        return failed(*said, to_do=f"{' and '.join(far)}: more than {_MOST_S:g} s from this machine's clock: {_NTP}")
    if silent or not found:
        return unknown(*said, *(f"{name}: {why}" for name, why in silent.items()), to_do="ask again when all answer")
    return passed(*said)


def _of_kafka(asking: Asking) -> Offset:
    own = asking.own_read(asking.system.chains[0])
    return _between(own.said_at, own.acknowledged_at, own.received_at)


def _of_sequencer(asking: Asking) -> Offset:
    own = asking.own_read(asking.system.chains[0])
    return _between(own.said_at, own.seen_at, own.sequenced_at)


def _of_postgres(asking: Asking) -> Offset:
    before = asking.system.clock()
    (row,) = asking.fetch("reader", "SELECT clock_timestamp() AS now")
    after = asking.system.clock()
    return _between(before, after, row["now"])


def _of_s3(asking: Asking) -> Offset:
    bucket = Bucket(asking.archive())
    try:
        before = asking.system.clock()
        told = bucket.clock()
        after = asking.system.clock()
    finally:
        bucket.close()
    if told is None:
        raise Unavailable("it does not tell the time")
    offset = _between(before, after, told)
    return Offset(offset.ahead_s + 0.5, offset.unsure_s + 0.5)  # HTTP tells whole seconds, and cuts the rest off


def _between(before: datetime, after: datetime, told: datetime) -> Offset:
    middle = before + (after - before) / 2
    return Offset((told - middle).total_seconds(), (after - before).total_seconds() / 2)


def _synchronised(asking: Asking) -> Outcome:
    return judged_kernel(_kernel_status())


def judged_kernel(status: int | None) -> Outcome:
    """`status`: of adjtimex(2), None where the kernel does not tell."""
    if status is None:
        return unknown("the kernel does not tell (adjtimex)", to_do=f"look on the machine itself: {_NTP}")
    if status & _UNSYNC:
        return failed("the kernel says that nobody keeps this machine's clock (STA_UNSYNC)", to_do=_NTP)
    return passed("the kernel says that this machine's clock is kept by somebody (no STA_UNSYNC)")


def _kernel_status() -> int | None:
    """The status word of adjtimex(2), asked without setting anything; None where it is not to be had."""
    words = (ctypes.c_byte * 512)()
    try:
        if ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(words)) < 0:
            return None
    except (OSError, AttributeError):
        return None
    # struct timex: modes (int), padding, then offset, freq, maxerror, esterror (long), status (int).
    return ctypes.c_int.from_buffer(words, 5 * ctypes.sizeof(ctypes.c_long)).value


CHECKS = (
    Check(
        "clocks.agree",
        "the clocks of this machine, Kafka, the sequencer, Postgres and S3 agree to two seconds",
        "the stamps of the doctor's own sealed record; clock_timestamp(); S3's Date",
        _offsets,
    ),
    Check(
        "clocks.kept",
        "this machine's clock is kept by somebody (NTP)",
        "adjtimex(2); each host has to be asked on itself",
        _synchronised,
    ),
)
