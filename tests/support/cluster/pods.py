"""A pod of the tests' own, to run Python inside the cluster's network: for what only a pod can see."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kubernetes import client
from kubernetes.stream import stream

import chassis
from tests.support.cluster.namespace import Namespace, is_ready, say, wait_until

IMAGE = f"tandem/order:{chassis.__version__}"
_LOAD = Path(__file__).with_name("load_in_pod.py").read_text()
RATE = 140
"""Requests a second that a load tries to make."""
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
    """Run a script in a pod that has Python; what it wrote, errors too."""
    return run(namespace, pod, "python", "-c", script, *arguments, container=container)


def run(namespace: str, pod: str, *command: str, container: str | None = None) -> str:
    """Run a command in a pod; what it wrote, errors too. Raises AssertionError when it fails."""
    with _exec(namespace, pod, list(command), container) as opened:
        opened.run_forever(timeout=120)
        status = opened.returncode  # first: to read all is to forget it
        text = str(opened.read_all())
    assert status == 0, f"{command[:3]} in {pod}: exit status {status}: {text}"
    return text


def reached(namespace: str, pod: str, *peers: str, container: str | None = None) -> dict[str, bool]:
    """Which of these, given as host:port, a pod can connect to."""
    answers = run_python(namespace, pod, _CONNECT, *peers, container=container).splitlines()
    assert len(answers) == len(peers), answers
    return {peer: answer == "open" for peer, answer in zip(peers, answers, strict=True)}


@contextlib.contextmanager
def _exec(namespace: str, pod: str, command: list[str], container: str | None, stdin: bool = False) -> Iterator[Any]:
    core: Any = client.CoreV1Api(client.ApiClient())  # of its own: opening a stream bends it
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
def bystander(namespace: Namespace, labels: dict[str, str] | None = None) -> Iterator[str]:
    """A pod that does nothing by itself; its name. The chart's policies do not name it, unless by these labels."""
    name = f"bystander-{uuid.uuid4().hex[:6]}"
    security = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    spec = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 0,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": "python",
                "image": IMAGE,
                "command": ["python", "-c", "import signal; signal.pause()"],
                "securityContext": security,
            }
        ],
    }
    metadata = {"name": name, "labels": labels or {"app": "bystander"}}
    namespace.core.create_namespaced_pod(namespace.name, {"metadata": metadata, "spec": spec})
    try:
        wait_until(
            "the bystander is ready", lambda: is_ready(namespace.core.read_namespaced_pod(name, namespace.name)), 60
        )
        yield name
    finally:
        namespace.core.delete_namespaced_pod(name, namespace.name, grace_period_seconds=0)


class Load:
    """Orders placed and read by a pod while a `with` lasts; afterwards `outcome` says how that went."""

    def __init__(
        self,
        namespace: Namespace,
        pod: str,
        url: str,
        key: str,
        rate: int = 140,
        seconds: int = 240,
        connections: int = 12,
    ) -> None:
        """`rate` is in requests a second; the load ends by itself after so many seconds."""
        self.outcome: dict[str, Any] = {}
        settings = {"url": url, "key": key, "rate": rate, "seconds": seconds, "connections": connections}
        command = ["python", "-c", _LOAD, json.dumps(settings)]
        self._running = _exec(namespace.name, pod, command, None, stdin=True)

    def __enter__(self) -> Self:
        self._exec = self._running.__enter__()
        self.goes_on()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.outcome = self._told("stop")
        finally:
            self._running.__exit__(kind, error, trace)
        rounded = {name: round(value, 3) if isinstance(value, float) else value for name, value in self.outcome.items()}
        say(f"MEASURED {json.dumps(rounded)}")

    def goes_on(self, requests: int = 200) -> None:
        """Return when so many more requests were answered."""
        enough = self._told("report")["answered"] + requests
        wait_until(f"{requests} more requests are answered", lambda: self._told("report")["answered"] >= enough, 60)

    def use_key(self, key: str) -> None:
        """Go on with another key."""
        self._told(f"key {key}")

    def _told(self, what: str) -> dict[str, Any]:
        """What the load answers when it is told something."""
        self._exec.write_stdin(f"{what}\n")
        line = self._exec.readline_stdout(timeout=120)
        assert line, f"the load has ended: {self._exec.read_stderr(timeout=1)}"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def lost_nothing(self, rate: int = 100) -> None:
        """Assert that no request failed, that there were so many a second, and that each order is there and paid."""
        outcome = self.outcome
        assert outcome["failures"] == [], f"{outcome['failed']} requests failed"
        assert outcome["rate"] >= rate, "the load was too low to tell anything"
        assert (outcome["not_paid"], outcome["paid"]) == ([], outcome["placed"])
