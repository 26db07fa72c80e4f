"""What strict clusters ask for: other users, sidecars, more objects, a policy that denies everything else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from kubernetes import client

from ci import ROOT
from tests.support.cluster.kubectl import kubectl
from tests.support.cluster.namespace import Namespace
from tests.support.cluster.orders import paid, place

pytestmark = pytest.mark.cluster
USER = 1000690000  # as OpenShift chooses it


def values() -> dict[str, Any]:
    """Return values that another administrator could have chosen, all of them at once."""
    chosen = {"runAsUser": USER, "runAsGroup": 0, "fsGroup": USER}
    image = "postgres:18"
    idle = {
        "image": image,
        "command": ["sh", "-c", "trap exit TERM; while true; do sleep 1; done"],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    service = {
        "podSecurityContext": chosen,
        "postgresql": {"podSecurityContext": chosen},
        "initContainers": [{"name": "sidecar", "restartPolicy": "Always", **idle}],
        "extraContainers": [{"name": "more", **idle}],
        "extraObjects": [
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "{{ .Release.Name }}-{{ .Chart.Name }}-more"},
                "data": {"namespace": "{{ .Release.Namespace }}"},
            }
        ],
        "commonAnnotations": {"example.com/owner": "shop"},
        "hostAliases": [{"ip": "10.1.2.3", "hostnames": ["api.example.com"]}],
        "web": {"readinessProbe": {"periodSeconds": 1}, "lifecycle": {"preStop": {"sleep": {"seconds": 1}}}},
        "purge": {"timeZone": "Europe/Berlin"},
    }
    order = service | {"fullnameOverride": "shop-orders", "networkPolicy": {"anyNamespace": False}}
    payment = service | {"order": {"url": "http://shop-orders:8080"}}
    return {"order": order, "payment": payment}


def test_an_order_is_paid_with_other_users_sidecars_and_a_policy_that_denies_the_rest(
    new_namespace: Callable[..., Namespace],
) -> None:
    namespace = new_namespace()
    kubectl("-n", namespace.name, "apply", "-f", ROOT / "k8s" / "overlays" / "production" / "deny.yaml")
    namespace.install(values())
    for pod in namespace.pods("app.kubernetes.io/component=server"):
        assert {one.name for one in pod.spec.containers} == {"web", "relay", "more"}
        assert [one.name for one in pod.status.init_container_statuses if one.started] == ["sidecar"]
        assert pod.spec.security_context.run_as_user == USER
    made = namespace.core.read_namespaced_config_map("tandem-order-more", namespace.name)
    assert made.data == {"namespace": namespace.name}
    apps: Any = client.AppsV1Api()
    assert apps.read_namespaced_deployment("shop-orders", namespace.name).metadata.annotations["example.com/owner"]
    assert [line[:4] for line in namespace.test() if line].count("ok: ") == 10
    namespace.upgrade(values())
    with namespace.order() as tandem:
        paid(tandem, place(tandem, wait=5).id, 60)
