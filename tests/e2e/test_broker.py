"""Events are published to NATS in the cluster, and a consumer in the namespace gets them in order."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.cluster.namespace import Namespace, is_ready, wait_until
from tests.support.cluster.orders import paid, place
from tests.support.cluster.pods import idle_pod, run_python
from tests.support.publishing import assert_in_order

pytestmark = pytest.mark.cluster

IMAGE = os.environ.get("NATS_IMAGE", "localhost/tandem/nats:test")
PASSWORD = "pa55word"

# Prints the events of the stream, one a line, until there have been as many as the second argument says.
CONSUMER = """
import asyncio, sys
import nats

async def main(url, count):
    client = await nats.connect(url, connect_timeout=5, max_reconnect_attempts=1)
    consumer = await client.jetstream().pull_subscribe("tandem.*.order.>", "shop", stream="TANDEM")
    for _ in range(count):
        (message,) = await consumer.fetch(1, timeout=30)
        print(message.data.decode())
        await message.ack_sync()
    await client.close()

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


def create_server(namespace: Namespace) -> str:
    """Create a NATS server without a persistent volume, and wait until it is ready. Returns its URL."""
    pod: dict[str, Any] = {
        "metadata": {"name": "nats", "labels": {"app": "nats"}},
        "spec": {
            "automountServiceAccountToken": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 10001,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "nats",
                    "image": IMAGE,
                    "args": ["/venv/bin/nats-server", "--jetstream", "--store_dir", "/data"]
                    + ["--user", "tandem", "--pass", PASSWORD],
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "readinessProbe": {"tcpSocket": {"port": 4222}, "periodSeconds": 1},
                    "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                }
            ],
            "volumes": [{"name": "data", "emptyDir": {}}],
        },
    }
    service = {"metadata": {"name": "nats"}, "spec": {"selector": {"app": "nats"}, "ports": [{"port": 4222}]}}
    namespace.core.create_namespaced_pod(namespace.name, pod)
    namespace.core.create_namespaced_service(namespace.name, service)
    wait_until("NATS is ready", lambda: is_ready(namespace.core.read_namespaced_pod("nats", namespace.name)), 90)
    return f"nats://tandem:{PASSWORD}@nats.{namespace.name}:4222"


def test_the_events_of_orders_arrive_at_a_consumer_in_order(new_namespace: Callable[..., Namespace]) -> None:
    namespace = new_namespace()
    url = create_server(namespace)
    namespace.install({"order": {"publisher": {"enabled": True, "url": url}}})
    with namespace.order() as tandem:
        orders = [paid(tandem, place(tandem).id).id for _ in range(3)]
    with idle_pod(namespace) as pod:
        printed = run_python(namespace.name, pod, CONSUMER, url, str(2 * len(orders)))
    events = [json.loads(line) for line in printed.splitlines()]
    assert_in_order(events)
    types = {order: [event["type"] for event in events if event["subject"] == order] for order in orders}
    assert types == dict.fromkeys(orders, ["order.placed", "order.paid"])
