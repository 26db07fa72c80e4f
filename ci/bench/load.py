"""A closed loop of callers: each keeps one connection alive and sends its next request when it has the answer.

One thread and epoll, so that it takes as little as possible of the machine that it shares with what it measures.
"""

import re
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
# Seconds without any answer after which a run is given up.
PATIENCE = 20


class Void(Exception):
    """The run is worth nothing: a request failed, or no answer came."""


@dataclass(slots=True)
class Run:
    """What came of a run: how many answers in how many seconds, and how long each took, in seconds."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds

    def percentile(self, percent: float) -> float:
        """The latency, in seconds, that so many of a hundred answers did not exceed."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


class _Caller:
    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sent = 0.0
        self._answer = b""
        self._size = 0

    def send(self, request: bytes) -> None:
        self._answer, self._size = b"", 0
        self.sent = time.perf_counter()
        self.socket.sendall(request)

    def receive(self) -> bytes | None:
        """The whole answer, or None as long as something is missing. Raises Void when the connection ends."""
        data = self.socket.recv(262144)
        if not data:
            raise Void("the server closed a connection that was to be kept alive")
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
    """Send what `request()` makes for so many seconds; each answer must begin with the status `expect`.

    `answered` is shown every answer. Raises Void at the first one that is not as expected, and when none comes.
    """
    callers = [_Caller(address) for _ in range(clients)]
    by_number = {caller.socket.fileno(): caller for caller in callers}
    poller = select.epoll()
    for number in by_number:
        poller.register(number, select.EPOLLIN)
    result = Run()
    status = b"HTTP/1.1 " + expect
    under_way = len(callers)
    began = time.perf_counter()
    for caller in callers:
        caller.send(request())
    try:
        while under_way:
            ready = poller.poll(PATIENCE)
            if not ready:
                raise Void(f"no answer within {PATIENCE} s")
            for number, _ in ready:
                caller = by_number[number]
                answer = caller.receive()
                if answer is None:
                    continue
                now = time.perf_counter()
                if not answer.startswith(status):
                    raise Void(f"an answer was not {expect.decode()}: {answer[:500].decode(errors='replace')}")
                result.latencies.append(now - caller.sent)
                if answered is not None:
                    answered(answer)
                if now - began < seconds:
                    caller.send(request())
                else:
                    under_way -= 1
        result.seconds = time.perf_counter() - began
    finally:
        poller.close()
        for caller in callers:
            caller.socket.close()
    return result
