"""The bytes of a request that the event loop has received, as gunicorn's parser reads them."""

from __future__ import annotations

from typing import Any

from gunicorn.http.unreader import SocketUnreader


class Received(SocketUnreader):  # type: ignore[misc]
    """Hands the received bytes to gunicorn in pieces of the size that it reads from a socket, then the socket's.

    For each chunk of a body, gunicorn copies what is left of the piece that it reads. With all bytes in one piece, 1 MB
    of small chunks would occupy a thread for minutes.
    """

    def __init__(self, sock: Any, data: bytes) -> None:
        super().__init__(sock)
        self._data, self._next = data, 0

    def chunk(self, size_hint: int | None = None) -> bytes:
        """Return the next piece: at least as much as is wanted, if that much was received."""
        piece = self._data[self._next : self._next + max(self.mxchunk, size_hint or 0)]
        self._next += len(piece)
        return piece or bytes(super().chunk(size_hint))

    def take_buffered(self) -> bytes:
        """Return all received bytes that were not read, and forget them."""
        rest = self._data[self._next :]
        self._data, self._next = b"", 0
        return bytes(super().take_buffered()) + rest
