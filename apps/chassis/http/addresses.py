"""The addresses of clients, as they are counted: an IPv4 address, or the network that one IPv6 client has."""

from __future__ import annotations

import ipaddress


def client_network(address: str) -> str:
    """Return an IPv4 address as it is, and for IPv6 its /64 network, because one client has all of its addresses.

    Some proxies write the port of the client behind its address (192.0.2.1:443, [2001:db8::1]:443); it is ignored.
    Returns "unknown" if the text is not an address.
    """
    if address.startswith("["):
        address = address[1:].partition("]")[0]
    elif address.count(":") == 1:
        address = address.partition(":")[0]
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if parsed.version == 4:
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))
