"""Access to a release's databases and services through port-forwards to their pods."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

from tests.support.cluster import port_forward
from tests.support.cluster.namespace import DATABASE, SERVER, Namespace, wait_until
from tests.support.databases import Databases

PORTS = {"order": 8080, "payment": 8081}


@contextlib.contextmanager
def ports(**connects: Callable[[], Any]) -> Iterator[dict[str, int]]:
    """Open a local port for each of these functions, which open a connection to a pod. Yields the ports by name."""
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(port_forward.Listener(connect)).port for name, connect in connects.items()}


@contextlib.contextmanager
def databases(order: Namespace, payment: Namespace | None = None) -> Iterator[Databases]:
    """Yield the embedded databases of both services, which may be in two namespaces."""
    where = {"order": order, "payment": payment or order}
    connects = {name: _database(namespace, name) for name, namespace in where.items()}
    with ports(**connects) as opened:
        urls = {}
        for name, namespace in where.items():
            url = urlsplit(namespace.secret(f"{namespace.deployment(name)}-postgresql")["url"])
            urls[name] = url._replace(netloc=f"{url.username}:{url.password}@127.0.0.1:{opened[name]}").geturl()
        yield Databases(**urls)


def _database(namespace: Namespace, service: str) -> Callable[[], Any]:
    """Return a function that connects to a service's database, and waits while none can be reached."""
    labels = f"app.kubernetes.io/name={service},{DATABASE}"

    def forward() -> Any:
        with contextlib.suppress(*port_forward.UNREACHABLE):
            return namespace.forward(labels, 5432)
        return None

    return lambda: wait_until(f"the database of {service} can be reached", forward, 60)


def server(namespace: Namespace, service: str) -> Callable[[], Any]:
    """Return a function that connects to a service's API."""
    return lambda: namespace.forward(f"app.kubernetes.io/name={service},{SERVER}", PORTS[service])


def metrics(namespace: Namespace, service: str) -> Callable[[], Any]:
    """Return a function that connects to a service's admin port."""
    return lambda: namespace.forward(f"app.kubernetes.io/name={service},{SERVER}", 9090)
