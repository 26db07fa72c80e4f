"""Limits on the responses of other servers: a deadline for the whole response, and its size in bytes.

The read timeout of requests applies to each read from the socket, so a server that sends a byte a second is never too
slow for it, and a body may have any length. With `limit`, the read timeout of a call is the deadline of the whole
response, from the status line to the last byte of the body, and headers count towards the size.

Compressed responses are refused, because a small one may become a large one. Requests therefore ask for `identity`.
Redirects are not followed, because each of them would have a deadline of its own. Cookies are dropped: no call uses
them, and a session would collect them.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
from functools import partial
from typing import Any, TypeVar

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.poolmanager import PoolManager

LARGEST = 4 * 1024 * 1024
"""The largest response that is read, in bytes, headers included. A page of 100 records has a tenth of it."""

_TIMEOUT = 30.0  # seconds for a response if the call has no timeout

AnySession = TypeVar("AnySession", bound=requests.Session)


def limit(session: AnySession, largest: int = LARGEST) -> AnySession:
    """Limit the responses that a session reads to `largest` bytes and to the read timeout of each call. Returns it.

    Beyond a limit, a call raises requests.RequestException.
    """
    session.headers["Accept-Encoding"] = "identity"
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter(largest))
    return session


class LimitedReader(io.RawIOBase):
    """Reads a socket until a deadline, and not more than a number of bytes.

    `deadline` is a time of `time.monotonic`. Reading raises TimeoutError after the deadline, and
    http.client.HTTPException after `largest` bytes.
    """

    def __init__(self, sock: socket.socket, deadline: float, largest: int) -> None:
        self._sock, self._deadline, self._room = sock, deadline, largest
        # Closing a socket takes effect when the last of its files is closed, so this one keeps it open.
        self._file = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what has arrived. Raises TimeoutError, http.client.HTTPException."""
        seconds_left = self._deadline - time.monotonic()
        if seconds_left <= 0:
            raise TimeoutError("the response is too slow")
        self._sock.settimeout(seconds_left)
        count = self._file.readinto(memoryview(buffer)[: self._room + 1]) or 0
        self._room -= count
        if self._room < 0:
            raise http.client.HTTPException("the response is too large")
        return count

    def close(self) -> None:
        """Close the file. The socket stays open if others use it."""
        if not self.closed:
            self._file.close()
        super().close()


class FinalResponse(http.client.HTTPResponse):
    """A response behind any interim ones (RFC 9110, 15.2). http.client skips only 100, not 103 Early Hints."""

    def begin(self) -> None:
        """Read status and headers. Raises http.client.HTTPException."""
        super().begin()
        while 102 <= self.status < 200:
            self.headers = self.msg = None  # type: ignore[assignment]
            super().begin()


class _Response(FinalResponse):
    def __init__(self, largest: int, sock: socket.socket, *args: Any, **more: Any) -> None:
        super().__init__(sock, *args, **more)
        self.fp.close()
        # urllib3 sets the socket's timeout to the read timeout of the call before it reads a response.
        deadline = time.monotonic() + (sock.gettimeout() or _TIMEOUT)
        self.fp = io.BufferedReader(LimitedReader(sock, deadline, largest))

    def begin(self) -> None:
        """Read status and headers. Raises http.client.HTTPException for a compressed response, too."""
        super().begin()
        if self.headers.get("Content-Encoding", "identity").strip().lower() not in ("identity", ""):
            raise http.client.HTTPException("the response is compressed")
        # Without it, requests follows no redirect. It would also raise UnicodeDecodeError for one that is not UTF-8.
        del self.headers["Location"]
        del self.headers["Set-Cookie"]


class _Adapter(HTTPAdapter):
    def __init__(self, largest: int) -> None:
        self._largest = largest
        super().__init__()

    def init_poolmanager(self, *args: Any, **more: Any) -> None:
        """Open connections whose responses are limited."""
        super().init_poolmanager(*args, **more)
        self._limit(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **more: Any) -> Any:
        """Return the connections through a proxy; their responses are limited, too."""
        manager = super().proxy_manager_for(*args, **more)
        self._limit(manager)
        return manager

    def _limit(self, manager: PoolManager) -> None:
        # Since Python 3.14, a partial in a class is bound like a method.
        response = staticmethod(partial(_Response, self._largest))
        plain = type("Plain", (HTTPConnection,), {"response_class": response})
        encrypted = type("Encrypted", (HTTPSConnection,), {"response_class": response})
        manager.pool_classes_by_scheme = {
            "http": type("PlainPool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
            "https": type("EncryptedPool", (HTTPSConnectionPool,), {"ConnectionCls": encrypted}),
        }
