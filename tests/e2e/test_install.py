"""The chart with its default values on a real cluster: installed, used, shaken, upgraded, removed."""

from __future__ import annotations

import time
import uuid
from typing import Any

import helm_python
import pytest
from kubernetes import client

from tests.e2e.cluster import RELEASE, Namespace, paid, place, say, wait_until
from tests.e2e.conftest import Installed

pytestmark = pytest.mark.cluster


def ended(job: Any) -> Any:
    """The job, when it has succeeded or given up; else None."""
    return job if any(one.type in ("Complete", "Failed") for one in job.status.conditions or []) else None


def test_every_pod_is_ready_within_a_minute(installed: Installed) -> None:
    say(f"MEASURED ready after {installed.seconds:.1f} s (allowed: 60)")
    assert installed.seconds < 60


def test_takes_less_than_a_gibibyte(installed: Installed) -> None:
    try:
        used = wait_until("the metrics API has seen every container", installed.namespace.memory, 90)
    except client.ApiException as error:
        if error.status == 404:
            pytest.skip("this cluster has no metrics-server")
        raise
    for name, memory in sorted(used.items()):
        say(f"{memory / 2**20:4.0f} MiB  {name}")
    say(f"MEASURED {sum(used.values()) / 2**20:.0f} MiB in all (allowed: 1024)")
    assert sum(used.values()) < 2**30


def test_an_order_placed_through_a_port_forward_is_paid(installed: Installed) -> None:
    with installed.namespace.order() as tandem:
        begin = time.monotonic()
        order = place(tandem, wait=5)
        say(f"order {order.id}: {order.status} in the answer, after {time.monotonic() - begin:.2f} s")
        paid(tandem, order.id, 30)
        assert tandem.get_order(order.id).total_amount == 900


def test_the_chart_s_own_test_passes(installed: Installed) -> None:
    lines = installed.namespace.test()
    for line in lines:
        say(line)
    assert [line[:4] for line in lines if line].count("ok: ") == 10


@pytest.mark.parametrize("service", ["order", "payment"])
def test_the_purge_that_is_due_at_night_works(installed: Installed, service: str) -> None:
    name, namespace = f"{RELEASE}-{service}-purge", installed.namespace.name
    batch: Any = client.BatchV1Api()
    spec = batch.read_namespaced_cron_job(name, namespace).spec.job_template.spec
    batch.create_namespaced_job(namespace, client.V1Job(metadata=client.V1ObjectMeta(name=name), spec=spec))
    job = wait_until("the purge has ended", lambda: ended(batch.read_namespaced_job(name, namespace)), 60)
    batch.delete_namespaced_job(name, namespace, propagation_policy="Background")
    assert job.status.succeeded == 1


def test_orders_placed_while_payment_restarts_are_paid(installed: Installed) -> None:
    namespace = installed.namespace
    (before,) = namespace.servers("payment")
    with namespace.order() as tandem:
        orders = [place(tandem).id]
        say(f"deleting pod {before.metadata.name}")
        namespace.core.delete_namespaced_pod(before.metadata.name, namespace.name, grace_period_seconds=0)

        def back() -> bool:
            orders.append(place(tandem).id)
            return (
                before.metadata.name not in {pod.metadata.name for pod in namespace.servers("payment")}
                and namespace.ready()
            )

        wait_until("payment is back", back, 120, 0.1)
        say(f"{len(orders)} orders were placed meanwhile")
        for order in orders:
            paid(tandem, order)


def test_an_upgrade_keeps_orders_and_keys(installed: Installed) -> None:
    namespace = installed.namespace
    with namespace.order() as tandem:
        order = place(tandem, wait=5).id
        paid(tandem, order)
        before = tandem.get_order(order)
    key = namespace.api_key()
    old = {pod.metadata.uid for name in ("order", "payment") for pod in namespace.servers(name)}

    annotation: dict[str, Any] = {"podAnnotations": {"example.com/upgraded": uuid.uuid4().hex}}
    namespace.upgrade({"order": annotation | {"replicaCount": 2}, "payment": annotation})

    new = {pod.metadata.uid for name in ("order", "payment") for pod in namespace.servers(name)}
    assert len(new) == 3
    assert not new & old
    assert namespace.api_key() == key
    with namespace.order() as tandem:
        assert tandem.get_order(order) == before
        paid(tandem, place(tandem).id)


def test_a_migration_that_fails_leaves_the_old_release_serving(installed: Installed) -> None:
    namespace = installed.namespace
    old = {pod.metadata.uid for pod in namespace.servers("order")}
    elsewhere = {
        "postgresql": {"enabled": False},
        "database": {"url": "postgresql://order:none@localhost:1/order"},
        "migration": {"wait": 1},
    }
    with pytest.raises(helm_python.HelmReleaseError, match="pre-upgrade"):
        namespace.upgrade({"order": elsewhere})
    assert {pod.metadata.uid for pod in namespace.servers("order")} == old
    with namespace.order() as tandem:
        paid(tandem, place(tandem).id)


def test_uninstall_keeps_the_data_and_nothing_else(namespace: Namespace) -> None:
    namespace.install()
    key = str(uuid.uuid4())
    with namespace.order() as tandem:
        placed = place(tandem, key=key).id
        paid(tandem, placed)
        before = tandem.get_order(placed)

    namespace.uninstall()
    assert namespace.left() == {
        "PersistentVolumeClaim/data-tandem-order-postgresql-0",
        "PersistentVolumeClaim/data-tandem-payment-postgresql-0",
        "Secret/tandem-order-postgresql",
        "Secret/tandem-payment-postgresql",
    }

    namespace.install()
    with namespace.order() as tandem:
        assert tandem.get_order(placed) == before
