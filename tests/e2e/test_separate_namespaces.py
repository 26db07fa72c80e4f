"""The charts order and payment in separate namespaces, connected by their values only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.support.cluster.credentials import NAME, Credentials
from tests.support.cluster.databases import databases
from tests.support.cluster.namespace import Namespace, wait_until
from tests.support.cluster.notes import run_commands
from tests.support.cluster.orders import paid, place
from tests.support.cluster.pods import connectable, idle_pod
from tests.support.settings import KEY

pytestmark = pytest.mark.cluster


@dataclass(frozen=True, slots=True)
class Separate:
    """The namespaces of payment (`money`) and order (`sales`)."""

    money: Namespace
    sales: Namespace


@pytest.fixture(scope="module")
def separate(new_namespace: Callable[..., Namespace]) -> Separate:
    money, sales = new_namespace("payment"), new_namespace("order")
    for namespace in (money, sales):
        namespace.write_secret(NAME, CREDENTIALS.content())
    keys = {"credentials": {"existingSecret": NAME}}
    money.install(keys | {"order": {"url": f"http://order.{sales.name}:8080", "namespace": sales.name}})
    sales.install(keys | {"payment": {"url": f"http://payment.{money.name}:8081", "namespace": money.name}})
    return Separate(money, sales)


CREDENTIALS = Credentials()


def test_orders_are_paid_across_namespaces_and_events_are_delivered(separate: Separate) -> None:
    with separate.sales.order(KEY) as tandem, databases(separate.sales, separate.money) as seen:
        # The provider's answer is lost, so payment learns the outcome later, and tells order by an event.
        order = paid(tandem, place(tandem, method="pm_timeout_charged").id)
        undelivered = "SELECT count(*) FROM outbox WHERE delivered_at IS NULL"
        wait_until("payment has delivered its events", lambda: seen.query("payment", undelivered)[0]["count"] == 0, 60)
        assert [one["amount"] for one in seen.charges(order.id)] == [900]
        delivered = seen.query("payment", "SELECT count(*) FROM outbox WHERE delivered_at IS NOT NULL")
        assert delivered[0]["count"] > 0


def test_in_order_s_namespace_only_order_s_pods_reach_payment(separate: Separate) -> None:
    peer = f"payment.{separate.money.name}:8081"
    (order,) = separate.sales.servers("order")
    assert connectable(separate.sales.name, order.metadata.name, peer, container="web")[peer]
    with idle_pod(separate.sales) as other:
        assert not connectable(separate.sales.name, other, peer)[peer]


def test_helm_test_succeeds_across_namespaces(separate: Separate) -> None:
    assert sum(line.startswith("ok: ") for line in separate.sales.test()) == 10


def test_the_commands_in_both_notes_work_including_the_removal_of_the_data(separate: Separate) -> None:
    assert "HTTP 200" in run_commands(separate.money.notes(), removal=False)
    assert "HTTP 201" in run_commands(separate.sales.notes())
    wait_until("only the keys are left", lambda: separate.sales.objects() == {f"Secret/{NAME}"}, 120)
