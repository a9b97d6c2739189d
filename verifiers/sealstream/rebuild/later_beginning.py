"""Whether what is left of a chain may begin later than with entry 0: it must say so itself. Pure.

The archive is destroyed from its beginning when its time is over (`archive.destroyed`), and months leave Postgres
(`store.expired`): so a chain that is restored may begin with a later entry. Without such a statement somebody has taken
the beginning, and nothing is built on what is left.
"""

from __future__ import annotations

from collections.abc import Sequence

from sealstream.errors import ChainBroken, ChainStopped, Misconfigured
from sealstream.layout import ChainSettings, decode_entry
from sealstream.layout.archive import DESTROYED_ACTION
from sealstream.layout.chains import STORE_EXPIRED
from sealstream.layout.leaving import why_not_expired

__all__ = ["check_beginning", "said_gone"]

_NEEDLES = tuple(b'"action":"' + action.encode() + b'"' for action in (DESTROYED_ACTION, STORE_EXPIRED))


def said_gone(values: Sequence[bytes]) -> int:
    """Up to where these entries say that the chain's beginning is gone from a store."""
    gone = 0
    for value in values:
        if not any(needle in value for needle in _NEEDLES):
            continue
        entry = decode_entry(value)
        said, written = entry.metadata or {}, entry.written
        if written.kind != "control" or entry.action not in (DESTROYED_ACTION, STORE_EXPIRED):
            continue
        if entry.action == STORE_EXPIRED and why_not_expired(said, written.seq, written.sequenced_at, None):
            continue
        if (last := int(said["last_seq"])) < written.seq:
            gone = max(gone, last + 1)
    return gone


def check_beginning(chain: ChainSettings, begin: int, gone: int, ends: set[int], archived: Sequence[int]) -> None:
    """Raises what keeps a chain from going on behind a beginning that is gone.

    `begin`: the first entry that is left; `gone`: up to where the entries say that it is rightly so; `ends`: where
    segments end by the settings; `archived`: where those in the archive end.
    """
    if gone < begin:
        raise ChainBroken(
            f"what the stores hold begins with entry {begin}, and nothing in it says that those before it were "
            "destroyed or have left (archive.destroyed, store.expired): look with `sealstream verify archive`"
        )
    if strange := [size for size in archived[:-1] if size not in ends]:
        raise Misconfigured(
            f"chain {chain.name}: entry 0 is gone, and with the segment limits in the settings ({chain.limits}) no "
            f"segment ends with entry {strange[0] - 1}, as one has: set those that the chain was created with"
        )
    if len(ends) < 2:
        raise ChainStopped(
            f"chain {chain.name}: what is left begins with entry {begin} and has {len(ends)} whole segments: with "
            "fewer than two nobody can tell that it is what was signed; `sealstream chain continue "
            f"{chain.name}` closes the chain and begins its successor"
        )
