"""A TCP proxy in front of one service that simulates network faults.

with Proxy("127.0.0.1", 8081) as proxy:
    proxy.mode = "cut_response"
    requests.get(proxy.url)  # the service handles the request, its response is lost
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

MODES = ("pass", "refuse", "cut_request", "cut_response", "swallow_response", "delay")
"""What happens to a request:

    pass              it is forwarded
    refuse            the connection is closed at once, or when it is used again
    cut_request       it is not forwarded, and the connection is closed
    cut_response      it is forwarded, its response is not, and the connection is closed
    swallow_response  it is forwarded, its response is not, and the connection stays open until the client's timeout
    delay             it is forwarded after a delay
"""

_CHUNK = 65536


class Proxy:
    """Forwards bytes between clients of `url` and one target, according to `mode`, which can change at any time.

    A change applies to the next bytes, on open connections too. `on_request` is called with the bytes of clients
    before they are forwarded.
    """

    def __init__(self, target_host: str, target_port: int, on_request: Callable[[bytes], object] | None = None) -> None:
        self._target = (target_host, target_port)
        self._on_request = on_request
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._mode, self._seconds = "pass", 0.0
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: set[threading.Thread] = set()

    @property
    def mode(self) -> str:
        """What happens to requests now: one of MODES."""
        return self._mode

    @mode.setter
    def mode(self, mode: str) -> None:
        if mode not in MODES:
            raise ValueError(f"{mode!r} is not one of {', '.join(MODES)}")
        self._mode = mode

    def delay(self, seconds: float) -> None:
        """Forward each request after this many seconds."""
        self._seconds, self.mode = seconds, "delay"

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        _shut(self._listener)
        with self._lock:
            for each in self._open:
                _shut(each)
            threads = list(self._threads)
        for thread in threads:
            thread.join()
        self._listener.close()

    def _start(self, run: Callable[..., None], *arguments: socket.socket) -> None:
        def body() -> None:
            try:
                run(*arguments)
            finally:
                with self._lock:
                    self._threads.discard(thread)

        thread = threading.Thread(target=body, name=f"proxy {self.url}", daemon=True)
        with self._lock:
            self._threads.add(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return  # closed by __exit__
            if self._mode == "refuse":
                caller.close()
            else:
                self._start(self._connect, caller)

    def _connect(self, caller: socket.socket) -> None:
        try:
            target = socket.create_connection(self._target, timeout=10)
        except OSError:
            caller.close()
            return
        target.settimeout(None)
        for each in (caller, target):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._open |= {caller, target}
        answers = threading.Thread(target=self._answers, args=(target, caller), daemon=True)
        answers.start()
        if self._closing.is_set():  # __exit__ may not have seen these two
            _shut(caller, target)
        self._requests(caller, target)
        answers.join()
        with self._lock:
            self._open -= {caller, target}
        caller.close()
        target.close()

    def _requests(self, caller: socket.socket, target: socket.socket) -> None:
        try:
            while data := caller.recv(_CHUNK):
                if self._on_request is not None:
                    self._on_request(data)
                if self._mode in ("refuse", "cut_request"):
                    break
                if self._mode == "delay":
                    self._closing.wait(self._seconds)
                target.sendall(data)
        except OSError:
            pass  # one side has closed; close the other too
        finally:
            _shut(caller, target)

    def _answers(self, target: socket.socket, caller: socket.socket) -> None:
        swallowed = False
        try:
            while data := target.recv(_CHUNK):
                if self._mode == "cut_response":
                    break
                swallowed = self._mode == "swallow_response"
                if not swallowed:
                    caller.sendall(data)
        except OSError:
            pass  # as in _requests
        finally:
            if not swallowed:  # a swallowed response keeps the client waiting, even if the target has closed
                _shut(caller, target)


def _shut(*sockets: socket.socket) -> None:
    """Shut down both directions, which wakes threads that wait for bytes. The owner closes the sockets."""
    for each in sockets:
        try:
            each.shutdown(socket.SHUT_RDWR)
        except OSError:
            continue  # already shut down
