"""Where a request really came from: the peer's address, or what proxies say that the operator trusts.

`X-Forwarded-For` is read from its right end, where the nearest proxy writes; each address is believed because the one
to its right is trusted. The invariant: what a stranger puts into the header is never believed, whatever it looks like.
Pure; nothing to lose in a crash.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from sealstream.errors import InvalidEvent, Misconfigured
from sealstream.events import canonical_ip

__all__ = ["UNIX", "TrustedProxies", "address"]

UNIX = "unix"
"""Among trusted proxies: a peer without an address, which reaches the server through a Unix socket."""

_MAX_HOPS = 64


def address(text: str) -> str | None:
    """The canonical address that a proxy wrote, without the port that some add; None when it is none."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return canonical_ip(text)
    except InvalidEvent:
        return None


class TrustedProxies:
    """`trusted`: addresses and networks (`10.0.0.0/8`), and `unix`. Raises `Misconfigured`."""

    def __init__(self, trusted: Iterable[str]) -> None:
        listed = list(trusted)
        self._unix = UNIX in listed
        self._networks: list[IPv4Network | IPv6Network] = []
        for text in listed:
            if text != UNIX:
                try:
                    self._networks.append(ip_network(text))
                except ValueError as error:
                    raise Misconfigured(
                        f"trusted proxy {text!r}: expected an address, a network such as 10.0.0.0/8, or unix; {error}"
                    ) from error
        self.trusts = lru_cache(maxsize=1024)(self._trusts)

    def _trusts(self, canonical: str) -> bool:
        parsed = ip_address(canonical)
        return any(parsed in network for network in self._networks)

    def client_address(self, peer: str | None, forwarded_for: Sequence[bytes]) -> str | None:
        """The address of who asked; None when nobody can tell.

        `peer`: the address at the other end of the connection, None for a Unix socket. `forwarded_for`: the values of
        all `X-Forwarded-For` headers in their order.
        """
        nearest = address(peer) if peer else None
        if not (self._unix if not peer else nearest is not None and self.trusts(nearest)):
            return nearest
        hops = b",".join(forwarded_for).rsplit(b",", _MAX_HOPS)[-_MAX_HOPS:] if forwarded_for else []
        for hop in reversed(hops):
            said = address(hop.decode("latin-1"))
            if said is None:  # nobody's address: the last that can be believed is its proxy's
                break
            nearest = said
            if not self.trusts(said):
                break
        return nearest
