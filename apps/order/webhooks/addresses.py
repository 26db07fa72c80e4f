"""Where webhooks may go: URLs that name a host plainly, and addresses that are anybody's.

Merchants choose the URLs and we make the requests, from within our network (server-side request forgery, OWASP).
So it is the address that is checked, not its spelling: a name is resolved once, everything that it resolves to must
be public, and the connection is made to what was checked.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

from order.webhooks.config import Network

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?\.?|\[[0-9A-Fa-f:.]+\]")
_REST = re.compile(r"[\x21-\x7e]*")
_PORTS = {"https": 443, "http": 80}
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# Of protocols and of relays: nobody's, though some Pythons call them global (IANA's IPv4 special-purpose registry).
_SPECIAL = (ipaddress.ip_network("192.0.0.0/24"), ipaddress.ip_network("192.88.99.0/24"))


class BadUrl(ValueError):
    """No URL for a webhook; the message says what it must be."""


class Forbidden(Exception):
    """The host is no public one. The message does not say what it is: callers are not to learn our network from it."""

    def __init__(self) -> None:
        """Always the same words."""
        super().__init__("the host does not resolve to public addresses only")


@dataclass(frozen=True, slots=True)
class Target:
    """A URL taken apart: what to connect to, and what to ask for there."""

    scheme: str
    host: str
    port: int
    path: str


def parse(url: str, allow_http: bool) -> Target:
    """The parts of a URL. Raises BadUrl."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise BadUrl("Must be a URL.") from error
    schemes = ("https", "http") if allow_http else ("https",)
    if parts.scheme not in schemes:
        raise BadUrl(f"Must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}.")
    if "@" in parts.netloc:
        raise BadUrl("Must not hold a user or a password.")
    host, _, written = parts.netloc.partition("]") if parts.netloc.startswith("[") else parts.netloc.partition(":")
    host = f"{host}]" if parts.netloc.startswith("[") else host
    if not _HOST.fullmatch(host) or len(host) > 253 or (written and port is None):
        raise BadUrl("Must name a host, in ASCII: a name or an IP address.")
    if "#" in url or not _REST.fullmatch(url):
        raise BadUrl("Must have no fragment, and nothing but visible ASCII characters.")
    port = _PORTS[parts.scheme] if port is None else port
    if port != _PORTS[parts.scheme] and port < 1024:
        # The others below are of services that are not HTTP, and may be talked into something by a request.
        raise BadUrl(f"Must have the port {_PORTS[parts.scheme]} or one from 1024 to 65535.")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host.strip("[]").rstrip("."), port, path)


def is_allowed(address: Address, networks: Sequence[Network]) -> bool:
    """Whether webhooks may go to this address: it is public, or in one of the networks."""
    inner = _inner(address)
    if any(inner in network or address in network for network in networks):
        return True
    if any(inner in network for network in _SPECIAL):
        return False
    if not inner.is_global or inner.is_multicast or inner.is_reserved:
        return False
    # Tunnels end at an IPv4 address that the IPv6 address only hides; nobody serves webhooks there.
    return inner.version == 4 or not (inner.is_site_local or inner.sixtofour or inner.teredo)


def _inner(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for on the way out (IPv4-mapped, or NAT64, RFC 6052), or itself."""
    if address.version == 4:
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else address


class Resolver:
    """Finds the addresses of hosts, each lookup with a deadline, which the system's resolver has not."""

    def __init__(self, networks: Sequence[Network], threads: int) -> None:
        """`networks` are allowed besides public addresses; lookups that hang hold up no more than so many threads."""
        self._networks = networks
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="resolver")

    def resolve(self, target: Target, seconds: float) -> list[str]:
        """All addresses of the target, each of them checked. Raises Forbidden, TimeoutError and OSError."""
        lookup = self._pool.submit(socket.getaddrinfo, target.host, target.port, type=socket.SOCK_STREAM)
        try:
            found = lookup.result(seconds)
        except UnicodeError as error:  # a label that is empty or too long
            raise Forbidden from error
        finally:
            lookup.cancel()
        addresses = list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))
        if not addresses or not all(is_allowed(ipaddress.ip_address(a), self._networks) for a in addresses):
            raise Forbidden
        return addresses
