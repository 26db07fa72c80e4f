"""Where webhooks may be sent: URLs of a restricted form, and public addresses only.

Merchants choose the URLs, and the requests come from inside the service's network (server-side request forgery, OWASP).
So the addresses are checked, not the spelling of the URL: a name is resolved once, all of its addresses must be public,
and the connection is made to a checked address.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

from chassis import counts, urls
from order.webhooks.config import Network

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?\.?|\[[0-9A-Fa-f:.]+\]")
_REST = re.compile(r"[\x21-\x7e]*")
_PORTS = {"https": 443, "http": 80}
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_UNICAST = ipaddress.ip_network("2000::/3")  # the only IPv6 addresses that are assigned to hosts of the Internet
# Networks without webhook receivers that `is_global` of some versions of Python includes. They are from IANA's
# special-purpose registries (as of 2025), which call some of them globally reachable; the last is Azure's.
_SPECIAL = tuple(
    map(
        ipaddress.ip_network,
        (
            "192.0.0.0/24",  # IETF protocol assignments
            "192.31.196.0/24",  # AS112
            "192.52.193.0/24",  # AMT relays
            "192.88.99.0/24",  # 6to4 relays
            "192.175.48.0/24",  # AS112
            "2001::/23",  # IETF protocol assignments, with Teredo, benchmarking, AMT, AS112, ORCHID and DRIP
            "2002::/16",  # 6to4
            "2620:4f:8000::/48",  # AS112
            "3fff::/20",  # documentation
            "168.63.129.16/32",  # Azure's virtual host, which serves each machine's own configuration
        ),
    )
)


class BadUrl(ValueError):
    """The URL cannot be used for webhooks; the message says what is required."""


class Forbidden(Exception):
    """The host is not public. The message is always the same, so that it reveals nothing about this network."""

    def __init__(self) -> None:
        super().__init__("the host does not resolve to public addresses only")


@dataclass(frozen=True, slots=True)
class Target:
    """The parts of a URL: what to connect to, and the path with the query to request."""

    scheme: str
    host: str
    port: int
    path: str


def parse(url: str, allow_http: bool) -> Target:
    """Split a URL into its parts. Raises BadUrl."""
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
    if not _HOST.fullmatch(host) or not urls.is_name(host) or len(host) > 253 or (written and port is None):
        raise BadUrl("Must name a host, in ASCII: a name or an IP address.")
    if "#" in url or not _REST.fullmatch(url):
        raise BadUrl("Must have no fragment, and nothing but visible ASCII characters.")
    port = _PORTS[parts.scheme] if port is None else port
    if port != _PORTS[parts.scheme] and port < 1024:
        # The other ports below 1024 belong to services that do not speak HTTP, and a request might do harm there.
        raise BadUrl(f"Must have the port {_PORTS[parts.scheme]} or one from 1024 to 65535.")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host.strip("[]").rstrip("."), port, path)


def is_allowed(address: Address, networks: Sequence[Network]) -> bool:
    """Return whether webhooks may be sent to this address: it is public, or in one of the networks."""
    inner = _inner(address)
    if any(inner in network or address in network for network in networks):
        return True
    if any(inner in network for network in _SPECIAL):
        return False
    if not inner.is_global or inner.is_multicast or inner.is_reserved:
        return False
    return inner.version == 4 or inner in _UNICAST


def _inner(address: Address) -> Address:
    """Return the IPv4 address inside an IPv4-mapped or NAT64 (RFC 6052) IPv6 address; otherwise the address itself."""
    if address.version == 4:
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else address


class Resolver:
    """Looks up the addresses of hosts with a timeout, which the system's resolver does not have.

    A lookup that nobody answers goes on after its timeout. So each merchant has a limited number of lookups at a time:
    its names cannot occupy all threads.
    """

    def __init__(self, networks: Sequence[Network], threads: int) -> None:
        """`networks` are allowed in addition to public addresses. `threads` is how many attempts are made at a time.

        A merchant has half as many lookups at a time, and all merchants together four times as many.
        """
        self._networks = networks
        self._limit = max(1, threads // 2)
        self._running: Counter[str] = Counter()
        self._ended = threading.Condition()
        self._pool = ThreadPoolExecutor(4 * threads, thread_name_prefix="resolver")

    def resolve(self, target: Target, seconds: float, merchant: str = "") -> list[str]:
        """Return the target's addresses if all are allowed. `merchant` has chosen the target.

        Raises Forbidden, OSError, TimeoutError after `seconds`.
        """
        deadline = time.monotonic() + seconds
        with self._ended:
            if not self._ended.wait_for(lambda: self._running[merchant] < self._limit, seconds):
                raise TimeoutError
            self._running[merchant] += 1
        lookup = self._pool.submit(socket.getaddrinfo, target.host, target.port, type=socket.SOCK_STREAM)
        lookup.add_done_callback(lambda _: self._end(merchant))
        try:
            found = lookup.result(max(0.0, deadline - time.monotonic()))
        finally:
            lookup.cancel()
        addresses = list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))
        if not addresses or not all(is_allowed(ipaddress.ip_address(a), self._networks) for a in addresses):
            raise Forbidden
        return addresses

    def _end(self, merchant: str) -> None:
        with self._ended:
            counts.subtract(self._running, merchant)
            self._ended.notify_all()
