"""Partial captures, declines that the order shows, and money that does not fit its order."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.eventually import eventually
from tests.support.pair import ORDER, Client, Pair
from tests.support.problems import refused
from tests.support.settings import INTERNAL_KEY

MANUAL = {**ORDER, "capture": "manual"}
FREE = {**ORDER, "items": [{"sku": "gift", "quantity": 1, "unit_amount": 0}]}


def place(pair: Pair, body: dict[str, Any]) -> dict[str, Any]:
    order: dict[str, Any] = pair.order.post("/v1/orders", body, Prefer="wait=10").json()
    return order


def read(pair: Pair, order: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = pair.order.get(f"/v1/orders/{order['id']}").json()
    return found


def history(pair: Pair, order: dict[str, Any]) -> list[tuple[str, str | None]]:
    events = pair.order.get(f"/v1/orders/{order['id']}/events").json()["data"]
    return [(event["type"], event["data"].get("failure_reason")) for event in events]


def operations(pair: Pair, payment_id: str) -> list[tuple[str, str, int]]:
    found = pair.payment.get(f"/v1/payments/{payment_id}/operations").json()["data"]
    return [(each["kind"], each["status"], each["amount"]) for each in found]


def release_at_provider(pair: Pair, order: dict[str, Any]) -> None:
    """Release the hold at the simulator, which then declines to capture or void it."""
    pair.databases.query(
        "payment",
        """INSERT INTO simulator.operations (key, kind, merchant, amount, currency, payment_method, charge, result)
           SELECT gen_random_uuid(), 'void', s.merchant, s.amount, s.currency, s.payment_method, reference, 'succeeded'
           FROM simulator.operations s JOIN operations o ON o.id = s.key
           WHERE o.payment_id = %s AND s.kind = 'authorize'""",
        order["payment"]["id"],
    )


def pay_directly(pair: Pair, order_id: str, **changes: Any) -> dict[str, Any]:
    """Create a payment for an order directly at payment, without the order service."""
    body = {"order_id": order_id, "amount": 500, "currency": "EUR", "payment_method": "pm_ok", **changes}
    made: dict[str, Any] = pair.payment.post("/v1/payments", body).json()
    return made


def test_a_partial_capture_pays_the_order_with_that_amount_and_releases_the_rest(pair: Pair) -> None:
    order = place(pair, MANUAL)
    assert (order["payment"]["captured_amount"], order["last_error"]) == (0, None)
    path = f"/v1/orders/{order['id']}"
    refused(pair.order.post(f"{path}/capture", {"amount": 901}), 409, "amount-exceeds-authorized")
    captured = pair.order.post(f"{path}/capture", {"amount": 400}, "part", Prefer="wait=10")
    assert captured.status_code == 200
    seen = captured.json()
    assert (seen["status"], seen["total_amount"], seen["paid_amount"]) == ("paid", 900, 400)
    assert (seen["payment"]["status"], seen["payment"]["captured_amount"]) == ("captured", 400)
    assert operations(pair, seen["payment"]["id"]) == [
        ("authorize", "succeeded", 900),
        ("capture", "succeeded", 400),
    ]
    again = pair.order.post(f"{path}/capture", {"amount": 400}, "part")
    assert (again.status_code, again.json(), again.headers["Idempotency-Replayed"]) == (200, seen, "true")
    refused(pair.order.post(f"{path}/capture", {"amount": 300}, "part"), 422, "idempotency-key-reused")
    refused(pair.order.post(f"{path}/capture", {}, "part"), 422, "idempotency-key-reused")
    refused(pair.order.post(f"{path}/capture", {"amount": 400}), 409, "order-state")


def test_refunds_of_a_partly_captured_order_are_limited_to_what_was_captured(pair: Pair) -> None:
    order = place(pair, MANUAL)
    path = f"/v1/orders/{order['id']}"
    pair.order.post(f"{path}/capture", {"amount": 400}, Prefer="wait=10")
    refused(pair.order.post(f"{path}/refunds", {"amount": 401}), 409, "amount-exceeds-captured")
    assert pair.order.post(f"{path}/refunds", {"amount": 100}, Prefer="wait=10").json()["status"] == "succeeded"
    assert (read(pair, order)["status"], read(pair, order)["refunded_amount"]) == ("paid", 100)
    rest = pair.order.post(f"{path}/refunds", Prefer="wait=10").json()
    assert (rest["amount"], rest["status"]) == (300, "succeeded")
    seen = read(pair, order)
    assert (seen["status"], seen["paid_amount"], seen["refunded_amount"]) == ("refunded", 400, 400)


def test_a_partly_captured_order_is_canceled_by_refunding_what_was_captured(pair: Pair) -> None:
    order = place(pair, MANUAL)
    path = f"/v1/orders/{order['id']}"
    pair.order.post(f"{path}/capture", {"amount": 400}, Prefer="wait=10")
    canceled = pair.order.post(f"{path}/cancel", Prefer="wait=10")
    seen = canceled.json()
    assert (canceled.status_code, seen["status"]) == (200, "canceled")
    assert (seen["paid_amount"], seen["refunded_amount"]) == (400, 400)
    assert operations(pair, order["payment"]["id"])[-1] == ("refund", "succeeded", 400)


def test_a_part_that_is_captured_at_payment_pays_the_order(pair: Pair) -> None:
    order = place(pair, MANUAL)
    assert pair.payment.post(f"/v1/payments/{order['payment']['id']}/capture", {"amount": 400}).status_code == 200
    eventually(lambda: read(pair, order)["status"] == "paid", "the order follows")
    seen = read(pair, order)
    assert (seen["paid_amount"], seen["payment"]["captured_amount"]) == (400, 400)
    path = f"/v1/orders/{order['id']}"
    refused(pair.order.post(f"{path}/capture"), 409, "order-state")
    assert pair.order.post(f"{path}/refunds", {"amount": 400}, Prefer="wait=10").json()["status"] == "succeeded"
    assert read(pair, order)["status"] == "refunded"


@pytest.mark.parametrize(
    ("first", "second"), [({"amount": 400}, {"amount": 300}), ({"amount": 400}, {}), ({}, {"amount": 1})]
)
def test_a_second_capture_of_another_amount_is_refused_while_one_is_under_way(
    pair: Pair, first: dict[str, int], second: dict[str, int]
) -> None:
    order = place(pair, MANUAL)
    path = f"/v1/orders/{order['id']}/capture"
    pair.stop_payment()
    try:
        assert pair.order.post(path, first).status_code == 202
        problem = refused(pair.order.post(path, second), 409, "order-state")
        assert f"a capture of {first.get('amount', 900)} is under way" in problem["detail"]
        assert pair.order.post(path, first).status_code == 202
    finally:
        pair.start_payment()
    eventually(lambda: read(pair, order)["status"] == "paid", "it is captured")
    amount = first.get("amount", 900)
    assert operations(pair, order["payment"]["id"])[1:] == [("capture", "succeeded", amount)]


def check_shown(error: dict[str, Any], code: str, reason: str) -> None:
    """Assert that the order shows the decline with the provider's reason."""
    verb = code.removesuffix("_declined")
    assert set(error) == {"code", "detail", "at"}
    assert error["code"] == code
    assert abs(datetime.fromisoformat(error["at"]) - datetime.now(UTC)) < timedelta(minutes=1)
    assert error["detail"] == f"The payment provider declined the {verb}: {reason}."


def test_a_declined_capture_answers_200_with_the_order_that_shows_it(pair: Pair) -> None:
    order = place(pair, MANUAL)
    release_at_provider(pair, order)
    path = f"/v1/orders/{order['id']}"
    began = datetime.now(UTC)
    captured = pair.order.post(f"{path}/capture", {}, "declined", Prefer="wait=10")
    assert datetime.now(UTC) - began < timedelta(seconds=5), "the wait ends with the decline"
    assert (captured.status_code, captured.json()["status"]) == (200, "authorized")
    reason = "authorization_is_gone"
    check_shown(captured.json()["last_error"], "capture_declined", reason)
    assert read(pair, order)["last_error"] == captured.json()["last_error"]
    assert "payment.capture_declined" in [kind for kind, _ in history(pair, order)]
    assert reason in [told for _, told in history(pair, order)]
    again = pair.order.post(f"{path}/capture", {}, "declined")
    assert (again.status_code, again.json()) == (200, read(pair, order))
    assert operations(pair, order["payment"]["id"])[1:] == [("capture", "declined", 900)]


def test_a_capture_that_payment_refuses_for_good_is_not_retried(pair: Pair) -> None:
    order = place(pair, MANUAL)
    pair.databases.query(
        "payment",
        "UPDATE payments SET authorized_amount = 500, version = version + 1 WHERE id = %s",
        order["payment"]["id"],
    )
    captured = pair.order.post(f"/v1/orders/{order['id']}/capture", {"amount": 600}, Prefer="wait=10")
    assert (captured.status_code, captured.json()["status"]) == (200, "authorized")
    check_shown(captured.json()["last_error"], "capture_declined", "amount-exceeds-authorized")


def test_a_declined_cancel_answers_200_with_the_order_that_shows_it(pair: Pair) -> None:
    order = place(pair, MANUAL)
    release_at_provider(pair, order)
    canceled = pair.order.post(f"/v1/orders/{order['id']}/cancel", Prefer="wait=10")
    assert (canceled.status_code, canceled.json()["status"]) == (200, "authorized")
    check_shown(canceled.json()["last_error"], "void_declined", "authorization_is_gone")


def test_a_cancel_whose_refund_is_declined_shows_it_until_something_succeeds(pair: Pair) -> None:
    order = place(pair, {**MANUAL, "payment_method": "pm_refund_declined"})
    path = f"/v1/orders/{order['id']}"
    pair.order.post(f"{path}/capture", {"amount": 400}, Prefer="wait=10")
    canceled = pair.order.post(f"{path}/cancel", Prefer="wait=10")
    seen = canceled.json()
    assert (canceled.status_code, seen["status"], seen["paid_amount"]) == (200, "paid", 400)
    check_shown(seen["last_error"], "refund_declined", "refund_declined")
    assert history(pair, order)[-1] == ("order.paid", "refund_declined")
    assert seen["last_error"] == pair.order.get("/v1/orders?limit=1").json()["data"][0]["last_error"]
    pair.databases.query("payment", "UPDATE payments SET payment_method = 'pm_ok', version = version + 1")
    assert pair.order.post(f"{path}/refunds", {"amount": 100}, Prefer="wait=10").json()["status"] == "succeeded"
    assert read(pair, order)["last_error"] is None


def test_a_capture_after_a_declined_one_clears_the_error(pair: Pair) -> None:
    order = place(pair, MANUAL)
    release_at_provider(pair, order)
    path = f"/v1/orders/{order['id']}"
    pair.order.post(f"{path}/capture", Prefer="wait=10")
    assert read(pair, order)["last_error"]["code"] == "capture_declined"
    pair.databases.query("payment", "DELETE FROM simulator.operations WHERE kind = 'void'")
    captured = pair.order.post(f"{path}/capture", Prefer="wait=10").json()
    assert (captured["status"], captured["last_error"]) == ("paid", None)


@pytest.mark.parametrize(
    ("changes", "operation"),
    [
        ({}, ("refund", "succeeded", 500)),
        ({"amount": 1000}, ("refund", "succeeded", 1000)),
        ({"amount": 900, "currency": "USD"}, ("refund", "succeeded", 900)),
        ({"capture": "manual"}, ("void", "succeeded", 500)),
    ],
)
def test_a_payment_before_its_order_that_does_not_fit_is_returned(
    pair: Pair, changes: dict[str, Any], operation: tuple[str, str, int]
) -> None:
    order = {"id": str(uuid.uuid4())}
    payment = pay_directly(pair, order["id"], **changes)
    placed = pair.order.request("POST", "/orders", json={"id": order["id"], "items": ["tea"], "total": 9.0})
    assert placed.status_code == 201
    eventually(lambda: operations(pair, payment["id"])[1:] == [operation], "the money is returned")
    eventually(lambda: read(pair, order)["payment"]["status"] in ("voided", "captured"), "the order follows")
    seen = read(pair, order)
    assert (seen["status"], seen["payment"]["failure_reason"]) == ("payment_failed", "amount_mismatch")
    assert (seen["paid_amount"], seen["refunded_amount"], seen["last_error"]) == (0, 0, None)
    if operation[0] == "refund":
        refunds = f"/v1/orders/{order['id']}/refunds"
        eventually(lambda: pair.order.get(refunds).json()["data"][0]["status"] == "succeeded", "the refund is settled")
        (refund,) = pair.order.get(refunds).json()["data"]
        assert (refund["amount"], refund["currency"]) == (operation[2], payment["currency"])
        assert refund["reason"] == "the payment does not fit the order"


@pytest.mark.parametrize(("capture", "kind"), [("automatic", "refund"), ("manual", "void")])
def test_a_payment_of_a_free_order_is_returned_and_the_order_stays_paid(pair: Pair, capture: str, kind: str) -> None:
    order = place(pair, FREE)
    payment = pay_directly(pair, order["id"], capture=capture)
    eventually(lambda: operations(pair, payment["id"])[1:] == [(kind, "succeeded", 500)], "the money is returned")
    seen = read(pair, order)
    assert (seen["status"], seen["paid_amount"], seen["refunded_amount"]) == ("paid", 0, 0)
    problem = refused(pair.order.post(f"/v1/orders/{order['id']}/refunds"), 409, "amount-exceeds-captured")
    assert problem["detail"] == "Of 0 paid, 0 is left to refund."


def test_a_declined_return_is_shown_and_not_repeated(pair: Pair) -> None:
    order = place(pair, FREE)
    payment = pay_directly(pair, order["id"], payment_method="pm_refund_declined")
    error = eventually(lambda: read(pair, order)["last_error"], "the decline is shown")
    check_shown(error, "refund_declined", "refund_declined")
    other = place(pair, ORDER)  # the relays have done more work since
    pair.order.post(f"/v1/orders/{other['id']}/refunds", Prefer="wait=10")
    assert operations(pair, payment["id"])[1:] == [("refund", "declined", 500)]
    canceled = pair.order.post(f"/v1/orders/{order['id']}/cancel", Prefer="wait=10").json()
    assert (canceled["status"], canceled["last_error"]) == ("canceled", error)


def test_a_payment_that_took_the_place_of_an_unheard_one_is_not_overlooked(pair: Pair) -> None:
    """The void of the first payment was answered to a relay that died: there is no event of it."""
    order = place(pair, MANUAL)
    void = {"id": str(uuid.uuid4()), "merchant": "demo", "topic": "payment.void"}
    void["payload"] = {"payment_id": order["payment"]["id"]}  # type: ignore[assignment]
    internal = Client(pair.payment.url, INTERNAL_KEY)
    assert internal.post("/v1/commands", {"commands": [void]}).json()["results"][0]["payment"]["status"] == "voided"
    paid = pay_directly(pair, order["id"], amount=order["total_amount"])
    eventually(lambda: read(pair, order)["payment"]["id"] == paid["id"], "the order knows the other payment")
    eventually(
        lambda: pair.payment.get(f"/v1/payments/{paid['id']}").json()["refunded_amount"] == 900, "it is returned"
    )
    assert read(pair, order)["status"] == "canceled"
