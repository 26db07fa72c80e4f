"""Closes connections after their last response so that the client can read it."""

from __future__ import annotations

import selectors
import socket
import time
from functools import partial
from typing import Protocol

from gunicorn.workers.gthread import TConn

LINGER_TIMEOUT = 2.0
"""Seconds for the client to read the last response and to close its side."""

_CHUNK = 64 * 1024


class Owner(Protocol):
    """The worker that has the connections."""

    poller: selectors.BaseSelector

    def close_connection(self, conn: TConn) -> None:
        """Close a connection at once, and stop counting it."""
        ...


class Lingering:
    """The connections on which nothing more is sent; the event loop waits until the client closes them too.

    To close at once could reset a connection before the client has read the response (RFC 9112, section 9.6).
    """

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._conns: set[TConn] = set()

    def begin(self, conn: TConn) -> None:
        """Close the sending side of a connection now, and the connection when the client has closed its side."""
        try:
            conn.sock.setblocking(False)
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._owner.close_connection(conn)
            return
        conn.timeout = time.monotonic() + LINGER_TIMEOUT
        self._conns.add(conn)
        self._owner.poller.register(conn.sock, selectors.EVENT_READ, partial(self._on_readable, conn))

    def close_expired(self, now: float) -> None:
        """Close the connections whose clients did not close in time."""
        for conn in [conn for conn in self._conns if conn.timeout <= now]:
            self._end(conn)

    def close_oldest(self) -> bool:
        """Close the connection that has waited longest. Returns False if no connection is waiting."""
        if not self._conns:
            return False
        self._end(min(self._conns, key=lambda conn: conn.timeout))
        return True

    def _on_readable(self, conn: TConn, client: socket.socket) -> None:
        if conn not in self._conns:
            return  # an earlier event of the same round closed it
        try:
            if client.recv(_CHUNK):
                return
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            pass
        self._end(conn)

    def _end(self, conn: TConn) -> None:
        self._owner.poller.unregister(conn.sock)
        self._conns.remove(conn)
        self._owner.close_connection(conn)
