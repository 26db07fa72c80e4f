"""requests over port-forwards: each connection that it opens is one, to a pod that is ready then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import requests
from kubernetes import client
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.exceptions import NewConnectionError


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
                except (client.ApiException, StopIteration) as error:  # StopIteration: no pod is ready
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
