"""The nodes of a cluster: what runs where, and faults of a node."""

from __future__ import annotations

import os
import shlex
import subprocess
from typing import Any

from kubernetes import client

from tests.support.cluster.namespace import Namespace, is_ready, wait_until

ZONE = "topology.kubernetes.io/zone"
BACK = 120.0
"""Seconds within which a node is ready again after its fault has ended."""


def fault(kind: str, node: str) -> None:
    """Cause or end a fault of a node, by the command that NODE_COMMAND names.

    The command is called with `kill`, `start`, `cut` or `heal` and the name of the node. A killed node ends at once, as
    without power, and starts with its disk. A node that is cut off runs on without its network.
    Raises CalledProcessError.
    """
    subprocess.run([*shlex.split(os.environ["NODE_COMMAND"]), kind, node], check=True, timeout=BACK)


def zones() -> dict[str, str]:
    """Return the zone of each node."""
    core: Any = client.CoreV1Api()
    return {one.metadata.name: one.metadata.labels[ZONE] for one in core.list_node().items}


def wait_all_ready() -> None:
    """Wait until all nodes are ready."""
    core: Any = client.CoreV1Api()
    wait_until("all nodes are ready", lambda: all(map(is_ready, core.list_node().items)), BACK)


def of_the_api() -> str:
    """Return the node on which the API server runs. Without it, tests see nothing."""
    core: Any = client.CoreV1Api()
    (subset, *_) = core.read_namespaced_endpoints("kubernetes", "default").subsets
    addresses = {one.ip for one in subset.addresses}
    (node,) = (
        one.metadata.name
        for one in core.list_node().items
        if addresses & {address.address for address in one.status.addresses}
    )
    return str(node)


def of_servers(namespace: Namespace, service: str) -> list[str]:
    """Return the node of each of a service's pods that are ready, sorted."""
    return sorted(pod.spec.node_name for pod in namespace.servers(service) if is_ready(pod))


def wait_spread(namespace: Namespace, services: tuple[str, ...], pods: int) -> None:
    """Wait until each service has so many ready pods, each on a node and in a zone of its own."""
    known = zones()

    def spread() -> bool:
        found = [of_servers(namespace, service) for service in services]
        return all(
            len(names) == len(set(names)) == len({known[name] for name in names}) == pods == len(namespace.servers(one))
            for one, names in zip(services, found, strict=True)
        )

    wait_until("the pods are spread over nodes and zones", spread, 180)
