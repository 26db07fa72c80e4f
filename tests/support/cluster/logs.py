"""Collects the logs of both services' pods, including pods that are deleted meanwhile."""

from __future__ import annotations

import contextlib
import json
import threading
from collections import defaultdict
from types import TracebackType
from typing import Any, Self

from kubernetes import client
from urllib3.exceptions import HTTPError

from tests.support.cluster.namespace import SERVER, Namespace


class Logs:
    """Follows the log of every container of the services' pods while the `with` block runs.

    `lines` has the lines of each service.
    """

    def __init__(self, namespace: Namespace) -> None:
        self.lines: dict[str, list[str]] = defaultdict(list)
        self._namespace = namespace
        self._followed: dict[tuple[str, str, int], threading.Thread] = {}
        self._ending = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        self._watcher.join()

    def requests(self, service: str, route: str | None = None) -> list[dict[str, Any]]:
        """Return a service's log entries about requests, optionally of one route."""
        lines = [json.loads(line) for line in list(self.lines[service]) if line.startswith("{")]
        return [line for line in lines if line.get("event") == "request" and route in (None, line.get("route"))]

    def _watch(self) -> None:
        """Follow each container that starts, and again after each restart."""
        core: Any = client.CoreV1Api(client.ApiClient())
        while not self._ending.wait(0.5):
            for pod in core.list_namespaced_pod(self._namespace.name, label_selector=SERVER).items:
                for one in pod.status.container_statuses or []:
                    known = (pod.metadata.name, one.name, one.restart_count)
                    if known not in self._followed and one.state.running:
                        service = pod.metadata.labels["app.kubernetes.io/name"]
                        thread = threading.Thread(target=self._follow, args=(service, *known[:2]), daemon=True)
                        self._followed[known] = thread
                        thread.start()

    def _follow(self, service: str, pod: str, container: str) -> None:
        core: Any = client.CoreV1Api(client.ApiClient())
        try:
            stream = core.read_namespaced_pod_log(
                pod, self._namespace.name, container=container, follow=True, _preload_content=False
            )
        except client.ApiException:
            return  # the pod is gone
        rest = b""
        with contextlib.suppress(HTTPError):  # the node is gone, and nobody reads the rest of the log
            for chunk in stream.stream(4096):
                *lines, rest = (rest + chunk).split(b"\n")
                self.lines[service] += [line.decode(errors="replace") for line in lines]
