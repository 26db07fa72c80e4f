"""The order API of the original sketch: POST /orders and GET /orders/{id}."""

from __future__ import annotations

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest

from tests.support.eventually import eventually
from tests.support.pair import ORDER, Pair
from tests.support.problems import refused, send

LINE = {"quantity": 1, "unit_amount": 1}
NO_IDS: list[Any] = ["", "1", 1, None, True, ["x"], "x" * 36, ...]
NO_LISTS: list[Any] = [[], ["a"] * 101, None, "item1", {}, ...]
NO_NAMES: list[Any] = ["", "x" * 201, 1, None, ["a"]]


def sketch(**changes: Any) -> dict[str, Any]:
    body = {"id": str(uuid.uuid4()), "items": ["item1", "item2"], "total": 100.0, **changes}
    return {name: value for name, value in body.items() if value is not ...}


def place(pair: Pair, body: dict[str, Any]) -> Any:
    """Place an order. The order's id serves as the idempotency key."""
    return pair.order.request("POST", "/orders", json=body)


def with_total(number: str) -> bytes:
    return b'{"id": "%s", "items": ["a"], "total": %s}' % (str(uuid.uuid4()).encode(), number.encode())


def test_an_order_is_placed_read_and_paid(pair: Pair) -> None:
    body = sketch()
    placed = place(pair, body)
    assert (placed.status_code, placed.json()) == (201, body)
    path = f"/orders/{body['id']}"
    assert placed.headers["Location"] == path
    eventually(lambda: pair.order.get(path).json()["status"] == "paid", "the order is paid")
    assert pair.order.get(path).json() == {**body, "status": "paid"}
    assert pair.databases.charges(body["id"]) == [{"amount": 10000, "currency": "EUR"}]


def test_an_unknown_order_is_404(pair: Pair) -> None:
    refused(pair.order.get(f"/orders/{uuid.uuid4()}"), 404, "order-not-found")
    refused(pair.order.get("/orders/item1"), 404, "not-found")


def test_a_repeated_request_returns_the_same_response_and_charges_once(pair: Pair) -> None:
    body = sketch()
    answers = [place(pair, body) for _ in range(3)]
    eventually(lambda: pair.order.get(f"/orders/{body['id']}").json()["status"] == "paid", "the order is paid")
    answers.append(place(pair, body))
    answers.append(place(pair, {**body, "total": 100}))
    assert {(answer.status_code, answer.headers["Location"]) for answer in answers} == {(201, f"/orders/{body['id']}")}
    assert all(answer.json() == body for answer in answers)
    assert len(pair.databases.charges(body["id"])) == 1


def test_the_same_request_in_16_threads_creates_one_order(pair: Pair) -> None:
    body = sketch()
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: place(pair, body), range(16)))
    assert {answer.status_code for answer in answers} == {201}
    eventually(lambda: pair.order.get(f"/orders/{body['id']}").json()["status"] == "paid", "the order is paid")
    assert len(pair.databases.charges(body["id"])) == 1
    assert [event["type"] for event in pair.order.get(f"/v1/orders/{body['id']}/events").json()["data"]] == [
        "order.placed",
        "order.paid",
    ]


@pytest.mark.parametrize(
    "changes", [{"total": 100.01}, {"total": 0}, {"items": ["item1"]}, {"items": ["item2", "item1"]}]
)
def test_the_same_id_with_other_content_is_409(pair: Pair, changes: dict[str, Any]) -> None:
    body = sketch()
    place(pair, body)
    refused(place(pair, {**body, **changes}), 409, "order-exists")
    assert pair.order.get(f"/orders/{body['id']}").json()["items"] == ["item1", "item2"]


def test_the_id_of_an_order_of_v1_cannot_be_used(pair: Pair) -> None:
    order_id = pair.order.post("/v1/orders", ORDER).json()["id"]
    refused(place(pair, sketch(id=order_id, items=["Green tea"], total=9)), 409, "order-exists")


@pytest.mark.parametrize("total", [0, 0.0])
def test_a_total_of_zero_is_a_free_order(pair: Pair, total: float) -> None:
    body = sketch(total=total)
    assert place(pair, body).status_code == 201
    assert pair.order.get(f"/orders/{body['id']}").json() == {**body, "status": "paid"}
    assert pair.payment.get(f"/v1/payments?order_id={body['id']}").json()["data"] == []


@pytest.mark.parametrize(
    ("number", "minor"),
    [
        ("100", 10000),
        ("100.0", 10000),
        ("100.00", 10000),
        ("100.000", 10000),
        ("1e2", 10000),
        ("0.01", 1),
        ("19.99", 1999),
        ("0.29", 29),
        ("1.15", 115),
        ("92233720368547758.07", 2**63 - 1),
    ],
)
def test_a_total_is_read_as_a_decimal_and_stored_exactly(pair: Pair, number: str, minor: int) -> None:
    placed = send(pair.order, "/orders", with_total(number), Idempotency_Key="")
    assert placed.status_code == 201
    assert json.loads(placed.text, parse_float=Decimal, parse_int=Decimal)["total"] == Decimal(minor) / 100
    seen = pair.order.get(placed.headers["Location"].replace("/orders", "/v1/orders")).json()
    assert (seen["total_amount"], seen["currency"]) == (minor, "EUR")


@pytest.mark.parametrize(
    "number",
    [
        "-0.01", "-100", "0.001", "19.999", "1E-3", "1E-400", "92233720368547758.08", "1E+18", "1E+400", "9" * 1000,
        "1.00000000000000000000000000000001", "1E-1000100", "1E-1000000000000000000", "1E+1000100",
        "0.010000000000000000000000000000001", '"100.0"', "true", "null", "[1]", "{}",
    ],
)  # fmt: skip
def test_a_total_that_is_not_an_amount_of_the_currency_is_422(pair: Pair, number: str) -> None:
    response = send(pair.order, "/orders", with_total(number), Idempotency_Key="")
    refused(response, 422, "validation", "/total")


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({}, ["/id", "/items", "/total"]),
        (sketch(status="paid"), ["/status"]),
        *((sketch(id=value), ["/id"]) for value in NO_IDS),
        *((sketch(items=value), ["/items"]) for value in NO_LISTS),
        *((sketch(items=["a", value]), ["/items/1"]) for value in NO_NAMES),
        (sketch(total=...), ["/total"]),
    ],
)
def test_each_invalid_field_is_named(pair: Pair, body: dict[str, Any], pointers: list[str]) -> None:
    refused(place(pair, body), 422, "validation", *pointers)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "01", ".5", "1.", "1E+1000000000000000000"])
def test_a_number_that_is_not_json_is_400(pair: Pair, number: str) -> None:
    response = send(pair.order, "/orders", with_total(number), Idempotency_Key="")
    refused(response, 400, "malformed-request")


def test_a_card_number_is_422(pair: Pair) -> None:
    refused(place(pair, sketch(items=["a", "4111 1111 1111 1111"])), 422, "card-number", "/items/1")


def test_an_order_of_the_sketch_is_an_ordinary_order_in_v1(pair: Pair) -> None:
    body = sketch(total=12.5)
    place(pair, body)
    seen = pair.order.get(f"/v1/orders/{body['id']}").json()
    assert (seen["total_amount"], seen["currency"], seen["payment_method"]) == (1250, "EUR", "pm_ok")
    assert seen["items"] == [
        {
            "kind": "item",
            "sku": None,
            "name": name,
            "quantity": 1,
            "unit_amount": None,
            "amount": None,
            "tax_amount": None,
        }
        for name in ("item1", "item2")
    ]
    assert pair.order.get(f"/v1/orders/{body['id']}/events").json()["data"][0]["type"] == "order.placed"


def test_an_order_whose_payment_was_declined_can_be_paid_with_the_sketchs_payment_call(pair: Pair) -> None:
    placed = pair.order.post("/v1/orders", {**ORDER, "payment_method": "pm_declined"}, Prefer="wait=10").json()
    assert placed["status"] == "payment_failed"
    paid = pair.payment.request("POST", "/payments", json={"order_id": placed["id"], "amount": 9.0})
    assert (paid.status_code, paid.json()) == (200, {"status": "success"})
    path = f"/v1/orders/{placed['id']}"
    eventually(lambda: pair.order.get(path).json()["status"] == "paid", "the order is paid")
    walked = [event["to"] for event in pair.order.get(f"{path}/events").json()["data"]]
    assert walked == ["pending_payment", "payment_failed", "pending_payment", "paid"]
    assert pair.order.get(path).json()["payment"]["id"] != placed["payment"]["id"]
    assert pair.databases.charges(placed["id"]) == [{"amount": 900, "currency": "EUR"}]


def test_an_order_of_v1_can_be_read_in_the_format_of_the_sketch(pair: Pair) -> None:
    items = [{"sku": "tea-100", "name": "Green tea", "quantity": 2, "unit_amount": 450}, {**LINE, "sku": "cup"}]
    order_id = pair.order.post("/v1/orders", {**ORDER, "items": items, "currency": "JPY"}).json()["id"]
    seen = pair.order.get(f"/orders/{order_id}").json()
    assert (seen["id"], seen["items"], seen["total"]) == (order_id, ["Green tea", "cup"], 901)
