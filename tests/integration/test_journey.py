"""An order from the request to the charge at the provider."""

from __future__ import annotations

import pytest

from tests.support.eventually import eventually
from tests.support.pair import ORDER, Pair


def test_an_order_is_placed_and_paid_by_the_relay(pair: Pair) -> None:
    placed = pair.order.post("/v1/orders", ORDER)
    assert placed.status_code == 201
    path = placed.headers["Location"]
    order = eventually(lambda: (seen := pair.order.get(path).json())["status"] == "paid" and seen, "the order is paid")
    assert isinstance(order, dict)
    assert (order["total_amount"], order["paid_amount"]) == (900, 900)
    history = pair.order.get(f"{path}/events").json()["data"]
    assert [(event["version"], event["type"]) for event in history] == [(1, "order.placed"), (2, "order.paid")]
    assert pair.databases.charges(order["id"]) == [{"amount": 900, "currency": "EUR"}]


@pytest.mark.parametrize(
    ("method", "status", "reason"),
    [
        ("pm_ok", "paid", None),
        ("pm_declined", "payment_failed", "card_declined"),
        ("pm_insufficient_funds", "payment_failed", "insufficient_funds"),
        ("pm_slow", "paid", None),
        ("pm_timeout_charged", "paid", None),
        ("pm_timeout_lost", "paid", None),
        ("pm_nobody_knows", "payment_failed", "invalid_payment_method"),
    ],
)
def test_prefer_wait_returns_the_outcome(pair: Pair, method: str, status: str, reason: str | None) -> None:
    placed = pair.order.post("/v1/orders", {**ORDER, "payment_method": method}, Prefer="wait=10")
    assert placed.headers["Preference-Applied"] == "wait=10"
    order = placed.json()
    assert (order["status"], order["payment"]["failure_reason"]) == (status, reason)
    assert len(pair.databases.charges(order["id"])) == (1 if status == "paid" else 0)


def test_orders_are_accepted_while_payment_is_down_and_paid_later(pair: Pair) -> None:
    pair.stop_payment()
    placed = [pair.order.post("/v1/orders", ORDER) for _ in range(20)]
    assert {answer.status_code for answer in placed} == {201}
    waited = pair.order.post("/v1/orders", ORDER, Prefer="wait=1")
    assert (waited.status_code, waited.json()["status"]) == (201, "pending_payment")
    pair.start_payment()
    ids = [answer.json()["id"] for answer in [*placed, waited]]
    for order_id in ids:
        eventually(lambda: pair.order.get(f"/v1/orders/{order_id}").json()["status"] == "paid", "paid")  # noqa: B023
        assert len(pair.databases.charges(order_id)) == 1
