"""PostgreSQL of three members under Patroni in the namespace of a release, for both services."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kubernetes import client

from tests.support.cluster import port_forward
from tests.support.cluster.databases import ports
from tests.support.cluster.kubectl import kubectl
from tests.support.cluster.namespace import Namespace, is_ready, wait_until
from tests.support.cluster.pods import run
from tests.support.databases import Databases

IMAGE = os.environ.get("PATRONI_IMAGE", "patroni:4")
"""Patroni 4 and PostgreSQL, for any user. The argument of its entry point is Patroni's configuration file."""

MEMBERS = "application=patroni,cluster-name=pg"
HOSTS = ",".join(f"pg-{number}.pg-members" for number in range(3))
COMPLETE = 180.0
"""Seconds within which the cluster is complete, at the start and after a fault has ended."""


class Patroni:
    """Three members, each on a node of its own. `create` starts them."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace, self._password = namespace, secrets.token_hex(16)

    def create(self, folder: Path) -> None:
        """Create the members, and the Secrets that `charts/tandem/ci/patroni-values.yaml` names."""
        self._namespace.write_secret("pg", {"password": self._password})
        for service in ("order", "payment"):
            self._namespace.write_secret(
                f"{service}-database",
                {
                    "url": self._url(f"{service}_service", service, "read-write"),
                    "read-url": self._url(f"{service}_service", service, "prefer-standby"),
                    "migration-url": self._url(service, service, "read-write"),
                },
            )
        text = Path(__file__).with_name("patroni.yaml").read_text()
        objects = folder / "patroni.yaml"
        objects.write_text(text.replace("THIS-NAMESPACE", self._namespace.name).replace("THIS-IMAGE", IMAGE))
        kubectl("--namespace", self._namespace.name, "apply", "-f", objects)
        self.wait_complete()

    def wait_complete(self) -> None:
        """Wait until there is a leader that two synchronous standbys follow."""
        wanted = [("Leader", "running"), *[("Quorum Standby", "streaming")] * 2]

        def complete() -> bool:
            return sorted((one.get("Role", ""), one.get("State", "")) for one in self._listed()) == wanted

        wait_until("PostgreSQL has a leader and two standbys", complete, COMPLETE, 1)

    def leader(self) -> Any:
        """Return the pod of the leader. Raises StopIteration if none is ready."""
        return next(pod for pod in self._namespace.pods(f"{MEMBERS},role=primary") if is_ready(pod))

    def lead_outside(self, node: str) -> str:
        """Make a member on another node the leader if it is on this one. Return the leader's node."""
        where = {pod.metadata.name: pod.spec.node_name for pod in self._namespace.pods(MEMBERS)}
        if where[now := self._leads()] == node:
            to = next(name for name in where if where[name] != node)
            run(self._namespace.name, now, "patronictl", "switchover", "pg", "--candidate", to, "--force")
            self.wait_complete()
            wait_until("the other member leads", lambda: self._leads() == to, COMPLETE)
        return str(where[self._leads()])

    def leads_outside(self, node: str) -> bool:
        """Return whether a member on another node is the leader and ready. A lost pod may be listed as one, too."""
        leaders = self._namespace.pods(f"{MEMBERS},role=primary")
        return any(pod.spec.node_name != node and is_ready(pod) for pod in leaders)

    @contextlib.contextmanager
    def databases(self) -> Iterator[Databases]:
        """Yield both databases, over a port-forward to the leader."""

        def connect() -> Any:
            return port_forward.connect(self._namespace.name, self.leader().metadata.name, 5432)

        with ports(leader=connect) as opened:
            yield Databases(
                *(
                    f"postgresql://{service}:{self._password}@127.0.0.1:{opened['leader']}/{service}"
                    for service in ("order", "payment")
                )
            )

    def _leads(self) -> str:
        """Return the name of the leader, as Patroni sees it, or an empty string if there is no leader."""
        return next((one["Member"] for one in self._listed() if one.get("Role") == "Leader"), "")

    def _url(self, role: str, database: str, attributes: str) -> str:
        return f"postgresql://{role}:{self._password}@{HOSTS}/{database}?target_session_attrs={attributes}"

    def _listed(self) -> list[dict[str, Any]]:
        """Return the members as one of them that is ready sees them. Empty if none answers."""
        for pod in filter(is_ready, self._namespace.pods(MEMBERS)):
            with contextlib.suppress(AssertionError, client.ApiException, ValueError):
                listed = run(self._namespace.name, pod.metadata.name, "patronictl", "list", "--format", "json")
                members: list[dict[str, Any]] = json.loads(listed)
                return members
        return []
