"""An external database instead of the embedded ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

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


def test_an_external_database_is_migrated_and_used(new_namespace: Callable[..., Namespace]) -> None:
    elsewhere, namespace = new_namespace(), new_namespace()
    create_server(elsewhere)
    # Network policies apply to the port of the pod, not to that of its Service.
    peer = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": elsewhere.name}}}
    external: dict[str, Any] = {
        "postgresql": {"enabled": False},
        "networkPolicy": {"database": {"port": 5432, "to": [peer]}},
    }
    values = {
        service: merged(
            external,
            {"database": {"url": f"postgresql://{service}_app:{PASSWORD}@db.{elsewhere.name}:6432/{service}_app"}},
        )
        for service in ("order", "payment")
    }
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
