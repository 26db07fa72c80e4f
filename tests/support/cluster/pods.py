"""Runs commands in pods, for example to see which addresses a pod can connect to."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from typing import Any

from kubernetes import client
from kubernetes.stream import stream

import chassis
from tests.support.cluster.namespace import Namespace, is_ready, wait_until

IMAGE = f"localhost/tandem/order:{chassis.__version__}"
_IDLE = "import signal; signal.pause()"
_CONNECT = """
import socket, sys
for peer in sys.argv[1:]:
    host, port = peer.split(":")
    try:
        socket.create_connection((host, int(port)), timeout=3).close()
    except OSError as error:
        print(type(error).__name__)
    else:
        print("open")
"""


def run_python(namespace: str, pod: str, script: str, *arguments: str, container: str | None = None) -> str:
    """Run a script in a pod that has Python, and return its output. Raises AssertionError if it fails."""
    return run(namespace, pod, "python", "-c", script, *arguments, container=container)


def run(namespace: str, pod: str, *command: str, container: str | None = None) -> str:
    """Run a command in a pod, and return its output, including errors. Raises AssertionError if it fails."""
    status, text = attempt(namespace, pod, *command, container=container)
    assert status == 0, f"{command[:3]} in {pod}: exit status {status}: {text}"
    return text


def attempt(namespace: str, pod: str, *command: str, container: str | None = None) -> tuple[int, str]:
    """Run a command in a pod, and return its exit status and its output, including errors."""
    with execute(namespace, pod, list(command), container) as opened:
        opened.run_forever(timeout=120)
        status = int(opened.returncode)  # before read_all, which discards it
        return status, str(opened.read_all())


def connectable(namespace: str, pod: str, *peers: str, container: str | None = None) -> dict[str, bool]:
    """Return for each of these addresses (host:port) whether a pod can connect to it."""
    answers = run_python(namespace, pod, _CONNECT, *peers, container=container).splitlines()
    assert len(answers) == len(peers), answers
    return {peer: answer == "open" for peer, answer in zip(peers, answers, strict=True)}


@contextlib.contextmanager
def execute(
    namespace: str, pod: str, command: list[str], container: str | None = None, stdin: bool = False
) -> Iterator[Any]:
    """Start a command in a pod, and yield the stream of its input and output."""
    core: Any = client.CoreV1Api(client.ApiClient())  # not shared: opening a stream modifies the client
    opened = stream(
        core.connect_get_namespaced_pod_exec,
        pod,
        namespace,
        command=command,
        stdin=stdin,
        stdout=True,
        stderr=True,
        tty=False,
        _preload_content=False,
        **({"container": container} if container else {}),
    )
    try:
        yield opened
    finally:
        opened.close()


@contextlib.contextmanager
def idle_pod(
    namespace: Namespace, labels: dict[str, str] | None = None, script: str = _IDLE, node: str | None = None
) -> Iterator[str]:
    """Create a pod that runs a Python script, by default one that does nothing, and yield its name.

    The charts' network policies do not select it, unless these labels make them. `node` is where it runs.
    """
    name = f"idle-{uuid.uuid4().hex[:6]}"
    security = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    spec = {
        **({"nodeSelector": {"kubernetes.io/hostname": node}} if node else {}),
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 0,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": "python",
                "image": IMAGE,
                "command": ["python", "-c", script],
                "securityContext": security,
                # Without a request, the pod gets no processor for seconds while other pods start. A load that runs in
                # it then uses connections that the service has closed because they were idle.
                "resources": {"requests": {"cpu": "200m"}},
            }
        ],
    }
    metadata = {"name": name, "labels": labels or {"app": "idle"}}
    namespace.core.create_namespaced_pod(namespace.name, {"metadata": metadata, "spec": spec})
    try:
        wait_until(
            "the idle pod is ready", lambda: is_ready(namespace.core.read_namespaced_pod(name, namespace.name)), 60
        )
        yield name
    finally:
        namespace.core.delete_namespaced_pod(name, namespace.name, grace_period_seconds=0)
