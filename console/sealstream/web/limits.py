"""How often somebody may ask, and how much at once: a bucket for each token, and one for each address that fails to
prove who it is; and how many requests of each token run.

In memory, and so for each process of the service apart. The invariant: a bucket never gives more than `burst` at once,
nor `per_minute` in the long run. The buckets themselves are bounded in number: the longest unused is forgotten, which
is the one that is full. A crash forgets all of them.
"""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

__all__ = ["AtOnce", "Buckets", "address_key"]


class Buckets:
    """Token buckets by key. `burst` None: a quarter of a minute's worth."""

    def __init__(
        self,
        per_minute: float,
        *,
        burst: float | None = None,
        most: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._per_s = per_minute / 60
        self._burst = max(1.0, per_minute / 4 if burst is None else burst)
        self._most = most
        self._clock = clock
        self._lock = Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # what is left, as of when

    def take(self, key: str) -> float:
        """0.0 when it may go on; otherwise how many seconds to wait."""
        with self._lock:
            left = self._left(key)
            if left < 1:
                self._keep(key, left)
                return (1 - left) / self._per_s
            self._keep(key, left - 1)
            return 0.0

    def wait_s(self, key: str) -> float:
        """How many seconds until `take` would say 0.0, taking nothing."""
        with self._lock:
            return max(0.0, (1 - self._left(key)) / self._per_s)

    def _left(self, key: str) -> float:
        left, at = self._buckets.get(key, (self._burst, self._clock()))
        return min(self._burst, left + (self._clock() - at) * self._per_s)

    def _keep(self, key: str, left: float) -> None:
        self._buckets[key] = (left, self._clock())
        self._buckets.move_to_end(key)
        while len(self._buckets) > self._most:
            self._buckets.popitem(last=False)


class AtOnce:
    """How many of each key are under way: at most `most`. What is not under way is not kept."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._lock = Lock()
        self._running: dict[str, int] = {}

    def take(self, key: str) -> bool:
        """Whether one more may begin; then `give_back` when it has ended."""
        with self._lock:
            running = self._running.get(key, 0)
            if running >= self.most:
                return False
            self._running[key] = running + 1
            return True

    def give_back(self, key: str) -> None:
        """One has ended."""
        with self._lock:
            self._running[key] -= 1
            if not self._running[key]:
                del self._running[key]


def address_key(host: str) -> str:
    """Whom an address belongs to: an IPv6 address to its /64, of which everybody has as many as they like."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return host
