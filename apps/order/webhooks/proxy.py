"""Webhooks through a forward proxy (WEBHOOK_PROXY), for clusters in which nothing else reaches the internet.

The proxy opens the connection (CONNECT, RFC 9110, section 9.3.6) and looks up the host's name, so it must refuse
private addresses. Addresses in a URL are still checked here, and names that only a cluster has are refused.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from chassis import urls
from chassis.config import ConfigError
from order.webhooks.addresses import Forbidden, Target, is_allowed
from order.webhooks.config import Network

_LARGEST_HEAD = 16 * 1024
# A host that ends in a number is an IPv4 address in an unusual spelling, such as 127.1 or 0x7f.1 (WHATWG URL, 3.5).
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
# Names that no public resolver has: of Kubernetes, RFC 6761, RFC 8375, ICANN (.internal), and of many companies.
_INTERNAL = (
    *(".local", ".localhost", ".localdomain", ".internal", ".intranet", ".private", ".corp", ".home", ".lan", ".arpa"),
    *(".svc", ".test", ".invalid", ".onion"),
)


@dataclass(frozen=True, slots=True)
class Proxy:
    """A forward proxy. `authorization` is the value of the header Proxy-Authorization, or empty."""

    host: str
    port: int
    authorization: str = ""

    @classmethod
    def parse(cls, url: str) -> Proxy | None:
        """Return the proxy of a URL such as http://user:password@proxy:3128, or None for "". Raises ConfigError."""
        if not url:
            return None
        parts = urlsplit(url) if urls.is_http(url, base=True) else None
        if parts is None or parts.scheme != "http" or parts.path not in ("", "/"):
            raise ConfigError("WEBHOOK_PROXY: must be http://HOST:PORT, with USER:PASSWORD@ in front of HOST if needed")
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else ""
        return cls(str(parts.hostname), parts.port or 80, f"Basic {b64encode(user.encode()).decode()}" if user else "")

    def check(self, target: Target, networks: tuple[Network, ...]) -> None:
        """Raise Forbidden if the target is an address that is not allowed, or a name that only a cluster has."""
        try:
            address = ipaddress.ip_address(target.host.strip("[]"))
        except ValueError:
            name = target.host.lower().rstrip(".")
            internal = "." not in name or name.endswith(_INTERNAL) or ".svc." in name
            if internal or _NUMBER.fullmatch(name.rpartition(".")[2]):
                raise Forbidden from None
            return
        if not is_allowed(address, networks):
            raise Forbidden

    def connect(self, target: Target, left: Callable[[], float]) -> socket.socket:
        """Return a connection to the target. `left` returns the seconds until the deadline. Raises OSError."""
        sock = socket.create_connection((self.host, self.port), left())
        try:
            host = f"[{target.host.strip('[]')}]" if ":" in target.host else target.host
            authority = f"{host}:{target.port}"
            lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
            if self.authorization:
                lines.append(f"Proxy-Authorization: {self.authorization}")
            sock.settimeout(left())
            sock.sendall("\r\n".join([*lines, "", ""]).encode())
            status = self._status(sock, left)
            if not 200 <= status < 300:
                raise ConnectionError(f"the proxy answered {status}")
        except BaseException:
            sock.close()
            raise
        return sock

    def _status(self, sock: Any, left: Callable[[], float]) -> int:
        """Read the head of the proxy's response, byte by byte: what follows belongs to the target."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            sock.settimeout(left())
            byte = sock.recv(1)
            if not byte or len(head) > _LARGEST_HEAD:
                raise ConnectionError("the proxy's response is malformed")
            head += byte
        parts = head.split(b" ", 2)
        if len(parts) < 2 or not parts[0].startswith(b"HTTP/1.") or not parts[1][:3].isdigit():
            raise ConnectionError("the proxy's response is malformed")
        return int(parts[1][:3])
