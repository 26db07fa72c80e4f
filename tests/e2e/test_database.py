"""An external database instead of the embedded ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from kubernetes import client

from tests.support.charts.rendering import merged
from tests.support.cluster.namespace import DATABASE, Namespace, is_ready, wait_until
from tests.support.cluster.orders import paid, place
from tests.support.cluster.pods import run

pytestmark = pytest.mark.cluster

PASSWORD = "pa55word"
INIT = "".join(
    f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'; CREATE DATABASE {name} OWNER {name};"
    for name in ("order_app", "payment_app")
)


def create_server(namespace: Namespace) -> None:
    """Create a PostgreSQL server for both services, without a persistent volume."""
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    pod: dict[str, Any] = {
        "metadata": {"name": "postgres", "labels": {"app": "postgres"}},
        "spec": {
            "automountServiceAccountToken": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 999,
                "fsGroup": 999,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "postgres",
                    "image": "postgres:18",
                    "env": [
                        {"name": "POSTGRES_PASSWORD", "value": PASSWORD},
                        {"name": "PGDATA", "value": "/var/lib/postgresql/18/docker"},
                    ],
                    "securityContext": security,
                    "readinessProbe": {
                        "exec": {"command": ["pg_isready", "--quiet", "--host=127.0.0.1"]},
                        "periodSeconds": 1,
                    },
                    "volumeMounts": [
                        {"name": "data", "mountPath": "/var/lib/postgresql"},
                        {"name": "init", "mountPath": "/docker-entrypoint-initdb.d"},
                    ],
                }
            ],
            "volumes": [{"name": "data", "emptyDir": {}}, {"name": "init", "configMap": {"name": "init"}}],
        },
    }
    service = {
        "metadata": {"name": "db"},
        "spec": {"selector": {"app": "postgres"}, "ports": [{"port": 6432, "targetPort": 5432}]},
    }
    namespace.core.create_namespaced_config_map(
        namespace.name, {"metadata": {"name": "init"}, "data": {"init.sql": INIT}}
    )
    namespace.core.create_namespaced_pod(namespace.name, pod)
    namespace.core.create_namespaced_service(namespace.name, service)
    wait_until(
        "the database is ready", lambda: is_ready(namespace.core.read_namespaced_pod("postgres", namespace.name)), 90
    )


def external(elsewhere: Namespace) -> dict[str, Any]:
    """Return the values with which both services use the server in that namespace."""
    # Network policies apply to the port of the pod, not to that of its Service.
    peer = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": elsewhere.name}}}
    shared: dict[str, Any] = {
        "postgresql": {"enabled": False},
        "networkPolicy": {"database": {"port": 5432, "to": [peer]}},
    }
    return {
        service: merged(
            shared,
            {"database": {"url": f"postgresql://{service}_app:{PASSWORD}@db.{elsewhere.name}:6432/{service}_app"}},
        )
        for service in ("order", "payment")
    }


def test_an_external_database_is_migrated_and_used(new_namespace: Callable[..., Namespace]) -> None:
    elsewhere, namespace = new_namespace(), new_namespace()
    create_server(elsewhere)
    values = external(elsewhere)
    namespace.install(values)
    assert namespace.pods(DATABASE) == []
    with namespace.order() as tandem:
        order = paid(tandem, place(tandem).id)

        # An upgrade migrates before it replaces the pods, with the URL of the new values.
        namespace.upgrade(merged(values, {"order": {"logLevel": "debug"}}))
        assert paid(tandem, order.id).paid_amount == 900
        paid(tandem, place(tandem).id)
    url = f"postgresql://order_app:{PASSWORD}@127.0.0.1/order_app"
    counted = run(elsewhere.name, "postgres", "psql", url, "-tAc", "SELECT count(*) FROM orders")
    assert counted.split() == ["2"]


def test_one_upgrade_changes_the_database_its_policy_and_the_account(new_namespace: Callable[..., Namespace]) -> None:
    elsewhere, namespace = new_namespace(), new_namespace()
    create_server(elsewhere)
    namespace.install()
    account = {service: {"serviceAccount": {"name": f"{service}-of-the-shop"}} for service in ("order", "payment")}
    # The migration runs before the release's account exists, and while the policy in the cluster allows the embedded
    # database only.
    namespace.upgrade(merged(external(elsewhere), account))
    with namespace.order() as tandem:
        paid(tandem, place(tandem).id)
    accounts = {one.metadata.name for one in namespace.core.list_namespaced_service_account(namespace.name).items}
    assert accounts == {"default", "order-of-the-shop", "payment-of-the-shop"}
    networking: Any = client.NetworkingV1Api()
    policies = networking.list_namespaced_network_policy(namespace.name).items
    assert not [one.metadata.name for one in policies if one.metadata.name.endswith("-migrate")]
