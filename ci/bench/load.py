"""A closed-loop load generator: each client keeps one connection and sends its next request after each response.

It uses one thread and epoll, so that it takes as little CPU as possible from the services that it measures.
"""

import re
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
# Seconds without any response after which a run is void.
TIMEOUT = 20


class Void(Exception):
    """The run must be discarded: a request failed or was not answered."""


@dataclass(slots=True)
class Run:
    """The result of a run: its duration and the latency of each response, in seconds."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Responses per second."""
        return len(self.latencies) / self.seconds

    def percentile(self, percent: float) -> float:
        """Return the latency, in seconds, that `percent` of the responses did not exceed."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


class _Client:
    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, timeout=TIMEOUT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sent = 0.0
        self._answer = b""
        self._size = 0

    def send(self, request: bytes) -> None:
        self._answer, self._size = b"", 0
        self.sent = time.perf_counter()
        self.socket.sendall(request)

    def receive(self) -> bytes | None:
        """Return the response once it is complete, else None. Raises Void if the server closes the connection."""
        data = self.socket.recv(262144)
        if not data:
            raise Void("the server closed a keep-alive connection")
        self._answer += data
        if not self._size:
            end = self._answer.find(b"\r\n\r\n")
            if end < 0:
                return None
            length = _LENGTH.search(self._answer, 0, end)
            self._size = end + 4 + (int(length[1]) if length else 0)
        return self._answer if len(self._answer) >= self._size else None


def run(
    address: tuple[str, int],
    request: Callable[[], bytes],
    *,
    clients: int,
    seconds: float,
    expect: bytes,
    answered: Callable[[bytes], None] | None = None,
) -> Run:
    """Send requests that `request()` returns for `seconds`. Each response must have the status `expect`.

    `answered` is called with every response. Raises Void for the first unexpected response, and after TIMEOUT without
    one.
    """
    connections = [_Client(address) for _ in range(clients)]
    by_number = {connection.socket.fileno(): connection for connection in connections}
    poller = select.epoll()
    for number in by_number:
        poller.register(number, select.EPOLLIN)
    result = Run()
    status = b"HTTP/1.1 " + expect
    under_way = len(connections)
    began = time.perf_counter()
    for connection in connections:
        connection.send(request())
    try:
        while under_way:
            ready = poller.poll(TIMEOUT)
            if not ready:
                raise Void(f"no response within {TIMEOUT} s")
            for number, _ in ready:
                connection = by_number[number]
                answer = connection.receive()
                if answer is None:
                    continue
                now = time.perf_counter()
                if not answer.startswith(status):
                    raise Void(f"a response was not {expect.decode()}: {answer[:500].decode(errors='replace')}")
                result.latencies.append(now - connection.sent)
                if answered is not None:
                    answered(answer)
                if now - began < seconds:
                    connection.send(request())
                else:
                    under_way -= 1
        result.seconds = time.perf_counter() - began
    finally:
        poller.close()
        for connection in connections:
            connection.socket.close()
    return result
