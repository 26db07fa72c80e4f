"""Payments that hold money and whose order does not exist are kept, listed and counted until that changes."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from chassis.telemetry import metrics
from tests.integration.order.test_payment_events import event, post_event
from tests.support.databases import Databases
from tests.support.eventually import eventually
from tests.support.pair import Client, Pair
from tests.support.settings import OTHER_KEY

SKETCH = {"items": ["item1"], "total": 9}


@pytest.fixture(scope="module")
def pair(databases: Databases) -> Iterator[Pair]:
    """Payment is stopped, so that only the events of the test change an order."""
    with Pair(databases) as pair:
        pair.stop_payment()
        yield pair


@pytest.fixture
def missing() -> dict[str, Any]:
    """An order that does not exist."""
    return {"id": str(uuid.uuid4()), "total_amount": 900, "currency": "EUR"}


@pytest.fixture
def payment() -> str:
    return str(uuid.uuid4())


def listed(pair: Pair) -> str:
    result = pair.order_app.test_cli_runner().invoke(args=["orphans"])
    assert result.exit_code == 0, result.output
    return result.output


def gauges(pair: Pair) -> dict[str, float]:
    text = metrics.render(pair.order_app.extensions["tandem"].gauges, "")[0].decode()
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("orphan_payments"))
    return {name: float(value) for name, value in lines}


def place(pair: Pair, order: dict[str, Any], **changes: Any) -> None:
    answer = pair.order.request("POST", "/orders", json={"id": order["id"], **SKETCH, **changes})
    assert answer.status_code == 201, answer.text


def test_a_payment_without_an_order_is_listed_and_counted_until_its_money_is_returned(
    pair: Pair, missing: dict[str, Any], payment: str
) -> None:
    post_event(pair, event(missing, "captured", 2, payment_id=payment, refunded_amount=100))
    (line,) = [line for line in listed(pair).splitlines() if payment in line]
    for shown in (missing["id"], "demo", "captured", "800 EUR"):
        assert shown in line
    assert gauges(pair)['orphan_payments{tandem="order"}'] == 1
    assert gauges(pair)['orphan_payments_held_minor_units{currency="EUR",tandem="order"}'] == 800
    assert gauges(pair)['orphan_payments_oldest_seconds{tandem="order"}'] > 0
    post_event(pair, event(missing, "captured", 3, payment_id=payment, refunded_amount=900))
    assert payment not in listed(pair)
    assert gauges(pair)['orphan_payments{tandem="order"}'] == 0


@pytest.mark.parametrize(("status", "is_listed"), [("processing", True), ("authorized", True)])
@pytest.mark.parametrize("ended", ["voided", "failed", "expired"])
def test_a_payment_that_may_hold_money_is_listed_until_it_ends(
    pair: Pair, missing: dict[str, Any], payment: str, status: str, is_listed: bool, ended: str
) -> None:
    post_event(pair, event(missing, status, 2, payment_id=payment))
    assert (payment in listed(pair)) == is_listed
    post_event(pair, event(missing, ended, 3, payment_id=payment))
    assert payment not in listed(pair)


def test_a_late_snapshot_changes_nothing(pair: Pair, missing: dict[str, Any], payment: str) -> None:
    post_event(pair, event(missing, "voided", 4, payment_id=payment))
    for version in (3, 4):
        post_event(pair, event(missing, "authorized", version, payment_id=payment))
        assert payment not in listed(pair)


def test_an_order_that_is_placed_later_takes_its_payment(pair: Pair, missing: dict[str, Any], payment: str) -> None:
    post_event(pair, event(missing, "captured", 2, payment_id=payment))
    place(pair, missing)
    order = pair.order.get(f"/v1/orders/{missing['id']}").json()
    assert (order["status"], order["paid_amount"], order["payment"]["id"]) == ("paid", 900, payment)
    assert payment not in listed(pair)


def test_an_order_that_was_placed_first_takes_its_payment(pair: Pair, missing: dict[str, Any], payment: str) -> None:
    place(pair, missing)
    post_event(pair, event(missing, "captured", 2, payment_id=payment))
    order = pair.order.get(f"/v1/orders/{missing['id']}").json()
    assert (order["status"], order["payment"]["id"]) == ("paid", payment)
    assert payment not in listed(pair)


def test_a_placed_order_takes_the_payment_that_holds_money_and_not_an_earlier_one(
    pair: Pair, missing: dict[str, Any], payment: str
) -> None:
    post_event(pair, event(missing, "captured", 2, payment_id=payment))
    post_event(pair, event(missing, "failed", 2, payment_id=str(uuid.uuid4())))
    place(pair, missing)
    order = pair.order.get(f"/v1/orders/{missing['id']}").json()
    assert (order["status"], order["payment"]["id"]) == ("paid", payment)


@pytest.mark.parametrize("ended", ["failed", "voided", "expired"])
def test_a_payment_that_ended_before_its_order_was_placed_does_not_end_the_order(
    pair: Pair, missing: dict[str, Any], payment: str, ended: str
) -> None:
    post_event(pair, event(missing, ended, 2))
    place(pair, missing)
    order = pair.order.get(f"/v1/orders/{missing['id']}").json()
    assert order["status"] == "pending_payment", "the payment that the order has asked for is not created yet"
    post_event(pair, event(missing, "captured", 2, payment_id=payment))
    order = pair.order.get(f"/v1/orders/{missing['id']}").json()
    assert (order["status"], order["paid_amount"], order["payment"]["id"]) == ("paid", 900, payment)


def test_an_order_of_another_merchant_with_the_same_id_takes_nothing(
    pair: Pair, missing: dict[str, Any], payment: str
) -> None:
    post_event(pair, event(missing, "captured", 2, payment_id=payment))
    answer = Client(pair.order.url, OTHER_KEY).request("POST", "/orders", json={"id": missing["id"], **SKETCH})
    assert answer.status_code == 201
    assert payment in listed(pair)
    assert Client(pair.order.url, OTHER_KEY).get(f"/v1/orders/{missing['id']}").json()["payment"] is None


def test_the_sweep_gives_an_order_the_payment_that_a_crash_left_behind(
    pair: Pair, missing: dict[str, Any], payment: str
) -> None:
    place(pair, missing)
    pair.databases.query(
        "order",
        """INSERT INTO orphan_payments (merchant, payment_id, order_id, status, currency, amount, captured_amount,
                                        refunded_amount, refunding_amount, version)
           VALUES ('demo', %s, %s, 'captured', 'EUR', 900, 900, 0, 0, 2)""",
        payment,
        missing["id"],
    )
    assert payment not in listed(pair), "its order exists"
    use_cases = pair.order_app.extensions["tandem"].use_cases["orders"]
    use_cases.sweep(use_cases.database.session(), 3600, 3600)
    eventually(
        lambda: pair.order.get(f"/v1/orders/{missing['id']}").json()["status"] == "paid", "the order has the payment"
    )
    assert pair.databases.query("order", "SELECT FROM orphan_payments WHERE payment_id = %s", payment) == []


def test_the_purge_deletes_only_what_is_no_orphan_any_more(pair: Pair, payment: str) -> None:
    ended, placed, held = ({"id": str(uuid.uuid4()), "total_amount": 900, "currency": "EUR"} for _ in range(3))
    ids = {name: str(uuid.uuid4()) for name in ("ended", "placed", "held")}
    post_event(pair, event(ended, "voided", 2, payment_id=ids["ended"]))
    post_event(pair, event(held, "captured", 2, payment_id=ids["held"]))
    post_event(pair, event(placed, "failed", 2, payment_id=ids["placed"]))
    pair.databases.query("order", "UPDATE orphan_payments SET last_seen_at = now() - interval '1 year'")
    assert pair.order_app.test_cli_runner().invoke(args=["purge"]).exit_code == 0
    left = pair.databases.query("order", "SELECT payment_id::text FROM orphan_payments")
    found = {row["payment_id"] for row in left} & set(ids.values())
    assert found == {ids["held"]}


def test_two_live_payments_wait_until_payment_says_which_one_has_ended(
    pair: Pair, missing: dict[str, Any], payment: str
) -> None:
    """Payment is stopped. The order is placed all the same, and the sweep goes on with what it can do."""
    for live in (payment, str(uuid.uuid4())):
        post_event(pair, event(missing, "authorized", 2, payment_id=live))
    place(pair, missing)
    use_cases = pair.order_app.extensions["tandem"].use_cases["orders"]
    use_cases.sweep(use_cases.database.session(), 3600, 3600)
    kept = pair.databases.query("order", "SELECT FROM orphan_payments WHERE order_id = %s", missing["id"])
    assert len(kept) == 2, "the sweep tries again"
