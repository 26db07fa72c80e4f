"""Limits on responses: a deadline for the whole response, and the largest body that is read.

The read timeout of requests applies to each read from the socket. A server that sends a byte a second, in the headers
for example, is never too slow for it.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.poolmanager import PoolManager

LARGEST_BODY = 16 * 1024 * 1024
"""The largest body that is read, in bytes: several times the largest page of the services."""

_TIMEOUT = 60.0  # seconds for a response if the call has no timeout


class DeadlineAdapter(HTTPAdapter):
    """Makes the read timeout of a call the deadline of its whole response, from the status line to the last byte."""

    def init_poolmanager(self, *args: Any, **more: Any) -> None:
        """Open connections whose responses have a deadline."""
        super().init_poolmanager(*args, **more)
        _set_classes(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **more: Any) -> Any:
        """Return the connections through a proxy; their responses have a deadline, too."""
        manager = super().proxy_manager_for(*args, **more)
        _set_classes(manager)
        return manager


class _Reader(io.RawIOBase):
    """Reads a socket until a time of `time.monotonic`; then it raises TimeoutError."""

    def __init__(self, sock: socket.socket, until: float) -> None:
        self._sock, self._until = sock, until
        # Closing a socket takes effect when the last of its files is closed, so this one keeps it open.
        self._file = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        seconds_left = self._until - time.monotonic()
        if seconds_left <= 0:
            raise TimeoutError("the response did not end in time")
        self._sock.settimeout(seconds_left)
        return self._file.readinto(buffer) or 0

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **more: Any) -> None:
        super().__init__(sock, *args, **more)
        self.fp.close()
        # urllib3 sets the socket's timeout to the read timeout of the call before it reads a response.
        self.fp = io.BufferedReader(_Reader(sock, time.monotonic() + (sock.gettimeout() or _TIMEOUT)))

    def begin(self) -> None:
        # http.client takes an interim response, such as 103 Early Hints, for the final one (RFC 9110, 15.2).
        super().begin()
        while 102 <= self.status < 200:
            self.headers = self.msg = None  # type: ignore[assignment]
            super().begin()


class _Plain(HTTPConnection):
    response_class = _Response


class _Encrypted(HTTPSConnection):
    response_class = _Response


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Plain  # pyright: ignore[reportAssignmentType]


class _EncryptedPool(HTTPSConnectionPool):
    ConnectionCls = _Encrypted  # pyright: ignore[reportAssignmentType]


def _set_classes(manager: PoolManager) -> None:
    manager.pool_classes_by_scheme = {"http": _PlainPool, "https": _EncryptedPool}
