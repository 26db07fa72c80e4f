"""The addresses of clients, as they are counted: an IPv4 address, or the network that one IPv6 client has."""

from __future__ import annotations

import ipaddress


def client_network(address: str) -> str:
    """Return an IPv4 address as it is, and for IPv6 its /64 network, because one client has all of its addresses.

    Returns "unknown" if the text is not an address.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if parsed.version == 4:
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))
