"""The addresses that a service listens on: IPv4 and IPv6, unless HOST names one of them."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

_V6ONLY = Path("/proc/sys/net/ipv6/bindv6only")
_MAPPED = "::ffff:"


def hosts(host: str) -> list[str]:
    """Return the addresses to listen on for the setting HOST, without brackets.

    An empty `host` and `::` are all addresses of both families. Where the kernel has no IPv6, they are those of IPv4.
    """
    host = host.strip().removeprefix("[").removesuffix("]")
    if host not in ("", "::"):
        return [host]
    if not _has_ipv6():
        return ["0.0.0.0"]
    # A socket bound to :: accepts IPv4 too, unless the system separates the families.
    separate = _V6ONLY.exists() and _V6ONLY.read_text().strip() == "1"
    return ["0.0.0.0", "::"] if separate else ["::"]


def binds(host: str, port: str) -> list[str]:
    """Return gunicorn's setting `bind` for the settings HOST and PORT."""
    return [f"[{each}]:{port}" if ":" in each else f"{each}:{port}" for each in hosts(host)]


def listen(host: str, port: int, setting: str) -> socket.socket:
    """Return a listening socket for the setting HOST, and for a port, which has a setting of its own.

    Raises ValueError, which names the setting, if HOST is no address of this machine or the port cannot be used.
    """
    address = hosts(host)[-1]
    try:
        family = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
    except socket.gaierror as error:
        raise ValueError(f"HOST={host}: must be an address of this machine, such as 0.0.0.0 or ::") from error
    both = address == "::" and socket.has_dualstack_ipv6()
    try:
        return socket.create_server((address, port), family=family, backlog=64, dualstack_ipv6=both)
    except OSError as error:
        raise ValueError(f"{setting}={port}: {error.strerror or error} (HOST={host})") from error


def plain(address: Any) -> Any:
    """Return a peer's address as a socket reports it. IPv4 on a socket of both families is written as IPv4."""
    if isinstance(address, tuple) and address and str(address[0]).startswith(_MAPPED):
        return (address[0].removeprefix(_MAPPED), address[1])
    return address


def _has_ipv6() -> bool:
    if not socket.has_ipv6:
        return False
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::", 0))
    except OSError:
        return False
    return True
