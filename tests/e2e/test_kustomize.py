"""k8s/ with kubectl (or the program that KUBECTL names), for use without Helm."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client

from tests.support.charts import kustomize
from tests.support.charts.kustomize import K8S
from tests.support.cluster.kubectl import kubectl
from tests.support.cluster.namespace import Namespace, say, wait_until
from tests.support.cluster.orders import paid, place

pytestmark = pytest.mark.cluster
FOLDERS = sorted(path.parent for path in K8S.rglob("kustomization.yaml"))


@pytest.fixture(scope="module")
def overlay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Namespace, Path]]:
    """Apply the overlay dev in a new namespace. Yields the namespace and the applied folder."""
    namespace = Namespace()
    folder = tmp_path_factory.mktemp("dev")
    dev = os.path.relpath(K8S / "overlays" / "dev", folder.resolve())
    (folder / "kustomization.yaml").write_text(yaml.safe_dump({"namespace": namespace.name, "resources": [dev]}))
    try:
        say(kubectl("apply", "-k", folder))
        try:
            wait_until("both services are ready", lambda: serving(namespace), 180)
        except AssertionError:
            namespace.print_unready()
            raise
        yield namespace, folder
    finally:
        namespace.delete()


@pytest.fixture
def dev(overlay: tuple[Namespace, Path]) -> Namespace:
    return overlay[0]


def serving(namespace: Namespace) -> bool:
    """Return whether each service has a pod, and all pods except those of Jobs are ready."""
    return all(namespace.servers(service) for service in ("order", "payment")) and namespace.ready()


def ended(namespace: Namespace, name: str) -> Any:
    """Return the Job if it has succeeded or failed, else None."""
    batch: Any = client.BatchV1Api()
    job = batch.read_namespaced_job(name, namespace.name)
    return job if any(one.type in ("Complete", "Failed") for one in job.status.conditions or []) else None


@pytest.mark.parametrize("folder", FOLDERS, ids=[str(folder.relative_to(K8S)) for folder in FOLDERS])
def test_kubectl_builds_the_same_objects_as_the_unit_tests(folder: Path) -> None:
    built = list(yaml.safe_load_all(kubectl("kustomize", folder)))
    generated = [each["name"] for each in kustomize.definition(folder).get("configMapGenerator", [])]
    text = yaml.safe_dump_all(sorted(built, key=_key))
    for name in generated:  # remove the hash of the content
        found = {one["metadata"]["name"] for one in built if one["metadata"]["name"].startswith(name)}
        (hashed,) = found - {name} or {name}
        text = text.replace(hashed, name)
    assert list(yaml.safe_load_all(text)) == sorted(kustomize.build(folder), key=_key)


def _key(one: dict[str, Any]) -> tuple[str, str]:
    return one["kind"], one["metadata"]["name"]


def test_an_order_is_paid(dev: Namespace) -> None:
    with dev.order() as tandem:
        paid(tandem, place(tandem, wait=5).id, 60)


def test_a_second_apply_changes_nothing(overlay: tuple[Namespace, Path]) -> None:
    namespace, folder = overlay
    before = {pod.metadata.uid for name in ("order", "payment") for pod in namespace.servers(name)}, namespace.api_key()
    say(kubectl("apply", "-k", folder))
    wait_until("the second apply is done", lambda: serving(namespace), 60)
    after = {pod.metadata.uid for name in ("order", "payment") for pod in namespace.servers(name)}, namespace.api_key()
    assert after == before


@pytest.mark.parametrize(("folder", "job"), [("test", "tandem-order-test"), ("load", "tandem-load")])
def test_the_test_and_load_jobs_succeed(dev: Namespace, folder: str, job: str) -> None:
    # As in production, where nothing may connect that no policy allows.
    say(kubectl("--namespace", dev.name, "apply", "-f", K8S / "overlays" / "production" / "deny.yaml"))
    say(kubectl("--namespace", dev.name, "apply", "-k", K8S / folder))
    done = wait_until(f"{job} has ended", lambda: ended(dev, job), 200)
    say(kubectl("--namespace", dev.name, "logs", f"job/{job}"))
    assert done.status.succeeded == 1
