"""What a worker needs to know when it has many connections: whose they are, and which of them wait for nothing."""

from __future__ import annotations

import socket
from collections import Counter
from typing import Any

from gunicorn.workers.gthread import TConn

from chassis import counts
from chassis.http.addresses import client_network
from chassis.server.buffered_socket import BufferedSocket


class Connection(TConn):  # type: ignore[misc]
    """gunicorn's connection, counted in `open_by_address` until it is closed.

    `address` is the client's; for IPv6 its /64 network.
    """

    def __init__(self, open_by_address: Counter[str], *args: Any) -> None:
        super().__init__(*args)
        self.address = client_network(str(self.client[0]) if isinstance(self.client, tuple) else "")
        self._open = open_by_address
        self._open[self.address] += 1
        self.is_open = True

    def close(self, graceful: bool = False) -> None:
        """Close the socket, and stop counting the connection."""
        if self.is_open:
            self.is_open = False
            counts.subtract(self._open, self.address)
        super().close(graceful)


def has_data(sock: BufferedSocket) -> bool:
    """Return whether bytes have arrived on a connection that has not been read yet."""
    try:
        return bool(sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except OSError:
        return False
