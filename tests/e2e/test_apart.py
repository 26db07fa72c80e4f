"""Each chart by itself, in a namespace of its own: values alone tell the services of each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.support.cluster.credentials import NAME, Credentials
from tests.support.cluster.databases import databases
from tests.support.cluster.namespace import Namespace, wait_until
from tests.support.cluster.notes import typed
from tests.support.cluster.orders import paid, place
from tests.support.cluster.pods import bystander, reached
from tests.support.settings import KEY

pytestmark = pytest.mark.cluster


@dataclass(frozen=True, slots=True)
class Apart:
    """Payment with the money, order where things are sold."""

    money: Namespace
    sales: Namespace


@pytest.fixture(scope="module")
def apart(new_namespace: Callable[..., Namespace]) -> Apart:
    money, sales = new_namespace("payment"), new_namespace("order")
    for namespace in (money, sales):
        namespace.keep_secret(NAME, CREDENTIALS.content())
    keys = {"credentials": {"existingSecret": NAME}}
    money.install(keys | {"order": {"url": f"http://order.{sales.name}:8080", "namespace": sales.name}})
    sales.install(keys | {"payment": {"url": f"http://payment.{money.name}:8081", "namespace": money.name}})
    return Apart(money, sales)


CREDENTIALS = Credentials()


def test_orders_are_paid_across_namespaces_and_events_come_back(apart: Apart) -> None:
    with apart.sales.order(KEY) as tandem, databases(apart.sales, apart.money) as seen:
        order = paid(tandem, place(tandem).id)
        left = "SELECT count(*) FROM outbox WHERE delivered_at IS NULL"
        wait_until("payment has told order", lambda: seen.query("payment", left)[0]["count"] == 0, 60)
        assert [one["amount"] for one in seen.charges(order.id)] == [900]
        told = seen.query("payment", "SELECT count(*) FROM outbox WHERE delivered_at IS NOT NULL")
        assert told[0]["count"] > 0


def test_payment_answers_order_s_pods_and_no_others_of_that_namespace(apart: Apart) -> None:
    peer = f"payment.{apart.money.name}:8081"
    (order,) = apart.sales.servers("order")
    assert reached(apart.sales.name, order.metadata.name, peer, container="web")[peer]
    with bystander(apart.sales) as stranger:
        assert not reached(apart.sales.name, stranger, peer)[peer]


def test_the_chart_s_own_test_works_across_namespaces(apart: Apart) -> None:
    assert sum(line.startswith("ok: ") for line in apart.sales.test()) == 10


def test_the_commands_of_both_notes_work_down_to_the_removal_of_the_data(apart: Apart) -> None:
    assert "HTTP 200" in typed(apart.money.notes(), removal=False)
    assert "HTTP 201" in typed(apart.sales.notes())
    wait_until("nothing is left but the keys", lambda: apart.sales.left() == {f"Secret/{NAME}"}, 120)
