"""A TCP link to a server that can lose everything without a word, as a network partition does, or lead elsewhere.

with Link(5432) as link:
    psycopg.connect(port=link.port, ...)
    link.cut()         # nothing arrives any more, in either direction; connections stay open
    link.heal()        # what was sent meanwhile arrives
    link.target = 5433 # new connections lead to another server
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

_CHUNK = 65536


class Link:
    """Forwards bytes between clients of `port` and `target`, a port of the loopback address."""

    def __init__(self, target: int, port: int = 0) -> None:
        """`port` is the port of the loopback address that clients use; by default one that is free."""
        self.target = target
        self._listener = socket.create_server(("127.0.0.1", port), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._passes = threading.Event()
        self._passes.set()
        self._closing = False
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()

    def cut(self) -> None:
        """Forward nothing from now on, in either direction: neither bytes nor the end of a connection."""
        self._passes.clear()

    def heal(self) -> None:
        """Forward everything, first of all what was sent meanwhile."""
        self._passes.set()

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        self._passes.set()
        with self._lock:
            for each in (self._listener, *self._open):
                _shut(each)
        self._listener.close()

    @staticmethod
    def _start(run: Callable[..., None], *arguments: socket.socket) -> None:
        threading.Thread(target=run, args=arguments, name="link", daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return  # closed by __exit__
            self._start(self._connect, caller)

    def _connect(self, caller: socket.socket) -> None:
        self._passes.wait()
        try:
            server = socket.create_connection(("127.0.0.1", self.target), timeout=10)
        except OSError:
            caller.close()
            return
        server.settimeout(None)
        for each in (caller, server):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            if self._closing:
                caller.close()
                server.close()
                return
            self._open |= {caller, server}
        self._start(self._forward, caller, server)
        self._forward(server, caller)

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        """Forward bytes in one direction. The end of either direction ends both."""
        with suppress(OSError):
            while data := source.recv(_CHUNK):
                self._passes.wait()
                sink.sendall(data)
        self._passes.wait()
        for each in (source, sink):
            _shut(each)
        with self._lock:
            if source in self._open:
                self._open -= {source, sink}
                return
        for each in (source, sink):  # the other direction has ended as well
            each.close()


def _shut(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
