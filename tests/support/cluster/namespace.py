"""A namespace of the cluster with a release of a chart and its pods."""

from __future__ import annotations

import base64
import contextlib
import json
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import helm_python
from kubernetes import client

from ci import ROOT
from tandem_client import Client
from tests.support.cluster import port_forward

CHARTS = ROOT / "charts"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
SERVER = "app.kubernetes.io/component=server"
DATABASE = "app.kubernetes.io/component=postgresql"


def say(message: str) -> None:
    """Print a line of progress."""
    print(f"\n  {message}", end="", flush=True)


def wait_until(what: str, met: Callable[[], Any], seconds: float, pause: float = 0.5) -> Any:
    """Call `met` until it returns a true value, and return that. Prints what it waits for; fails after `seconds`."""
    begin = told = time.monotonic()
    while not (answer := met()):
        now = time.monotonic()
        if now - begin > seconds:
            raise AssertionError(f"not within {seconds:.0f} s: {what}: {answer!r}")
        if now - told > 5:
            told = now
            say(f"{now - begin:3.0f} s  waiting: {what}")
        time.sleep(pause)
    return answer


class Namespace:
    """A new namespace for one release of a chart. It admits only pods that meet Pod Security "restricted".

    `release` is the release's name, by default the chart's.
    """

    def __init__(self, chart: str = "tandem", release: str | None = None) -> None:
        self.name = f"tandem-e2e-{uuid.uuid4().hex[:8]}"
        self.chart, self.release = CHARTS / chart, release or chart
        self.core: Any = client.CoreV1Api()
        self.apps: Any = client.AppsV1Api()
        metadata = client.V1ObjectMeta(name=self.name, labels=RESTRICTED)
        self.core.create_namespace(client.V1Namespace(metadata=metadata))
        self.values: dict[str, Any] | None = None
        self.helm = helm_python.Config(namespace=self.name)
        say(f"namespace {self.name}")

    def delete(self) -> None:
        """Delete the namespace and everything in it. `is_gone` tells when that is done."""
        self.helm.uninstall(self.release, ignore_not_found=True)
        self.core.delete_collection_namespaced_persistent_volume_claim(self.name)
        self.core.delete_namespace(self.name, grace_period_seconds=1)

    def is_gone(self) -> bool:
        """Return whether the namespace no longer exists."""
        return self.name not in {one.metadata.name for one in self.core.list_namespace().items}

    # --- releases

    def install(self, values: dict[str, Any] | None = None, chart: Path | None = None) -> float:
        """Run `helm install --wait`, and return the seconds until every pod was ready."""
        begin = time.monotonic()
        source = chart or self.chart
        self._run(
            f"helm install {self.release}",
            lambda: self.helm.install(source, self.release, values, wait="watcher", timeout=180),
        )
        wait_until("every pod is ready", self.ready, 120, 0.1)
        self.values = values or {}
        return time.monotonic() - begin

    def upgrade(self, values: dict[str, Any]) -> None:
        """Run `helm upgrade --wait` to these values, and wait until all pods are ready. Raises HelmReleaseError."""
        self.values = None
        self._run(
            f"helm upgrade {json.dumps(values)}",
            lambda: self.helm.upgrade(self.chart, self.release, values, wait="watcher", timeout=180),
        )
        wait_until("only ready pods are left", self.ready, 120)
        self.values = values

    def ensure(self, values: dict[str, Any]) -> None:
        """Upgrade to these values, unless the last install or upgrade had them."""
        if self.values != values:
            self.upgrade(values)

    def rollback(self) -> None:
        """Run `helm rollback --wait` to the previous revision, and wait until all pods are ready."""
        self.values = None
        self._run("helm rollback", lambda: self.helm.rollback(self.release, wait="watcher", timeout=180))
        wait_until("only ready pods are left", self.ready, 120)

    def test(self) -> list[str]:
        """Run `helm test --logs`, and return the lines it printed. Raises HelmReleaseError."""
        result = self._run("helm test", lambda: self.helm.test(self.release, timeout=120, logs=True))
        return str(result["logs"]).splitlines()

    def notes(self) -> str:
        """Return the notes of the release."""
        return str(self.helm.status(self.release)["notes"])

    def uninstall(self) -> None:
        """Run `helm uninstall`, and wait until all pods are gone."""
        self._run("helm uninstall", lambda: self.helm.uninstall(self.release))
        wait_until("every pod is gone", lambda: not self.core.list_namespaced_pod(self.name).items, 120)

    def _run(self, what: str, action: Callable[[], Any]) -> Any:
        """Run an action of Helm. Prints which pods are not ready in the meantime."""
        say(what)
        with ThreadPoolExecutor(1) as executor:
            future = executor.submit(action)
            begin = told = time.monotonic()
            while not future.done():
                now = time.monotonic()
                if now - told > 5:
                    told = now
                    waiting = [pod.metadata.name for pod in self.pods() if not is_ready(pod)]
                    say(f"{now - begin:3.0f} s  not ready: {', '.join(waiting) or 'none'}")
                time.sleep(0.1)
            try:
                return future.result()
            except helm_python.HelmError:
                self.print_unready()
                raise

    # --- objects

    def pods(self, labels: str = "") -> list[Any]:
        """Return the pods that have not completed, optionally only those with these labels."""
        pods = self.core.list_namespaced_pod(self.name, label_selector=labels).items
        return [pod for pod in pods if pod.status.phase not in ("Succeeded", "Failed")]

    def servers(self, service: str) -> list[Any]:
        """Return the server pods of a service."""
        return self.pods(f"app.kubernetes.io/name={service},{SERVER}")

    def databases(self, service: str) -> list[Any]:
        """Return the pods of a service's embedded PostgreSQL."""
        return self.pods(f"app.kubernetes.io/name={service},{DATABASE}")

    def ready(self) -> bool:
        """Return whether all pods are ready and not being deleted, and as many exist as are wanted.

        Pods are counted too, because a deleted pod of a StatefulSet is missing until the controller creates it again.
        """
        pods = self.pods()
        found = Counter(owner.kind for pod in pods for owner in pod.metadata.owner_references or [])
        return (
            bool(pods)
            and all(is_ready(pod) for pod in pods)
            and found["ReplicaSet"] >= _replicas(self.apps.list_namespaced_deployment(self.name))
            and found["StatefulSet"] >= _replicas(self.apps.list_namespaced_stateful_set(self.name))
        )

    def print_unready(self) -> None:
        """Print the state and the end of the log of every container that is not ready."""
        for pod in self.core.list_namespaced_pod(self.name).items:
            for one in pod.status.container_statuses or []:
                if not one.ready and pod.status.phase != "Succeeded":
                    say(f"{pod.metadata.name}/{one.name}: {one.state.waiting or one.state.terminated or 'running'}")
                    with contextlib.suppress(client.ApiException):
                        say(
                            self.core.read_namespaced_pod_log(
                                pod.metadata.name, self.name, container=one.name, tail_lines=20
                            )
                        )

    def memory(self) -> dict[str, int]:
        """Return the memory in bytes of each running container, or {} until the metrics API knows all of them."""
        api: Any = client.CustomObjectsApi()
        found = api.list_namespaced_custom_object("metrics.k8s.io", "v1beta1", self.name, "pods")["items"]
        used = {
            f"{pod['metadata']['name']}/{container['name']}": quantity(container["usage"]["memory"])
            for pod in found
            for container in pod["containers"]
        }
        running = {f"{pod.metadata.name}/{one.name}" for pod in self.pods() for one in pod.spec.containers}
        return {name: used[name] for name in running} if running <= used.keys() else {}

    def objects(self) -> set[str]:
        """Return all objects as kind/name, without those that Kubernetes creates in every namespace."""
        kinds: dict[str, Any] = {
            "ConfigMap": self.core.list_namespaced_config_map,
            "PersistentVolumeClaim": self.core.list_namespaced_persistent_volume_claim,
            "Pod": self.core.list_namespaced_pod,
            "Secret": self.core.list_namespaced_secret,
            "Service": self.core.list_namespaced_service,
            "ServiceAccount": self.core.list_namespaced_service_account,
            "Deployment": self.apps.list_namespaced_deployment,
            "StatefulSet": self.apps.list_namespaced_stateful_set,
            "Job": client.BatchV1Api().list_namespaced_job,
            "CronJob": client.BatchV1Api().list_namespaced_cron_job,
            "NetworkPolicy": client.NetworkingV1Api().list_namespaced_network_policy,
            "PodDisruptionBudget": client.PolicyV1Api().list_namespaced_pod_disruption_budget,
        }
        found = {f"{kind}/{one.metadata.name}" for kind, list_all in kinds.items() for one in list_all(self.name).items}
        return found - {"ConfigMap/kube-root-ca.crt", "ServiceAccount/default"}

    # --- changes

    def restart(self, service: str) -> None:
        """Restart a service's pods, as `kubectl rollout restart` does."""
        now = {"example.com/restarted": uuid.uuid4().hex}
        body = {"spec": {"template": {"metadata": {"annotations": now}}}}
        self.apps.patch_namespaced_deployment(self.deployment(service), self.name, body)

    def wait_rolled_out(self, service: str, pods: int | None = None) -> None:
        """Wait until all pods of a service are new and ready and the old ones are gone. `pods` is their number."""

        def done() -> bool:
            found = self.apps.read_namespaced_deployment(self.deployment(service), self.name)
            wanted, status = found.spec.replicas, found.status
            return (
                pods in (None, wanted)
                and status.observed_generation == found.metadata.generation
                and status.updated_replicas == status.ready_replicas == wanted == len(self.servers(service))
            )

        wait_until(f"{service} is rolled out", done, 180)

    def deployment(self, service: str) -> str:
        """Return the name of a service's Deployment, which is also the prefix of its other objects."""
        return service if service == self.release else f"{self.release}-{service}"

    def secret(self, name: str) -> dict[str, str]:
        """Return the content of a Secret."""
        data = self.core.read_namespaced_secret(name, self.name).data
        return {key: base64.b64decode(value).decode() for key, value in data.items()}

    def write_secret(self, name: str, content: dict[str, str]) -> None:
        """Create a Secret, or replace its content."""
        secret = client.V1Secret(metadata=client.V1ObjectMeta(name=name), string_data=content)
        try:
            self.core.create_namespaced_secret(self.name, secret)
        except client.ApiException as error:
            if error.status != 409:
                raise
            self.core.patch_namespaced_secret(name, self.name, {"stringData": content})

    # --- calls

    def api_key(self) -> str:
        """Return the API key that the chart generated."""
        return self.secret(f"{self.release}-credentials")["api-key"]

    @contextlib.contextmanager
    def order(self, api_key: str | None = None) -> Iterator[Client]:
        """Yield a client of the order service, over port-forwards. It uses the generated key unless one is given."""
        key = api_key or self.api_key()
        with port_forward.session(lambda: self.forward(f"app.kubernetes.io/name=order,{SERVER}", 8080)) as session:
            yield Client("http://order", api_key=key, timeout=30, session=session)

    def forward(self, labels: str, port: int) -> Any:
        """Open a port-forward to a ready pod with these labels, and return its socket.

        Raises ApiException, and StopIteration if no pod is ready.
        """
        pod = next(pod for pod in self.pods(labels) if is_ready(pod))
        return port_forward.connect(self.name, pod.metadata.name, port)


def _replicas(found: Any) -> int:
    """Return how many pods these Deployments or StatefulSets want together."""
    return sum(one.spec.replicas for one in found.items)


@dataclass(frozen=True, slots=True)
class Installed:
    """A namespace with an installed release, and the seconds until its pods were ready."""

    namespace: Namespace
    seconds: float


def is_ready(pod: Any) -> bool:
    """Return whether a pod is ready and not being deleted."""
    conditions = {one.type: one.status for one in pod.status.conditions or []}
    return conditions.get("Ready") == "True" and pod.metadata.deletion_timestamp is None


def quantity(text: str) -> int:
    """Return a quantity of memory in bytes: "123456Ki", as metrics-server writes it, or a plain number."""
    units = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
    return int(text[:-2]) * units[text[-2:]] if text[-2:] in units else int(text)
