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

_NEVER_PUBLIC: tuple[Network, ...] = (
    ipaddress.ip_network("168.63.129.16/32"),  # Azure's own, for machines in it
    ipaddress.ip_network("192.88.99.0/24"),  # the 6to4 relays that there were
    ipaddress.ip_network("64:ff9b:1::/48"),  # translation for local use (RFC 8215)
)
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")  # the last four bytes are an IPv4 address (RFC 6052)


class NotAllowed(Misconfigured):
    """A target's name leads to addresses that it may not connect to."""


def judged(address: Address, allowed: Sequence[Network] = ()) -> str:
    """Why this address may not be connected to; empty where it may."""
    if any(address in network for network in allowed):
        return ""
    inner = _inside(address)
    if inner is not None and (why := judged(inner, allowed)):
        return why
    if address.is_link_local:
        return f"{address} is link-local (a cloud's metadata is)"
    if address.is_loopback or address.is_unspecified:
        return f"{address} is this machine itself"
    if not address.is_global or address.is_multicast or any(address in network for network in _NEVER_PUBLIC):
        return f"{address} is not a public address"
    return ""


def _inside(address: Address) -> Address | None:
    """The IPv4 address that an IPv6 one stands for, where it is a public IPv6 address by its looks."""
    if isinstance(address, IPv4Address):
        return None
    if address in _TRANSLATED:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)


class Guard(NamedTuple):
    """The networks that one target may connect to beside public addresses."""

    allowed: tuple[Network, ...] = ()

    @classmethod
    def of(cls, networks: Sequence[str]) -> Guard:
        """From settings, such as `10.0.0.0/8` or `::1`. Raises `Misconfigured` that names the wrong one."""
        found = []
        for text in networks:
            try:
                found.append(ipaddress.ip_network(text))
            except ValueError as error:
                raise Misconfigured(f"{text!r} is no network: expected one such as 10.1.0.0/16 ({error})") from error
        return cls(tuple(found))

    def resolve(self, host: str, port: int) -> list[str]:
        """The addresses of a host that may be connected to, in the system's order.

        Raises `NotAllowed` when it has addresses, but none that may be; `Unavailable` when it has none now.
        """
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise Unavailable(f"{host} has no address: {getattr(error, 'strerror', None) or error}") from error
        addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
        reasons = {
            address: judged(ipaddress.ip_address(address.partition("%")[0]), self.allowed) for address in addresses
        }
        fine = [address for address, why in reasons.items() if not why]
        if not fine:
            raise NotAllowed(
                f"{host} may not be connected to: {'; '.join(reasons.values())}; if this receiver is yours, name its "
                "network in allow_networks"
            )
        return fine


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
