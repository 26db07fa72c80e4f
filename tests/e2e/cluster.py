"""What the end-to-end tests see a cluster with: a namespace, a release of the chart, calls into its pods."""

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
from kubernetes.stream import portforward

from tandem_client import Client, Item, Order
from tests.e2e import forward

CHART = Path(__file__).parents[2] / "charts" / "tandem"
RELEASE = "tandem"


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
        if now - told > 2:
            told = now
            say(f"{now - begin:3.0f} s  waiting: {what}")
        time.sleep(pause)
    return answer


class Namespace:
    """A namespace of the cluster's that is there for one test, and refuses pods that are not "restricted"."""

    def __init__(self) -> None:
        """Make it, under a name that nobody has."""
        self.name = f"tandem-e2e-{uuid.uuid4().hex[:8]}"
        self.core: Any = client.CoreV1Api()
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        metadata = client.V1ObjectMeta(name=self.name, labels=labels)
        self.core.create_namespace(client.V1Namespace(metadata=metadata))
        self.helm = helm_python.Config(namespace=self.name)
        say(f"namespace {self.name}")

    def delete(self) -> None:
        """Delete it with all that is in it, and wait until it is gone."""
        self.helm.uninstall(RELEASE, ignore_not_found=True)
        self.core.delete_collection_namespaced_persistent_volume_claim(self.name)
        self.core.delete_namespace(self.name)
        wait_until(f"{self.name} is gone", self._gone, 120)

    def _gone(self) -> bool:
        return self.name not in {one.metadata.name for one in self.core.list_namespace().items}

    # --- releases

    def install(self) -> float:
        """`helm install --wait`; the seconds until every pod was ready."""
        begin = time.monotonic()
        try:
            self._run("helm install", lambda: self.helm.install(CHART, RELEASE, wait="watcher", timeout=180))
        except helm_python.HelmError:
            self.explain()
            raise
        wait_until("every pod is ready", self.ready, 120, 0.1)
        return time.monotonic() - begin

    def upgrade(self, values: dict[str, Any]) -> None:
        """`helm upgrade --wait`, until the former revision's pods are gone too. Raises HelmReleaseError."""
        self._run(
            f"helm upgrade {json.dumps(values)}",
            lambda: self.helm.upgrade(CHART, RELEASE, values, wait="watcher", timeout=180),
        )
        wait_until("only ready pods are left", self.ready, 120)

    def test(self) -> list[str]:
        """`helm test --logs`; what it printed. Raises HelmReleaseError."""
        result = self._run("helm test", lambda: self.helm.test(RELEASE, timeout=120, logs=True))
        return str(result["logs"]).splitlines()

    def uninstall(self) -> None:
        """`helm uninstall`, until the last pod has stopped."""
        self._run("helm uninstall", lambda: self.helm.uninstall(RELEASE))
        wait_until("every pod is gone", lambda: not self.core.list_namespaced_pod(self.name).items, 120)

    def _run(self, what: str, action: Callable[[], Any]) -> Any:
        """Run one of Helm's actions, and tell meanwhile which pods it is waiting for."""
        say(what)
        with ThreadPoolExecutor(1) as executor:
            future = executor.submit(action)
            begin = told = time.monotonic()
            while not future.done():
                now = time.monotonic()
                if now - told > 2:
                    told = now
                    waiting = [pod.metadata.name for pod in self.pods() if not is_ready(pod)]
                    say(f"{now - begin:3.0f} s  not ready: {', '.join(waiting) or 'none'}")
                time.sleep(0.1)
            return future.result()

    # --- what is there

    def pods(self, labels: str = "") -> list[Any]:
        """The pods, or those with these labels, that have not ended by themselves."""
        pods = self.core.list_namespaced_pod(self.name, label_selector=labels).items
        return [pod for pod in pods if pod.status.phase not in ("Succeeded", "Failed")]

    def servers(self, service: str) -> list[Any]:
        """The pods that answer for a service."""
        return self.pods(f"app.kubernetes.io/name={service},app.kubernetes.io/component=server")

    def ready(self) -> bool:
        """Whether there are pods, and each one is ready and to stay."""
        pods = self.pods()
        return bool(pods) and all(is_ready(pod) for pod in pods)

    def explain(self) -> None:
        """Print the state and the last words of every container that is not ready."""
        for pod in self.pods():
            for one in pod.status.container_statuses or []:
                if not one.ready:
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
            "Deployment": client.AppsV1Api().list_namespaced_deployment,
            "StatefulSet": client.AppsV1Api().list_namespaced_stateful_set,
            "Job": client.BatchV1Api().list_namespaced_job,
            "CronJob": client.BatchV1Api().list_namespaced_cron_job,
            "NetworkPolicy": client.NetworkingV1Api().list_namespaced_network_policy,
            "PodDisruptionBudget": client.PolicyV1Api().list_namespaced_pod_disruption_budget,
        }
        found = {f"{kind}/{one.metadata.name}" for kind, list_all in kinds.items() for one in list_all(self.name).items}
        return found - {"ConfigMap/kube-root-ca.crt", "ServiceAccount/default"}

    # --- calls

    def api_key(self) -> str:
        """The key that the chart generated for people."""
        secret = self.core.read_namespaced_secret(f"{RELEASE}-credentials", self.name)
        return base64.b64decode(secret.data["api-key"]).decode()

    @contextlib.contextmanager
    def order(self) -> Iterator[Client]:
        """A client of the order service, over port-forwards to its pods."""
        with forward.session(self._forward) as session:
            yield Client("http://order", api_key=self.api_key(), timeout=30, session=session)

    def _forward(self) -> Any:
        """The socket of a port-forward, to a pod that is chosen as `kubectl port-forward service/...` chooses one."""
        pod = next(pod for pod in self.servers("order") if is_ready(pod))
        forwarded = portforward(
            self.core.connect_get_namespaced_pod_portforward, pod.metadata.name, self.name, ports="8080"
        )
        socket = forwarded.socket(8080)
        socket.setblocking(True)
        return socket


def place(tandem: Client, wait: int | None = None, key: str | None = None) -> Order:
    """A new order of 9 EUR, as it was acknowledged."""
    tea = Item("tea-100", quantity=2, unit_amount=450, name="Green tea")
    return tandem.place_order(items=[tea], currency="EUR", payment_method="pm_ok", wait=wait, idempotency_key=key)


def paid(tandem: Client, order_id: str, seconds: float = 60) -> None:
    """Return when the order is paid; fails after so many seconds."""
    wait_until(f"order {order_id} is paid", lambda: tandem.get_order(order_id).status == "paid", seconds)


def is_ready(pod: Any) -> bool:
    """Whether a pod is ready and not about to go."""
    conditions = {one.type: one.status for one in pod.status.conditions or []}
    return conditions.get("Ready") == "True" and pod.metadata.deletion_timestamp is None


def quantity(text: str) -> int:
    """Bytes that a quantity of memory stands for: "123456Ki", as metrics-server writes it, or plain."""
    units = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
    return int(text[:-2]) * units[text[-2:]] if text[-2:] in units else int(text)
