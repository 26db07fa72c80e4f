"""What the end-to-end tests see a cluster with: a namespace, a release of a chart in it, its pods."""

from __future__ import annotations

import base64
import contextlib
import json
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import helm_python
from kubernetes import client

from ci import ROOT
from tandem_client import Client
from tests.support.cluster import port_forward as forward

CHARTS = ROOT / "charts"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
SERVER = "app.kubernetes.io/component=server"
DATABASE = "app.kubernetes.io/component=postgresql"


def say(message: str) -> None:
    """Tell whoever watches."""
    print(f"\n  {message}", end="", flush=True)


def wait_until(what: str, met: Callable[[], Any], seconds: float, pause: float = 0.5) -> Any:
    """The first true answer of `met`; says what it waits for, and fails when that takes too long."""
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
    """A namespace that is there for some tests and refuses pods that are not "restricted", for one release."""

    def __init__(self, chart: str = "tandem", release: str | None = None) -> None:
        """Make it, under a name that nobody has; `release` is called as the chart unless it says otherwise."""
        self.name = f"tandem-e2e-{uuid.uuid4().hex[:8]}"
        self.chart, self.release = CHARTS / chart, release or chart
        self.core: Any = client.CoreV1Api()
        self.apps: Any = client.AppsV1Api()
        metadata = client.V1ObjectMeta(name=self.name, labels=RESTRICTED)
        self.core.create_namespace(client.V1Namespace(metadata=metadata))
        self.helm = helm_python.Config(namespace=self.name)
        say(f"namespace {self.name}")

    def delete(self) -> None:
        """Have it deleted with all that is in it; `gone` says when it is."""
        self.helm.uninstall(self.release, ignore_not_found=True)
        self.core.delete_collection_namespaced_persistent_volume_claim(self.name)
        self.core.delete_namespace(self.name, grace_period_seconds=1)

    def gone(self) -> bool:
        """Whether nothing of it is left."""
        return self.name not in {one.metadata.name for one in self.core.list_namespace().items}

    # --- releases

    def install(self, values: dict[str, Any] | None = None, chart: Path | None = None) -> float:
        """`helm install --wait`; the seconds until every pod was ready."""
        begin = time.monotonic()
        source = chart or self.chart
        self._run(
            f"helm install {self.release}",
            lambda: self.helm.install(source, self.release, values, wait="watcher", timeout=180),
        )
        wait_until("every pod is ready", self.ready, 120, 0.1)
        return time.monotonic() - begin

    def upgrade(self, values: dict[str, Any]) -> None:
        """`helm upgrade --wait` to these values, until only ready pods are left. Raises HelmReleaseError."""
        self._run(
            f"helm upgrade {json.dumps(values)}",
            lambda: self.helm.upgrade(self.chart, self.release, values, wait="watcher", timeout=180),
        )
        wait_until("only ready pods are left", self.ready, 120)

    def rollback(self) -> None:
        """`helm rollback --wait` to the revision before, until only ready pods are left."""
        self._run("helm rollback", lambda: self.helm.rollback(self.release, wait="watcher", timeout=180))
        wait_until("only ready pods are left", self.ready, 120)

    def test(self) -> list[str]:
        """`helm test --logs`; what it printed. Raises HelmReleaseError."""
        result = self._run("helm test", lambda: self.helm.test(self.release, timeout=120, logs=True))
        return str(result["logs"]).splitlines()

    def notes(self) -> str:
        """What Helm prints about the release."""
        return str(self.helm.status(self.release)["notes"])

    def uninstall(self) -> None:
        """`helm uninstall`, until the last pod has stopped."""
        self._run("helm uninstall", lambda: self.helm.uninstall(self.release))
        wait_until("every pod is gone", lambda: not self.core.list_namespaced_pod(self.name).items, 120)

    def _run(self, what: str, action: Callable[[], Any]) -> Any:
        """Run one of Helm's actions, and tell meanwhile which pods it is waiting for."""
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
                self.explain()
                raise

    # --- what is there

    def pods(self, labels: str = "") -> list[Any]:
        """The pods, or those with these labels, that have not ended by themselves."""
        pods = self.core.list_namespaced_pod(self.name, label_selector=labels).items
        return [pod for pod in pods if pod.status.phase not in ("Succeeded", "Failed")]

    def servers(self, service: str) -> list[Any]:
        """The pods that answer for a service."""
        return self.pods(f"app.kubernetes.io/name={service},{SERVER}")

    def databases(self, service: str) -> list[Any]:
        """The pod of a service's own PostgreSQL, if there is one."""
        return self.pods(f"app.kubernetes.io/name={service},{DATABASE}")

    def ready(self) -> bool:
        """Whether there are pods, and each one is ready and to stay."""
        pods = self.pods()
        return bool(pods) and all(is_ready(pod) for pod in pods)

    def explain(self) -> None:
        """Print the state and the last words of every container that is not ready."""
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
        """Bytes in use by each running container; empty until the metrics API has seen every one of them."""
        api: Any = client.CustomObjectsApi()
        found = api.list_namespaced_custom_object("metrics.k8s.io", "v1beta1", self.name, "pods")["items"]
        used = {
            f"{pod['metadata']['name']}/{container['name']}": quantity(container["usage"]["memory"])
            for pod in found
            for container in pod["containers"]
        }
        running = {f"{pod.metadata.name}/{one.name}" for pod in self.pods() for one in pod.spec.containers}
        return {name: used[name] for name in running} if running <= used.keys() else {}

    def left(self) -> set[str]:
        """What somebody made here, as kind/name: all but what Kubernetes puts in any namespace."""
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

    # --- what is done to it

    def restart(self, service: str) -> None:
        """`kubectl rollout restart` of a service's pods."""
        now = {"example.com/restarted": uuid.uuid4().hex}
        body = {"spec": {"template": {"metadata": {"annotations": now}}}}
        self.apps.patch_namespaced_deployment(self.deployment(service), self.name, body)

    def settled(self, service: str, pods: int | None = None) -> None:
        """Return when a service is rolled out: so many pods, if that is said, all new and ready, and the old gone."""

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
        """What a service's Deployment is called, and what its other objects begin with."""
        return service if service == self.release else f"{self.release}-{service}"

    def secret(self, name: str) -> dict[str, str]:
        """What a Secret holds."""
        data = self.core.read_namespaced_secret(name, self.name).data
        return {key: base64.b64decode(value).decode() for key, value in data.items()}

    def keep_secret(self, name: str, content: dict[str, str]) -> None:
        """Make a Secret, or give it another content."""
        secret = client.V1Secret(metadata=client.V1ObjectMeta(name=name), string_data=content)
        try:
            self.core.create_namespaced_secret(self.name, secret)
        except client.ApiException as error:
            if error.status != 409:
                raise
            self.core.patch_namespaced_secret(name, self.name, {"stringData": content})

    # --- calls

    def api_key(self) -> str:
        """The key that the chart generated for people."""
        return self.secret(f"{self.release}-credentials")["api-key"]

    @contextlib.contextmanager
    def order(self, api_key: str | None = None) -> Iterator[Client]:
        """A client of the order service, over port-forwards to its pods; with the generated key, or another."""
        key = api_key or self.api_key()
        with forward.session(lambda: self.forward(f"app.kubernetes.io/name=order,{SERVER}", 8080)) as session:
            yield Client("http://order", api_key=key, timeout=30, session=session)

    def forward(self, labels: str, port: int) -> Any:
        """The socket of a port-forward, to a pod that is chosen as `kubectl port-forward service/...` chooses one.

        Raises ApiException, and StopIteration when no pod is ready.
        """
        pod = next(pod for pod in self.pods(labels) if is_ready(pod))
        return forward.to(self.name, pod.metadata.name, port)


def is_ready(pod: Any) -> bool:
    """Whether a pod is ready and not about to go."""
    conditions = {one.type: one.status for one in pod.status.conditions or []}
    return conditions.get("Ready") == "True" and pod.metadata.deletion_timestamp is None


def quantity(text: str) -> int:
    """Bytes that a quantity of memory stands for: "123456Ki", as metrics-server writes it, or plain."""
    units = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
    return int(text[:-2]) * units[text[-2:]] if text[-2:] in units else int(text)
