"""Port-forwards: as what a requests.Session connects by, and as a port of this machine."""

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

NOBODY = (client.ApiException, StopIteration)  # StopIteration: no pod is ready


def to(namespace: str, pod: str, port: int) -> Any:
    """The socket of a port-forward. Raises ApiException."""
    # A client of its own: opening a stream bends it, and others may be opening theirs at the same time.
    core: Any = client.CoreV1Api(client.ApiClient())
    forwarded = portforward(core.connect_get_namespaced_pod_portforward, pod, namespace, ports=str(port))
    opened = forwarded.socket(port)
    opened.setblocking(True)
    return opened


class Forwarding(HTTPAdapter):
    """What a session has in the place of the network."""

    def __init__(self, connect: Callable[[], Any]) -> None:
        """`connect` opens a port-forward and returns its socket."""
        self._connect = connect
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """requests calls this to make the pools that it takes its connections from."""
        connect = self._connect

        class Connection(HTTPConnection):
            def _new_conn(self) -> Any:
                try:
                    return connect()
                except NOBODY as error:
                    raise NewConnectionError(self, f"no port-forward: {error}") from error

        class Pool(HTTPConnectionPool):
            ConnectionCls = Connection

        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": Pool}


def session(connect: Callable[[], Any]) -> requests.Session:
    """A session all of whose connections are made by `connect`."""
    made = requests.Session()
    made.trust_env = False  # a proxy has no business in a port-forward
    made.mount("http://", Forwarding(connect))
    return made


class Listener:
    """A port of this machine; each connection to it is a port-forward, or is closed when there can be none."""

    def __init__(self, connect: Callable[[], Any]) -> None:
        """`connect` opens a port-forward and returns its socket."""
        self._connect = connect
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listening.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)  # which wakes who accepts
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        with near:
            try:
                far = self._connect()
            except (*NOBODY, OSError):
                return
            with contextlib.closing(far), contextlib.suppress(OSError):
                _carry(near, far)


def _carry(near: Any, far: Any) -> None:
    """Carry bytes both ways, until either side has closed."""
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
