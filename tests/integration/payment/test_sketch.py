"""The payment request of the original sketch's API."""

from __future__ import annotations

import itertools
import time
import uuid
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import pytest

from tests.support.eventually import eventually
from tests.support.pair import ORDER, Client, Pair
from tests.support.payment_bodies import wanted
from tests.support.problems import refused, send
from tests.support.settings import INTERNAL_KEY


def pay(pair: Pair, order_id: str, amount: Any) -> Any:
    """Pay without an idempotency key: the order's id serves as the key."""
    return pair.payment.request("POST", "/payments", json={"order_id": order_id, "amount": amount})


def with_amount(number: str) -> bytes:
    return b'{"order_id": "%s", "amount": %s}' % (str(uuid.uuid4()).encode(), number.encode())


def recorded(pair: Pair, order_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pair.payment.get(f"/v1/payments?order_id={order_id}").json()["data"]
    return found


def test_an_unknown_order_is_paid(pair: Pair) -> None:
    order_id = str(uuid.uuid4())
    answer = pay(pair, order_id, 100.0)
    assert (answer.status_code, answer.json()) == (200, {"status": "success"})
    (payment,) = recorded(pair, order_id)
    assert (payment["status"], payment["amount"], payment["currency"]) == ("captured", 10000, "EUR")
    assert pair.databases.charges(order_id) == [{"amount": 10000, "currency": "EUR"}]


def test_a_repeated_request_is_a_success_and_charges_once(pair: Pair) -> None:
    order_id = str(uuid.uuid4())
    assert [pay(pair, order_id, amount).json() for amount in (19.99, 19.99, 19.99)] == [{"status": "success"}] * 3
    assert pair.databases.charges(order_id) == [{"amount": 1999, "currency": "EUR"}]


def test_16_concurrent_requests_charge_once(pair: Pair) -> None:
    order_id = str(uuid.uuid4())
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: pay(pair, order_id, 5), range(16)))
    assert [(answer.status_code, answer.json()) for answer in answers] == [(200, {"status": "success"})] * 16
    assert len(pair.databases.charges(order_id)) == 1


def test_many_requests_for_a_payment_without_an_outcome_leave_threads_for_others(pair: Pair) -> None:
    simulator, order_id = Client(pair.payment.url, INTERNAL_KEY), str(uuid.uuid4())
    assert simulator.request("PUT", "/v1/simulator/faults", json={"lost_requests_percent": 100}).status_code == 200
    try:
        assert pay(pair, order_id, 5).status_code == 202
        places = pair.payment_app.extensions["tandem"].settings.web_threads // 2
        with ThreadPoolExecutor(14) as pool:
            began = time.monotonic()
            waiting = [pool.submit(pay, pair, order_id, 5) for _ in range(14)]
            done = list(itertools.islice(as_completed(waiting, timeout=8), 14 - places))
            assert time.monotonic() - began < 5
            assert [future.result().status_code for future in done] == [202] * (14 - places)
            assert simulator.request("PUT", "/v1/simulator/faults", json={}).status_code == 200
            assert {future.result().status_code for future in waiting} == {200, 202}
    finally:
        assert simulator.request("PUT", "/v1/simulator/faults", json={}).status_code == 200


@pytest.mark.parametrize(("amount", "minor"), [(0, 0), (0.0, 0), (-1, -100), (-0.01, -1)])
def test_an_amount_that_is_not_positive_is_stored_as_a_failed_payment(pair: Pair, amount: float, minor: int) -> None:
    order_id = str(uuid.uuid4())
    answer = pay(pair, order_id, amount)
    assert (answer.status_code, answer.json()) == (200, {"status": "failed"})
    (payment,) = recorded(pair, order_id)
    assert (payment["status"], payment["amount"], payment["failure_reason"]) == ("failed", minor, "invalid_amount")
    assert pair.databases.charges(order_id) == []
    assert pay(pair, order_id, 1).json() == {"status": "success"}


def test_an_amount_that_differs_from_the_live_payment_is_409_and_charges_nothing(pair: Pair) -> None:
    order_id = str(uuid.uuid4())
    pay(pair, order_id, 100)
    for amount in (99.99, 100.01, 1):
        refused(pay(pair, order_id, amount), 409, "payment-exists")
    assert len(pair.databases.charges(order_id)) == 1
    in_dollars = pair.payment.post("/v1/payments", wanted(currency="USD")).json()
    refused(pay(pair, in_dollars["order_id"], 9), 409, "payment-exists")


def test_an_order_of_the_sketch_is_charged_once_whichever_request_comes_first(pair: Pair) -> None:
    for _ in range(5):
        order_id = str(uuid.uuid4())
        placed = pair.order.request("POST", "/orders", json={"id": order_id, "items": ["a"], "total": 12.34})
        assert placed.status_code == 201
        answer = pay(pair, order_id, 12.34)
        assert (answer.status_code, answer.json()) == (200, {"status": "success"})
        path = f"/orders/{order_id}"
        eventually(lambda: pair.order.get(path).json()["status"] == "paid", "the order is paid")  # noqa: B023
        assert pair.databases.charges(order_id) == [{"amount": 1234, "currency": "EUR"}]
        assert len(recorded(pair, order_id)) == 1


def test_a_request_for_a_paid_order_is_a_success(pair: Pair) -> None:
    order_id = pair.order.post("/v1/orders", ORDER, Prefer="wait=10").json()["id"]
    eventually(lambda: pair.order.get(f"/orders/{order_id}").json()["status"] == "paid", "the order is paid")
    assert pay(pair, order_id, 9.00).json() == {"status": "success"}
    refused(pay(pair, order_id, 9.01), 409, "payment-exists")
    assert len(pair.databases.charges(order_id)) == 1


def test_a_payment_that_is_processing_is_awaited(pair: Pair) -> None:
    order_id = pair.order.post("/v1/orders", {**ORDER, "payment_method": "pm_slow"}).json()["id"]
    eventually(lambda: recorded(pair, order_id), "the payment is under way")
    assert pay(pair, order_id, 9).json() == {"status": "success"}
    assert len(pair.databases.charges(order_id)) == 1


@pytest.mark.parametrize(
    ("number", "minor"),
    [("100", 10000), ("1e2", 10000), ("0.29", 29), ("1.10", 110), ("92233720368547758.07", 2**63 - 1)],
)
def test_an_amount_is_read_as_a_decimal(pair: Pair, number: str, minor: int) -> None:
    data = with_amount(number)
    assert send(pair.payment, "/payments", data, Idempotency_Key="").json() == {"status": "success"}
    assert recorded(pair, data.decode().split('"')[3])[0]["amount"] == minor


@pytest.mark.parametrize(
    "number",
    [
        "0.001",
        "19.999",
        "-0.001",
        "1E-400",
        "92233720368547758.08",
        "1E+400",
        "9" * 1000,
        "1.00000000000000000000000000000001",
        "1E-1000100",
        "1E-1000000000000000000",
        "1E+1000100",
        '"1"',
        "true",
        "null",
        "[]",
    ],
)
def test_an_amount_that_the_currency_does_not_have_is_422(pair: Pair, number: str) -> None:
    response = send(pair.payment, "/payments", with_amount(number), Idempotency_Key="")
    refused(response, 422, "validation", "/amount")


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({}, ["/order_id", "/amount"]),
        ({"order_id": str(uuid.uuid4())}, ["/amount"]),
        ({"order_id": "1", "amount": 1}, ["/order_id"]),
        ({"order_id": 1, "amount": 1}, ["/order_id"]),
        ({"order_id": str(uuid.uuid4()), "amount": 1, "currency": "USD"}, ["/currency"]),
    ],
)
def test_the_error_for_an_invalid_body_points_at_each_field(
    pair: Pair, body: dict[str, Any], pointers: list[str]
) -> None:
    refused(pair.payment.request("POST", "/payments", json=body), 422, "validation", *pointers)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "01", "1.", "1E+1000000000000000000"])
def test_a_number_that_is_not_json_is_400(pair: Pair, number: str) -> None:
    refused(send(pair.payment, "/payments", with_amount(number), Idempotency_Key=""), 400, "malformed-request")
