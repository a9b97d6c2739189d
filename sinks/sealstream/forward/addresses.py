"""Whom a target may connect to: public addresses, and those of networks that its settings name; and the connection.

A name is resolved once for each connection, each of its addresses is judged, and the connection goes to the very
address that was judged: nothing asks the name again in between (DNS rebinding). So neither a name nor a redirect nor a
changed record leads into the network behind us, to a cloud's metadata or to ourselves. `judged` is pure.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import NamedTuple

from sealstream.errors import Misconfigured, Unavailable

__all__ = ["Guard", "NotAllowed", "connected", "judged", "tls_context"]

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# IANA's registries of special-purpose addresses, as they are now: what Python knows of them differs by its version.
_NEVER_PUBLIC: tuple[Network, ...] = tuple(
    ipaddress.ip_network(each)
    for each in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24"),
        *("192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
        *("224.0.0.0/4", "240.0.0.0/4"),
        "168.63.129.16/32",  # public by its number, and Azure's own service for machines in it
        *("2001::/23", "2001:db8::/32", "3fff::/20"),
    )
)
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")  # the last four bytes are an IPv4 address (RFC 6052)


class NotAllowed(Misconfigured):
    """A target's name leads to addresses that it may not connect to."""


def judged(address: Address, allowed: Sequence[Network] = ()) -> str:
    """Why this address may not be connected to; empty where it may."""
    if any(address in network for network in allowed):
        return ""
    inner = _inside(address)
    if inner is not None:
        return judged(inner, allowed)
    if address.is_link_local:
        return f"{address} is link-local (a cloud's metadata is)"
    if address.is_loopback or address.is_unspecified:
        return f"{address} is this machine itself"
    special = any(address in network for network in _NEVER_PUBLIC if network.version == address.version)
    if special or (isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST):
        return f"{address} is not a public address"
    return ""


def _inside(address: Address) -> Address | None:
    """The IPv4 address that an IPv6 one stands for: mapped, translated (RFC 6052) or 6to4."""
    if isinstance(address, IPv4Address):
        return None
    if address in _TRANSLATED:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


class Guard(NamedTuple):
    """The networks that one target may connect to beside public addresses; `only`: to nothing but these."""

    allowed: tuple[Network, ...] = ()
    only: bool = False

    @classmethod
    def of(cls, networks: Sequence[str], *, only: bool = False) -> Guard:
        """From settings, such as `10.0.0.0/8` or `::1`. Raises `Misconfigured` that names the wrong one."""
        found = []
        for text in networks:
            try:
                found.append(ipaddress.ip_network(text))
            except ValueError as error:
                raise Misconfigured(f"{text!r} is no network: expected one such as 10.1.0.0/16 ({error})") from error
        return cls(tuple(found), only)

    def resolve(self, host: str, port: int) -> list[str]:
        """The addresses of a host that may be connected to, in the system's order.

        Raises `NotAllowed` when it has addresses, but none that may be; `Unavailable` when it has none now.
        """
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise Unavailable(f"{host} has no address: {getattr(error, 'strerror', None) or error}") from error
        addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
        reasons = {address: self._why_not(ipaddress.ip_address(address.partition("%")[0])) for address in addresses}
        fine = [address for address, why in reasons.items() if not why]
        if not fine:
            raise NotAllowed(
                f"{host} may not be connected to: {'; '.join(reasons.values())}; if this receiver is yours, name its "
                "network in allow_networks"
            )
        return fine

    def _why_not(self, address: Address) -> str:
        if self.only and not any(address in network for network in self.allowed):
            return f"{address} is in none of its networks, and what is sent would be in the clear"
        return judged(address, self.allowed)


def connected(guard: Guard, host: str, port: int, timeout_s: float) -> socket.socket:
    """A TCP connection to the first allowed address that answers. Raises `NotAllowed` or `Unavailable`."""
    reasons = []
    for address in guard.resolve(host, port):
        try:
            opened = socket.create_connection((address, port), timeout_s)
        except OSError as error:
            reasons.append(f"{address}: {error.strerror or error or type(error).__name__}")
        else:
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return opened
    raise Unavailable(f"{host}:{port} does not answer: {'; '.join(reasons)}")


def tls_context(ca_file: str, certificate_file: str, key_file: str) -> ssl.SSLContext:
    """TLS 1.2 or newer; the certificate and its name are checked. Raises `Misconfigured`."""
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
        if certificate_file:
            context.load_cert_chain(certificate_file, key_file or None)
    except (OSError, ssl.SSLError) as error:
        named = ", ".join(each for each in (ca_file, certificate_file, key_file) if each)
        raise Misconfigured(f"the certificates in {named} can't be used: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
