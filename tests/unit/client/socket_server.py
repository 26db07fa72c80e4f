"""A TCP server whose handler sends arbitrary bytes, so that tests can send broken or slow HTTP responses."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

Handler = Callable[[socket.socket, bytes], None]


def json_response(body: bytes, status: str = "200 OK", more: str = "") -> bytes:
    """Return a complete HTTP response with a JSON body. `more` is further header lines."""
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body


@contextlib.contextmanager
def serve(handle: Handler) -> Iterator[tuple[str, list[bytes]]]:
    """Run a server that calls `handle` with each request. Yields its URL and the first request of each connection."""
    listener = socket.create_server(("127.0.0.1", 0))
    connections: list[bytes] = []
    threads: list[threading.Thread] = []
    sockets: list[socket.socket] = []

    def serve_connection(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            first = True
            while request := _read_request(connection):
                if first:
                    connections.append(request)
                first = False
                handle(connection, request)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                sockets.append(connection)
                threads.append(threading.Thread(target=serve_connection, args=(connection,)))
                threads[-1].start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", connections
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join()
        listener.close()
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()


def _read_request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = connection.recv(65536)
        if not chunk:
            return b""
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    while len(body) < int(lengths[0] if lengths else 0):
        body += connection.recv(65536)
    return data
