"""The umbrella chart with its default values: installed, used, disturbed, uninstalled and installed again."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from kubernetes import client

from tests.support.cluster.namespace import RESTRICTED, Installed, Namespace, say, wait_until
from tests.support.cluster.notes import run_commands
from tests.support.cluster.orders import paid, place
from tests.support.cluster.pods import connectable, idle_pod

pytestmark = pytest.mark.cluster


def ended(job: Any) -> Any:
    """Return the job if it has succeeded or failed, else None."""
    return job if any(one.type in ("Complete", "Failed") for one in job.status.conditions or []) else None


def test_every_pod_is_ready_within_45_seconds(installed: Installed) -> None:
    say(f"MEASURED ready after {installed.seconds:.1f} s (allowed: 45)")
    assert installed.seconds < 45


def test_it_uses_less_than_600_mib(installed: Installed) -> None:
    used = wait_until("the metrics API has seen every container", installed.namespace.memory, 90)
    for name, memory in sorted(used.items()):
        say(f"{memory / 2**20:4.0f} MiB  {name}")
    say(f"MEASURED {sum(used.values()) / 2**20:.0f} MiB in total (allowed: 600)")
    assert sum(used.values()) < 600 * 2**20


def test_the_namespace_refuses_pods_that_are_not_restricted(installed: Installed) -> None:
    namespace = installed.namespace
    assert RESTRICTED.items() <= namespace.core.read_namespace(namespace.name).metadata.labels.items()
    pod = {"metadata": {"name": "root"}, "spec": {"containers": [{"name": "root", "image": "postgres:18"}]}}
    with pytest.raises(client.ApiException, match="violates PodSecurity"):
        namespace.core.create_namespaced_pod(namespace.name, pod)


def test_an_order_placed_through_a_port_forward_is_paid(installed: Installed) -> None:
    with installed.namespace.order() as tandem:
        begin = time.monotonic()
        order = place(tandem, wait=5)
        say(f"order {order.id}: {order.status} in the answer, after {time.monotonic() - begin:.2f} s")
        assert paid(tandem, order.id, 30).total_amount == 900


def test_helm_test_reports_each_step(installed: Installed) -> None:
    lines = installed.namespace.test()
    for line in lines:
        say(line)
    assert [line[:4] for line in lines if line].count("ok: ") == 10


@pytest.mark.parametrize("service", ["order", "payment"])
def test_the_nightly_purge_works(installed: Installed, service: str) -> None:
    name, namespace = f"tandem-{service}-purge", installed.namespace.name
    batch: Any = client.BatchV1Api()
    spec = batch.read_namespaced_cron_job(name, namespace).spec.job_template.spec
    batch.create_namespaced_job(namespace, client.V1Job(metadata=client.V1ObjectMeta(name=name), spec=spec))
    job = wait_until("the purge has ended", lambda: ended(batch.read_namespaced_job(name, namespace)), 60)
    batch.delete_namespaced_job(name, namespace, propagation_policy="Background")
    assert job.status.succeeded == 1


def test_network_policies_admit_only_the_pods_that_need_access(
    installed: Installed, new_namespace: Callable[..., Namespace]
) -> None:
    namespace, elsewhere = installed.namespace, new_namespace()
    peers = {
        "order": f"tandem-order.{namespace.name}:8080",
        "payment": f"tandem-payment.{namespace.name}:8081",
        "order's database": f"tandem-order-postgresql.{namespace.name}:5432",
        "payment's database": f"tandem-payment-postgresql.{namespace.name}:5432",
    }

    def seen(where: str, pod: str, container: str | None = None) -> set[str]:
        answers = connectable(where, pod, *peers.values(), container=container)
        return {name for name, peer in peers.items() if answers[peer]}

    for service, other in (("order", "payment"), ("payment", "order")):
        (pod,) = namespace.servers(service)
        # A pod always reaches itself, whatever the policies.
        assert seen(namespace.name, pod.metadata.name, "web") - {service} == {other, f"{service}'s database"}
    with idle_pod(elsewhere) as pod_elsewhere:
        assert seen(elsewhere.name, pod_elsewhere) == {"order"}
    with idle_pod(namespace) as other_pod:
        assert seen(namespace.name, other_pod) == {"order"}


def test_orders_placed_while_payment_restarts_are_paid(installed: Installed) -> None:
    namespace = installed.namespace
    (before,) = namespace.servers("payment")
    with namespace.order() as tandem:
        orders = [place(tandem).id]
        say(f"deleting pod {before.metadata.name}")
        namespace.core.delete_namespaced_pod(before.metadata.name, namespace.name, grace_period_seconds=0)

        def is_back() -> bool:
            orders.append(place(tandem).id)
            return (
                before.metadata.name not in {pod.metadata.name for pod in namespace.servers("payment")}
                and namespace.ready()
            )

        wait_until("payment is back", is_back, 120, 0.1)
        say(f"{len(orders)} orders were placed in the meantime")
        for order in orders:
            paid(tandem, order)


def test_uninstall_keeps_only_the_data(installed: Installed) -> None:
    namespace = installed.namespace
    key = str(uuid.uuid4())
    with namespace.order() as tandem:
        before = paid(tandem, place(tandem, key=key).id)

    namespace.uninstall()
    assert namespace.objects() == {
        "PersistentVolumeClaim/data-tandem-order-postgresql-0",
        "PersistentVolumeClaim/data-tandem-payment-postgresql-0",
        "Secret/tandem-order-postgresql",
        "Secret/tandem-payment-postgresql",
    }

    namespace.install()
    with namespace.order() as tandem:
        assert tandem.get_order(before.id) == before
        assert place(tandem, key=key).id == before.id


def test_the_commands_in_the_notes_work_including_the_removal_of_the_data(installed: Installed) -> None:
    namespace = installed.namespace
    printed = run_commands(namespace.notes())
    assert "HTTP 201" in printed
    assert printed.count("ok: ") == 10
    wait_until("nothing is left", lambda: not namespace.objects(), 120)
