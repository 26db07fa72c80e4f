"""A connection of the worker: whose it is, and whether anything has arrived on it."""

from __future__ import annotations

import socket
from collections import Counter
from typing import Any

from gunicorn.workers.gthread import TConn

from chassis import counts
from chassis.http.addresses import client_network
from chassis.http.problems import Problem
from chassis.server import rejections


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

    def has_data(self) -> bool:
        """Return whether bytes have arrived that have not been read yet."""
        try:
            return bool(self.sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except OSError:
            return False

    def try_send_problem(self, problem: Problem) -> None:
        """Send a problem, as far as the socket's buffer has room for it."""
        self.sock.try_send(rejections.response("", problem, self.sock.getsockname()))
