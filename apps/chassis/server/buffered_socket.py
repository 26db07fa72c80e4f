"""A socket whose `sendall` never blocks."""

from __future__ import annotations

import socket
from typing import Any

from chassis.telemetry import logs

log = logs.get_logger()


class BufferedSocket:
    """Wraps a client's socket: what the client does not take at once is kept for the event loop to send.

    Everything but `sendall` is the wrapped socket's. gunicorn sends responses with `sendall` only (sendfile is off).
    """

    def __init__(self, client: socket.socket) -> None:
        self._client = client
        self.unsent = bytearray()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def sendall(self, data: bytes) -> None:
        """Send what fits into the socket's buffer and keep the rest. Raises OSError if the client has disconnected."""
        self.unsent += data
        self.flush()

    def flush(self) -> None:
        """Send more of what was kept. Raises OSError if the client has disconnected."""
        try:
            while self.unsent:
                del self.unsent[: self._client.send(self.unsent, socket.MSG_DONTWAIT)]
        except BlockingIOError:
            pass

    def try_send(self, data: bytes) -> None:
        """Send a few bytes. If the socket's buffer has no room for them, the client does not read anyway."""
        try:
            self._client.send(data, socket.MSG_DONTWAIT)
        except OSError as error:
            log.debug("could_not_answer", error=error)
