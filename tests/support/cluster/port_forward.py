"""Port-forwards, for a requests.Session and as local ports."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import requests
from kubernetes import client
from kubernetes.stream import portforward
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.exceptions import NewConnectionError

UNREACHABLE = (client.ApiException, StopIteration)  # StopIteration: no pod is ready


def connect(namespace: str, pod: str, port: int) -> Any:
    """Open a port-forward and return its socket. Raises ApiException."""
    # A new client, because opening a stream modifies it, and other threads may be opening streams too.
    core: Any = client.CoreV1Api(client.ApiClient())
    forwarded = portforward(core.connect_get_namespaced_pod_portforward, pod, namespace, ports=str(port))
    opened = forwarded.socket(port)
    opened.setblocking(True)
    return opened


class Forwarding(HTTPAdapter):
    """An adapter that makes a session's connections with `connect`, which returns the socket of a port-forward."""

    def __init__(self, connect: Callable[[], Any]) -> None:
        self._connect = connect
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Create the connection pools. requests calls this."""
        connect = self._connect

        class Connection(HTTPConnection):
            def _new_conn(self) -> Any:
                try:
                    return connect()
                except UNREACHABLE as error:
                    raise NewConnectionError(self, f"no port-forward: {error}") from error

        class Pool(HTTPConnectionPool):
            ConnectionCls = Connection

        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": Pool}


def session(connect: Callable[[], Any]) -> requests.Session:
    """Return a session that makes its connections with `connect`."""
    made = requests.Session()
    made.trust_env = False  # a port-forward must not go through a proxy
    made.mount("http://", Forwarding(connect))
    return made


class Listener:
    """A local port. Each connection to it becomes a port-forward, or is closed if none can be opened.

    `connect` opens a port-forward and returns its socket.
    """

    def __init__(self, connect: Callable[[], Any]) -> None:
        self._connect = connect
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread in accept()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        with near:
            try:
                far = self._connect()
            except (*UNREACHABLE, OSError):
                return
            with contextlib.closing(far), contextlib.suppress(OSError):
                _copy(near, far)


def _copy(near: Any, far: Any) -> None:
    """Copy bytes in both directions until one side closes."""
    with selectors.DefaultSelector() as selector:
        selector.register(near.fileno(), selectors.EVENT_READ, (near, far))
        selector.register(far.fileno(), selectors.EVENT_READ, (far, near))
        while True:
            for key, _ in selector.select():
                source, target = key.data
                data = source.recv(65536)
                if not data:
                    return
                target.sendall(data)
