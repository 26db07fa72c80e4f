"""What can happen to an order's payment: capture, void, cancel, refund, another attempt, expiry."""

from __future__ import annotations

import threading
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from tests.support.eventually import eventually
from tests.support.pair import ORDER, Pair

WAIT = {"Prefer": "wait=10"}


def place(pair: Pair, status: str, **change: Any) -> dict[str, Any]:
    """Place an order, and assert its status after its outcome."""
    order: dict[str, Any] = pair.order.post("/v1/orders", {**ORDER, **change}, **WAIT).json()
    assert order["status"] == status, order
    return order


def payment_of(pair: Pair, order_id: str) -> dict[str, Any]:
    """Return the newest payment of an order."""
    payments = pair.payment.get(f"/v1/payments?order_id={order_id}").json()["data"]
    found: dict[str, Any] = payments[0]
    return found


def history(pair: Pair, order_id: str) -> list[str]:
    """Return the types of an order's events."""
    return [event["type"] for event in pair.order.get(f"/v1/orders/{order_id}/events").json()["data"]]


def net_at_provider(pair: Pair, order_id: str) -> int:
    """Return the captured minus the refunded amount of an order at the simulator."""
    rows = pair.databases.query(
        "payment",
        """SELECT COALESCE(sum(CASE s.kind WHEN 'refund' THEN -s.amount ELSE s.amount END), 0)::bigint AS net
           FROM simulator.operations s JOIN operations o ON o.id = s.key
           JOIN payments p ON p.merchant = o.merchant AND p.id = o.payment_id
           WHERE p.order_id = %s AND s.result = 'succeeded' AND s.kind IN ('sale', 'capture', 'refund')""",
        order_id,
    )
    net: int = rows[0]["net"]
    return net


def test_manual_capture(pair: Pair) -> None:
    order = place(pair, "authorized", capture="manual")
    assert net_at_provider(pair, order["id"]) == 0
    captured = pair.order.post(f"/v1/orders/{order['id']}/capture", **WAIT)
    assert (captured.status_code, captured.json()["status"], captured.json()["paid_amount"]) == (200, "paid", 900)
    assert history(pair, order["id"]) == [
        "order.placed",
        "order.authorized",
        "payment.capture_requested",
        "order.paid",
    ]
    again = pair.order.post(f"/v1/orders/{order['id']}/capture")
    assert (again.status_code, urlsplit(again.json()["type"]).path) == (409, "/problems/order-state")
    kinds = pair.payment.get(f"/v1/payments/{captured.json()['payment']['id']}/operations").json()["data"]
    assert [(each["kind"], each["status"]) for each in kinds] == [("authorize", "succeeded"), ("capture", "succeeded")]


def test_a_partial_capture_releases_the_rest(pair: Pair) -> None:
    paid = pair.payment.post(
        "/v1/payments",
        {
            "order_id": "0a6c3f52-1111-4222-8333-444455556666",
            "amount": 1000,
            "currency": "EUR",
            "payment_method": "pm_ok",
            "capture": "manual",
        },
    ).json()
    path = f"/v1/payments/{paid['id']}"
    assert (
        urlsplit(pair.payment.post(f"{path}/capture", {"amount": 1001}).json()["type"]).path
        == "/problems/amount-exceeds-authorized"
    )
    captured = pair.payment.post(f"{path}/capture", {"amount": 400})
    assert (captured.status_code, captured.json()["status"], captured.json()["captured_amount"]) == (
        200,
        "captured",
        400,
    )
    assert pair.payment.post(f"{path}/void").status_code == 409
    assert pair.payment.post(f"{path}/refunds", {"amount": 401}).status_code == 409
    assert pair.payment.post(f"{path}/refunds").json()["amount"] == 400


def test_void(pair: Pair) -> None:
    order = place(pair, "authorized", capture="manual")
    payment = payment_of(pair, order["id"])
    voided = pair.payment.post(f"/v1/payments/{payment['id']}/void")
    assert (voided.status_code, voided.json()["status"]) == (200, "voided")
    eventually(lambda: pair.order.get(f"/v1/orders/{order['id']}").json()["status"] == "canceled", "order follows")


@pytest.mark.parametrize(
    ("before", "change"),
    [
        ("paid", {}),
        ("authorized", {"capture": "manual"}),
        ("payment_failed", {"payment_method": "pm_declined"}),
        ("paid", {"items": [{"sku": "free", "quantity": 1, "unit_amount": 0}]}),
    ],
)
def test_cancel(pair: Pair, before: str, change: dict[str, Any]) -> None:
    order = place(pair, before, **change)
    canceled = pair.order.post(f"/v1/orders/{order['id']}/cancel", key="the-cancel", **WAIT)
    assert (canceled.status_code, canceled.json()["status"]) == (200, "canceled")
    assert net_at_provider(pair, order["id"]) == 0
    again = pair.order.post(f"/v1/orders/{order['id']}/cancel", key="the-cancel")
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (200, "true")
    assert pair.order.post(f"/v1/orders/{order['id']}/refunds").status_code == 409


def test_a_cancel_before_the_payment_request_charges_nothing(pair: Pair) -> None:
    pair.stop_payment()
    for _ in range(6):  # until the circuit breaker opens, and the relay sends no more requests
        pair.order.post("/v1/orders", ORDER)
    breaker = pair.order_app.extensions["tandem"].use_cases["orders"].relay.breaker
    eventually(lambda: breaker.is_open, "payment is taken to be down")
    order = pair.order.post("/v1/orders", ORDER).json()
    canceled = pair.order.post(f"/v1/orders/{order['id']}/cancel").json()
    pair.start_payment()
    eventually(
        lambda: pair.order.get(f"/v1/orders/{order['id']}").json()["status"] == "canceled", "the order is canceled"
    )
    if canceled["status"] == "canceled":
        assert pair.payment.get(f"/v1/payments?order_id={order['id']}").json()["data"] == []
    assert net_at_provider(pair, order["id"]) == 0


def test_cancel_while_the_payment_is_in_flight(pair: Pair) -> None:
    order = pair.order.post("/v1/orders", {**ORDER, "payment_method": "pm_slow"}).json()
    eventually(lambda: pair.payment.get(f"/v1/payments?order_id={order['id']}").json()["data"], "it is under way")
    canceling = pair.order.post(f"/v1/orders/{order['id']}/cancel")
    assert (canceling.status_code, canceling.json()["status"]) == (202, "canceling")
    eventually(lambda: pair.order.get(f"/v1/orders/{order['id']}").json()["status"] == "canceled", "it is canceled")
    assert net_at_provider(pair, order["id"]) == 0
    assert history(pair, order["id"])[-2:] == ["order.canceled", "refund.succeeded"]


def test_a_cancel_whose_refund_is_declined_leaves_the_order_paid(pair: Pair) -> None:
    order = place(pair, "paid", payment_method="pm_refund_declined")
    answer = pair.order.post(f"/v1/orders/{order['id']}/cancel", **WAIT)
    assert (answer.status_code, answer.json()["status"]) == (200, "paid")
    last = pair.order.get(f"/v1/orders/{order['id']}/events").json()["data"][-1]
    assert (last["type"], last["data"]["failure_reason"]) == ("order.paid", "refund_declined")
    refund = pair.order.get(f"/v1/orders/{order['id']}/refunds").json()["data"][0]
    assert (refund["status"], refund["failure_reason"]) == ("failed", "refund_declined")


def test_partial_refunds_and_then_the_rest(pair: Pair) -> None:
    order = place(pair, "paid")
    path = f"/v1/orders/{order['id']}"
    part = pair.order.post(f"{path}/refunds", {"amount": 300, "reason": "one was broken"}, **WAIT)
    assert (part.status_code, part.json()["status"], part.json()["amount"]) == (201, "succeeded", 300)
    seen = pair.order.get(path).json()
    assert (seen["status"], seen["paid_amount"], seen["refunded_amount"]) == ("paid", 900, 300)
    too_much = pair.order.post(f"{path}/refunds", {"amount": 601})
    assert (too_much.status_code, urlsplit(too_much.json()["type"]).path) == (409, "/problems/amount-exceeds-captured")
    rest = pair.order.post(f"{path}/refunds", **WAIT).json()
    assert (rest["amount"], rest["status"]) == (600, "succeeded")
    assert pair.order.get(path).json()["status"] == "refunded"
    assert [refund["amount"] for refund in pair.order.get(f"{path}/refunds").json()["data"]] == [600, 300]
    assert net_at_provider(pair, order["id"]) == 0
    balances = {
        row["account"]: row["balance"] for row in pair.payment.get("/v1/ledger/balances?currency=EUR").json()["data"]
    }
    assert balances == {"merchant_payable": 0, "provider_clearing": 0}


@pytest.mark.parametrize("method", ["pm_timeout_charged", "pm_timeout_lost", "pm_error_then_ok", "pm_flaky"])
def test_unknown_outcomes_are_resolved(pair: Pair, method: str) -> None:
    order = place(pair, "authorized", payment_method=method, capture="manual")
    path = f"/v1/orders/{order['id']}"
    assert pair.order.post(f"{path}/capture", **WAIT).json()["status"] == "paid"
    assert pair.order.post(f"{path}/refunds", {"amount": 100}, **WAIT).json()["status"] == "succeeded"
    assert pair.order.post(f"{path}/cancel", **WAIT).json()["status"] == "canceled"
    assert net_at_provider(pair, order["id"]) == 0


def test_another_attempt_after_a_decline(pair: Pair) -> None:
    order = place(pair, "payment_failed", payment_method="pm_declined")
    path = f"/v1/orders/{order['id']}"
    paid = pair.order.post(f"{path}/payment-attempts", {"payment_method": "pm_ok"}, **WAIT)
    assert (paid.status_code, paid.json()["status"], paid.json()["payment_method"]) == (200, "paid", "pm_ok")
    assert pair.order.post(f"{path}/payment-attempts", {"payment_method": "pm_ok"}).status_code == 409
    assert history(pair, order["id"]) == [
        "order.placed",
        "order.payment_failed",
        "order.payment_attempted",
        "order.paid",
    ]


def test_an_authorization_expires(pair: Pair) -> None:
    order = place(pair, "authorized", capture="manual")
    pair.databases.query("payment", "UPDATE payments SET expires_at = now(), version = version + 1")
    eventually(lambda: pair.order.get(f"/v1/orders/{order['id']}").json()["status"] == "expired", "it has expired")
    assert payment_of(pair, order["id"])["status"] == "expired"
    assert pair.order.post(f"/v1/orders/{order['id']}/capture").status_code == 409
    assert pair.order.post(f"/v1/orders/{order['id']}/cancel").status_code == 409


def together(count: int, call: Any) -> list[requests.Response]:
    """Make this many calls at the same time, and return their responses."""
    answers: list[requests.Response] = []
    start = threading.Barrier(count)

    def run(number: int) -> None:
        start.wait()
        answers.append(call(number))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


@pytest.mark.parametrize("service", ["order", "payment"])
def test_fifty_refunds_of_30_percent_give_exactly_three(pair: Pair, service: str) -> None:
    order = place(pair, "paid")
    path = f"/v1/orders/{order['id']}" if service == "order" else f"/v1/payments/{order['payment']['id']}"
    client = getattr(pair, service)
    answers = together(50, lambda _: client.post(f"{path}/refunds", {"amount": 270}))
    assert sorted(answer.status_code for answer in answers) == [201] * 3 + [409] * 47
    eventually(lambda: payment_of(pair, order["id"])["refunded_amount"] == 810, "three refunds have succeeded")
    assert net_at_provider(pair, order["id"]) == 90
    eventually(lambda: pair.order.get(f"/v1/orders/{order['id']}").json()["refunded_amount"] == 810, "order knows")


def test_capture_against_void_has_one_winner(pair: Pair) -> None:
    for _ in range(5):
        order = place(pair, "authorized", capture="manual")
        path = f"/v1/payments/{order['payment']['id']}"
        answers = together(8, lambda number, path=path: pair.payment.post(f"{path}/{('capture', 'void')[number % 2]}"))
        won = [answer for answer in answers if answer.status_code in (200, 202)]
        lost = [answer.json() for answer in answers if answer.status_code == 409]
        assert (len(won), len(lost)) == (1, 7)
        assert {urlsplit(problem["type"]).path for problem in lost} == {"/problems/payment-state"}
        expected = {"captured": ("paid", 900), "voided": ("canceled", 0)}[payment_of(pair, order["id"])["status"]]
        eventually(
            lambda order=order, expected=expected: (  # type: ignore[misc]
                pair.order.get(f"/v1/orders/{order['id']}").json()["status"] == expected[0]
            ),
            "the order follows",
        )
        assert net_at_provider(pair, order["id"]) == expected[1]


def test_cancel_against_refund_agrees(pair: Pair) -> None:
    for _ in range(5):
        order = place(pair, "paid")
        path = f"/v1/orders/{order['id']}"
        answers = together(
            6,
            lambda number, path=path: (
                pair.order.post(f"{path}/cancel") if number % 2 else pair.order.post(f"{path}/refunds", {"amount": 500})
            ),
        )
        assert {answer.status_code for answer in answers} <= {200, 201, 202, 409}
        eventually(
            lambda path=path: pair.order.get(path).json()["status"] in ("canceled", "refunded"),  # type: ignore[misc]
            "it ends",
        )
        final = pair.order.get(path).json()
        assert final["refunded_amount"] == 900
        assert net_at_provider(pair, order["id"]) == 0


def test_a_lost_event_only_delays_the_order(pair: Pair) -> None:
    order = place(pair, "authorized", capture="manual")
    pair.databases.query("payment", "UPDATE payments SET expires_at = now(), version = version + 1")
    eventually(lambda: payment_of(pair, order["id"])["status"] == "expired", "payment knows")
    eventually(lambda: pair.order.get(f"/v1/orders/{order['id']}").json()["status"] == "expired", "order knows")
    other = place(pair, "authorized", capture="manual")
    payment = payment_of(pair, other["id"])
    pair.databases.query(  # a change without an event
        "payment",
        "UPDATE payments SET status = 'voided', version = version + 1 WHERE id = %s",
        payment["id"],
    )
    pair.databases.query("order", "UPDATE orders SET swept_at = now() - interval '1 day'")
    service = pair.order_app.extensions["tandem"]
    pair.databases.query("order", "UPDATE outbox SET delivered_at = now() - interval '1 day'")
    service.use_cases["orders"].sweep(service.database.session(), 0.0, 0.0)
    eventually(
        lambda: pair.order.get(f"/v1/orders/{other['id']}").json()["status"] == "canceled",
        "the sweep has updated the order",
    )


def test_a_cancel_whose_void_is_declined_leaves_the_order_authorized(pair: Pair) -> None:
    order = place(pair, "authorized", capture="manual")
    pair.databases.query(  # the provider has released the hold without an event
        "payment",
        """INSERT INTO simulator.operations (key, kind, merchant, amount, currency, payment_method, charge, result)
           SELECT gen_random_uuid(), 'void', merchant, amount, currency, payment_method, reference, 'succeeded'
           FROM simulator.operations""",
    )
    answer = pair.order.post(f"/v1/orders/{order['id']}/cancel", **WAIT)
    assert (answer.status_code, answer.json()["status"]) == (200, "authorized")
    last = pair.order.get(f"/v1/orders/{order['id']}/events").json()["data"][-1]
    assert last["to"] == "authorized"
    assert last["data"]["failure_reason"] in (
        "void_declined",
        "authorization_is_gone",
    )  # from the response or from the event
    kinds = pair.payment.get(f"/v1/payments/{order['payment']['id']}/operations").json()["data"]
    assert [each["kind"] for each in kinds] == ["authorize", "void"], "the void is not retried"
