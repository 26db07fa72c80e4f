"""TCP ports of this machine."""

from __future__ import annotations

import socket


def listens(port: int) -> bool:
    """Return whether a process accepts connections on this port."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
