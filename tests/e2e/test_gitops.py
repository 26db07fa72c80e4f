"""Manifests that are rendered without a cluster and applied with kubectl, as Argo CD and pipelines do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import helm_python
import pytest
from kubernetes import client

from tests.support.charts import custom_resources
from tests.support.charts.rendering import from_file
from tests.support.cluster.credentials import NAME, VALUES, Credentials, database_secret
from tests.support.cluster.kubectl import kubectl
from tests.support.cluster.namespace import CHARTS, Namespace, say, wait_until
from tests.support.cluster.orders import paid, place

pytestmark = pytest.mark.cluster
SERVICES = ("order", "payment")


@pytest.fixture(scope="module")
def namespace(new_namespace: Callable[..., Namespace]) -> Namespace:
    """A namespace with the Secrets that the values name."""
    made = new_namespace()
    made.write_secret(NAME, Credentials().content())
    for service in SERVICES:
        made.write_secret(f"{service}-database", database_secret(service))
    return made


def values(**settings: Any) -> dict[str, Any]:
    """Return values that name the Secrets, and have these settings for both services."""
    return {
        service: VALUES[service] | {"postgresql": {"existingSecret": f"{service}-database"}} | settings
        for service in SERVICES
    }


def rendered(namespace: Namespace, values: dict[str, Any], folder: Path) -> Path:
    """Render the umbrella chart as `helm template` does, and return the file."""
    with helm_python.Chart.load(CHARTS / "tandem") as chart:
        files = chart.render(values, name="tandem", namespace=namespace.name, is_upgrade=False, is_install=True)
    path = folder / "tandem.yaml"
    path.write_text("\n---\n".join(text for name, text in files.items() if name.endswith(".yaml")))
    return path


def migrated(namespace: Namespace) -> set[str]:
    """Return the names of the migrations that have succeeded."""
    batch: Any = client.BatchV1Api()
    jobs = batch.list_namespaced_job(namespace.name).items
    return {job.metadata.name for job in jobs if job.status.succeeded and "-migrate-" in job.metadata.name}


def serving(namespace: Namespace, pods: int) -> bool:
    """Return whether each service has this many pods, and all pods are ready."""
    return all(len(namespace.servers(service)) == pods for service in SERVICES) and namespace.ready()


def test_two_releases_are_applied_one_after_the_other(namespace: Namespace, tmp_path: Path) -> None:
    kubectl("apply", "-f", rendered(namespace, values(), tmp_path))
    wait_until("both services are ready", lambda: serving(namespace, 1), 180)
    first = wait_until("both have migrated", lambda: len(found := migrated(namespace)) == 2 and found, 30)
    key = Credentials().people[0]
    with namespace.order(key) as tandem:
        order = paid(tandem, place(tandem, wait=5).id, 60)

    changed = rendered(namespace, values(logLevel="debug", replicaCount=2), tmp_path)
    kubectl("apply", "-f", changed)
    wait_until("the second release is ready", lambda: serving(namespace, 2), 180)
    wait_until("it has migrated", lambda: len(migrated(namespace) - first) == 2, 60)
    with namespace.order(key) as tandem:
        assert tandem.get_order(order.id).status == "paid"
        paid(tandem, place(tandem, wait=5).id, 60)

    said = json.loads(kubectl("apply", "-f", changed, "-o", "json"))
    assert said["items"]
    assert serving(namespace, 2), "an apply that changes nothing restarts nothing"


def test_without_secrets_and_without_a_cluster_nothing_is_rendered(namespace: Namespace, tmp_path: Path) -> None:
    with pytest.raises(helm_python.HelmRenderError, match="must name an existing Secret"):
        rendered(namespace, {}, tmp_path)


@pytest.mark.parametrize("values", ["gateway", "no-network-policies"])
def test_the_api_server_adds_nothing_to_custom_resources(namespace: Namespace, tmp_path: Path, values: str) -> None:
    """Argo CD knows no defaults of custom resources, and would sync an object again and again that has got some."""
    known = {line.split()[0].partition(".")[0] for line in kubectl("get", "crd", "--no-headers").splitlines()}
    rendered = [one for one in from_file("tandem", values).objects() if is_custom(one)]
    assert rendered
    for one in rendered:
        if f"{one['kind'].lower()}s" not in known:
            say(f"this cluster has no {one['kind']}")
            continue
        one["metadata"]["namespace"] = namespace.name
        path = tmp_path / "object.json"
        path.write_text(json.dumps(one))
        applied = json.loads(kubectl("apply", "--server-side", "--dry-run=server", "-o", "json", "-f", path))
        assert applied["spec"] == one["spec"], one["kind"]


def is_custom(one: dict[str, Any]) -> bool:
    """Return whether an object is of a kind that Kubernetes does not have itself."""
    return (one["apiVersion"], one["kind"]) in custom_resources.SHAPES


def test_the_merchant_of_the_generated_key_cannot_be_changed_by_an_upgrade(
    new_namespace: Callable[..., Namespace],
) -> None:
    made = new_namespace("payment")
    external = {"postgresql": {"enabled": False}, "database": {"existingSecret": "none"}}
    base = {"order": {"url": "http://order:8080"}, "replicaCount": 0, "networkPolicy": {"enabled": False}}
    made.helm.install(made.chart, made.release, base | external)
    keys = made.secret("payment-credentials")
    with pytest.raises(helm_python.HelmError, match="credentials.merchant: is shop, but .* the merchant demo"):
        made.helm.upgrade(made.chart, made.release, base | external | {"credentials": {"merchant": "shop"}})
    assert made.secret("payment-credentials") == keys
