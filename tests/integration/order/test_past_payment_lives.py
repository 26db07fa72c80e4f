"""A payment that an order has given up is the live one again: payment was restored to a moment before its decline."""

from __future__ import annotations

from typing import Any

from tests.integration.order.test_resync import get
from tests.support.eventually import eventually
from tests.support.fixtures.per_test import databases, pair
from tests.support.outbox import delivered, settled
from tests.support.pair import ORDER, Pair

__all__ = ["databases", "pair"]

BEFORE_THE_DECLINE = """
ALTER TABLE payments DISABLE TRIGGER USER;
ALTER TABLE operations DISABLE TRIGGER USER;
DELETE FROM simulator.operations;
UPDATE operations SET status = 'pending', reason = NULL, settled_at = NULL, available_at = now() + interval '1 hour';
UPDATE payments SET status = 'processing', failure_reason = NULL, version = 1, payment_method = 'pm_ok';
ALTER TABLE operations ENABLE TRIGGER USER;
ALTER TABLE payments ENABLE TRIGGER USER
"""
"""Payment is restored to the moment at which the provider was asked. The provider has no record of the decline."""

ANOTHER_ATTEMPT_FAILED = """
ALTER TABLE orders DISABLE TRIGGER USER;
UPDATE orders SET status = 'payment_failed', paid_amount = 0, failure_reason = 'card_declined',
    past_payments = past_payments || (payment->>'id')::uuid,
    payment = payment || jsonb_build_object('id', gen_random_uuid(), 'status', 'failed', 'captured_amount', 0);
ALTER TABLE orders ENABLE TRIGGER USER
"""
"""The order's newest payment failed, and payment has forgotten it."""

LATE = """
INSERT INTO outbox (id, merchant, aggregate_id, topic, payload, headers)
SELECT gen_random_uuid(), merchant, aggregate_id, topic,
       payload || jsonb_build_object('data', payload->'data' || jsonb_build_object('id', %s::text,
           'status', 'authorized', 'version', 9, 'captured_amount', 0, 'refunded_amount', 0)), headers
FROM outbox RETURNING id
"""
"""An event that shows a payment as it was before it ended, made of the event of the order's other payment."""

DUE = "UPDATE operations SET available_at = now()"


def declined_before_a_restore(pair: Pair) -> dict[str, Any]:
    """Return an order whose payment was declined and is under way again at payment."""
    wanted = {**ORDER, "payment_method": "pm_declined"}
    order: dict[str, Any] = pair.order.post("/v1/orders", wanted, Prefer="wait=10").json()
    assert order["status"] == "payment_failed"
    settled(pair)
    pair.databases.query("payment", BEFORE_THE_DECLINE)
    return order


def commands(pair: Pair) -> list[dict[str, Any]]:
    return pair.databases.query("order", "SELECT id FROM outbox WHERE topic = 'payment.create'")


def captured_and_returned(pair: Pair, order: dict[str, Any]) -> bool:
    (payment,) = pair.payment.get(f"/v1/payments?order_id={order['id']}").json()["data"]
    return bool(payment["captured_amount"] == payment["refunded_amount"] == 900)


def held(pair: Pair, order: dict[str, Any]) -> int:
    payments = pair.payment.get(f"/v1/payments?order_id={order['id']}").json()["data"]
    return sum(each["captured_amount"] - each["refunded_amount"] for each in payments)


def try_again(pair: Pair, order: dict[str, Any]) -> None:
    attempt = pair.order.post(f"/v1/orders/{order['id']}/payment-attempts", {"payment_method": "pm_ok"})
    assert attempt.status_code in (200, 202)


def test_another_attempt_is_paid_by_the_payment_that_payment_knows_as_live(pair: Pair) -> None:
    order = declined_before_a_restore(pair)
    try_again(pair, order)
    delivered(pair, "order")
    assert get(pair, order)["payment"] is not None
    pair.databases.query("payment", DUE)
    eventually(lambda: get(pair, order)["status"] == "paid", "the order is paid")
    delivered(pair, "payment")
    assert (get(pair, order)["payment"]["id"], held(pair, order)) == (order["payment"]["id"], 900)
    assert len(commands(pair)) == 2, "one for each attempt"


def test_the_money_of_a_canceled_order_is_returned(pair: Pair) -> None:
    order = declined_before_a_restore(pair)
    pair.stop_payment()
    try_again(pair, order)
    eventually(lambda: pair.databases.query("order", "SELECT FROM outbox WHERE attempts > 1"), "the relay has tried")
    assert pair.order.post(f"/v1/orders/{order['id']}/cancel").json()["status"] == "canceling"
    pair.start_payment()
    delivered(pair, "order")
    pair.databases.query("payment", DUE)
    eventually(lambda: captured_and_returned(pair, order), "the customer has the money back")
    eventually(lambda: get(pair, order)["status"] == "canceled", "the order knows it")


def test_an_order_whose_last_attempt_failed_is_paid_by_an_earlier_one_that_succeeds_now(pair: Pair) -> None:
    order = declined_before_a_restore(pair)
    pair.databases.query("order", ANOTHER_ATTEMPT_FAILED)
    pair.databases.query("payment", DUE)
    eventually(lambda: get(pair, order)["status"] == "paid", "the earlier payment is captured")
    delivered(pair, "payment")
    assert held(pair, order) == 900
    shown = get(pair, order)
    assert (shown["status"], shown["paid_amount"], shown["payment"]["id"]) == ("paid", 900, order["payment"]["id"])


def test_a_late_event_of_a_payment_that_has_ended_changes_nothing(pair: Pair) -> None:
    order = pair.order.post("/v1/orders", {**ORDER, "payment_method": "pm_declined"}, Prefer="wait=10").json()
    delivered(pair, "payment")
    try_again(pair, order)
    eventually(lambda: get(pair, order)["status"] == "paid", "the order is paid")
    delivered(pair, "payment")
    pair.databases.query("order", ANOTHER_ATTEMPT_FAILED)
    before = get(pair, order)
    assert len(pair.databases.query("payment", LATE, order["payment"]["id"])) == 1
    delivered(pair, "payment")
    assert get(pair, order) == before
