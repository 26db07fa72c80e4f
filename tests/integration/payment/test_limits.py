"""What callers may do about one order is bounded, so that neither its row nor its queue grows without end."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from payment.limits import MOST_EVENTS, MOST_PAYMENTS
from tests.support.eventually import eventually
from tests.support.pair import ORDER, Pair
from tests.support.payment_bodies import wanted
from tests.support.problems import refused

pytestmark = pytest.mark.adversarial


def failed(pair: Pair, order_id: str, number: int) -> None:
    """Insert failed payments of an order."""
    pair.databases.query(
        "payment",
        """INSERT INTO payments (merchant, id, order_id, amount, currency, payment_method, status, failure_reason,
                                 provider, capture)
           SELECT 'demo', gen_random_uuid(), %s, 900, 'EUR', 'pm_declined', 'failed', 'declined', 'simulator',
                  'automatic' FROM generate_series(1, %s)""",
        order_id,
        number,
    )


def test_an_order_has_at_most_a_hundred_payments_that_failed(pair: Pair) -> None:
    body = wanted(order_id=str(uuid.uuid4()), payment_method="pm_declined")
    failed(pair, body["order_id"], MOST_PAYMENTS - 1)
    last = pair.payment.post("/v1/payments", body, key="the-last-one")
    assert last.status_code == 201
    assert "100" in refused(pair.payment.post("/v1/payments", body), 409, "payment-limit")["detail"]
    again = pair.payment.post("/v1/payments", body, key="the-last-one")
    assert (again.status_code, again.json()["id"]) == (201, last.json()["id"])


def test_an_order_that_has_its_hundred_payments_is_not_paid_again(pair: Pair) -> None:
    order = pair.order.post("/v1/orders", {**ORDER, "payment_method": "pm_declined"}, Prefer="wait=10").json()
    pay = f"/v1/orders/{order['id']}/payment-attempts"
    pair.databases.query(
        "order",
        """UPDATE orders SET past_payments = ARRAY(SELECT gen_random_uuid() FROM generate_series(1, 99)),
               version = version + 1, asked_version = version + 1 WHERE id = %s""",
        order["id"],
    )
    once_more = pair.order.post(pay, {"payment_method": "pm_declined"}, Prefer="wait=10")
    assert once_more.json()["status"] == "payment_failed"
    refused(pair.order.post(pay, {"payment_method": "pm_ok"}), 409, "payment-limit")
    assert pair.order.post(f"/v1/orders/{order['id']}/cancel", Prefer="wait=10").json()["status"] == "canceled"


def test_the_order_service_may_exceed_the_limit_of_its_callers(pair: Pair) -> None:
    order = pair.order.post("/v1/orders", {**ORDER, "payment_method": "pm_declined"}, Prefer="wait=10").json()
    failed(pair, order["id"], MOST_PAYMENTS)
    paid = pair.order.post(f"/v1/orders/{order['id']}/payment-attempts", {"payment_method": "pm_ok"}, Prefer="wait=10")
    assert paid.json()["status"] == "paid"


@pytest.fixture
def crowded(pair: Pair) -> Iterator[dict[str, Any]]:
    """An authorized payment of an order of which as many events wait as may wait."""
    body = wanted(order_id=str(uuid.uuid4()), capture="manual")
    payment = pair.payment.post("/v1/payments", body).json()
    eventually(lambda: not waiting(pair, body["order_id"]), "the event of the authorization was delivered")
    pair.databases.query(
        "payment",
        """INSERT INTO outbox (id, merchant, aggregate_id, topic, payload, available_at)
           SELECT gen_random_uuid(), 'demo', %s, 'payment.updated', '{}', now() + interval '1 day'
           FROM generate_series(1, %s)""",
        body["order_id"],
        MOST_EVENTS,
    )
    yield payment
    pair.databases.query("payment", "DELETE FROM outbox WHERE aggregate_id = %s", body["order_id"])


def waiting(pair: Pair, order_id: str) -> int:
    (row,) = pair.databases.query(
        "payment", "SELECT count(*) AS n FROM outbox WHERE aggregate_id = %s AND delivered_at IS NULL", order_id
    )
    return int(row["n"])


@pytest.mark.parametrize("action", ["capture", "void"])
def test_callers_add_no_event_to_a_hundred_that_wait(pair: Pair, crowded: dict[str, Any], action: str) -> None:
    path, key = f"/v1/payments/{crowded['id']}/{action}", str(uuid.uuid4())
    answer = pair.payment.post(path, key=key)
    problem = refused(answer, 503, "unavailable")
    assert "100 events" in problem["detail"]
    assert answer.headers["Retry-After"] == "5"
    assert waiting(pair, crowded["order_id"]) == MOST_EVENTS
    pair.databases.query(
        "payment",
        """DELETE FROM outbox WHERE id = (
               SELECT id FROM outbox WHERE aggregate_id = %s AND delivered_at IS NULL LIMIT 1)""",
        crowded["order_id"],
    )
    assert pair.payment.post(path, key=key).status_code == 200


def test_an_order_has_at_most_a_hundred_pending_refunds(pair: Pair) -> None:
    order = pair.order.post("/v1/orders", ORDER, Prefer="wait=10").json()
    pair.stop_payment()
    try:
        path = f"/v1/orders/{order['id']}/refunds"
        answers = [pair.order.post(path, {"amount": 1}) for _ in range(101)]
        assert [answer.status_code for answer in answers] == [201] * 100 + [409]
        assert "100 refunds of the order are pending" in refused(answers[-1], 409, "refund-limit")["detail"]
    finally:
        pair.start_payment()
    ended = f"{path}?limit=100"
    eventually(
        lambda: {each["status"] for each in pair.order.get(ended).json()["data"]} == {"succeeded"},
        "all refunds have ended",
        60,
    )
    assert pair.order.post(path, {"amount": 1}).status_code == 201
