"""Nodes are killed, cut off and drained under load. Both services use PostgreSQL of three members under Patroni.

Callers retry as those of `make failover-drill` do. What they notice is measured, and the invariants of tests.chaos are
checked afterwards.
"""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml

from tests.chaos import coverage, workload
from tests.chaos.consumer import Consumer
from tests.chaos.log import Log
from tests.failover.__main__ import PATIENCE, REST, load
from tests.failover.measure import Answers
from tests.support.charts.rendering import merged
from tests.support.cluster import nodes, way
from tests.support.cluster.credentials import NAME, VALUES, Credentials
from tests.support.cluster.invariants import Release, assert_all_hold
from tests.support.cluster.kubectl import kubectl, program
from tests.support.cluster.logs import Logs
from tests.support.cluster.namespace import CHARTS, Namespace, is_ready, say, wait_until
from tests.support.cluster.patroni import MEMBERS, Patroni
from tests.support.pair import Client

pytestmark = pytest.mark.nodes

SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(10_000))
SERVICES = ("order", "payment")
ALLOWED = 60.0
"""Seconds within which requests that write succeed again."""
LATER = 5.0
"""Seconds from the first success after a fault until it is ended."""

# Short leases, so that another pod claims the work of a lost pod during the test. Callers may reach payment too.
MORE: dict[str, Any] = {service: {"env": {"LEASE_SECONDS": 5}} for service in SERVICES}
CALLERS = {"payment": {"networkPolicy": {"from": [{"podSelector": {"matchLabels": way.LABELS}}]}}}


@dataclass
class Faults:
    """Causes each fault once, and measures what callers notice."""

    namespace: Namespace
    patroni: Patroni
    answers: Answers
    measured: dict[str, float] = field(default_factory=dict)

    def run(self) -> None:
        """Cause one fault after another. Each begins when all pods are ready on nodes and in zones of their own."""
        self.wait_written(time.monotonic())
        for name, cause in KINDS:
            nodes.wait_spread(self.namespace, SERVICES, 2)
            say(name)
            began = cause(self)
            nodes.wait_all_ready()
            self.patroni.wait_complete()
            wait_until("every pod is ready again", self.namespace.ready, 120)
            ended = time.monotonic()
            slowest = self.answers.slowest(began, ended)
            assert slowest is not None
            self.measured[name] = self.answers.writes.without(began, ended)
            say(f"MEASURED {name}: {self.measured[name]:.1f} s without success, slowest attempt {slowest.took:.1f} s")

    def kill(self) -> float:
        """Kill the leader's node, and start it when another leader accepts writes. Return when it was killed."""
        node, began = self.leaders_node()
        nodes.fault("kill", node)
        try:
            self.wait_led_outside(node)
        finally:
            nodes.fault("start", node)
        return began

    def cut(self) -> float:
        """Cut the leader's node off, and heal it when another leader accepts writes. Return when it was cut off."""
        node, began = self.leaders_node()
        nodes.fault("cut", node)
        try:
            self.wait_led_outside(node)
        finally:
            nodes.fault("heal", node)
        return began

    def drain(self) -> float:
        """Drain the leader's node until another leader accepts writes. Return when that began."""
        node, began = self.leaders_node()
        try:
            running = drain(node)
            said = running.communicate(timeout=180)[0]
            assert running.returncode == 0, said
            self.wait_led_outside(node)
            for service in SERVICES:
                assert node not in nodes.of_servers(self.namespace, service)
        finally:
            kubectl("uncordon", node)
        return began

    def drain_two(self) -> float:
        """Drain both nodes of order's pods at once. Return when that began.

        A budget refuses to evict the second pod until the first is replaced. The databases are left alone.
        """
        both, began = nodes.of_servers(self.namespace, "order"), time.monotonic()
        assert len(set(both)) == 2
        selector = "--pod-selector=app.kubernetes.io/part-of=tandem"
        try:
            running = [drain(node, selector) for node in both]
            deadline = time.monotonic() + 180
            while any(one.poll() is None for one in running):
                assert time.monotonic() < deadline, "the drains have not ended"
                for service in SERVICES:
                    assert any(map(is_ready, self.namespace.servers(service))), f"no pod of {service} is ready"
                time.sleep(0.1)
            said = "".join(one.communicate()[0] for one in running)
            assert [one.returncode for one in running] == [0, 0], said
            refused = [line for line in said.splitlines() if "disruption budget" in line and '"tandem-order' in line]
            assert refused, said
            say(f"{len(refused)} evictions were refused: {refused[0]}")
        finally:
            kubectl("uncordon", *both)
        return began

    def leaders_node(self) -> tuple[str, float]:
        """Return the node of the leader, which is not that of the API server, and the time when requests succeed."""
        node = self.patroni.lead_outside(nodes.of_the_api())
        self.wait_written(time.monotonic())
        return node, time.monotonic()

    def wait_led_outside(self, node: str) -> None:
        """Wait until a member on another node is the leader and requests succeed, and LATER seconds more."""
        wait_until("another member is the leader", lambda: self.patroni.leads_outside(node), 120, 0.2)
        self.wait_written(time.monotonic())
        time.sleep(LATER)

    def wait_written(self, since: float) -> None:
        """Wait until a request that was answered after this time has written something."""
        wait_until("requests succeed", lambda: (self.answers.writes.times or [0.0])[-1] > since, 120, 0.1)


KINDS: list[tuple[str, Callable[[Faults], float]]] = [
    ("the leader's node is killed", Faults.kill),
    ("the leader's node is cut off", Faults.cut),
    ("the leader's node is drained", Faults.drain),
    ("both nodes of order's pods are drained at once", Faults.drain_two),
]


def drain(node: str, *options: str) -> subprocess.Popen[str]:
    """Start to drain a node. Everything that is printed is standard output."""
    argv = [program(), "drain", node, "--ignore-daemonsets", "--delete-emptydir-data", *options]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.fixture(scope="module")
def patroni_of(
    new_namespace: Callable[..., Namespace], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Namespace, Patroni]:
    """A release with the values of patroni-values.yaml, and its databases."""
    namespace = new_namespace()
    patroni = Patroni(namespace)
    patroni.create(tmp_path_factory.mktemp("patroni"))
    namespace.write_secret(NAME, Credentials().content())
    given = yaml.safe_load((CHARTS / "tandem" / "ci" / "patroni-values.yaml").read_text())
    namespace.install(merged(merged(given, VALUES), merged(MORE, CALLERS)))
    return namespace, patroni


def test_pods_run_on_nodes_and_in_zones_of_their_own(patroni_of: tuple[Namespace, Patroni]) -> None:
    namespace, _ = patroni_of
    nodes.wait_spread(namespace, SERVICES, 2)
    known = nodes.zones()
    assert len({known[pod.spec.node_name] for pod in namespace.pods(MEMBERS)}) == 3


def test_nothing_acknowledged_is_lost_when_nodes_are_killed_cut_off_and_drained(
    patroni_of: tuple[Namespace, Patroni], tmp_path: Path
) -> None:
    namespace, patroni = patroni_of
    say(f"SEED={SEED} repeats the callers of this run")
    log, answers, began = Log(), Answers(), datetime.now(UTC)
    faults = Faults(namespace, patroni, answers)
    with (
        patroni.databases() as seen,
        Logs(namespace) as logs,
        way.to_services(namespace, nodes.of_the_api()) as urls,
    ):
        consumers = [Consumer(urls["order"], merchant) for merchant in workload.MERCHANTS]
        for consumer in consumers:
            consumer.start()
        with answers.recorded(), mock.patch.multiple(workload, **PATIENCE):
            load(SEED, (urls["order"], urls["payment"]), log, faults.run)
        release = Release(namespace, seen, Client(urls["order"]), Client(urls["payment"]), tmp_path)
        end = assert_all_hold(release, log, logs, began, consumers, REST)
    acknowledged = {request.answer["id"] for request in log.acknowledged("place", "replay") if request.answer}
    say(f"MEASURED {len(acknowledged)} acknowledged orders: none lost, none charged twice")
    assert coverage.missing(coverage.occurrences(end.facts)) == []
    assert {name: seconds for name, seconds in faults.measured.items() if seconds > ALLOWED} == {}
    assert [name for name, _ in KINDS if name not in faults.measured] == []
